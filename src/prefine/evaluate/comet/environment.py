"""The environment that unbabel-comet lives in: where it is, and how it is made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from prefine.durable import write_json
from prefine.errors import PrefineError
from prefine.evaluate.places import cache_folder

VERSION = "2.2.7"
PACKAGES = (f"unbabel-comet=={VERSION}", "transformers==4.57.6", "numpy==1.26.4", "setuptools<81", "torch>=2.10,<2.14")
"""Versions that work together: COMET imports pkg_resources, which setuptools 81 no longer has."""
NEWEST_PYTHON = (3, 12)
"""numpy 1.26 has no wheels for later ones."""
COMMAND = "comet-score"
DONE = "prefine.json"
"""Written last: an environment without it was not finished."""

Run = Callable[[list[str]], None]


def environment(folder: str | None = None) -> Path:
    """The environment's folder: the one given, PREFINE_COMET_ENV, or `comet-<version>` in the user's cache."""
    named = folder or os.environ.get("PREFINE_COMET_ENV")
    return Path(named).expanduser().absolute() if named else cache_folder(f"comet-{VERSION}")


def command(folder: str | None = None) -> Path:
    """comet-score of the environment; one that is not there is an error that names the command to make it."""
    place = environment(folder)
    found = _programs(place) / COMMAND
    if not found.is_file():
        where = f" --environment {place}" if folder else ""
        raise PrefineError(f"COMET is not set up: there is no {found}; run: prefine comet setup{where}")
    return found


def set_up(
    folder: str | None = None, python: str | None = None, *, force: bool = False, run: Run | None = None
) -> Path:
    """Make the environment unless it is finished, and return its folder.

    python: the interpreter to make it with, by default this one. `force` makes it anew. It takes about 2 GB, more with
    CUDA, and reads the package index that pip is set up for.
    """
    place, run = environment(folder), run or _run
    if (place / DONE).is_file() and not force:
        return place
    interpreter = _interpreter(python)
    _refuse_others(place)
    if place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    run([interpreter, "-m", "venv", str(place)])
    run([str(_programs(place) / "python"), "-m", "pip", "install", "--quiet", *PACKAGES])
    run([str(_programs(place) / COMMAND), "--help"])
    write_json(place / DONE, {"packages": list(PACKAGES)})
    return place


def _refuse_others(place: Path) -> None:
    """A folder that is no environment is never deleted, and none is made inside a repository."""
    if place.exists() and any(place.iterdir()) and not (place / "pyvenv.cfg").is_file():
        raise PrefineError(f"{place} is not an environment; name another folder with --environment")
    for parent in place.parents:
        if (parent / ".git").exists() and parent != Path.home():
            raise PrefineError(f"{place} is inside the repository {parent}; name another folder with --environment")


def _interpreter(python: str | None) -> str:
    if python is not None:
        found = shutil.which(python)
        if found is None:
            raise PrefineError(f"there is no Python '{python}'")
        return found
    if sys.version_info[:2] > NEWEST_PYTHON:
        newest = ".".join(map(str, NEWEST_PYTHON))
        raise PrefineError(f"COMET needs Python {newest} or older: prefine comet setup --python python{newest}")
    return sys.executable


def _programs(place: Path) -> Path:
    return place / ("Scripts" if os.name == "nt" else "bin")


def _run(arguments: list[str]) -> None:
    """Run a step; its output goes to standard error, since standard output holds results only."""
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-8:])
        raise PrefineError(f"setting up COMET failed at: {' '.join(arguments)}\n{tail}")
