"""Which proposals become prompts: they must be fit, new, and valid where the user says what that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefine.errors import PrefineError
from prefine.prompts.novelty import Known
from prefine.prompts.proposals import Proposal
from prefine.prompts.rules import fault
from prefine.schema import Group, make_group


@dataclass(frozen=True)
class Rules:
    """What is asked of a task's text."""

    shortest: int
    longest: int
    language: str
    blocked: Sequence[str]
    max_similarity: float
    valid: Callable[[str], Any] | None = None
    """False for an unfit prompt; a dictionary may give its `task` and `task_meta`."""


@dataclass
class Pool:
    """The tasks that are known, and the prompts that were made of them."""

    rules: Rules
    known: Known = field(init=False)
    ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.known = Known(self.rules.max_similarity)

    def add(self, groups: Iterable[Group], task: Callable[[Group], str]) -> None:
        """Make prompts known, each by its own text and by that of its task."""
        for group in groups:
            self.ids.add(group.id)
            text = task(group)
            if self.known.same(text) is None:
                self.known.add(group.id, text)

    def take(self, proposed: Sequence[Proposal]) -> list[str | None]:
        """For each proposal, in this order, why it is rejected; None for those that are accepted."""
        fresh = Known(self.rules.max_similarity)
        out: list[str | None] = []
        for place, proposal in enumerate(proposed):
            reason = proposal.fault or self._unfit(proposal.text) or self._not_new(proposal.text, fresh)
            if reason is None:
                fresh.add(str(place), proposal.text)
            out.append(reason)
        return out

    def group(self, text: str, **more: Any) -> Group | str:
        """The prompt with this text, or why it is none. `more` are arguments of `make_group`."""
        meta: dict[str, Any] = {}
        if self.rules.valid is not None:
            found = self.rules.valid(text)
            if not found:
                return "invalid"
            if isinstance(found, dict):
                if set(found) - {"task", "task_meta"}:
                    raise PrefineError(f"valid gave {found!r}; it may give true, false, or task and task_meta")
                meta = found
        group = make_group([{"role": "user", "content": text}], **more, **meta)
        if group.id in self.ids:
            return "exact_duplicate"
        self.ids.add(group.id)
        return group

    def _unfit(self, text: str) -> str | None:
        r = self.rules
        return fault(text, r.language, r.blocked, r.shortest, r.longest)

    def _not_new(self, text: str, fresh: Known) -> str | None:
        if self.known.same(text) or fresh.same(text):
            return "exact_duplicate"
        return "near_duplicate" if self.known.near(text) or fresh.near(text) else None
