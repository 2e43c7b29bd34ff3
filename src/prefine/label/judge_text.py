"""A judge's report as text."""

from __future__ import annotations

from typing import Any


def render(report: dict[str, Any]) -> str:
    """The report on one judge, a line for each thing measured."""
    scores, pairs, length = report["scores"], report["pairs"], report["length"]
    missing = ", ".join(f"{n} {status}" for status, n in scores["missing"].items()) or "none missing"
    lines = [
        f"judge {report['judge']}: {report['responses']} responses to {report['prompts']} prompts, "
        f"{scores['scored']} scored ({missing})",
        f"pairs      {pairs['judged']} judged, ties {_share(pairs['tie_rate'])}",
        f"position   {_position(report['position'])}",
        f"gold       {_agreement(report['gold'])}",
        f"length     r {_number(length['judge']['correlation'])}, the longer one wins "
        f"{_share(length['judge']['longer_wins'])}{_gold_length(length['gold'])}",
        f"itself     {_itself(report['self_preference'])}",
        f"again      {_again(report['consistency'])}",
    ]
    for kind, found in report["canaries"].items():
        lines.append(
            f"canary     {kind}: {found['won']} of {found['n']} won, {found['tied']} tied, {found['null']} not judged"
        )
    lines.append(f"cost       {_cost(report['cost_per_1000_responses'])}")
    return "\n".join(lines + [f"warning: {text}" for text in report["warnings"]])


def render_others(others: list[dict[str, Any]]) -> str:
    """How the judges agree with each other."""
    return "\n".join(f"{o['judges'][0]} and {o['judges'][1]}: {_agreement({'scorer': '', **o})}" for o in others)


def _position(found: dict[str, Any] | None) -> str:
    if not found:
        return "each response is seen by itself"
    names = {"first_wins": "the first one wins", "flip_rate": "the order decides", "invalid_rate": "no verdict"}
    parts = [f"{text} {_share(found[name])}" for name, text in names.items() if found.get(name) is not None]
    if "first_wins" not in found and found.get("position_bias") is not None:
        parts.append(f"bias {_number(found['position_bias'])}")
    if found.get("by_place"):
        parts.append("mean by place " + ", ".join(f"{p}: {_number(v)}" for p, v in found["by_place"].items()))
    return ", ".join(parts) or "not known"


def _agreement(found: dict[str, Any] | None) -> str:
    if found is None:
        return "not given (--gold)"
    who = f"{found['scorer']}: " if found["scorer"] else ""
    return (
        f"{who}right on {_share(found['accuracy'])}{_interval(found['accuracy_interval'])}, kappa "
        f"{_number(found['kappa'])}{_interval(found['kappa_interval'])} over {found['pairs']} pairs"
    )


def _gold_length(found: dict[str, Any] | None) -> str:
    return f" (gold: r {_number(found['correlation'])}, {_share(found['longer_wins'])})" if found else ""


def _itself(found: dict[str, Any]) -> str:
    if not found["pairs"]:
        return f"no pair of a response by its own family ({found['family'] or 'unknown'}) and one by another"
    excess = f", {100 * found['excess']:+.1f} points over gold" if found["excess"] is not None else ""
    return f"its own family ({found['family']}) wins {_share(found['own_wins'])} of {found['pairs']} pairs{excess}"


def _again(found: dict[str, Any] | None) -> str:
    if found is None:
        return "not asked again (it draws nothing, or --repeats 0)"
    change = f", scores move by {_number(found['mean_score_change'])}" if found["mean_score_change"] is not None else ""
    return f"the same verdict on {_share(found['same_verdict'])} of the pairs, T = {found['temperature']}{change}"


def _cost(found: dict[str, Any] | None) -> str:
    if found is None:
        return "no requests, it runs in this process"
    tokens = [f"{found[n]:,.0f} {n.replace('_', ' ')}" for n in ("prompt_tokens", "completion_tokens") if found[n]]
    dollars = [f"{found['cost_usd']:.4f} USD"] if found["cost_usd"] is not None else []
    return ", ".join([f"{found['requests']:,.0f} requests", *tokens, *dollars]) + " for 1000 responses"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(found: list[float] | None) -> str:
    return "" if found is None else f" [{found[0]:.3f}, {found[1]:.3f}]"
