"""What the numbers say, in sentences: who beat the start and who did not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefine.report.phrases import interval_text
from prefine.report.svg import percent
from prefine.report.text import model_name


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
    numbers = [len(m["seeds"]) for m in data["methods"]]
    each = f"{numbers[0]}" if len(set(numbers)) == 1 else f"{min(numbers)} to {max(numbers)}"
    over = f", {each} seeds{' each' if len(methods) > 1 else ''}" if max(numbers) > 1 else ""
    prompts = {r["prompts"] for r in data["runs"] if r["prompts"]}
    pairs = [r["reward_accuracy"]["pairs"] for r in data["runs"] if r["reward_accuracy"]]
    parts = [f"{min(prompts):,} prompts"] if prompts and data["start"] else []
    parts += [f"{min(pairs):,} pairs"] if pairs else []
    on = f", evaluated on {' and '.join(parts)} held out from training" if parts else ""
    what = "One method" if len(methods) == 1 else f"{len(methods)} methods"
    return f"{what} ({', '.join(methods)}) trained{_starts(data)}{over}{on}."


def _starts(data: dict[str, Any]) -> str:
    """What the models began with."""
    names = {str(r["start"]) for r in data["runs"]}
    if len(names) == 1:
        return f" from {model_name(data['start']['name']) if data['start'] else 'its start'}"
    by_seed = {(r["seed"], str(r["start"])) for r in data["runs"]}
    own = len(by_seed) == len(names) == len({seed for seed, _ in by_seed})
    return ", every seed from a start of its own" if own else f" from {len(names)} different starts"


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
    for method, rows in by_method(some).items():
        seeds = sum(r["method"] == method for r in runs)
        values = [r[key]["value"] for r in rows]
        if seeds == 1:
            parts.append(f"{rows[0]['name']} ({interval_text(rows[0][key])})")
        else:
            count = f"all {seeds}" if len(rows) == seeds else f"{len(rows)} of {seeds}"
            parts.append(f"{method} in {count} seeds (mean {percent(sum(values) / len(values))})")
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def by_method(runs: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The runs of each method, in their order."""
    out: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        out.setdefault(run["method"], []).append(run)
    return out
