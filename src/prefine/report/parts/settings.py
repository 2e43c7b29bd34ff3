"""What the runs were told: settings that differ, settings they share, and how to get the same again."""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup, escape

from prefine.report.collect import Run
from prefine.report.html import Part, Report, folded, note, table
from prefine.report.naming import differing, is_seed
from prefine.report.phrases import listed
from prefine.report.svg import DASH
from prefine.report.text import shown

ORDER = 130


def part(report: Report) -> Part:
    runs = report.found.runs
    columns = _columns(report)
    different = [k for k in differing(runs) if len(columns) == len(runs) or not is_seed(k)]
    same = sorted({k for r in runs for k in r.settings} - set(differing(runs)))
    body = []
    if different:
        rows = [
            [breakable(k), *(value_text(r.settings[k]) if k in r.settings else DASH for r in columns.values())]
            for k in different
        ]
        body.append(note(f"What differs between the {'runs' if len(columns) == len(runs) else 'methods'}:"))
        body.append(table(["setting", *columns], rows, left=range(1, len(columns) + 1), sortable=False))
    shared = table(["setting", "value"], [[breakable(k), value_text(runs[0].settings[k])] for k in same], left=(1,))
    title = f"{len(same)} settings{' that all runs share' if len(runs) > 1 else ''}"
    body += [folded(title, shared, open=not different), _again(report)]
    return Part("settings", "Settings, and how to get this again", Markup("\n").join(body))


def _columns(report: Report) -> dict[str, Run]:
    """A run for each method, where its seeds differ in nothing else; otherwise all runs."""
    methods = report.found.methods
    if all(is_seed(k) for same in methods.values() for k in differing(same)):
        return {name: same[0] for name, same in methods.items()}
    return {r.label: r for r in report.found.runs}


def _again(report: Report) -> Markup:
    commands = [Markup("<code>prefine run {}</code>").format(shown(name)) for name in report.found.recipes]
    seeds = list(dict.fromkeys("unknown" if r.seed is None else str(r.seed) for r in report.found.runs))
    last = (
        "A recipe has the settings of the last seed that ran in its directory; the seeds on this page are"
        if len(seeds) > 1
        else "The seed is"
    )
    said = Markup("<p>{} {} this; stages that are done are skipped. {} {}. {}</p>").format(
        Markup(" and ").join(commands),
        "repeat" if len(commands) > 1 else "repeats",
        last,
        shown(listed(seeds)),
        "On the same device and versions the same seed gives the same weights.",
    )
    versions = [[k, v] for k, v in report.data["versions"].items() if v]
    recipes = [
        folded(name, Markup("<pre tabindex=0>{}</pre>").format(shown(text, 20_000)))
        for name, text in report.found.recipes.items()
    ]
    return Markup('<h3>To get this again</h3>{}<div class="two">{}<div>{}</div></div>').format(
        said if commands else "",
        table(["version of", ""], versions, left=(1,), sortable=False),
        Markup("").join(recipes),
    )


def value_text(value: Any) -> str:
    """A setting as a recipe would have it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def breakable(key: str) -> Markup:
    """A dotted key that may be broken into lines at its dots and underscores."""
    return Markup(str(escape(key)).replace(".", ".<wbr>").replace("_", "_<wbr>"))
