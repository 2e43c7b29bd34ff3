"""One self-contained HTML page from collected runs. Everything that came from data is escaped; nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from prefine.report import pictures
from prefine.report.collect import Collection, Run, differing
from prefine.report.findings import summary, verdict, warnings
from prefine.report.results import spread_text
from prefine.report.svg import DASH, number, percent
from prefine.schema import Candidate, Group, digest

HERE = Path(__file__).parent
SHOWN_MODELS = 6
ABSENT = {"kl": "KL", "win_rate": "win rate", "reward_accuracy": "reward accuracy", "cooled_start": "cooled start"}


def page(found: Collection, data: dict[str, Any], *, num_examples: int = 24) -> str:
    """The report as HTML text."""
    script = (HERE / "page.js").read_text()
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(_functions(found))
    return environment.get_template("page.html.jinja").render(
        data=data,
        summary=summary(data),
        warnings=warnings(data),
        style=Markup((HERE / "page.css").read_text()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **_results(found, data),
        **_pictures(found, data),
        **_examples(found, num_examples),
        **_settings(found.runs),
        recipes=found.recipes,
        several_folders=len(found.paths) > 1,
    )


def _functions(found: Collection) -> dict[str, Any]:
    """What the template calls."""
    paint = pictures.colors(found)

    def spread(value: dict[str, Any] | None, as_percent: bool) -> str:
        if not value or as_percent:
            return spread_text(value) if value else DASH
        mean = number(value["mean"])
        decimals = len(mean.partition(".")[2])
        return mean if value["sd"] is None else f"{mean} ± {value['sd']:.{decimals}f}"

    def bounds(e: dict[str, Any], as_percent: bool) -> str:
        shown = (lambda v: f"{100 * v:.1f}") if as_percent else number
        return f"[{shown(e['low'])}, {shown(e['high'])}]"

    def length(entry: dict[str, Any]) -> dict[str, Any]:
        return entry["length"]["t1"] or entry["length"]["greedy"] or {}

    return {
        "num": number,
        "breakable": breakable,
        "share": percent,
        "fixed": lambda v: f"{v:.2f}",
        "whole": lambda v: f"{v:,.0f}" if float(v).is_integer() else number(v),
        "bounds": bounds,
        "spread": spread,
        "verdict": lambda e: {"wins": "wins", "loses": "loses"}.get(verdict(e) or "", ""),
        "dot": lambda method: pictures.dot(None if method is None else paint[method]),
        "words": lambda entry: (length(entry).get("words") or {}).get("value"),
        "ratio": lambda entry: length(entry).get("words_ratio"),
    }


def _results(found: Collection, data: dict[str, Any]) -> dict[str, Any]:
    runs = data["runs"]
    keys = ("win_rate", "win_rate_t1", "cooled_start", "gold", "distinct", "kl", "reward_accuracy")
    has = {k: any(r[k] is not None for r in runs) for k in keys}
    has["length"] = any(r["length"]["greedy"] for r in runs)
    sampling = next((r["sampling"] for r in runs if r["sampling"]), {})
    names = {r["key"]: r["name"] for r in runs}
    methods = {r["name"]: r["method"] for r in runs}
    duels = [
        {
            **w,
            "name": r["name"],
            "method": methods[r["name"]],
            "against": names.get(w.get("train_key") or "", w["against"]),
        }
        for r in runs
        for w in r["against"]
    ]
    reasons = sorted({f"{ABSENT.get(k, k)}: {v}" for r in runs for k, v in r["absent"].items()})
    return {
        "has": has,
        "metric": next((r["gold"]["metric"] for r in runs if r["gold"]), None),
        "prompts": next((f"{r['prompts']:,}" for r in runs if r["prompts"]), "0"),
        "t1": f"T = {sampling.get('temperature', 1):g}",
        "num_samples": sampling.get("num_samples"),
        "length_mode": f"T = {sampling.get('temperature', 1):g}" if any(r["length"]["t1"] for r in runs) else "greedy",
        "seeds": max(len(rows) for rows in found.methods.values()),
        "methods": list(found.methods),
        "families": sorted({f for r in runs for f in (r["win_rate"] or {}).get("families") or {}}),
        "duels": duels,
        "pair_rows": [r for r in runs if r["reward_accuracy"] and r["reward_accuracy"]["value"] is not None],
        "absent": reasons,
        "detectable": f"{280 * max(errors):.0f}" if (errors := _errors(runs)) else None,
    }


def _errors(runs: Sequence[dict[str, Any]]) -> list[float]:
    """Standard errors of the greedy win rates; 2.8 of them can be told from zero with a power of 80 %."""
    return [r["win_rate"]["standard_error"] for r in runs if r["win_rate"] and r["win_rate"].get("standard_error")]


def _pictures(found: Collection, data: dict[str, Any]) -> dict[str, Any]:
    curves, compute = pictures.curves(found), pictures.compute(found, data)
    sections = [("results", "Results"), ("compute", "Compute"), ("training", "Training"), ("responses", "Responses")]
    sections += [("rows", "Rows and time"), ("settings", "Settings"), ("reproduce", "Reproduce")]
    absent = {"compute": not compute, "training": not curves, "responses": not any(r.groups for r in found.runs)}
    return {
        "intervals": pictures.win_intervals(found, data),
        "compute": compute,
        "curves": curves,
        "more_curves": pictures.more_curves(found),
        "held_out": any(k.startswith("eval/") for r in found.runs for row in r.log for k in row),
        "sections": [s for s in sections if not absent.get(s[0])],
    }


def _examples(found: Collection, limit: int) -> dict[str, Any]:
    """Prompts with the answers of the start and of one run per method, chosen without looking at the answers."""
    shown = [runs[0] for runs in found.methods.values()][:SHOWN_MODELS]
    rows = {run.key: {g.id: g for g in run.groups} for run in shown}
    common = [g for g in shown[0].groups if all(g.id in rows[run.key] for run in shown)]
    examples = [_example(g, shown, rows) for g in draw(common, limit)]
    return {
        "examples": examples,
        "shown": [run.label for run in shown],
        "family_names": sorted({x["family"] for x in examples}),
    }


def draw(groups: Sequence[Group], limit: int) -> list[Group]:
    """`limit` prompts by a hash of their ids, the same number from each family as far as there are enough."""
    by_family: dict[str, list[Group]] = {}
    for group in sorted(groups, key=lambda g: digest(["report", g.id])):
        by_family.setdefault(family(group), []).append(group)
    queues = [by_family[f] for f in sorted(by_family)]
    out: list[Group] = []
    for i in range(max(map(len, queues), default=0)):
        out += [q[i] for q in queues if i < len(q)]
    return out[:limit]


def family(group: Group) -> str:
    """The kind of task a prompt belongs to."""
    return group.task_meta.get("family") or group.task


def _example(group: Group, shown: Sequence[Run], rows: dict[str, dict[str, Group]]) -> dict[str, Any]:
    metric = shown[0].scores.get("win_by")
    start = _answer("start", None, _by(group, "start", "greedy"), _by(group, "start", "sample"), metric, None)
    answers = [start] if start and any(run.role == "model" for run in shown) else []
    for run in shown:
        own = rows[run.key][group.id]
        made = _answer(
            run.label,
            run.method,
            _by(own, run.role, "greedy"),
            _by(own, run.role, "sample"),
            metric,
            start["score"] if start else None,
        )
        answers += [made] if made else []
    return {
        "messages": group.messages,
        "family": family(group),
        "answers": answers,
        "gains": [f"{a['gain'] or 0:.6g}" for a in answers if a["method"] is not None],
    }


def _by(group: Group, role: str, mode: str) -> list[Candidate]:
    return [c for c in group.candidates if (c.generator.get("role"), c.generator.get("mode")) == (role, mode)]


def _answer(
    name: str,
    method: str | None,
    greedy: list[Candidate],
    samples: list[Candidate],
    metric: str | None,
    start: float | None,
) -> dict[str, Any] | None:
    if not greedy:
        return None
    score = greedy[0].score(metric) if metric else None
    return {
        "name": name,
        "method": method,
        "text": greedy[0].text,
        "cut": greedy[0].finish_reason == "length",
        "score": score,
        "gain": score - start if score is not None and start is not None and method is not None else None,
        "samples": [{"text": s.text, "score": s.score(metric) if metric else None} for s in samples],
    }


def _settings(runs: Sequence[Run]) -> dict[str, Any]:
    """The settings that differ, a value per run, and those that all runs share."""
    different = differing(runs)
    same = sorted({k for r in runs for k in r.settings} - set(different))
    return {
        "differing": [(k, [_value(r.settings[k]) if k in r.settings else DASH for r in runs]) for k in different],
        "shared": [(k, _value(runs[0].settings[k])) for k in same],
    }


def _value(value: Any) -> str:
    """A setting as a recipe would have it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def breakable(key: str) -> Markup:
    """A dotted key that may be broken into lines at its dots and underscores."""
    return Markup(str(escape(key)).replace(".", ".<wbr>").replace("_", "_<wbr>"))
