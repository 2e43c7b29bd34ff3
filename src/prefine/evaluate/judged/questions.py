"""Questions of judged benchmarks and answers to them, as AlpacaEval, Arena-Hard and MT-Bench store them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from prefine.data.read import read_rows
from prefine.errors import PrefineError, nearest
from prefine.recipe import Data
from prefine.schema import Group, Message, make_group

IDS = ("question_id", "uid", "id")
PROMPTS = ("turns", "instruction", "prompt", "messages")
ANSWERS = ("output", "choices", "messages", "response")


@dataclass(frozen=True)
class Question:
    """What is asked, turn by turn. `references` are right answers, one a turn; `place` counts from 0.

    `output` is an answer that the file holds beside the question, `writer` whose it is.
    """

    id: str
    turns: list[str]
    place: int
    category: str = ""
    references: list[str] = field(default_factory=list)
    output: str | None = None
    writer: str = ""

    def group(self, answers: list[str]) -> Group:
        """The conversation up to the turn that follows these answers, as a held-out prompt without responses."""
        messages: list[Message] = []
        for turn, answer in zip(self.turns, answers, strict=False):
            messages.append({"role": "user", "content": turn})
            messages.append({"role": "assistant", "content": answer})
        messages.append({"role": "user", "content": self.turns[len(answers)]})
        meta = {"category": self.category} if self.category else {}
        meta |= {"reference": self.references[len(answers)]} if len(self.references) > len(answers) else {}
        group = make_group(messages, task_meta=meta)
        group.split = "test"
        return group


def read_questions(path: str, split: str | None, limit: int | None) -> list[Question]:
    """The questions of a file or a hub data set, the first `limit`. An id that comes twice is an error.

    An id is `question_id`, `uid` or `id`, or else the row's number; turns are `turns`, or the one turn of
    `instruction`, `prompt` or `messages`; a category is `category` or `dataset`.
    """
    out: list[Question] = []
    for place, (key, row) in enumerate(_rows(path, split)):
        if limit is not None and place >= limit:
            break
        name = next((n for n in PROMPTS if row.get(n)), None)
        if name is None:
            raise PrefineError(
                f"{key}: no question; one of {', '.join(PROMPTS)} is wanted{nearest('instruction', row)}"
            )
        turns = _texts(row[name], key, name)
        references = _texts(row["reference"], key, "reference") if row.get("reference") else []
        out.append(
            Question(
                str(next((row[n] for n in IDS if row.get(n) is not None), place)),
                turns if name == "turns" else turns[:1],
                place,
                str(row.get("category") or row.get("dataset") or ""),
                references,
                row["output"] if isinstance(row.get("output"), str) else None,
                str(row.get("generator") or row.get("model") or ""),
            )
        )
    if not out:
        raise PrefineError(f"{path}: there is no question in it")
    seen: set[str] = set()
    for question in out:
        if question.id in seen:
            raise PrefineError(f"{path}: two questions have the id '{question.id}'")
        seen.add(question.id)
    return out


def read_answers(path: str, questions: list[Question]) -> tuple[dict[str, list[str]], str]:
    """Another model's answers by question's id, turn by turn, and its name; a question without one is an error.

    A row is matched by its id, or by the text of its question. It holds `output`, `choices` (FastChat), `messages`
    (Arena-Hard v2.0) or `response`.
    """
    by_id = {q.id: q for q in questions}
    by_text = {q.turns[0]: q for q in questions}
    found: dict[str, list[str]] = {}
    writer = ""
    for key, row in _rows(path, None):
        stored = next((str(row[n]) for n in IDS if row.get(n) is not None), None)
        text = next((row[n] for n in ("instruction", "prompt") if isinstance(row.get(n), str)), None)
        question = by_id.get(stored or "") or by_text.get(text or "")
        if question is not None:
            found[question.id] = _answers(row, key)
            writer = str(row.get("generator") or row.get("model_id") or row.get("model") or writer)
    missing = [q.id for q in questions if q.id not in found]
    if missing:
        raise PrefineError(f"{path}: no answer to {len(missing)} of {len(questions)} questions, such as '{missing[0]}'")
    return found, writer


def _rows(path: str, split: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, row in read_rows(Data(path=path, split=split)):
        if isinstance(row, Group):
            raise PrefineError(f"{path}: a file of questions is wanted, not a source of groups")
        yield key, row


def _answers(row: dict[str, Any], key: str) -> list[str]:
    name = next((n for n in ANSWERS if row.get(n) is not None), None)
    if name is None:
        raise PrefineError(f"{key}: no answer; one of {', '.join(ANSWERS)} is wanted")
    if name == "choices":
        first = row[name][0] if isinstance(row[name], list) and row[name] else None
        return _texts(first.get("turns") if isinstance(first, dict) else None, key, "choices.0.turns")
    if name == "messages":
        said = [m for m in row[name] if isinstance(m, dict) and m.get("role") == "assistant"]
        return _texts(said, key, name)
    return _texts(row[name], key, name)


def _texts(value: Any, key: str, name: str) -> list[str]:
    """A text, or a list of texts or of messages, whose content may be a text or have it under `answer`."""
    out = []
    for item in value if isinstance(value, list) else [value]:
        text = item.get("content") if isinstance(item, dict) else item
        text = text.get("answer") if isinstance(text, dict) else text
        if not isinstance(text, str):
            raise PrefineError(f"{key}: {name}: text is wanted, not {type(text).__name__}")
        out.append(text)
    if not out:
        raise PrefineError(f"{key}: {name}: there is nothing in it")
    return out
