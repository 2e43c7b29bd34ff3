"""What `prefine data check` tells about a source before anyone trains on it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import Any

from prefine import recipe
from prefine.data.chat import encode
from prefine.data.load import Loaded, contradictions, load
from prefine.data.messages import Dropped
from prefine.data.split import first_by_hash
from prefine.data.template import render as render_chat
from prefine.schema import Candidate, Group

TEMPLATE_MARKERS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|endoftext|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<s>",
    "</s>",
    "### Instruction:",
    "### Response:",
    "\n\nHuman:",
    "\n\nAssistant:",
)
"""Strings of chat templates; inside a message they mean that a template was applied already."""

_MARKERS = re.compile("|".join(map(re.escape, TEMPLATE_MARKERS)))
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")
SHOWN = 400
"""Characters shown of each message of a sample."""


@dataclass
class CheckReport:
    """The result of a check; `as_dict` is its JSON form."""

    path: str
    format: str
    rows: int
    rows_used: int
    dropped: dict[str, int]
    dropped_rows: dict[str, list[str]]
    groups: int
    pairs: int
    responses: int
    lengths: dict[str, dict[str, float]]
    """Characters of prompt, chosen and rejected (or response): mean, median, p95 and max."""
    tokens: dict[str, dict[str, float]]
    """The same in tokens; empty without a tokenizer."""
    chosen_longer: float | None
    """Share of the pairs whose chosen side has more characters."""
    max_length: int | None
    overlong: dict[str, int]
    """Examples beyond `max_length`, and what `overlong: truncate` would do with them; empty without a tokenizer."""
    identical: int
    empty: int
    contradictory: int
    repeated_pairs: int
    repeated_prompts: int
    labels: dict[str, dict[str, int]]
    template_markers: dict[str, int]
    control_characters: int
    not_encodable: dict[str, int]
    noticed: dict[str, float]
    samples: list[str]
    problems: list[str] = field(default_factory=list)
    bad_rows: int = 0
    max_bad_fraction: float = 0.05

    @property
    def bad_fraction(self) -> float:
        """Share of the rows that are dropped, contradict each other, or hold template markers or control characters."""
        return self.bad_rows / self.rows if self.rows else 1.0

    @property
    def ok(self) -> bool:
        """False when the command should exit with an error: too many bad rows, or none that can be used."""
        return self.rows_used > 0 and self.bad_fraction <= self.max_bad_fraction

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "bad_fraction": self.bad_fraction, "ok": self.ok}


def check(
    data: recipe.Data, tokenizer: Any = None, max_length: int = 2048, max_bad_fraction: float = 0.05
) -> CheckReport:
    """Load `data` and look at every row. With a tokenizer, lengths are also in tokens and truncation is told.

    What cannot be read at all (a malformed line, unknown columns) raises `PrefineError`, as loading does.
    """
    plain_text = data.plain_text or (tokenizer is not None and not tokenizer.chat_template)
    loaded = load(data, strict=False)
    groups, counts = loaded.groups, loaded.counts
    pairs = [pair for g in groups for pair in _pairs(g)]
    texts = _texts(groups, pairs)
    markers, marked, control = _inside(groups)
    contradictory = {g.id for g in groups if contradictions(g)}
    dropped = {r: n for r, n in counts.dropped.items() if r != "beyond_limit"}
    report = CheckReport(
        path=data.path if isinstance(data.path, str) else ", ".join(data.path),
        format=loaded.format,
        rows=counts.rows_in - counts.dropped.get("beyond_limit", 0),
        rows_used=counts.rows_out,
        dropped=dropped,
        dropped_rows=loaded.dropped_rows,
        groups=len(groups),
        pairs=len(pairs),
        responses=sum(len(g.candidates) for g in groups),
        lengths={name: _spread(map(len, values)) for name, values in texts.items() if values},
        tokens={},
        chosen_longer=_longer(pairs),
        max_length=None,
        overlong={},
        identical=dropped.get("identical_responses", 0),
        empty=dropped.get("empty_response", 0) + int(counts.extra.get("responses_dropped_empty_response", 0)),
        contradictory=sum(map(contradictions, groups)),
        repeated_pairs=_repeated(groups),
        repeated_prompts=int(counts.extra.get("rows_merged_into_a_known_prompt", 0)),
        labels=_labels(groups),
        template_markers=dict(markers),
        control_characters=len(control),
        not_encodable={},
        noticed=dict(counts.extra),
        samples=[_sample(g, tokenizer, plain_text) for g in first_by_hash(groups, 3, "sample")],
        bad_rows=sum(dropped.values()) + len(contradictory | marked | control),
        max_bad_fraction=max_bad_fraction,
    )
    if tokenizer is not None:
        _measure_tokens(report, groups, tokenizer, max_length, plain_text)
    report.problems = _problems(report, loaded)
    if plain_text and not data.plain_text:
        report.problems.append(
            "the tokenizer has no chat template (model.chat_template): tokens are those of plain text"
        )
    return report


def _pairs(group: Group) -> list[tuple[Candidate, Candidate]]:
    known = {c.id: c for c in group.candidates}
    sides = [(c.a, c.b) if c.outcome == "a" else (c.b, c.a) for c in group.comparisons if c.outcome in ("a", "b")]
    return [(known[a], known[b]) for a, b in sides]


def _texts(groups: list[Group], pairs: list[tuple[Candidate, Candidate]]) -> dict[str, list[str]]:
    prompts = ["".join(m["content"] for m in g.messages) for g in groups]
    if pairs:
        return {"prompt": prompts, "chosen": [a.text for a, _ in pairs], "rejected": [b.text for _, b in pairs]}
    return {"prompt": prompts, "response": [c.text for g in groups for c in g.candidates]}


def _spread(values: Iterable[float]) -> dict[str, float]:
    found = sorted(values)
    at_95 = found[min(len(found) - 1, int(0.95 * len(found)))]
    return {"mean": round(fmean(found), 1), "median": median(found), "p95": at_95, "max": found[-1]}


def _longer(pairs: list[tuple[Candidate, Candidate]]) -> float | None:
    if not pairs:
        return None
    return fmean(len(a.text) > len(b.text) for a, b in pairs)


def _inside(groups: list[Group]) -> tuple[Counter[str], set[str], set[str]]:
    """How many groups hold each template marker, and the ids of groups with markers and with control characters."""
    markers: Counter[str] = Counter()
    marked, control = set(), set()
    for g in groups:
        contents = [m["content"] for turns in (g.messages, *(c.completion for c in g.candidates)) for m in turns]
        found = {m.strip() for text in contents for m in _MARKERS.findall(text)}
        if found:
            markers.update(found)
            marked.add(g.id)
        if any(map(_CONTROL.search, contents)):
            control.add(g.id)
    return markers, marked, control


def _repeated(groups: list[Group]) -> int:
    seen = Counter((g.id, c.a, c.b, c.outcome, c.judge) for g in groups for c in g.comparisons)
    return sum(seen.values()) - len(seen)


def _labels(groups: list[Group]) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for g in groups:
        for c in g.candidates:
            for name, label in c.labels.items():
                out.setdefault(name, {"true": 0, "false": 0})["true" if label else "false"] += 1
    return out


def _sample(group: Group, tokenizer: Any, plain_text: bool) -> str:
    show: Callable[[str], str] = lambda text: text if len(text) <= SHOWN else f"{text[:SHOWN]} [...]"  # noqa: E731
    if tokenizer is not None and not plain_text:
        try:
            head = render_chat(tokenizer, group.messages, True)
        except Dropped as dropped:
            head = f"({dropped})\n"
        lines = [head if len(head) <= 3 * SHOWN else f"[...] {head[-3 * SHOWN :]}"]
    else:
        lines = [f"{m['role']}: {show(m['content'])}" for m in group.messages[-3:]]
    pairs = _pairs(group)
    if pairs:
        lines += [f"  chosen: {show(pairs[0][0].text)}", f"  rejected: {show(pairs[0][1].text)}"]
    else:
        lines += [f"  response{_marks(c)}: {show(c.text)}" for c in group.candidates[:4]]
    return "\n".join(lines)


def _marks(candidate: Candidate) -> str:
    marks = [f"{s.scorer} {s.value}" for s in candidate.scores] + [f"{k} {v}" for k, v in candidate.labels.items()]
    return f" ({', '.join(marks)})" if marks else ""


def _measure_tokens(
    report: CheckReport, groups: list[Group], tokenizer: Any, max_length: int, plain_text: bool
) -> None:
    """Token lengths of all sides, and how many examples do not fit into `max_length`."""
    sides: dict[str, list[int]] = {"prompt": [], "chosen": [], "rejected": [], "response": []}
    overlong: Counter[str] = Counter(dict.fromkeys(("too_long", "prompt_cut", "responses_cut", "one_side_cut"), 0))
    not_encodable: Counter[str] = Counter()
    for g in groups:
        try:
            found = encode(tokenizer, g.messages, [c.completion for c in g.candidates], plain_text=plain_text)
        except Dropped as dropped:
            not_encodable[dropped.reason] += 1
            continue
        for flag, n in found.flags.items():
            report.noticed[flag] = report.noticed.get(flag, 0) + n
        n, sizes = (
            len(found.prompt_ids),
            dict(zip((c.id for c in g.candidates), map(len, found.responses), strict=True)),
        )
        sides["prompt"].append(n)
        pairs = [(sizes[a.id], sizes[b.id]) for a, b in _pairs(g)]
        for chosen, rejected in pairs:
            sides["chosen"].append(chosen)
            sides["rejected"].append(rejected)
        if not pairs:
            sides["response"] += sizes.values()
        for example in pairs or [(size,) for size in sizes.values()]:
            overlong.update(_cuts(n, example, max_length))
    report.tokens = {name: _spread(values) for name, values in sides.items() if values}
    report.max_length, report.overlong, report.not_encodable = max_length, dict(overlong), dict(not_encodable)


def _cuts(prompt: int, responses: Sequence[int], max_length: int) -> list[str]:
    """What truncation would do to an example of these lengths, in tokens."""
    if prompt + max(responses) <= max_length:
        return []
    room = max(max_length - prompt, max_length // 2)
    cut = [r > room for r in responses]
    if any(cut) and not all(cut):
        return ["too_long", "one_side_cut"]
    short = prompt + min(room, max(responses)) > max_length
    return ["too_long", *["prompt_cut"] * short, *["responses_cut"] * any(cut)]


def _problems(report: CheckReport, loaded: Loaded) -> list[str]:
    found = [
        f"{_many(n, 'row')} dropped: {reason} ({', '.join(loaded.dropped_rows.get(reason, [])[:4])})"
        for reason, n in sorted(report.dropped.items(), key=lambda item: -item[1])
    ]
    if report.contradictory:
        found.append(f"{_many(report.contradictory, 'pair')} judged both ways round")
    for marker, n in sorted(report.template_markers.items(), key=lambda item: -item[1]):
        found.append(f"{_many(n, 'prompt')} with {marker!r}: was a chat template applied already?")
    if report.control_characters:
        found.append(f"{_many(report.control_characters, 'prompt')} with control or replacement characters")
    for reason, n in report.not_encodable.items():
        found.append(f"{_many(n, 'prompt')} not encodable: {reason}")
    examples = report.pairs or report.responses
    long = report.overlong.get("too_long", 0)
    if long > 0.05 * max(1, examples):
        found.append(f"{long} of {examples} examples are longer than {report.max_length} tokens")
    straddling = report.noticed.get("straddling_tokens", 0)
    if straddling > 0.01 * max(1, report.responses):
        found.append(
            f"the first token of {straddling:.0f} responses is merged with the end of the prompt and not trained on: "
            "do prompts end in a space?"
        )
    if report.pairs >= 50 and report.chosen_longer is not None and not 0.35 <= report.chosen_longer <= 0.65:
        found.append(
            f"chosen is the longer side in {report.chosen_longer:.0%} of the pairs: length may be learned instead"
        )
    for name, sides in report.labels.items():
        if 0 in sides.values():
            found.append(f"all labels '{name}' are {'true' if sides['true'] else 'false'}; both are needed")
    if not report.rows_used:
        found.append("no row can be used")
    return found


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def render(report: CheckReport) -> str:
    """The report as plain text."""
    lines = [f"{report.path}: format {report.format}"]
    lines.append(
        f"  {report.rows} rows, {report.rows_used} used, {sum(report.dropped.values())} dropped; "
        f"{report.groups} prompts, {report.pairs} pairs, {report.responses} responses"
    )
    lines += [f"  {'dropped: ' + reason:<34}{n:>8}" for reason, n in sorted(report.dropped.items())]
    for title, table in (("characters", report.lengths), ("tokens", report.tokens)):
        if table:
            lines.append(f"  {title:<12}{'mean':>9}{'median':>9}{'p95':>9}{'max':>9}")
            lines += [
                f"    {name:<10}{v['mean']:>9.0f}{v['median']:>9.0f}{v['p95']:>9.0f}{v['max']:>9.0f}"
                for name, v in table.items()
            ]
    if report.chosen_longer is not None:
        lines.append(f"  chosen is the longer side in {report.chosen_longer:.0%} of the pairs")
    if report.overlong:
        o = report.overlong
        lines.append(
            f"  longer than {report.max_length} tokens: {o['too_long']}; with overlong: truncate, {o['prompt_cut']} "
            f"prompts and {o['responses_cut']} pairs or responses are cut, {o['one_side_cut']} dropped as only one "
            "side would be cut"
        )
    lines.append(
        f"  identical sides {report.identical}, empty responses {report.empty}, contradictory pairs "
        f"{report.contradictory}, repeated pairs {report.repeated_pairs}, repeated prompts {report.repeated_prompts}"
    )
    for name, sides in report.labels.items():
        lines.append(f"  label '{name}': {sides['true']} true, {sides['false']} false")
    for i, sample in enumerate(report.samples, 1):
        lines += [f"  sample {i}", *(f"    | {line}" for line in sample.splitlines())]
    lines += ["  problems:" if report.problems else "  no problems found", *(f"    - {p}" for p in report.problems)]
    verdict = "ok" if report.ok else "too many"
    lines.append(f"  bad rows: {report.bad_fraction:.1%}, {verdict} (at most {report.max_bad_fraction:.1%})")
    return "\n".join(lines)
