"""Responses of the start and of one run per method side by side, with scores, samples and judges' reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from prefine.report.collect import Run
from prefine.report.comparisons import START
from prefine.report.html import Part, Report, folded, note
from prefine.report.text import shown
from prefine.schema import Candidate, Group, digest

ORDER = 110
SHOWN_MODELS = 6
SAMPLE_LENGTH = 1_000
"""Characters of a sample that are shown."""
TIE = 1e-9


@dataclass
class Answer:
    """One model's answer to a prompt. `gain` is its score less that of the start's, `reasons` are judges' own words."""

    name: str
    method: str | None
    text: str
    cut: bool
    score: float | None
    gain: float | None = None
    samples: list[tuple[str, float | None]] = field(default_factory=list)
    reasons: list[tuple[str, str]] = field(default_factory=list)


def part(report: Report) -> Part | None:
    runs = [rows[0] for rows in report.found.methods.values()][:SHOWN_MODELS]
    rows = {run.key: {g.id: g for g in run.groups} for run in runs}
    common = [g for g in runs[0].groups if all(g.id in rows[run.key] for run in runs)]
    drawn = draw(common, report.num_examples)
    cards = [(g, answers(g, runs, rows)) for g in drawn]
    if not any(made for _, made in cards):
        return None
    families = sorted({family(g) for g in drawn})
    prompts = next((f"{r['prompts']:,}" for r in report.runs if r["prompts"]), "0")
    evenly = " and evenly over the categories" if len(families) > 1 else ""
    scores = f", with {report.metric} and the difference to the start" if report.metric else ""
    body = note(
        f"{len(drawn)} of {prompts} held-out prompts, drawn by a hash of the prompt{evenly}, not by result. Greedy "
        f"responses{scores}.",
        "Of a method with several seeds it is the first one that answers, and the start is that seed's."
        if report.seeds > 1
        else "",
    )
    body += _filters(report, [run.label for run in runs], families)
    body += Markup('<div id="cards">{}</div>').format(
        Markup("\n").join(_card(report, g, made, len(families) > 1) for g, made in cards)
    )
    return Part("responses", "Responses side by side", body)


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


def answers(group: Group, runs: Sequence[Run], rows: dict[str, dict[str, Group]]) -> list[Answer]:
    """The start's answer and those of the runs, as far as there are any."""
    metric = runs[0].scores.get("win_by")
    start = _answer(START, None, group, START, metric)
    out = [start] if start and any(run.role != START for run in runs) else []
    for run in runs:
        made = _answer(run.label, run.method, rows[run.key][group.id], run.role, metric)
        if made:
            if start and start.score is not None and made.score is not None:
                made.gain = made.score - start.score
            out.append(made)
    return out


def _answer(name: str, method: str | None, group: Group, role: str, metric: str | None) -> Answer | None:
    greedy, samples = (_by(group, role, mode) for mode in ("greedy", "sample"))
    if not greedy:
        return None
    first = greedy[0]

    def score(c: Candidate) -> float | None:
        return c.score(metric) if metric else None

    return Answer(
        name,
        method,
        first.text,
        first.finish_reason == "length",
        score(first),
        samples=[(s.text, score(s)) for s in samples],
        reasons=_reasons(group, first),
    )


def _by(group: Group, role: str, mode: str) -> list[Candidate]:
    return [c for c in group.candidates if (c.generator.get("role"), c.generator.get("mode")) == (role, mode)]


def _reasons(group: Group, candidate: Candidate) -> list[tuple[str, str]]:
    """What judges wrote about a response, by itself or against another one."""
    out = [(s.scorer if s.aspect is None else f"{s.scorer}, {s.aspect}", s.rationale) for s in candidate.scores]
    for c in group.comparisons:
        if candidate.id in (c.a, c.b):
            won = {"a": c.a, "b": c.b}.get(c.outcome)
            verdict = "tie" if won is None else "won" if won == candidate.id else "lost"
            out.append((f"{c.judge}, {verdict}", c.rationale))
    return [(who, text) for who, text in out if text]


def _filters(report: Report, names: list[str], families: list[str]) -> Markup:
    """Controls that the page's script brings to life; without it they are not shown."""

    def select(id: str, label: str, first: str, options: list[tuple[str, str]]) -> Markup:
        made = Markup("").join(Markup('<option value="{}">{}</option>').format(v, shown(t)) for v, t in options)
        return Markup('<label>{} <select id="{}"><option value="">{}</option>{}</select></label>').format(
            label, id, first, made
        )

    places = [(str(i), name) for i, name in enumerate(names)]
    controls = []
    if len(names) > 1:
        controls.append(select("variant", "Show", "all models", places))
    if report.metric:
        controls.append(
            select("winner", "Who is better", "anyone", [("start", "the start"), *places, ("tie", "no one: a tie")])
        )
    if len(families) > 1:
        controls.append(select("family", "Category", "all", [(f, f) for f in families]))
    controls.append(
        Markup('<label>Contains <input id="contains" type="search" placeholder="text of prompt or response"></label>')
    )
    if report.metric:
        orders = [("+", "gains of {} first"), ("-", "losses of {} first")]
        options = [(f"{sign}{i}", text.format(name)) for i, name in places for sign, text in orders]
        controls.append(select("order", "Order", "as drawn", options))
    return Markup(
        '<form class="filters scripted" autocomplete="off">{}<output id="matches" aria-live="polite"></output></form>'
    ).format(Markup("").join(controls))


def best(made: Sequence[Answer]) -> str:
    """Whose greedy response has the highest score: a place among the runs, `start`, `tie`, or nothing."""
    scored = [(a.score, a) for a in made if a.score is not None]
    if not scored:
        return ""
    top = max(s for s, _ in scored)
    first = [a for s, a in scored if top - s <= TIE]
    runs = [a for a in made if a.method is not None]
    return "tie" if len(first) > 1 else START if first[0].method is None else str(runs.index(first[0]))


def _card(report: Report, group: Group, made: list[Answer], chip: bool) -> Markup:
    runs = [a for a in made if a.method is not None]
    messages = Markup("").join(
        Markup("{}<p>{}</p>").format(
            Markup('<span class="role">{}</span>').format(shown(m["role"])) if len(group.messages) > 1 else "",
            shown(m["content"]),
        )
        for m in group.messages
    )
    return Markup(
        '<article class="card" data-family="{}" data-winner="{}" data-gain="{}"><div class="prompt">{}{}</div>'
        '<div class="answers">{}</div></article>'
    ).format(
        family(group),
        best(made),
        " ".join(f"{a.gain or 0:.6g}" for a in runs),
        Markup('<span class="chip">{}</span>').format(shown(family(group))) if chip else "",
        messages,
        Markup("").join(_shown(report, a, "start" if a.method is None else str(runs.index(a))) for a in made),
    )


def _shown(report: Report, answer: Answer, place: str) -> Markup:
    score = Markup("")
    if answer.score is not None:
        gain = Markup("")
        if answer.gain:
            up = answer.gain > 0
            gain = Markup('<em class="{}">{} {}</em>').format(
                "up" if up else "down", "▲" if up else "▼", f"{abs(answer.gain):.2f}"
            )
        score = Markup('<span class="score">{}{}</span>').format(f"{answer.score:.2f}", gain)
    more = [_samples(answer.samples)] if answer.samples else []
    more += [
        folded(f"Why ({who})", Markup('<p class="reason">{}</p>').format(shown(text))) for who, text in answer.reasons
    ]
    return Markup('<div class="answer" data-model="{}"><h4>{}{}</h4><p>{}{}</p>{}</div>').format(
        place,
        report.name(answer.name, answer.method),
        score,
        _text(answer.text),
        Markup(' <span class="hint">[cut off]</span>') if answer.cut else "",
        Markup("").join(more),
    )


def _text(text: str, longest: int | None = None) -> Markup:
    if not text.strip():
        return Markup('<span class="none">(empty)</span>')
    return shown(text) if longest is None else shown(text, longest)


def _samples(samples: list[tuple[str, Any]]) -> Markup:
    lines = [
        Markup("<li>{}{}</li>").format(
            Markup('<span class="score">{}</span>').format(f"{score:.2f}") if score is not None else "",
            _text(text, SAMPLE_LENGTH),
        )
        for text, score in samples
    ]
    return folded(f"{len(samples)} samples", Markup("<ul>{}</ul>").format(Markup("").join(lines)))
