#!/bin/sh
# Put both commands on the user's PATH, or take them away again:  install.sh cpu|cuda|none   |   install.sh --remove
#
# An environment of their own under ~/.local/share holds a copy of diffopt, independent of this folder; two links in
# ~/.local/bin lead to it. The environment is built beside the old one and takes its place at the end; the old one stays until
# the next time, for the sake of runs that are still going.
set -eu

cd "$(dirname "$0")/.."
home=${XDG_DATA_HOME:-$HOME/.local/share}/diffopt-tui
bin=$HOME/.local/bin
commands="diffopt diffopt-tui"

for command in $commands; do
    link=$bin/$command
    if [ -e "$link" ] || [ -L "$link" ]; then
        case $(readlink "$link" 2>/dev/null || true) in
            "$home"/*) ;;
            *) echo "$link exists and is not ours; move it away first." >&2; exit 2 ;;
        esac
    fi
done

if [ "$1" = --remove ]; then
    for command in $commands; do rm -f "$bin/$command"; done
    rm -rf "$home"
    echo "Removed diffopt and diffopt-tui. Your runs stay where they are."
    exit 0
fi

extra=$1
case $extra in
    cpu | cuda) wanted="[$extra]" ;;
    none) wanted= ;;
    *) echo "EXTRA is '$extra'; it can be cpu, cuda or none." >&2; exit 2 ;;
esac

# Environments cannot be moved, so each has a name of its own.
python=$(sh scripts/find_python.sh)
mkdir -p "$home" "$bin"
new=$home/$(date +%Y%m%d-%H%M%S)-$$
trap 'rm -rf "$new" build' EXIT
trap 'exit 130' INT TERM
echo "Installing diffopt into $home with $("$python" --version) ..."
rm -rf build # a stale one would put deleted files into the copy
"$python" -m venv "$new"
"$new/bin/python" -m pip install --quiet --disable-pip-version-check --compile ".$wanted"
"$new/bin/diffopt-tui" --version >/dev/null

previous=$(readlink "$bin/diffopt" || true)
previous=${previous%/bin/diffopt}
for command in $commands; do
    ln -sf "$new/bin/$command" "$bin/$command"
done
trap - EXIT
rm -rf build
for old in "$home"/*; do
    [ "$old" = "$new" ] || [ "$old" = "$previous" ] || rm -rf "$old"
done

echo "Installed: $bin/diffopt and $bin/diffopt-tui"
case ":$PATH:" in
    *":$bin:"*) ;;
    *) echo "$bin is not on your PATH. Add this line to your shell's start-up file:  export PATH=\"\$HOME/.local/bin:\$PATH\"" ;;
esac
