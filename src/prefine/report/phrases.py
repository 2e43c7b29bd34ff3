"""Numbers as the page, the table for papers and the sentences write them."""

from __future__ import annotations

from typing import Any

from prefine.report.svg import DASH, number, percent


def interval_text(estimate: dict[str, Any] | None, *, as_percent: bool = True) -> str:
    """`56.2 % [53.0, 59.4]`, or `.562 [.530, .594]` for a metric; a dash where nothing was measured."""
    if not estimate or estimate.get("value") is None:
        return DASH
    if as_percent:
        shown, bound = percent(estimate["value"]), lambda v: f"{100 * v:.1f}"
    else:
        shown, bound = number(estimate["value"]), number
    if estimate.get("low") is None or estimate.get("high") is None:
        return shown
    return f"{shown} [{bound(estimate['low'])}, {bound(estimate['high'])}]"


def spread_text(value: dict[str, Any] | None, *, as_percent: bool = True) -> str:
    """`56.2 % ± 1.1`: mean and standard deviation over seeds."""
    if not value:
        return DASH
    if as_percent:
        sd = f" ± {100 * value['sd']:.1f}" if value["sd"] is not None else ""
        return percent(value["mean"]) + sd
    mean = number(value["mean"])
    decimals = len(mean.partition(".")[2])
    return mean if value["sd"] is None else f"{mean} ± {value['sd']:.{decimals}f}"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + (names[-1] if names else "")


def chance(p: float | None) -> str:
    """`p = .03`, `p < .001`."""
    if p is None:
        return "no test"
    if p < 0.001:
        return "p < .001"
    return f"p = {p:.{3 if p < 0.01 else 2}f}".replace("0.", ".", 1)


def duration(seconds: float) -> tuple[float, str]:
    """The same time in the unit that a reader would choose."""
    for size, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return seconds / size, unit
    return seconds, "seconds"
