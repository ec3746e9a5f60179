#!/bin/sh
# Print the path of a Python that can run diffopt, or say what to install and fail. PYTHON=... tries that one alone.

usable='
import platform, sys
import ensurepip, venv
native = sys.platform != "darwin" or platform.machine() == "arm64"
sys.exit(not (sys.version_info >= (3, 11) and native))
'

# A name on PATH proves little: it may be a shim for a version that is not there, or a Python without venv.
for name in ${PYTHON:-python3.13 python3.12 python3.11 python3.14 python3 python}; do
    if path=$(command -v "$name" 2>/dev/null) && "$path" -c "$usable" >/dev/null 2>&1; then
        echo "$path"
        exit 0
    fi
done

{
    echo "diffopt needs Python 3.11 or later with its venv and ensurepip modules; found none${PYTHON:+ in PYTHON=$PYTHON}."
    case $(uname -s) in
        Darwin) echo "Install it with 'brew install python@3.13' or from python.org; on Apple silicon it must be a native (arm64) one." ;;
        *) echo "Debian and Ubuntu: python3 and python3-venv. Fedora: python3. Without root: 'uv python install 3.13' or pyenv." ;;
    esac
    echo "Then run make again; 'make PYTHON=/path/to/python3 ...' names one that is not on PATH."
} >&2
exit 1
