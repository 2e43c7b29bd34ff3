"""The one row of the project: a prompt with all its responses, every score and every comparison.

Views for training (pairs, ranked lists, SFT rows) are derived late from these groups; nothing that was sampled,
scored or paid for is thrown away.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import pyarrow as pa

SCHEMA_VERSION = 1

Role = Literal["system", "user", "assistant", "tool"]


class Message(TypedDict):
    """One turn of a conversation; `content` is plain text."""

    role: str
    content: str


@dataclass
class Score:
    """One number for one response by one scorer; higher is better. `value=None` means no score, `status` says why."""

    scorer: str
    value: float | None
    kind: str = "metric"
    aspect: str | None = None
    status: str = "ok"
    rationale: str | None = None
    refs: list[str] = field(default_factory=list)
    """Keys in the ledger of the requests behind it, second tries included; the last reply is the one that was read."""
    place: int | None = None
    """From 1: where the response stood among those that the judge saw together."""


@dataclass
class Candidate:
    """One response. `generator` says who wrote it (model, sampling settings and seed, as flat strings)."""

    id: str
    completion: list[Message]
    generator: dict[str, str] = field(default_factory=dict)
    finish_reason: str | None = None
    n_tokens: int | None = None
    avg_logprob: float | None = None
    scores: list[Score] = field(default_factory=list)
    labels: dict[str, bool] = field(default_factory=dict)
    parent: str | None = None
    """Id of the response that this one is a revision of."""

    @property
    def text(self) -> str:
        """The response as text; the assistant messages joined when there are several."""
        return "\n\n".join(m["content"] for m in self.completion if m["role"] == "assistant")

    def score(self, scorer: str, aspect: str | None = None) -> float | None:
        """The latest value that `scorer` gave, or None."""
        for s in reversed(self.scores):
            if s.scorer == scorer and s.aspect == aspect:
                return s.value
        return None


@dataclass
class Comparison:
    """An explicit judgement between candidates `a` and `b`: `outcome` is a, b, tie or invalid."""

    a: str
    b: str
    outcome: str
    judge: str
    strength: float | None = None
    orders: list[float | None] = field(default_factory=list)
    """The chance of `a` where it was shown first, and where it was shown second; null: not asked, or no verdict."""
    rationale: str | None = None
    refs: list[str] = field(default_factory=list)
    """Keys in the ledger of the requests behind it, second tries included."""


@dataclass
class Group:
    """A prompt (`messages`, the last one from the user or a tool) and everything known about its responses."""

    id: str
    messages: list[Message]
    candidates: list[Candidate] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    task: str = "chat"
    task_meta: dict[str, str] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    split: str = "train"

    @property
    def prompt(self) -> str:
        """The text of the last message."""
        return self.messages[-1]["content"] if self.messages else ""

    def candidate(self, candidate_id: str) -> Candidate:
        for c in self.candidates:
            if c.id == candidate_id:
                return c
        raise KeyError(candidate_id)


def canonical_json(value: Any) -> str:
    """JSON with one spelling per value: sorted keys, no spaces, NFC text, nulls dropped. Used for hashes only."""

    def normal(x: Any) -> Any:
        if isinstance(x, str):
            return unicodedata.normalize("NFC", x)
        if isinstance(x, dict):
            return {k: normal(v) for k, v in x.items() if v is not None}
        if isinstance(x, (list, tuple)):
            return [normal(v) for v in x]
        return x

    return json.dumps(normal(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """sha256 (64 hex characters) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


def group_id(messages: list[Message], task: str = "chat") -> str:
    """Content-derived id of a prompt. The source is not part of it: equal prompts of two sources are one group."""
    turns = [{"role": m["role"], "content": m["content"]} for m in messages]
    return digest({"schema": SCHEMA_VERSION, "messages": turns, "task": task})


def candidate_id(group: str, completion: list[Message], generator: str = "") -> str:
    """Content-derived id (32 hex) of a response within a group; `generator` tells equal texts of two writers apart."""
    turns = [{"role": m["role"], "content": m["content"]} for m in completion]
    return digest({"group": group, "completion": turns, "generator": generator})[:32]


def make_group(
    messages: list[Message],
    responses: list[str] | None = None,
    *,
    task: str = "chat",
    task_meta: dict[str, str] | None = None,
    source: dict[str, str] | None = None,
    generator: dict[str, str] | None = None,
) -> Group:
    """A group with one assistant candidate per text in `responses`."""
    gid = group_id(messages, task)
    group = Group(gid, messages, task=task, task_meta=task_meta or {}, source=source or {})
    for text in responses or []:
        group.candidates.append(make_candidate(gid, text, generator))
    return group


def make_candidate(group: str, text: str, generator: dict[str, str] | None = None, key: str = "") -> Candidate:
    """A candidate with one assistant message; `key` separates samples whose texts are equal."""
    completion: list[Message] = [{"role": "assistant", "content": text}]
    return Candidate(candidate_id(group, completion, key), completion, dict(generator or {}))


_MAP = pa.map_(pa.string(), pa.string())
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_SCORE = pa.struct(
    [
        ("scorer", pa.string()),
        ("value", pa.float64()),
        ("kind", pa.string()),
        ("aspect", pa.string()),
        ("status", pa.string()),
        ("rationale", pa.string()),
        ("refs", pa.list_(pa.string())),
        ("place", pa.int64()),
    ]
)
_CANDIDATE = pa.struct(
    [
        ("id", pa.string()),
        ("completion", _MESSAGES),
        ("generator", _MAP),
        ("finish_reason", pa.string()),
        ("n_tokens", pa.int64()),
        ("avg_logprob", pa.float64()),
        ("scores", pa.list_(_SCORE)),
        ("labels", pa.map_(pa.string(), pa.bool_())),
        ("parent", pa.string()),
    ]
)
_COMPARISON = pa.struct(
    [
        ("a", pa.string()),
        ("b", pa.string()),
        ("outcome", pa.string()),
        ("judge", pa.string()),
        ("strength", pa.float64()),
        ("orders", pa.list_(pa.float64())),
        ("rationale", pa.string()),
        ("refs", pa.list_(pa.string())),
    ]
)

GROUP_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("messages", _MESSAGES),
        ("candidates", pa.list_(_CANDIDATE)),
        ("comparisons", pa.list_(_COMPARISON)),
        ("task", pa.string()),
        ("task_meta", _MAP),
        ("source", _MAP),
        ("split", pa.string()),
    ]
)
"""Arrow schema of a stored group; open maps are Arrow maps, so that rows with other keys never change the type."""

PAIR_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("group_id", pa.string()),
        ("split", pa.string()),
        ("prompt", _MESSAGES),
        ("responses", pa.list_(_MESSAGES)),
        ("candidate_ids", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("finished", pa.list_(pa.bool_())),
        ("labels", pa.list_(pa.float64())),
        ("teacher_logps", pa.list_(pa.float64())),
    ]
)
"""Arrow schema of a training example, see `Example`."""


@dataclass
class Example:
    """What training reads: a prompt and K responses, best first.

    K = 1 is an SFT row, 2 a pair (chosen, rejected), more a ranked list with its scores. `scores` is empty where the
    source only orders the responses.
    """

    id: str
    group_id: str
    prompt: list[Message]
    responses: list[list[Message]]
    candidate_ids: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    split: str = "train"
    finished: list[bool] = field(default_factory=list)
    """False for a response that was cut off when it was sampled, whose end must not be trained; empty: all ended."""
    labels: list[float] = field(default_factory=list)
    """1 for a desirable response and 0 for an undesirable one; empty without labels."""
    teacher_logps: list[float] = field(default_factory=list)
    """Log-prob per token under a teacher, where a likelihood labeler gave it for all responses; else empty."""


def group_to_row(group: Group) -> dict[str, Any]:
    """The group as a plain dictionary that fits `GROUP_SCHEMA`."""
    # By hand: `asdict` takes ten times as long, which is half of the time of an import.
    return {
        **vars(group),
        "messages": [dict(m) for m in group.messages],
        "candidates": [
            {
                **vars(c),
                "completion": [dict(m) for m in c.completion],
                "generator": dict(c.generator),
                "scores": [dict(vars(s)) for s in c.scores],
                "labels": dict(c.labels),
            }
            for c in group.candidates
        ],
        "comparisons": [dict(vars(c)) for c in group.comparisons],
        "task_meta": dict(group.task_meta),
        "source": dict(group.source),
    }


def group_from_row(row: dict[str, Any]) -> Group:
    """The inverse of `group_to_row`; Arrow gives maps back as lists of key-value tuples."""
    candidates = [
        Candidate(
            **{
                **c,
                "completion": [dict(m) for m in c["completion"]],
                "generator": dict(c["generator"] or {}),
                "labels": dict(c["labels"] or {}),
                "scores": [Score(**_with_lists(s, "refs")) for s in c["scores"]],
            }
        )
        for c in row["candidates"]
    ]
    return Group(
        **{
            **row,
            "messages": [dict(m) for m in row["messages"]],
            "candidates": candidates,
            "comparisons": [Comparison(**_with_lists(c, "orders", "refs")) for c in row["comparisons"]],
            "task_meta": dict(row["task_meta"] or {}),
            "source": dict(row["source"] or {}),
        }
    )


def _with_lists(row: dict[str, Any], *names: str) -> dict[str, Any]:
    """The row with empty lists where it has none: files written before these columns existed."""
    return {**row, **{name: list(row.get(name) or []) for name in names}}


def example_to_row(example: Example) -> dict[str, Any]:
    """The example as a plain dictionary that fits `PAIR_SCHEMA`; its lists are the example's own."""
    return dict(vars(example))


def example_from_row(row: dict[str, Any]) -> Example:
    """The inverse of `example_to_row`."""
    return Example(**row)
