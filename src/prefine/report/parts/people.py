"""What people preferred, blind, and how far the judges agree with them."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from prefine.report.html import Part, Report, cell, estimate, note, table

ORDER = 95
HEADS = {"greedy": "Greedy responses", "sample": "Sampled responses"}


def part(report: Report) -> Part | None:
    found = report.data["people"]
    if not found:
        return None
    return Part("people", "Votes of people", Markup("\n").join(_mode(one) for one in found))


def _mode(found: dict[str, Any]) -> Markup:
    pairs = [
        [f"{p['first']} against {p['second']}", estimate(p), *(cell(p[k]) for k in ("wins", "ties", "losses", "n"))]
        for p in found["pairs"]
    ]
    head = ["pair", ("the first wins", "ties half, %"), "won", "tied", "lost", ("voted on", "prompts")]
    said = [f"{found['habits']['votes']} votes; intervals are over prompts."]
    left = found["habits"]["left_wins"]
    if left["value"] is not None:
        said.append(f"The left side won {100 * left['value']:.1f} % of the votes that decided; sides were drawn.")
    out = Markup("<h3>{}</h3>").format(HEADS[found["mode"]]) + table(head, pairs) + note(*said)
    return out + _agreement(found["judges"])


def _agreement(judges: list[dict[str, Any]]) -> Markup:
    if not judges:
        return Markup("")
    rows = [
        [
            j["judge"],
            j["against"],
            estimate(_interval(j, "kappa"), as_percent=False),
            estimate(_interval(j, "accuracy")),
            cell(j["pairs"]),
        ]
        for j in judges
    ]
    head = ["judge", "against", ("kappa", "1 is full"), ("same verdict", "% of decided"), "pairs"]
    return Markup("<h4>Who agrees with them</h4>") + table(head, rows, left=(1,))


def _interval(found: dict[str, Any], key: str) -> dict[str, Any]:
    low, high = found.get(f"{key}_interval") or (None, None)
    return {"value": found.get(key), "low": low, "high": high}
