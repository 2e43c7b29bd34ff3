"""A row's history as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from prefine.cli.show import safe

if TYPE_CHECKING:
    from prefine.data.decisions import Decision
    from prefine.data.lineage import History, Visit
    from prefine.schema import Example, Group

SHOWN = 100
"""Characters shown of a text."""


def as_dict(found: History) -> dict[str, Any]:
    """The history with whole rows and replies."""
    visits = []
    for v in found.visits:
        told = [{**asdict(d), "evidence": d.facts} for d in v.decisions]
        rows = [asdict(row) for row in v.rows]
        visits.append(
            {"folder": str(v.folder), "stage": v.stage, "decisions": told, "rows": rows, "dropped": v.dropped}
        )
    return {"wanted": found.wanted, "visits": visits, "replies": found.replies}


def lines(found: History) -> Iterator[str]:
    """One block for each folder, the oldest first."""
    for visit in found.visits:
        if not (visit.rows or visit.decisions or visit.dropped):
            yield f"{visit.stage}  {visit.folder}: it is not there"
            continue
        yield f"{visit.stage}  {visit.folder}{f'  ({visit.note})' if visit.note else ''}"
        yield from (f"  dropped when it was read: {text}" for text in visit.dropped)
        yield from (f"  {_decided(d)}" for d in visit.decisions)
        for row in visit.rows:
            yield from (f"  {line}" for line in _row(row, found, newest=visit is _last(found, row.id)))
    if found.replies:
        yield "raw replies"
        yield from (f"  {key[:16]}: {_short(text)}" for key, text in found.replies.items())


def _last(found: History, row_id: str) -> Visit:
    """The folder whose copy of a row is shown with all its responses: the newest that has it."""
    return [v for v in found.visits if any(row.id == row_id for row in v.rows)][-1]


def _decided(d: Decision) -> str:
    what = "prompt" if d.id == d.group_id else "row or part"
    facts = ", ".join(f"{k}: {_short(str(v))}" for k, v in d.facts.items())
    word = "kept" if d.keep else "dropped"
    return f"{d.step}: {what} {d.id[:12]} {word}{f' ({d.reason})' if d.reason else ''}{f'; {facts}' if facts else ''}"


def _row(row: Group | Example, found: History, newest: bool) -> Iterator[str]:
    from prefine.data.lineage import refs_of
    from prefine.schema import Example

    if isinstance(row, Example):
        yield f"example {row.id[:12]} of prompt {row.group_id[:12]} ({row.split})"
        for i, (candidate, response) in enumerate(zip(row.candidate_ids, row.responses, strict=False)):
            score = f", score {row.scores[i]:.4g}" if len(row.scores) == len(row.responses) else ""
            side = ("chosen", "rejected")[i] if len(row.responses) == 2 else f"rank {i + 1}"
            yield f"  {side}: response {candidate[:12]}{score}: {_short(response[-1]['content'])}"
        return
    origin = ", ".join(f"{k} {v}" for k, v in sorted(row.source.items()) if k in ("dataset", "row", "revision"))
    yield f"prompt {row.id[:12]} ({row.split}, {len(row.candidates)} responses), from {origin or 'an unknown source'}"
    if not newest:
        return
    yield f"  text: {_short(row.prompt)}"
    for c in row.candidates:
        writer = " ".join(f"{k}={v}" for k, v in sorted(c.generator.items()) if k in ("model", "run", "role", "seed"))
        yield f"  response {c.id[:12]}{f' by {writer}' if writer else ''}: {_short(c.text)}"
        for s in c.scores:
            name = s.scorer if s.aspect is None else f"{s.scorer}.{s.aspect}"
            value = f"none ({s.status})" if s.value is None else f"{s.value:.4g}"
            refs = f", replies {', '.join(k[:16] for k in s.refs)}" if s.refs else ""
            yield f"    score {name} {value}{refs}"
    for c in row.comparisons:
        yield f"  {c.judge}: {c.a[:12]} against {c.b[:12]}: {c.outcome}"
    unknown = [key for key in refs_of(row) if key not in found.replies]
    if unknown:
        yield f"  {len(unknown)} replies are in no ledger beside these folders"


def _short(text: str) -> str:
    plain = safe(" ".join(text.split()))
    return plain if len(plain) <= SHOWN else plain[:SHOWN] + " [...]"
