#!/usr/bin/env bash
# Makes or updates the environment. Usage: scripts/setup_env.sh [FOLDER] [EXTRAS]; by default .venv and dev.
# A second run with nothing changed only compares a stamp. PYTHON=... chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE VIRTUAL_ENV PYTHONHOME

venv=${1:-.venv}
extras=${2:-dev}
stamp=$venv/prefine-setup-stamp
state=$({ cat pyproject.toml constraints.txt scripts/setup_env.sh 2>/dev/null || true; echo "$extras $PWD"; } | cksum)

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && "$venv/bin/python" -c 'import prefine' 2>/dev/null; then
    exit 0
fi

find_python() {
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "setup: prefine needs Python 3.11 to 3.14 and none was found; install one, or name it: make PYTHON=/path/to/python" >&2
    exit 1
}

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "setup: making $venv with $("$python" --version)" >&2
    if ! "$python" -m venv --clear "$venv"; then
        echo "setup: $python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    fi
fi

pip_setting() {
    # One of pip's settings as pip itself sees it: configuration files or environment.
    "$venv/bin/python" -m pip config list 2>/dev/null | sed -n "s/^\(global\|install\|:env:\)\.$1='\(.*\)'$/\2/p" | tail -n 1
}

hand_over() {
    # uv reads none of pip's configuration, so where pip is told to look for packages is passed on.
    local value
    if [ -z "${!1:-}" ]; then
        value=$(pip_setting "$2")
        if [ -n "$value" ]; then export "$1=${value//\\n/ }"; fi
    fi
}

echo "setup: installing prefine[$extras] into $venv (the first time takes a minute or two)" >&2
if "$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check uv; then
    hand_over UV_FIND_LINKS find-links
    hand_over UV_DEFAULT_INDEX index-url
    hand_over UV_INDEX extra-index-url
    export UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match} # pip's: the best version of all places
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --compile-bytecode -e ".[$extras]" -c constraints.txt
else
    "$venv/bin/python" -m pip install --quiet -e ".[$extras]" -c constraints.txt
fi
echo "$state" >"$stamp"
