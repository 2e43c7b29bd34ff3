"""Groups as prefine stores them: a part of a run's stage, or rows a user wrote in that shape."""

from __future__ import annotations

from typing import Any

from prefine.data.build import Source, to_bool, to_number
from prefine.data.detect import Columns
from prefine.data.messages import Dropped, list_of, map_of, text_of, to_messages
from prefine.data.repeats import restore
from prefine.registry import formats
from prefine.schema import Candidate, Comparison, Group, Message, Score

OUTCOMES = ("a", "b", "tie", "invalid")


@formats.register("canonical")
class Canonical:
    """Prompts with all their responses, scores and comparisons, as prefine writes them.

    Columns: messages, candidates (each with completion or text; id, scores, labels, generator if known), comparisons.
    """

    rank = 10
    tells = "groups"
    columns = ("id", "group_id", "messages", "candidates", "comparisons", "task_meta", "source", "split")

    def matches(self, table: Columns) -> bool:
        return table.has("messages", "messages") and table.has("candidates", "list", "dicts", "empty", "texts")

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        group = source.group(source.prompt(row.get("messages"), "messages"), row, self.columns)
        group.source |= _strings(row.get("source"), "source")
        restore(group)
        ids: dict[str, str] = {}
        for item in list_of(row.get("candidates"), "candidates"):
            candidate = self._candidate(group, item, source)
            if isinstance(item, dict) and item.get("id"):
                ids[str(item["id"])] = candidate.id
        for candidate in group.candidates:
            candidate.parent = ids.get(candidate.parent or "")
        for item in list_of(row.get("comparisons"), "comparisons"):
            group.comparisons.append(_comparison(item, ids, source.name))
        return group

    def _candidate(self, group: Group, item: Any, source: Source) -> Candidate:
        if isinstance(item, str):
            return source.candidate(group, source.response(item, "candidates"))
        if not isinstance(item, dict):
            raise Dropped("bad_type_candidates", type(item).__name__)
        # Stored responses are taken as they are, and keep their ids: comparisons refer to them.
        turns = item.get("completion") or item.get("text") or ""
        completion: list[Message] = (
            [{"role": "assistant", "content": text_of(turns, "candidates")}]
            if isinstance(turns, str)
            else to_messages(turns, "candidates", source.notes)
        )
        stored = text_of(str(item.get("id") or ""), "candidates")
        made = source.candidate(group, completion, writer=stored)
        made.id = stored or made.id
        made.generator = _strings(item.get("generator"), "generator")
        made.finish_reason = (
            None if item.get("finish_reason") is None else text_of(item["finish_reason"], "finish_reason")
        )
        made.n_tokens, made.avg_logprob = _whole(item.get("n_tokens")), to_number(item.get("avg_logprob"))[0]
        made.scores += [_score(s) for s in list_of(item.get("scores"), "scores")]
        made.labels = {k: to_bool(v) for k, v in map_of(item.get("labels"), "labels").items()}
        made.parent = _optional(item.get("parent"), "parent")
        return made


def _score(item: Any) -> Score:
    if not isinstance(item, dict):
        raise Dropped("bad_score", type(item).__name__)
    number, status = to_number(item.get("value"))
    stored = item.get("status")
    return Score(
        text_of(item.get("scorer"), "scorer"),
        number,
        text_of(item.get("kind") or "metric", "kind"),
        _optional(item.get("aspect"), "aspect"),
        status if stored in (None, "ok") else text_of(stored, "status"),
        _optional(item.get("rationale"), "rationale"),
        [text_of(k, "refs") for k in list_of(item.get("refs"), "refs")],
        _whole(item.get("place")),
    )


def _comparison(item: Any, ids: dict[str, str], source: str) -> Comparison:
    if not isinstance(item, dict):
        raise Dropped("bad_comparison", type(item).__name__)
    a, b, outcome = str(item.get("a")), str(item.get("b")), item.get("outcome")
    if a not in ids or b not in ids or outcome not in OUTCOMES:
        raise Dropped("bad_comparison", f"{a} against {b}: {outcome}"[:80])
    judge = _optional(item.get("judge"), "judge") or source
    return Comparison(
        ids[a],
        ids[b],
        outcome,
        judge,
        to_number(item.get("strength"))[0],
        [to_number(p)[0] for p in list_of(item.get("orders"), "orders")],
        _optional(item.get("rationale"), "rationale"),
        [text_of(k, "refs") for k in list_of(item.get("refs"), "refs")],
    )


def _whole(value: Any) -> int | None:
    number = to_number(value)[0]
    return None if number is None or abs(number) > 2**53 else int(number)


def _optional(value: Any, name: str) -> str | None:
    return None if value is None else text_of(value, name)


def _strings(value: Any, name: str) -> dict[str, str]:
    return {k: text_of(str(v), name) for k, v in map_of(value, name).items() if v is not None}
