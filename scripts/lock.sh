#!/usr/bin/env bash
# Pins every dependency of every extra, for all platforms, in constraints.txt. Usage: scripts/lock.sh [FOLDER]
# The extra `vllm` is left out: it brings a torch and a transformers of its own.
# Local wheel folders are left out of the search, so that the pins hold on any machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset UV_FIND_LINKS UV_INDEX UV_EXTRA_INDEX_URL
extras=$("${1:-.venv}/bin/python" -c 'import tomllib
names = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
print(*(f"--extra {name}" for name in names if name != "vllm"))')
# shellcheck disable=SC2086
"${1:-.venv}/bin/uv" pip compile --quiet ${UPGRADE---upgrade} --universal $extras --no-annotate --no-header \
    --python-version 3.11 pyproject.toml -o constraints.txt >/dev/null
