"""What a reader should be warned of: what makes a number worth less than it looks, and signs of a collapse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prefine.report.findings import by_method, verdict
from prefine.report.phrases import chance, interval_text, spread_text
from prefine.report.svg import number, percent

LENGTH_DRIFT = 1.5
KL_LARGE = 10.0
KL_PER_TOKEN_LARGE = 0.5
DIVERSITY_LEFT = 0.6
TRUNCATED = 0.05
FEW_PROMPTS = 100
COLLAPSED_LENGTH = 3.0
SIGNS = {
    "repeating": "repeat themselves",
    "empty": "are empty",
    "same_answer": "are one and the same text, whatever the prompt",
    "refusing": "refuse",
}
SIGN_FROM = 0.05
CERTAIN = 0.05


def _warn(some: Sequence[dict[str, Any]], say: Callable[[dict[str, Any]], str]) -> list[str]:
    """One sentence per method; where several of its seeds call for it, the first speaks and the others are counted."""
    out = []
    for method, rows in by_method(some).items():
        who = rows[0]["name"] if len(rows) == 1 else f"{method} ({len(rows)} seeds; numbers of seed {rows[0]['seed']})"
        out.append(f"{who}: {say(rows[0])}")
    return out


def warnings(data: dict[str, Any]) -> list[str]:
    """What makes a number above worth less than it looks."""
    out = list(data["notes"])
    for check in (_fell, _signs, _cooling, _greedy_fell, _length, _kl, _diversity, _truncated, _few, _seeds):
        out += check(data)
    return out


def _fell(data: dict[str, Any]) -> list[str]:
    """Metrics that became worse than the start's, and not by chance."""
    out = []
    for run in data["runs"]:
        for gap in run["differences"]:
            direction = (run["signatures"].get(gap["metric"]) or {}).get("higher_is_better")
            worse = direction is not None and (gap["value"] < 0) == direction and gap["value"] != 0
            if gap["mode"] == "greedy" and worse and (gap["adjusted"] or 1) < CERTAIN:
                out.append(
                    f"{run['name']}: {gap['metric']} of greedy responses got worse than the start's, by "
                    f"{interval_text(_absolute(gap), as_percent=False)} ({chance(gap['adjusted'])})."
                )
    return out


def _absolute(gap: dict[str, Any]) -> dict[str, Any]:
    if gap["value"] >= 0:
        return gap
    ends = {"low": gap["high"], "high": gap["low"]}
    return {"value": -gap["value"], **{k: None if v is None else -v for k, v in ends.items()}}


def _signs(data: dict[str, Any]) -> list[str]:
    """Greedy responses that degenerate more often than the start's."""
    out = []
    for sign, words in SIGNS.items():
        found = []
        for run in data["runs"]:
            ours, before = ((run["collapse"] or {}).get(who) or {} for who in ("model", "start"))
            if ours.get(sign, 0) > max(SIGN_FROM, 2 * before.get(sign, 0)):
                found.append(run)
        out += _warn(
            found,
            lambda r, sign=sign, words=words: (
                f"signs of collapse: {percent(r['collapse']['model'][sign])} of the greedy responses {words}"
                + (f" (start: {percent(r['collapse']['start'][sign])})." if r["collapse"].get("start") else ".")
            ),
        )
    return out


def _cooling(data: dict[str, Any]) -> list[str]:
    found = [
        r
        for r in data["runs"]
        if verdict(r["win_rate_t1"]) == "wins" and r["cooled_start"] and verdict(r["cooled_start"]) != "wins"
    ]
    return _warn(
        found,
        lambda r: (
            f"the gain at temperature {r['sampling']['temperature']:g} ({interval_text(r['win_rate_t1'])}) is no more "
            f"than plain cooling gives: against the start at temperature {r['cooled_start']['temperature']:.2f} it is "
            f"{interval_text(r['cooled_start'])}."
        ),
    )


def _greedy_fell(data: dict[str, Any]) -> list[str]:
    found = [r for r in data["runs"] if verdict(r["win_rate"]) == "loses" and verdict(r["win_rate_t1"]) == "wins"]
    return _warn(
        found,
        lambda r: (
            f"samples improve while greedy answers get worse ({interval_text(r['win_rate'])}): a sign of "
            "over-optimization."
        ),
    )


def _length(data: dict[str, Any]) -> list[str]:
    out = []
    for name, how in (("greedy", "greedy"), ("t1", "sampled")):
        ratio = {r["name"]: (r["length"][name] or {}).get("words_ratio") or 1.0 for r in data["runs"]}
        found = [r for r in data["runs"] if not 1 / LENGTH_DRIFT <= ratio[r["name"]] <= LENGTH_DRIFT]
        out += _warn(
            found,
            lambda r, how=how, ratio=ratio: (
                f"{how} responses have {number(ratio[r['name']], 2)} times the words of the start's: "
                + (
                    "part of a win may be length, not quality."
                    if 1 / COLLAPSED_LENGTH < ratio[r["name"]] < COLLAPSED_LENGTH
                    else "such a drift is a sign of collapse."
                )
            ),
        )
    return out


def _kl(data: dict[str, Any]) -> list[str]:
    def large(kl: dict[str, Any] | None) -> bool:
        if not kl or kl["value"] is None:
            return False
        return kl["value"] > KL_LARGE or (kl["per_token"] or 0) > KL_PER_TOKEN_LARGE

    return _warn(
        [r for r in data["runs"] if large(r["kl"])],
        lambda r: (
            f"far from the start: KL {number(r['kl']['value'])} nats a response, "
            f"{number(r['kl']['per_token'] or 0, 2)} a token."
        ),
    )


def _diversity(data: dict[str, Any]) -> list[str]:
    starts = {s["name"]: s["distinct"] or 0.0 for s in data["starts"]}
    found = [
        r
        for r in data["runs"]
        if r["distinct"] is not None and r["distinct"] < DIVERSITY_LEFT * starts.get(r["start"], 0.0)
    ]
    return _warn(
        found,
        lambda r: (
            f"diversity collapsed: {number(r['distinct'])} different responses of {r['sampling']['num_samples']}, "
            f"the start has {number(starts[r['start']])}."
        ),
    )


def _truncated(data: dict[str, Any]) -> list[str]:
    return _warn(
        [r for r in data["runs"] if (r["truncated"] or 0) > TRUNCATED],
        lambda r: (
            f"{percent(r['truncated'])} of the greedy responses were cut off at "
            f"{r['sampling']['max_new_tokens']} tokens."
        ),
    )


def _few(data: dict[str, Any]) -> list[str]:
    won = [r for r in data["runs"] if r["win_rate"]]
    smallest = min((r["win_rate"]["n"] for r in won), default=FEW_PROMPTS)
    out = []
    if smallest < FEW_PROMPTS:
        out.append(f"Only {smallest} prompts: intervals are wide, and a little too narrow.")
    pairs = [r["reward_accuracy"]["n"] for r in data["runs"] if r["reward_accuracy"]]
    if pairs and not won and min(pairs) < FEW_PROMPTS:
        out.append(f"Only {min(pairs)} prompts with pairs: intervals are wide, and a little too narrow.")
    missing = [r for r in won if r["win_rate"].get("missing")]
    return out + _warn(missing, lambda r: f"{r['win_rate']['missing']} prompts have no score and are left out.")


def _seeds(data: dict[str, Any]) -> list[str]:
    """Methods whose seeds lie further apart than their intervals over prompts suggest."""
    out = []
    for method, rows in by_method(
        [r for r in data["runs"] if r["win_rate"] and r["win_rate"]["low"] is not None]
    ).items():
        spread = next(m["win_rate"] for m in data["methods"] if m["name"] == method)
        half = max((r["win_rate"]["high"] - r["win_rate"]["low"]) / 2 for r in rows)
        if spread["sd"] is not None and spread["sd"] > half:
            out.append(
                f"{method}: {spread_text(spread)} over {spread['n']} seeds (greedy): training seeds differ more than "
                "the intervals over prompts say."
            )
    return out
