"""All scores of Arena-Hard judgments, v0.1 or v2.0: scores, intervals, style control, and how steady the judge was."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from prefine.errors import PrefineError
from prefine.evaluate.agreement import cohens_kappa
from prefine.evaluate.benchmarks import style_control, style_metadata
from prefine.evaluate.benchmarks.arena_hard import STRONG, Judgment, Version, read, version_of
from prefine.evaluate.benchmarks.bradley_terry import ROUNDS, ROUNDS_V20, battles, scores_v01, scores_v20
from prefine.evaluate.benchmarks.reading import Row, read_rows
from prefine.evaluate.benchmarks.results import Options, Scored
from prefine.evaluate.statistics import mean


def score(files: Sequence[Path], options: Options) -> Scored:
    """Every model's score in every category and by every judge of the files."""
    rows = read_rows(files)
    version = _version(rows)
    judgments = read(rows, version, options.baseline)
    out = Scored("arena_hard", facts={"version": version})
    if again := len(rows) - len(judgments):
        out.notes.append(f"{again} judgments of a prompt that was judged again are left out; the last one stands")
    own = [j for j in judgments if j.model == j.baseline]
    if own:
        out.notes.append(f"{len(own)} judgments of the baseline against itself are left out")
    judgments = [j for j in judgments if j.model != j.baseline]
    styles = style_metadata.read(options.answers) if options.answers else None
    for (judge, category), part in groupby(sorted(judgments, key=_group), key=_group):
        _score_pool(list(part), version, judge, category, styles, options, out)
    if styles is not None:
        pool = ", ".join(sorted({m["model"] for m in out.models}))
        out.notes.append(f"style control centers features over this pool of models, on which scores depend: {pool}")
    return out


def _group(judgment: Judgment) -> tuple[str, str]:
    return judgment.judge, judgment.category


def _version(rows: Sequence[Row]) -> Version:
    version = version_of(rows[0])
    if other := next((r for r in rows if version_of(r) != version), None):
        other.wrong(f"this row is of Arena-Hard {version_of(other)}, and earlier ones are of {version}")
    return version


def _score_pool(
    judgments: list[Judgment],
    version: Version,
    judge: str,
    category: str,
    styles: dict[str, dict[str, style_metadata.Style]] | None,
    options: Options,
    out: Scored,
) -> None:
    """Add a line for every model of one category and judge, the best first, and one for the baseline."""
    found = battles(judgments)
    default = ROUNDS if version == "v0.1" else ROUNDS_V20
    rounds = default if options.resamples is None else options.resamples
    scores = (
        (scores_v01 if version == "v0.1" else scores_v20)(found, rounds=rounds, seed=options.seed)
        if found.models
        else {}
    )
    controlled = None
    if styles is not None and found.models:
        pool = style_control.pool(judgments, styles, options.answers)
        control = style_control.control_v01 if version == "v0.1" else style_control.control_v20
        style_rounds = style_control.ROUNDS if options.resamples is None else options.resamples
        controlled = control(pool, rounds=style_rounds, seed=options.seed)
        out.facts.setdefault("style_coefficients", {})[f"{judge}/{category}"] = controlled.coefficients
    lines = []
    for model in sorted({j.model for j in judgments}):
        own = [j for j in judgments if j.model == model]
        line: dict[str, Any] = {"model": model, "category": category, "judge": judge, "baseline": own[0].baseline}
        if model in scores:
            s = scores[model]
            line |= {"score": s.score, "low": s.low, "high": s.high, "mean_vote": s.mean}
        else:
            line |= dict.fromkeys(("score", "low", "high", "mean_vote"))
        if controlled is not None and model in controlled.scores:
            keys = ("style_controlled", "style_controlled_low", "style_controlled_high")
            line |= dict(zip(keys, controlled.scores[model], strict=True))
        lines.append(line | _facts(own))
        out.failures(f"{model} ({category})", line_failed := lines[-1]["n_failed"], lines[-1]["n_total"])
        if line_failed and version == "v2.0":
            out.notes.append(
                f"{model} ({category}): {lines[-1]['n_dropped']} prompts without both verdicts are left out"
            )
    baselines = sorted({j.baseline for j in judgments})
    if len(baselines) > 1:
        raise PrefineError(f"category {category}: several baselines ({', '.join(baselines)}); score them one by one")
    lines += [{"model": b, "category": category, "judge": judge, "baseline": b, "score": 50.0} for b in baselines]
    out.models += sorted(lines, key=lambda m: -1.0 if m["score"] is None else m["score"], reverse=True)


def _facts(own: list[Judgment]) -> dict[str, Any]:
    """Counts, the interval over prompts, bounds if failures had been lost or won, and the two orders compared."""
    kept = [j for j in own if j.votes]
    prompts = mean([j.score for j in kept], [j.weight for j in kept])
    games = [v for j in kept for v in j.votes]
    decided = [v for v in games if v.outcome != 0.5]
    # The candidate is shown second in game 0 and first in game 1.
    first = sum(v.outcome == v.game for v in decided)
    both = [{v.game: v.outcome for v in j.votes} for j in kept if len(j.votes) == 2]
    kappa = cohens_kappa([b[0] for b in both], [b[1] for b in both])
    failed = sum(j.failed for j in own)
    dropped = len(own) - len(kept)
    won, weight = sum(v.weight * v.outcome for v in games), sum(v.weight for v in games)
    unknown = STRONG * max(failed, 2 * dropped)
    return {
        "prompts_low": None if prompts.low is None else 100 * prompts.low,
        "prompts_high": None if prompts.high is None else 100 * prompts.high,
        "n_prompts": len(own),
        "n_dropped": dropped,
        "n_total": len(games) + max(failed, 2 * dropped),
        "n_parsed": len(games),
        "n_failed": failed,
        "bounds": [100 * won / (weight + unknown), 100 * (won + unknown) / (weight + unknown)] if failed else None,
        "first_shown_wins": 100 * first / len(decided) if decided else None,
        "orders_agree": 100 * kappa.equal if kappa.equal is not None else None,
        "orders_kappa": kappa.value,
    }
