#!/bin/sh
# Print the interpreter to build the virtual environments with: PYTHON if it is set, else the newest
# from 3.11 to 3.14 that can make environments by itself, else the newest that runs at all
# (setup.py then installs what is missing, or names the cure).
set -eu

runs() {
    "$1" -c "import sys$2; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    runs "$PYTHON" "" || {
        echo "error: PYTHON=$PYTHON is not a Python 3.11 or newer" >&2
        exit 1
    }
    echo "$PYTHON"
    exit 0
fi

for needed in ", ensurepip, venv" ""; do
    for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
        if runs "$name" "$needed"; then
            echo "$name"
            exit 0
        fi
    done
done

echo "error: celeriac needs Python 3.11 or newer, and none was found" >&2
echo "  hint: apt install python3 | brew install python | make PYTHON=/path/to/python3.12 ..." >&2
exit 1
