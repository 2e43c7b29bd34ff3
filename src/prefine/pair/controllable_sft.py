"""Single responses, each with its own ratings asked for in its prompt."""

from __future__ import annotations

from prefine.conditions import asked, asking, condition_text
from prefine.pair.base import Pairs, TextKey, example, text_key
from prefine.pair.selection import ratings_of
from prefine.registry import pairers
from prefine.schema import Example, Group


@pairers.register("controllable_sft")
class ControllableSFT:
    """Each response as a row for supervised fine-tuning whose prompt asks for the ratings that the response has.

    Formula: (<rating: s_rating(y)> for each of `ratings`, prompt) -> y; equal texts with equal ratings are one row
    Paper: Controllable Preference Optimization, Guo et al. 2024 (arXiv:2402.19085), CPSFT
    Needs: a score for each of the ratings (`scorer` or `scorer.aspect`); a response without one of them is left out
    """

    group_size = 1
    needs_scores = False

    def __init__(self, ratings: list[str]) -> None:
        if not ratings:
            raise ValueError("ratings must name at least one score")
        if len(set(ratings)) < len(ratings):
            raise ValueError("ratings must not name a score twice")
        condition_text(dict.fromkeys(ratings, 0.0))
        self.ratings = ratings

    def pairs(self, group: Group, scores: list[float | None]) -> Pairs:
        if not group.candidates:
            return [], "no_responses"
        written = [(c, s) for c, s in zip(group.candidates, scores, strict=True) if c.text.strip()]
        if not written:
            return [], "only_empty_responses"
        rows: dict[tuple[TextKey, str], Example] = {}
        for candidate, score in sorted(written, key=lambda row: row[0].id):
            own = ratings_of(candidate, self.ratings)
            if own is None:
                continue
            row = example(group, [candidate], [] if score is None else [score])
            key = text_key(candidate), condition_text(own)
            rows.setdefault(key, asking(row, asked(group, own).messages))
        return (list(rows.values()), None) if rows else ([], "no_response_has_every_rating")
