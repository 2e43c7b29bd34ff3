"""All scores of AlpacaEval annotations: the leaderboard's columns, the length-controlled win rate, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prefine.errors import PrefineError, nearest
from prefine.evaluate.benchmarks import frozen, length_controlled
from prefine.evaluate.benchmarks.alpaca_eval import Annotation, Judged, bounds, read, win_rates
from prefine.evaluate.benchmarks.frozen import Frozen
from prefine.evaluate.benchmarks.length_controlled import Design, LengthControlled
from prefine.evaluate.benchmarks.reading import read_rows
from prefine.evaluate.benchmarks.results import Options, Scored

RESAMPLES = 1000
MISMATCH = 1e-4
"""Stored preferences that differ by more from their own log-probs are noted."""


def score(files: Sequence[Path], options: Options) -> Scored:
    """The scores of every model in the files, with a length-controlled win rate or the reason why there is none."""
    found = read(read_rows(files))
    known, absent = _frozen(files, options)
    out = Scored("alpaca_eval")
    order = _order(found, known, options)
    fits: dict[str, LengthControlled] = {}
    for judged in found:
        line = _raw(judged, known, options.seed, out)
        line |= _controlled(judged, known, absent, order, options, out, fits)
        out.models.append(line)
    if options.baseline is not None:
        _head_to_head(out, fits, known, options.baseline)
    return out


def _frozen(files: Sequence[Path], options: Options) -> tuple[Frozen | None, str]:
    """The frozen files, or why there are none."""
    if options.data is not None:
        return frozen.load(options.data), ""
    places = list(dict.fromkeys(p for f in files for p in list(f.resolve().parents)[:2]))
    if (folder := frozen.find(places)) is not None:
        return frozen.load(folder), ""
    return None, f"needs {frozen.GAMED} of AlpacaEval, beside the judgments or in the folder that --data names"


def _raw(judged: Judged, known: Frozen | None, seed: int, out: Scored) -> dict[str, Any]:
    preferences = [a.preference for a in judged.annotations if a.preference is not None]
    total, failed = len(judged.annotations), judged.failed.total()
    missing = max(0, len(known.difficulty) - total) if known else 0
    lengths = [a.len_2 for a in judged.annotations if a.len_2 is not None]
    line: dict[str, Any] = {
        "model": judged.model,
        "baseline": judged.baseline,
        "judge": judged.judge,
        **win_rates(preferences, seed=seed),
        "n_total": total,
        "n_parsed": len(preferences),
        "n_failed": failed,
        "failed": dict(judged.failed),
        "n_missing": missing,
        "avg_length": float(np.mean(lengths)) if lengths else None,
        "first_shown_wins": 100 * float(np.mean(judged.first)) if judged.first else None,
        "logprobs_checked": len(judged.differences),
        "logprobs_max_difference": max(judged.differences, default=None),
        "coin_checked": judged.coins.total(),
        "coin_agrees": judged.coins[True],
    }
    if failed + missing:
        line["bounds"] = bounds(preferences, failed + missing)
    out.failures(judged.model, failed + missing, total + missing)
    if judged.coins[False]:
        out.notes.append(f"{judged.model}: {judged.coins[False]} answers were not shown in the coin's order")
    if max(judged.differences, default=0) > MISMATCH:
        out.notes.append(
            f"{judged.model}: a stored preference differs by {max(judged.differences):.2g} from its own log-probs"
        )
    return line


def _controlled(
    judged: Judged,
    known: Frozen | None,
    absent: str,
    order: dict[str, list[int]],
    options: Options,
    out: Scored,
    fits: dict[str, LengthControlled],
) -> dict[str, Any]:
    """The length-controlled columns; `length_controlled_absent` says why where there are none."""
    rows = judged.annotations
    lost = next((a for a in rows if a.len_1 is None or a.len_2 is None), None)
    if known is None or lost is not None or not any(a.preference is not None for a in rows):
        return {
            "length_controlled_winrate": None,
            "length_controlled_absent": absent
            or ("needs output_1 and output_2, or len_1 and len_2" if lost else "no verdict could be read"),
        }
    if judged.model in (known.baseline, judged.baseline):
        fits[judged.model] = length_controlled.baseline_itself()
        return {"length_controlled_winrate": 50.0, "lc_standard_error": 0.0}
    regularize = options.regularize and known.fits(judged.baseline, judged.judge)
    if options.regularize and not regularize:
        out.notes.append(
            f"{judged.model}: length control without regularization to the baseline, since the gamed rows are of "
            f"{known.baseline} judged by {frozen.JUDGE}; not comparable to the leaderboard"
        )
    by_row = [a.row for a in rows]
    numbers, by = _numbers(rows, known, order)
    if by == "row" and options.index == "instruction":
        out.notes.append(
            f"{judged.model}: {len(rows)} of {len(known.difficulty)} instructions, and neither `index` nor "
            "--instructions says which; the row's position stands in for the instruction's number"
        )
    if options.index == "row":
        numbers, by = by_row, "row"
    line = _fit(judged.model, _design(rows, numbers, known, regularize), options, fits)
    line |= {"index": by, "regularized": regularize}
    if by == "instruction" and numbers != by_row:
        other = length_controlled.fit(_design(rows, by_row, known, regularize), options.c).win_rate
        line["length_controlled_winrate_by_row"] = other
        out.notes.append(
            f"{judged.model}: {len(rows)} of {len(known.difficulty)} instructions; the published leaderboard takes a "
            f"row's position for its instruction's number, which gives a length-controlled win rate of {other:.4f}"
        )
    win_rate, controlled = 100 * float(np.mean([a.preference - 1 for a in rows if a.preference])), line[LC]
    if length_controlled.extreme(win_rate, controlled):
        out.notes.append(
            f"{judged.model}: length control moved the win rate from {win_rate:.1f} to {controlled:.1f}, so far that "
            "the fit may have failed"
        )
    return line


LC = "length_controlled_winrate"


def _design(rows: list[Annotation], numbers: list[int], known: Frozen, regularize: bool) -> Design:
    return length_controlled.design(
        [a.preference for a in rows],
        [a.len_1 or 0 for a in rows],
        [a.len_2 or 0 for a in rows],
        numbers,
        known,
        regularize=regularize,
    )


def _fit(model: str, rows: Design, options: Options, fits: dict[str, LengthControlled]) -> dict[str, Any]:
    fitted = fits[model] = length_controlled.fit(rows, options.c)
    resamples = RESAMPLES if options.resamples is None else options.resamples
    low, high = (
        length_controlled.interval(rows, fitted, resamples=resamples, seed=options.seed) if resamples else (None, None)
    )
    return {
        LC: fitted.win_rate,
        "lc_standard_error": fitted.standard_error,
        "lc_low": low,
        "lc_high": high,
        "C": fitted.c,
        "C_chosen_by": "cross-validation" if options.c is None else "user",
        "coefficients": {"length": fitted.length, "difficulty": fitted.difficulty, "bias": fitted.bias},
    }


def _numbers(rows: list[Annotation], known: Frozen, order: dict[str, list[int]]) -> tuple[list[int], str]:
    """The instructions' numbers and what they come from: `index`, the text, or the position where all are there."""
    if all(a.index is not None for a in rows):
        return [a.index or 0 for a in rows], "instruction"
    if order and all(a.instruction in order for a in rows):
        used: dict[str, int] = {}
        out = []
        for a in rows:
            text = a.instruction or ""
            out.append(order[text][min(used.get(text, 0), len(order[text]) - 1)])
            used[text] = used.get(text, 0) + 1
        return out, "instruction"
    return [a.row for a in rows], "instruction" if len(rows) == len(known.difficulty) else "row"


def _order(found: list[Judged], known: Frozen | None, options: Options) -> dict[str, list[int]]:
    """Instruction texts with their numbers: of the file that the user names, or of a model with all instructions."""
    if known is None:
        return {}
    if options.instructions is not None:
        texts = [str(r.need("instruction")) for r in read_rows([options.instructions])]
        if len(texts) != len(known.difficulty):
            raise PrefineError(
                f"{options.instructions}: {len(texts)} instructions; difficulty is known for {len(known.difficulty)}"
            )
    else:
        whole = [[a.instruction for a in j.annotations] for j in found if len(j.annotations) == len(known.difficulty)]
        texts = next((t for t in whole if all(isinstance(i, str) for i in t)), [])
    order: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        order.setdefault(str(text), []).append(number)
    return order


def _head_to_head(out: Scored, fits: dict[str, LengthControlled], known: Frozen | None, name: str) -> None:
    """The predicted length-controlled win rate of every model against one of them."""
    if known is None or name not in fits:
        raise PrefineError(f"--baseline: no length-controlled fit of '{name}'{nearest(name, fits)}")
    for line in out.models:
        if line["model"] in fits:
            line[f"against {name}"] = length_controlled.head_to_head(fits[line["model"]], fits[name], known)
