"""From parts of a row to a group: what all formats share, so that each of them is a few lines."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from prefine.data.messages import Dropped, map_of, text_of, to_messages
from prefine.schema import Candidate, Comparison, Group, Message, Score, candidate_id, group_id

LONGEST_META = 20_000
"""Characters of an extra column beyond which it is not carried along."""

ORIGIN = ("dataset", "revision", "license", "url", "page")
"""Entries of a group's `source` that are joined when two sources hold the same prompt."""


@dataclass
class Source:
    """Where the rows of one load come from, and what was noticed while reading them."""

    name: str
    plain_text: bool = False
    notes: Counter[str] = field(default_factory=Counter)
    revision: str | None = None
    """The revision of the data set, for formats whose data were repaired in a later one."""

    def prompt(self, value: Any, name: str = "prompt") -> list[Message]:
        """The context of a group: text or messages that end with a user or a tool."""
        messages = to_messages(value, name, self.notes)
        return self.context(messages)

    def context(self, messages: list[Message]) -> list[Message]:
        """Check that `messages` can be answered."""
        if not messages or not any(m["content"].strip() for m in messages if m["role"] != "system"):
            raise Dropped("empty_prompt")
        if messages[-1]["role"] not in ("user", "tool"):
            raise Dropped("prompt_ends_with_" + messages[-1]["role"])
        return messages

    def response(self, value: Any, name: str) -> list[Message]:
        """A response: text, a message, or messages that start after the prompt. Outer white space goes."""
        if isinstance(value, str) or value is None:
            turns: list[Message] = [{"role": "assistant", "content": text_of(value, name)}]
        else:
            turns = to_messages(value, name, self.notes)
        return self.completion(turns)

    def completion(self, turns: list[Message]) -> list[Message]:
        """Response turns without outer white space; drops the row when the assistant says nothing."""
        while turns and turns[-1]["role"] != "assistant":
            turns = turns[:-1]
            self.notes["trimmed_after_last_response"] += 1
        if not turns or not turns[-1]["content"].strip():
            raise Dropped("empty_response")
        if any(m["role"] == "user" for m in turns):
            self.notes["multi_turn_responses"] += 1
        if self.plain_text:
            return turns
        stripped = [_stripped(m) if m["role"] == "assistant" else m for m in turns]
        if stripped != turns:
            self.notes["stripped_responses"] += 1
        return stripped

    def group(
        self,
        messages: list[Message],
        row: dict[str, Any],
        used: tuple[str, ...],
        task: str = "chat",
        split_key: str = "",
    ) -> Group:
        """An empty group; columns that the format does not use become its `task_meta`.

        `split_key` names what its split depends on, where that is not the first user turn.
        """
        if isinstance(row.get("task"), str) and "task" not in used:
            task = text_of(row["task"], "task")
        meta = {
            k: _flat(v) for k, v in row.items() if k not in (*used, "task", "task_meta") and _small(k) and _small(v)
        }
        meta.update({k: text_of(_flat(v), "task_meta") for k, v in map_of(row.get("task_meta"), "task_meta").items()})
        if split_key:
            meta["split_key"] = split_key
        return Group(group_id(messages, task), messages, task=task, task_meta=meta, source={"dataset": self.name})

    def candidate(
        self,
        group: Group,
        completion: list[Message],
        writer: str = "",
        about: dict[str, Any] | None = None,
        stored_id: Any = None,
    ) -> Candidate:
        """Add a response. Equal texts of one writer are one candidate; equal texts of two writers are two.

        `about` is what is known of the writer, in place of `{"model": writer}`; entries without a value are left out.
        An export of prefine keeps the id that a response had (`stored_id`).
        """
        facts = {"model": writer} if about is None else about
        generator = {k: text_of(str(v), k) for k, v in facts.items() if v not in (None, "")}
        made = Candidate(candidate_id(group.id, completion, writer), completion, generator)
        if isinstance(stored_id, str) and stored_id:
            made.id = text_of(stored_id, "id")
        for c in group.candidates:
            if c.id == made.id or (c.generator == generator and _same_text(c, made)):
                self.notes["duplicate_responses"] += 1
                return c
        group.candidates.append(made)
        return made

    def one_of_many(
        self,
        group: Group,
        value: Any,
        name: str,
        writer: str = "",
        about: dict[str, Any] | None = None,
        stored_id: Any = None,
    ) -> Candidate | None:
        """Add a response of a list; None, and a note, when that response cannot be used."""
        try:
            return self.candidate(group, self.response(value, name), writer, about, stored_id)
        except Dropped as dropped:
            self.notes[f"responses_dropped_{dropped.reason}"] += 1
            return None

    def prefer(self, group: Group, chosen: list[Message], rejected: list[Message]) -> tuple[Candidate, Candidate]:
        """Add a pair and the judgement that came with it; equal sides are no pair."""
        return self.judged(group, chosen, rejected, self.name)

    def judged(
        self,
        group: Group,
        chosen: list[Message],
        rejected: list[Message],
        judge: str,
        ids: tuple[Any, Any] = (None, None),
    ) -> tuple[Candidate, Candidate]:
        """The same by a judge of that name; `ids` are those that the responses have in an export of prefine."""
        must_differ(chosen, rejected)
        a = self.candidate(group, chosen, stored_id=ids[0])
        b = self.candidate(group, rejected, stored_id=ids[1])
        group.comparisons.append(Comparison(a.id, b.id, "a", judge))
        return a, b


def answered(group: Group) -> Group:
    """The group, if it has a response."""
    if not group.candidates:
        raise Dropped("no_candidates")
    return group


def must_differ(a: list[Message], b: list[Message]) -> None:
    """Drop the row when two sides say the same, whatever the white space."""
    if _squeezed(a) == _squeezed(b):
        raise Dropped("identical_responses")


def add_score(
    candidate: Candidate,
    scorer: str,
    value: Any,
    notes: Counter[str],
    kind: str = "metric",
    aspect: str | None = None,
    rationale: str | None = None,
) -> None:
    """Give a candidate a score; a second, different one by the same scorer is averaged and noted."""
    number, status = to_number(value)
    for score in candidate.scores:
        if (score.scorer, score.aspect) == (scorer, aspect):
            if score.value is None:
                score.value, score.status = number, status
            elif number is not None and number != score.value:
                notes["conflicting_scores"] += 1
                score.value = (score.value + number) / 2
            return
    candidate.scores.append(Score(scorer, number, kind, aspect, status, rationale))


def to_number(value: Any) -> tuple[float | None, str]:
    """A score as a number, or None with the status `na`: numeric text is accepted, "N/A", "" and NaN are not."""
    if isinstance(value, bool):
        return float(value), "ok"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None, "na"
    return (number, "ok") if math.isfinite(number) else (None, "na")


def to_bool(value: Any) -> bool:
    """A label: true and false, 1 and 0, or those words."""
    words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    label = words.get(str(value).strip().lower())
    if label is None:
        raise Dropped("bad_label", repr(value)[:50])
    return label


def merge(into: Group, other: Group, notes: Counter[str]) -> None:
    """Add what `other` knows about the same prompt: candidates by id, comparisons appended, sources joined."""
    known = {c.id: c for c in into.candidates}
    for candidate in other.candidates:
        old = known.get(candidate.id)
        if old is None:
            into.candidates.append(candidate)
            continue
        named = {(s.scorer, s.aspect) for s in old.scores}
        for score in candidate.scores:
            if (score.scorer, score.aspect) in named:
                add_score(old, score.scorer, score.value, notes, score.kind, score.aspect)
            else:
                old.scores.append(score)
        for name, label in candidate.labels.items():
            if old.labels.setdefault(name, label) != label:
                notes["conflicting_labels"] += 1
    into.comparisons.extend(other.comparisons)
    if other.task_meta.get("split_key") or into.task_meta.get("split_key"):
        # The smaller of two keys, so that the split does not depend on which row came first.
        keys = [g.task_meta["split_key"] for g in (into, other) if g.task_meta.get("split_key")]
        into.task_meta["split_key"] = min(keys)
    for key, value in other.task_meta.items():
        into.task_meta.setdefault(key, value)
    for key in ORIGIN:
        if other.source.get(key):
            into.source[key] = joined([into.source.get(key, ""), other.source[key]])


def origin_key(kind: str, value: Any) -> str:
    """The split key `kind:value` of what rows have in common, such as a post; "" where a row does not say."""
    return "" if value is None or value == "" else f"{kind}:{text_of(str(value), kind)}"


def joined(values: Iterable[str]) -> str:
    """The different entries of comma-separated lists, in the order in which they come."""
    return ", ".join(dict.fromkeys(part for value in values for part in value.split(", ") if part))


def shared_prefix(a: list[Message], b: list[Message]) -> int:
    """How many turns two conversations share, walked back so that the last shared turn can be answered."""
    n = 0
    while n < min(len(a), len(b)) and _equal(a[n], b[n]):
        n += 1
    while n and a[n - 1]["role"] not in ("user", "tool"):
        n -= 1
    return n


def starts_with(messages: list[Message], prompt: list[Message]) -> bool:
    """True when a side repeats its prompt."""
    return len(messages) > len(prompt) and all(map(_equal, messages, prompt))


def _equal(a: Message, b: Message) -> bool:
    return a["role"] == b["role"] and a["content"].strip() == b["content"].strip()


def _stripped(message: Message) -> Message:
    return {"role": message["role"], "content": message["content"].strip()}


def _squeezed(completion: list[Message]) -> list[tuple[str, str]]:
    return [(m["role"], " ".join(m["content"].split())) for m in completion]


def _same_text(a: Candidate, b: Candidate) -> bool:
    return _squeezed(a.completion) == _squeezed(b.completion)


def _small(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, (int, float))
    return len(value) <= LONGEST_META and not any("\ud800" <= c <= "\udfff" for c in value)


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
