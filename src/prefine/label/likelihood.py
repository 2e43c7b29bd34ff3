"""The log-likelihood that a teacher gives to a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from prefine.label.base import Labeler
from prefine.models.held import hold
from prefine.models.load import model_spec
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import labelers
from prefine.schema import Candidate, Group, Score

if TYPE_CHECKING:
    from prefine.data.chat import Encoded


@labelers.register("likelihood")
class Likelihood(Labeler):
    """The teacher's log-likelihood of the response, the mean over its tokens or the sum.

    Formula: 1/|y| sum_t log p(y_t | x, y_<t), with the end-of-turn token for responses that were finished
    Paper: PAD, Gu et al. 2025 (arXiv:2502.14272), section 3.2, the reward
    Defaults: reduce: mean; max_length: null is the teacher's context
    Needs: model, whose token probabilities can be read
    """

    def __init__(
        self,
        model: str | dict,
        reduce: Literal["mean", "sum"] = "mean",
        max_length: int | None = None,
        max_tokens: int = 8192,
        as_name: str | None = None,
    ) -> None:
        if max_length is not None and max_length < 2:
            raise ValueError(f"max_length must be 2 or more, not {max_length}")
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, not {max_tokens}")
        self.spec, self.reduce, self.max_length, self.max_tokens = model_spec(model), reduce, max_length, max_tokens
        self.name = as_name or "likelihood"

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        from prefine.models.forward import context_length
        from prefine.models.load import model_digest

        self.model, self.tokenizer = hold(self.spec, recipe.threads)
        self.plain_text = recipe.data.plain_text
        self.limit = self.max_length or context_length(self.model)
        return {"model": self.spec.path, "digest": model_digest(self.spec), "reduce": self.reduce}

    def score(self, groups: list[Group], step: Step) -> list[list[list[Score]]]:
        from prefine.models.logps import response_logps

        out: list[list[Score | None]] = [[None] * len(g.candidates) for g in groups]
        encoded: list[Encoded] = []
        places: list[tuple[int, list[int]]] = []
        for i, group in enumerate(groups):
            for item, members in self._encode(group, out[i]):
                encoded.append(item)
                places.append((i, members))
        logps = response_logps(self.model, encoded, max_tokens=self.max_tokens) if encoded else []
        for (i, members), found in zip(places, logps, strict=True):
            for k, (total, count) in zip(members, found, strict=True):
                value = total / count if self.reduce == "mean" and count else total
                out[i][k] = self._score(value if count else None, "ok" if count else "empty")
        step(sum(map(len, out)))
        return [[[s or self._score(None, "not_scored")] for s in row] for row in out]

    def _encode(self, group: Group, row: list[Score | None]) -> list[tuple[Encoded, list[int]]]:
        """The group's responses as token ids, the prompt shared, and their indices; misfits get a status."""
        from prefine.data.chat import Dropped

        everything = list(range(len(group.candidates)))
        try:
            return [(self._one(group, group.candidates), everything)] if everything else []
        except Dropped:
            found = []
            for k in everything:
                try:
                    found.append((self._one(group, [group.candidates[k]]), [k]))
                except Dropped as dropped:
                    row[k] = self._score(None, dropped.reason)
            return found

    def _one(self, group: Group, candidates: list[Candidate]) -> Encoded:
        from prefine.data.chat import encode

        return encode(
            self.tokenizer,
            group.messages,
            [c.completion for c in candidates],
            max_length=self.limit,
            plain_text=self.plain_text,
            finished=[c.finish_reason != "length" for c in candidates],
        )

    def _score(self, value: float | None, status: str = "ok") -> Score:
        return Score(self.name, value, "avg_logp" if self.reduce == "mean" else "sum_logp", status=status)
