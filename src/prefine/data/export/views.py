"""The rows of a view, out of training examples or out of whole groups."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from prefine.data.export.base import Row, finite
from prefine.data.spans import Weights, edits
from prefine.rundir import Counts
from prefine.schema import Candidate, Example, Group, digest

Rows = Callable[[], Iterable[Row]]
"""Gives the rows from the beginning, each time it is called."""


def row_of(example: Example, task: str = "") -> Row:
    """An example as a row."""
    return Row(**vars(example), task=task)


def view_of(rows: Rows, view: str, counts: Counts) -> Iterator[Row]:
    """The rows of examples as `view` has them; those that do not fit are counted in `counts`, by reason."""
    if view == "pairs":
        yield from _of_size(rows(), 2, "not_a_pair", counts)
    elif view == "unpaired":
        yield from _unpaired(rows, counts)
    elif view == "sft":
        yield from _best(rows(), counts)
    else:
        yield from _counted(rows(), counts)


def _counted(rows: Iterable[Row], counts: Counts) -> Iterator[Row]:
    for row in rows:
        counts.rows_in += 1
        yield row


def _of_size(rows: Iterable[Row], size: int, reason: str, counts: Counts) -> Iterator[Row]:
    for row in _counted(rows, counts):
        if len(row.responses) == size:
            yield row
        else:
            counts.drop(reason)


def _unpaired(rows: Rows, counts: Counts) -> Iterator[Row]:
    """One row per labeled response; both sides of a pair where there are no labels.

    The sides of a pair are far from each other, in two passes over the rows: KTO estimates its reference point within
    a batch, and both sides of one pair in it would spoil that.
    """
    for again in (False, True):
        for row in rows():
            for i, label in _labels(row):
                late = not row.labels and (_even(row.id) == (i == 0))
                if late == again:
                    counts.rows_in += 1
                    yield _response(row, i, label)
            if not again and not any(True for _ in _labels(row)):
                counts.rows_in += 1
                counts.drop("no_label")


def _labels(row: Row) -> Iterator[tuple[int, float]]:
    if row.labels:
        yield from enumerate(row.labels)
    elif len(row.responses) == 2:
        yield from ((0, 1.0), (1, 0.0))


def _even(text: str) -> bool:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[0] % 2 == 0


def _best(rows: Iterable[Row], counts: Counts) -> Iterator[Row]:
    """The first response of each row, once; none that is labeled undesirable."""
    seen: set[tuple[str, str]] = set()
    for row in _counted(rows, counts):
        best = _response(row, 0, None)
        key = (row.group_id, best.candidate_ids[0] if best.candidate_ids else row.id)
        if row.labels and not row.labels[0]:
            counts.drop("undesirable")
        elif key in seen:
            counts.drop("response_came_before")
        else:
            seen.add(key)
            yield best


def _response(row: Row, i: int, label: float | None) -> Row:
    """The row with one of its responses alone."""

    def one(values: list) -> list:
        return [values[i]] if len(values) == len(row.responses) else []

    return replace(
        row,
        responses=[row.responses[i]],
        candidate_ids=one(row.candidate_ids),
        scores=one(row.scores),
        finished=one(row.finished),
        models=one(row.models),
        teacher_logps=one(row.teacher_logps),
        labels=[] if label is None else [label],
    )


def lists_of(groups: Iterable[Group], scorers: tuple[str, ...], counts: Counts) -> Iterator[Row]:
    """Every prompt with all its responses and all their scores."""
    for group in groups:
        counts.rows_in += 1
        if not group.candidates:
            counts.drop("no_responses")
            continue
        named = {name: [value_of(c, name) for c in group.candidates] for name in scorers}
        yield _row(group, group.candidates, named={k: v for k, v in named.items() if any(x is not None for x in v)})


def labeled_of(groups: Iterable[Group], score: str | None, threshold: float | None, counts: Counts) -> Iterator[Row]:
    """Every labeled response by itself; with a threshold, those that have the score, desirable above it.

    A response with several labels is desirable when all of them are true. Equal texts of two writers stay two.
    """
    for group in groups:
        for candidate in group.candidates:
            counts.rows_in += 1
            label = _label(candidate, score, threshold)
            if label is None:
                counts.drop("no_label" if threshold is None else "no_score")
            else:
                yield replace(_row(group, [candidate]), labels=[float(label)])


def _label(candidate: Candidate, score: str | None, threshold: float | None) -> bool | None:
    if threshold is None:
        return all(candidate.labels.values()) if candidate.labels else None
    names = [score] if score else sorted({label_of(s.scorer, s.aspect) for s in candidate.scores if s.aspect is None})
    value = value_of(candidate, names[0]) if len(names) == 1 else None
    return None if value is None else value > threshold


def revisions_of(groups: Iterable[Group], tokenizer: Any, weights: Weights, counts: Counts) -> Iterator[Row]:
    """Every revision after the response that it was made of, with the edits between them.

    The second response is the better one: of an answer that was made worse on purpose it is the original.
    """
    for group in groups:
        known = {c.id: c for c in group.candidates}
        for candidate in (c for c in group.candidates if c.parent):
            counts.rows_in += 1
            sides = [known.get(str(candidate.parent)), candidate]
            if candidate.generator.get("role") == "worsened":
                sides.reverse()
            initial, revised = sides
            if initial is None or revised is None:
                counts.drop("original_not_there")
            elif any(len(c.completion) != 1 for c in (initial, revised)):
                counts.drop("response_of_several_messages")
            elif initial.text == revised.text:
                counts.drop("identical_responses")
            else:
                found = edits(initial.completion[0]["content"], revised.completion[0]["content"], tokenizer)
                ids = digest({"group": group.id, "edit": [initial.id, revised.id]})[:32]
                yield replace(_row(group, [initial, revised]), id=ids, ops=[op.row(weights) for op in found])


def _row(group: Group, candidates: list[Candidate], named: dict[str, list[float | None]] | None = None) -> Row:
    return Row(
        id=group.id if len(candidates) != 1 else candidates[0].id,
        group_id=group.id,
        prompt=group.messages,
        responses=[c.completion for c in candidates],
        candidate_ids=[c.id for c in candidates],
        split=group.split,
        task=group.task,
        models=[c.generator.get("model") or c.generator.get("role", "") for c in candidates],
        named=named or {},
    )


def label_of(scorer: str, aspect: str | None) -> str:
    """A scorer's name as pairs are made by it: `scorer` or `scorer.aspect`."""
    return scorer if aspect is None else f"{scorer}.{aspect}"


def value_of(candidate: Candidate, name: str) -> float | None:
    """The latest value by that name, or None."""
    for s in reversed(candidate.scores):
        if label_of(s.scorer, s.aspect) == name:
            return finite(s.value)
    return None
