#!/bin/sh
# Make the environment VENV ready for one purpose, if it is not ready yet:  set_up.sh VENV EXTRA run|test|dev|interop
#
# EXTRA is cpu, cuda or none. The environment is made afresh when it is broken, was left half made, belongs to another folder
# or holds the other build of MLX: cpu and cuda bring the same files and cannot replace one another.
set -eu

venv=$1 extra=$2 purpose=$3
cd "$(dirname "$0")/.."

case $extra in
    cpu | cuda | none) ;;
    *) echo "EXTRA is '$extra'; it can be cpu, cuda or none." >&2; exit 2 ;;
esac

identity="$extra $(pwd)"
stamp=$venv/.ready-$purpose
is_whole() {
    [ -f "$venv/.identity" ] && [ ! -e "$venv/.unfinished" ] && [ "$(cat "$venv/.identity")" = "$identity" ] &&
        "$venv/bin/python" -c '' >/dev/null 2>&1
}

if is_whole && [ -f "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ]; then
    exit 0
fi

if ! is_whole; then
    # Only ever remove what is an environment, or nothing yet.
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ ! -e "$venv/.unfinished" ]; then
        echo "$venv exists and is not a Python environment; remove it or choose another with VENV=..." >&2
        exit 2
    fi
    python=$(sh scripts/find_python.sh)
    echo "Making $venv with $("$python" --version) ..."
    rm -rf "$venv"
    mkdir -p "$venv"
    : >"$venv/.unfinished"
    "$python" -m venv "$venv"
fi

wanted=
[ "$extra" = none ] || wanted=$extra
case $purpose in
    run) ;;
    interop) wanted="$wanted,test,interop" ;;
    *) wanted="$wanted,$purpose" ;;
esac
wanted=${wanted#,}

echo "Installing diffopt${wanted:+ with }$wanted into $venv; the first time this downloads the packages ..."
: >"$venv/.unfinished"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".${wanted:+[$wanted]}"
"$venv/bin/python" -m compileall -q engine tui themes # pip compiles packages, not what is editable
echo "$identity" >"$venv/.identity"
rm -f "$venv/.unfinished"
: >"$stamp"
