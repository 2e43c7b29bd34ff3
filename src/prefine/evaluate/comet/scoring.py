"""Scores of translations by comet-score, read from the JSON that it writes."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefine.errors import PrefineError

OUTPUT = "scores.json"
SCORE = "COMET"


@dataclass(frozen=True)
class Scored:
    """The score of one translation, and with XCOMET the spans that it takes for errors."""

    value: float
    errors: list[dict[str, Any]] = field(default_factory=list)


def comet_scores(
    program: Path,
    checkpoint: str,
    sources: Sequence[str],
    translations: Sequence[str],
    references: Sequence[str] | None,
    *,
    batch_size: int = 16,
    gpus: int = 0,
) -> list[Scored]:
    """One score for each translation, in their order.

    checkpoint: a hub id, or a file that ends with .ckpt. The command reads a segment a line, so line breaks in a text
    become spaces.
    """
    sides = {"src": sources, "mt": translations} | ({"ref": references} if references is not None else {})
    if len({len(texts) for texts in sides.values()}) != 1:
        raise ValueError(
            f"as many sources, translations and references are wanted, not {list(map(len, sides.values()))}"
        )
    with tempfile.TemporaryDirectory(prefix="prefine-comet-") as made:
        folder = Path(made)
        for name, texts in sides.items():
            lines = (" ".join(text.split()) + "\n" for text in texts)
            (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8", errors="replace")
        arguments = [str(program), "-s", "src.txt", "-t", "mt.txt"]
        arguments += ["-r", "ref.txt"] if references is not None else []
        arguments += ["--model", _absolute(checkpoint), "--batch_size", str(batch_size), "--gpus", str(gpus)]
        arguments += ["--to_json", OUTPUT, "--quiet", "--only_system"]
        _call(arguments, folder)
        return read_scores(folder / OUTPUT, len(translations))


def read_scores(path: Path, n: int) -> list[Scored]:
    """The scores of the only system in a file of comet-score; a number of segments other than `n` is an error."""
    try:
        systems = json.loads(path.read_text(encoding="utf-8"))
        (rows,) = systems.values()
        found = [Scored(float(row[SCORE]), list(row.get("errors", []))) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PrefineError(f"comet-score wrote no scores that can be read: {type(error).__name__} {error}") from error
    if len(found) != n:
        raise PrefineError(f"comet-score gave {len(found)} scores for {n} translations")
    return found


def _absolute(checkpoint: str) -> str:
    """A file's whole path, since the command runs in a folder of its own; a hub id as it is."""
    path = Path(checkpoint).expanduser()
    if path.is_file():
        return str(path.absolute())
    if checkpoint.endswith(".ckpt"):
        raise PrefineError(f"comet: there is no checkpoint {checkpoint}")
    return checkpoint


def _call(arguments: list[str], folder: Path) -> None:
    """Run the command without our own Python's settings, which would mix the two environments."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run(arguments, cwd=folder, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-8:])
        raise PrefineError(f"comet-score failed with exit code {done.returncode}:\n{tail}")
