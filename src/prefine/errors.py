"""Errors that a user can mend, and the exit codes of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_USER_ERROR = 1
EXIT_IN_USE = 73
EXIT_INTERRUPTED = 75


class PrefineError(Exception):
    """A mistake in the input: one readable message that names the place and the fix."""

    exit_code = EXIT_USER_ERROR


class DirectoryInUse(PrefineError):
    """Another process is writing to the same run directory (exit code 73)."""

    exit_code = EXIT_IN_USE


class Interrupted(PrefineError):
    """The run was asked to stop; everything is saved and the same command goes on (exit code 75)."""

    exit_code = EXIT_INTERRUPTED


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known name, or the list of valid names when none is close."""
    names = sorted(set(known))
    swapped = [n for n in names if sorted(n) == sorted(name)]
    close = swapped or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; valid names: {', '.join(names)}" if names else ""


def missing_extra(package: str, extra: str) -> PrefineError:
    """The error for an optional package that is not installed."""
    return PrefineError(
        f"{package} is not installed; it comes with the extra '{extra}': pip install 'prefine[{extra}]'"
    )
