"""All scores of MT-Bench judgments: single ratings, comparisons in both orders, and agreement with people's votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefine.errors import PrefineError, nearest
from prefine.evaluate.benchmarks import human_votes, mt_bench, pairwise
from prefine.evaluate.benchmarks.human_votes import Comparison
from prefine.evaluate.benchmarks.mt_bench import HIGHEST, LOWEST, REFERENCE_GUIDED, Rating, category_of
from prefine.evaluate.benchmarks.pairwise import Pair
from prefine.evaluate.benchmarks.reading import Row, read_file, read_rows
from prefine.evaluate.benchmarks.results import Options, Scored


def score(files: Sequence[Path], options: Options) -> Scored:
    """Ratings of single answers, or comparisons where the files hold these: the rows tell which."""
    rows = read_rows(files)
    named = {str(r.need("question_id")): str(r.need("category")) for r in read_file(options.questions)} if (
        options.questions
    ) else {}  # fmt: skip
    pairs = "model_1" in rows[0]
    if other := next((r for r in rows if ("model_1" in r) != pairs), None):
        other.wrong("ratings of single answers and comparisons of two are scored apart; give one file of either")
    return _pairs(rows, options) if pairs else _singles(rows, named, options)


def _singles(rows: list[Row], named: dict[str, str], options: Options) -> Scored:
    ratings, again = mt_bench.read(rows)
    out = Scored("mt_bench", facts={"mode": "single"})
    if again:
        out.notes.append(f"{again} ratings of answers that were rated again are left out; the last valid one stands")
    groups: dict[tuple[str, str], list[Rating]] = {}
    for rating in ratings:
        groups.setdefault((rating.judge, rating.model), []).append(rating)
    for (judge, model), own in groups.items():
        failed = Counter(r.reason for r in own if r.reason)
        valid = [r.score for r in own if r.score is not None]
        line: dict[str, Any] = {"model": model, "judge": judge, **mt_bench.scores(own, named, seed=options.seed)}
        line |= {"n_total": len(own), "n_parsed": len(valid), "n_failed": failed.total(), "failed": dict(failed)}
        line["templates"] = dict(Counter(r.template for r in own if r.template))
        if failed:
            line["bounds"] = [(sum(valid) + failed.total() * end) / len(own) for end in (LOWEST, HIGHEST)]
        out.failures(model, failed.total(), len(own))
        if wrong := sum(_wrong_template(r, named) for r in own):
            out.notes.append(f"{model}: {wrong} ratings used a template that is not that of their category or turn")
        out.models.append(line)
    if options.baseline is not None:
        _implied(out, groups, options)
    if options.human is not None:
        compared = [c for judge in {j for j, _ in groups} for c in _as_comparisons(groups, judge)]
        out.facts["agreement"] = human_votes.agreement(compared, human_votes.read(options.human))
    out.models.sort(key=lambda m: -1.0 if m["score"] is None else m["score"], reverse=True)
    return out


def _wrong_template(rating: Rating, named: dict[str, str]) -> bool:
    """Whether an official template of another category or turn was used; templates of one's own are not known."""
    category = category_of(rating.question, named)
    if not rating.template.startswith("single-") or category is None:
        return False
    guided, second = "math" in rating.template, "multi-turn" in rating.template
    return guided != (category in REFERENCE_GUIDED) or second != (rating.turn == 2)


def _implied(out: Scored, groups: dict[tuple[str, str], list[Rating]], options: Options) -> None:
    """Every model's wins over the baseline, from single ratings with the tie margin."""
    name = str(options.baseline)
    if name not in {m for _, m in groups}:
        raise PrefineError(f"--baseline: there are no ratings of '{name}'{nearest(name, [m for _, m in groups])}")
    for line in out.models:
        ours, theirs = _valid(groups[line["judge"], line["model"]]), _valid(groups.get((line["judge"], name), []))
        winners = {k: mt_bench.as_winner(ours[k], theirs[k]) for k in ours if k in theirs}
        found = pairwise.win_rate([Pair(k[0], w, w) for k, w in winners.items()], seed=options.seed)
        if line["model"] != name:
            line[f"against {name}"] = {k: found[k] for k in IMPLIED}


IMPLIED = ("n_parsed", "win", "loss", "tie", "win_rate", "win_rate_adjusted", "low", "high", "p_value")
"""Of a comparison by single ratings: what does not need two orders."""


def _valid(ratings: list[Rating]) -> dict[tuple[str, int], float]:
    return {(r.question, r.turn): r.score for r in ratings if r.score is not None}


def _as_comparisons(groups: dict[tuple[str, str], list[Rating]], judge: str) -> list[Comparison]:
    """All pairs of models that a judge rated on the same question and turn."""
    models = sorted(m for j, m in groups if j == judge)
    valid = {m: _valid(groups[judge, m]) for m in models}
    return [
        Comparison(q, t, a, b, mt_bench.as_winner(valid[a][q, t], valid[b][q, t]), judge)
        for i, a in enumerate(models)
        for b in models[i + 1 :]
        for q, t in valid[a]
        if (q, t) in valid[b]
    ]


def _pairs(rows: list[Row], options: Options) -> Scored:
    out = Scored("mt_bench", facts={"mode": "pairwise", "baseline": options.baseline})
    found = human_votes.read_pairs(rows)
    if again := len(rows) - len(found):
        out.notes.append(f"{again} comparisons that were judged again are left out; the last valid one stands")
    models = sorted({m for c, _ in found for m in (c.model_1, c.model_2)})
    if options.baseline is not None and options.baseline not in models:
        raise PrefineError(f"--baseline: '{options.baseline}' is in no comparison{nearest(options.baseline, models)}")
    for judge in sorted({c.judge for c, _ in found}):
        for model in models:
            own = [
                pair if c.model_1 == model else pair.reversed()
                for c, pair in found
                if c.judge == judge and model in (c.model_1, c.model_2)
                and options.baseline in (None, c.model_1, c.model_2)
            ]  # fmt: skip
            if own and model != options.baseline:
                line = {"model": model, "judge": judge, **pairwise.win_rate(own, seed=options.seed)}
                out.failures(model, line["n_failed"], line["n_total"])
                out.models.append(line)
    if options.human is not None:
        valid = [c for c, pair in found if pair.result != pairwise.ERROR]
        out.facts["agreement"] = human_votes.agreement(valid, human_votes.read(options.human))
    out.models.sort(key=lambda m: m["win_rate_adjusted"] or 0.0, reverse=True)
    return out
