"""What length control takes as given: how hard instructions are, and how the baseline fares when it games the judge."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prefine.errors import PrefineError, nearest

DIFFICULTY = "instruction_difficulty.csv"
GAMED = "df_gamed.csv"
JUDGE = "weighted_alpaca_eval_gpt4_turbo"
"""The annotator whose verdicts the published files rest on."""
GAMES = ("_verbose", "_concise")


@dataclass(frozen=True)
class Frozen:
    """How hard each of the (instructions,) is, and the n gamed rows.

    features: (n, 3) length, difficulty and 0; preference: (n,) in [0, 1]; `baseline` is the model whose answers these
    are.
    """

    difficulty: np.ndarray
    features: np.ndarray
    preference: np.ndarray
    baseline: str

    def fits(self, baseline: str | None, judge: str | None) -> bool:
        """Whether the gamed rows are of this baseline and judge; a file that names none is taken for AlpacaEval 2."""
        return baseline in (None, self.baseline) and judge in (None, JUDGE)


def find(places: list[Path]) -> Path | None:
    """The first folder that holds the gamed rows."""
    return next((p for p in places if (p / GAMED).is_file()), None)


def load(folder: Path) -> Frozen:
    """Read `df_gamed.csv` and `instruction_difficulty.csv` as AlpacaEval publishes them.

    Without the second file, difficulties are those in the first, which has every instruction.
    """
    gamed = _columns(
        folder / GAMED, ["model", "index", "preference", "std_delta_len", "instruction_difficulty"], text="model"
    )
    features = np.column_stack(
        [np.tanh(gamed["std_delta_len"]), gamed["instruction_difficulty"], np.zeros(len(gamed["index"]))]
    )
    own = folder / DIFFICULTY
    table = _columns(own, ["index", "instruction_difficulty"]) if own.is_file() else gamed
    known = dict(zip(table["index"].astype(int).tolist(), table["instruction_difficulty"].tolist(), strict=True))
    if sorted(known) != list(range(len(known))):
        raise PrefineError(
            f"{own if own.is_file() else folder / GAMED}: index: instructions are not numbered 0, 1, 2 ..."
        )
    name = str(gamed["model"][0])
    baseline = next((name.removesuffix(g) for g in GAMES if name.endswith(g)), name)
    return Frozen(np.array([known[i] for i in range(len(known))]), features, gamed["preference"], baseline)


def _columns(file: Path, names: list[str], text: str = "") -> dict[str, np.ndarray]:
    """The named columns of a CSV file, numbers all but `text`."""
    if not file.is_file():
        raise PrefineError(f"there is no {file}")
    with file.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        for name in names:
            if name not in (table.fieldnames or []):
                raise PrefineError(f"{file}: no column '{name}'{nearest(name, table.fieldnames or [])}")
        rows = list(table)
    if not rows:
        raise PrefineError(f"{file}: there is no row in it")
    return {
        n: np.array([r[n] if n == text else _number(r[n], file, i, n) for i, r in enumerate(rows, 1)]) for n in names
    }


def _number(value: str | None, file: Path, row: int, name: str) -> float:
    try:
        return float(value or "")
    except ValueError:
        raise PrefineError(f"{file}: row {row}: {name}: {value!r} is not a number") from None
