#!/usr/bin/env bash
# Pins every dependency of every extra, for all platforms, in constraints.txt. Usage: scripts/lock.sh [FOLDER]
# Local wheel folders are left out of the search, so that the pins hold on any machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset UV_FIND_LINKS UV_INDEX UV_EXTRA_INDEX_URL
"${1:-.venv}/bin/uv" pip compile --quiet --upgrade --universal --all-extras --no-annotate --no-header \
    --python-version 3.11 pyproject.toml -o constraints.txt >/dev/null
