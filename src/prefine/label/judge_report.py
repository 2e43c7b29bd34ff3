"""How good is a judge? One run over labeled responses, measured from several sides."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prefine.conditions import unasked
from prefine.engines.tries import RETRY_TEMPERATURE
from prefine.label.agreement import (
    Verdicts,
    agreement,
    family,
    length_bias,
    self_preference,
    tie_rate,
    value_of,
    verdicts,
)
from prefine.label.asking import Asker
from prefine.label.base import Labeler, summary
from prefine.label.canaries import canaries, tried
from prefine.label.pairwise import order_facts
from prefine.progress import Progress, Step
from prefine.recipe import Recipe
from prefine.schema import Group, digest

FALL = 0.1
"""A judge that falls for more than this share of the canaries of a kind is warned of."""


def chosen(groups: Sequence[Group], limit: int | None) -> list[Group]:
    """The groups with responses, the first `limit` by hash, without what this report would add to."""
    kept = sorted((g for g in groups if g.candidates), key=lambda g: digest({"judge": g.id}))
    return kept[:limit]


def labeled(labeler: Labeler, groups: Sequence[Group], step: Step) -> list[Group]:
    """Copies of the groups with what the labeler says added, in place of what it said before."""
    bare = [
        replace(
            unasked(g),
            candidates=[replace(c, scores=[s for s in c.scores if s.scorer != labeler.name]) for c in g.candidates],
            comparisons=[c for c in g.comparisons if c.judge != labeler.name],
        )
        for g in groups
    ]
    for group, found in zip(bare, labeler.label(bare, step), strict=True):
        group.comparisons.extend(found.comparisons)
        for candidate, scores in zip(group.candidates, found.scores, strict=True):
            candidate.scores.extend(scores)
    return bare


def measure(
    labeler: Labeler,
    recipe: Recipe,
    groups: Sequence[Group],
    *,
    gold: str | None = None,
    repeats: int = 2,
    num_canaries: int = 20,
    progress: Progress,
) -> tuple[dict[str, Any], Verdicts]:
    """The report on one judge, and its verdicts on all pairs, for comparing it with others.

    `gold`: a scorer, or the judge of comparisons, that is taken for the truth. `repeats`: how often everything is asked
    once more to see whether the judge says the same. The labeler is prepared here, and left open.
    """
    facts = labeler.prepare(recipe)
    responses = sum(len(g.candidates) for g in groups)
    with progress.task(f"judging by {labeler.name}", total=responses, unit="responses") as step:
        found = labeled(labeler, groups, step)
    asker: Asker | None = getattr(labeler, "asker", None)
    cost = _cost(asker, responses)
    judged = verdicts(found, labeler.name)
    truth = verdicts(found, gold) if gold else None
    more = labeler.facts(found)
    comparisons = [c for g in found for c in g.comparisons if c.judge == labeler.name]
    out: dict[str, Any] = {
        "judge": labeler.name,
        "facts": facts,
        "prompts": len(found),
        "responses": responses,
        "scores": summary(labeler.name, found),
        "pairs": {"judged": len(judged), "tie_rate": tie_rate(judged)},
        "position": order_facts(comparisons) if comparisons else _told(more),
        "gold": None if truth is None else {"scorer": gold, **agreement(judged, truth)},
        "length": {
            "judge": length_bias(found, judged),
            "gold": None if truth is None else length_bias(found, truth),
        },
        "self_preference": self_preference(found, judged, family(_model(labeler, facts)), truth),
        "cost_per_1000_responses": cost,
        "consistency": _consistency(labeler, asker, groups, found, judged, repeats, progress),
    }
    made = canaries(found, num_canaries, gold)
    with progress.task("canaries", total=2 * len(made), unit="responses") as step:
        out["canaries"] = tried(labeler, made, step) if made else {}
    out["warnings"] = warnings(out)
    return out, judged


def _told(facts: dict[str, Any]) -> dict[str, Any] | None:
    """What a labeler without comparisons says about the order; None for one that sees single responses."""
    names = ("position_bias", "swing", "flip_rate", "by_place")
    return {name: facts[name] for name in names if name in facts} or None


def _model(labeler: Labeler, facts: dict[str, Any]) -> str:
    """The model behind a labeler, as it is named in the recipe."""
    asker = getattr(labeler, "asker", None)
    block: dict[str, Any] = asker.block if isinstance(asker, Asker) else {"model": facts.get("model", "")}
    inner = block.get("engine")
    model = (inner if isinstance(inner, dict) else block).get("model", "")
    return str(model.get("path", "") if isinstance(model, dict) else model)


def _cost(asker: Asker | None, responses: int) -> dict[str, Any] | None:
    """Requests, tokens and dollars for 1000 responses, from what this process has sent; replies of the ledger are free.

    Tokens and dollars are those of a request that was sent, times the requests for 1000 responses.
    """
    if asker is None or asker.session is None or not responses:
        return None
    facts = asker.session.facts()
    calls, per = facts["calls"], 1000 * facts["requests"] / responses
    out: dict[str, Any] = {"requests": round(per, 3), "sent": calls, "from_ledger": facts["from_ledger"]}
    for name in ("prompt_tokens", "completion_tokens", "cost_usd"):
        value = facts.get(name)
        out[name] = round(per * value / calls, 6) if calls and value is not None else None
    return out


def _consistency(
    labeler: Labeler,
    asker: Asker | None,
    groups: Sequence[Group],
    found: Sequence[Group],
    judged: Verdicts,
    repeats: int,
    progress: Progress,
) -> dict[str, Any] | None:
    """Whether the judge says the same again, with other random numbers; None for one that draws nothing."""
    if asker is None or not repeats or asker.sampling.top_logprobs:
        return None
    same: list[float] = []
    gaps: list[float] = []
    before = _values(found, labeler.name)
    responses = sum(len(g.candidates) for g in groups)
    with progress.task("judging again", total=repeats * responses, unit="responses") as step:
        for k in range(1, repeats + 1):
            asker.repeat = k
            try:
                again = labeled(labeler, groups, step)
            finally:
                asker.repeat = 0
            other = verdicts(again, labeler.name)
            same += [float(other[p] == share) for p, share in judged.items() if p in other]
            now = _values(again, labeler.name)
            gaps += [abs(now[i] - value) for i, value in before.items() if i in now]
    return {
        "repeats": repeats,
        "temperature": asker.sampling.temperature or RETRY_TEMPERATURE,
        "same_verdict": round(math.fsum(same) / len(same), 6) if same else None,
        "mean_score_change": round(math.fsum(gaps) / len(gaps), 6) if gaps else None,
    }


def _values(groups: Sequence[Group], name: str) -> dict[tuple[str, str], float]:
    values = {(g.id, c.id): value_of(c, name) for g in groups for c in g.candidates}
    return {place: value for place, value in values.items() if value is not None}


def warnings(report: dict[str, Any]) -> list[str]:
    """What a reader of the report should not overlook, in words."""
    out = []
    position, length = report["position"] or {}, report["length"]
    if (flips := position.get("flip_rate")) is not None and flips > 0.2:
        out.append(f"the order of the responses decides {flips:.0%} of the pairs: ask in both orders")
    lost: Counter[str] = Counter(report["scores"]["missing"])
    if lost and sum(lost.values()) > 0.05 * report["responses"]:
        out.append(f"{sum(lost.values())} of {report['responses']} responses have no score: {_list(lost)}")
    judge, gold = length["judge"]["correlation"], (length["gold"] or {}).get("correlation")
    if judge is not None and judge - (gold or 0) > 0.2:
        beyond = " beyond what gold scores explain" if gold is not None else ""
        out.append(f"longer responses win{beyond} (correlation {judge:.2f})")
    for kind, found in report["canaries"].items():
        if found["fell"] is not None and found["fell"] > FALL:
            out.append(f"it falls for {found['fell']:.0%} of the canaries of the kind '{kind}'")
    return out


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
