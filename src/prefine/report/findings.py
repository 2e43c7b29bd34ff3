"""What the numbers say, in sentences: who beat the start and who did not, and what a reader should be warned of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prefine.report.results import interval_text, spread_text
from prefine.report.svg import number, percent

LENGTH_DRIFT = 1.5
KL_LARGE = 10.0
KL_PER_TOKEN_LARGE = 0.5
DIVERSITY_LEFT = 0.6
TRUNCATED = 0.05
FEW_PROMPTS = 100


def verdict(estimate: dict[str, Any] | None) -> str | None:
    """`wins`, `loses` or `open`: whether the whole interval lies above or below one half."""
    if not estimate or estimate.get("value") is None:
        return None
    low, high = estimate.get("low"), estimate.get("high")
    if low is None or high is None:
        return "open"
    return "wins" if low > 0.5 else "loses" if high < 0.5 else "open"


def summary(data: dict[str, Any]) -> list[str]:
    """One sentence per question: greedy, samples, and samples against the cooled start."""
    runs = data["runs"]
    out = [_who(data)]
    if any(r["win_rate"] for r in runs):
        out.append(_sentence(runs, "win_rate", "In greedy decoding, which no temperature moves,", "the start"))
    if any(r["win_rate_t1"] for r in runs):
        drawn = next(r for r in runs if r["win_rate_t1"])["sampling"]["temperature"]
        out.append(_sentence(runs, "win_rate_t1", f"With samples at temperature {drawn:g},", "the start"))
    if any(r["cooled_start"] for r in runs):
        out.append(
            _sentence(
                runs, "cooled_start", "Against the start cooled to the same diversity,", "what cooling alone gives"
            )
        )
    if any(r["reward_accuracy"] for r in runs) and not any(r["win_rate"] for r in runs):
        out.append(_sentence(runs, "reward_accuracy", "Ranking held-out pairs by implicit reward,", "a coin"))
    return out


def _who(data: dict[str, Any]) -> str:
    methods = [m["name"] for m in data["methods"]]
    start = data["start"]["name"] if data["start"] else "its start"
    seeds = max(len(m["seeds"]) for m in data["methods"])
    over = f", {seeds} seeds each" if seeds > 1 else ""
    prompts = {r["prompts"] for r in data["runs"] if r["prompts"]}
    pairs = [r["reward_accuracy"]["pairs"] for r in data["runs"] if r["reward_accuracy"]]
    parts = [f"{min(prompts):,} prompts"] if prompts and data["start"] else []
    parts += [f"{min(pairs):,} pairs"] if pairs else []
    on = f", evaluated on {' and '.join(parts)} held out from training" if parts else ""
    what = "One method" if len(methods) == 1 else f"{len(methods)} methods"
    return f"{what} ({', '.join(methods)}) trained from {start}{over}{on}."


def _sentence(runs: Sequence[dict[str, Any]], key: str, where: str, whom: str) -> str:
    """Which runs win, which lose, and for which the interval covers one half."""
    by = {v: [r for r in runs if verdict(r[key]) == v] for v in ("wins", "loses", "open")}
    parts = []
    for outcome, words in (
        ("wins", "beat{s} {whom} with the whole 95\u202f% interval above one half"),
        ("loses", "lose{s} to {whom}"),
        ("open", "cannot be told from {whom}"),
    ):
        if by[outcome]:
            many = "s" if len({r["method"] for r in by[outcome]}) == 1 else ""
            parts.append(f"{_named(by[outcome], runs, key)} " + words.format(s=many, whom="it" if parts else whom))
    return f"{where} {'; '.join(parts)}."


def _named(some: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]], key: str) -> str:
    """The runs with their numbers; the seeds of one method are counted together."""
    parts = []
    for method, rows in _by_method(some).items():
        seeds = sum(r["method"] == method for r in runs)
        values = [r[key]["value"] for r in rows]
        if seeds == 1:
            parts.append(f"{rows[0]['name']} ({interval_text(rows[0][key])})")
        else:
            count = f"all {seeds}" if len(rows) == seeds else f"{len(rows)} of {seeds}"
            parts.append(f"{method} in {count} seeds (mean {percent(sum(values) / len(values))})")
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def _by_method(runs: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    out: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        out.setdefault(run["method"], []).append(run)
    return out


def _warn(some: Sequence[dict[str, Any]], say: Callable[[dict[str, Any]], str]) -> list[str]:
    """One sentence per method; where several of its seeds call for it, the first speaks and the others are counted."""
    out = []
    for method, rows in _by_method(some).items():
        who = rows[0]["name"] if len(rows) == 1 else f"{method} ({len(rows)} seeds; numbers of seed {rows[0]['seed']})"
        out.append(f"{who}: {say(rows[0])}")
    return out


def warnings(data: dict[str, Any]) -> list[str]:
    """What makes a number above worth less than it looks."""
    out = list(data["notes"])
    for check in (_cooling, _greedy_fell, _length, _kl, _diversity, _truncated, _few, _seeds):
        out += check(data)
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
                f"{how} responses have {number(ratio[r['name']], 2)} times the words of the start's: part of a win may "
                "be length, not quality."
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
    start = (data["start"] or {}).get("distinct") or 0.0
    found = [r for r in data["runs"] if r["distinct"] is not None and r["distinct"] < DIVERSITY_LEFT * start]
    return _warn(
        found,
        lambda r: (
            f"diversity collapsed: {number(r['distinct'])} different responses of {r['sampling']['num_samples']}, "
            f"the start has {number(start)}."
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
    for method, rows in _by_method(
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
