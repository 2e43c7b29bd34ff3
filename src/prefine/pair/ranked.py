"""The whole list, best first, with its scores."""

from __future__ import annotations

from prefine.pair.base import Pairs, TextKey, example, rated, text_key, why_none, wide_enough
from prefine.pair.by_gap import ByGap
from prefine.registry import pairers
from prefine.schema import Group

ACCEPTED = 0.5


@pairers.register("ranked")
class Ranked(ByGap):
    """All responses of a prompt as one list, best first, with their scores; equal texts are one response.

    Formula: s_1 >= s_2 >= ... >= s_K, K >= 2, s_1 - s_K >= min_gap and > 0; ties keep their equal scores
    Paper: PAD, Gu et al. 2025 (arXiv:2502.14272); `accepts_and_rejects` is the filter of its released code, which keeps
    prompts where the teacher's choice probability is above 1/2 for some response and not for another
    Needs: a `choice` labeler for accepts_and_rejects
    """

    group_size = None

    def __init__(self, min_gap: float = 0.0, accepts_and_rejects: bool = False, seed: int = 0) -> None:
        super().__init__(min_gap, seed)
        self.accepts_and_rejects = accepts_and_rejects

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        items = rated(group, scores, self.seed)
        if reason := why_none(items, group):
            return [], reason
        if not wide_enough(items[0].score, items[-1].score, self.min_gap):
            return [], "gap_below_min_gap"
        if self.accepts_and_rejects and (reason := _undecided(group)):
            return [], reason
        return [example(group, [r.candidate for r in items], [r.score for r in items])], None


def _undecided(group: Group) -> str | None:
    """Why the choice probabilities (scores with the aspect `p`) do not split this group, or None when they do."""
    found: dict[TextKey, list[float]] = {}
    for candidate in group.candidates:
        values = [s.value for s in candidate.scores if s.aspect == "p" and s.value is not None]
        found.setdefault(text_key(candidate), []).extend(values[-1:])
    p = [sum(v) / len(v) for v in found.values() if v]
    if not p:
        return "no_choice_probability"
    if max(p) <= ACCEPTED:
        return "teacher_accepts_none"
    return "teacher_rejects_none" if min(p) > ACCEPTED else None
