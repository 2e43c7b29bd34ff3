"""The log-likelihood that a teacher gives to a response."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from prefine.engines.base import Request
from prefine.errors import PrefineError
from prefine.label.asking import open_session, scaled
from prefine.label.base import Labeler
from prefine.models.held import hold
from prefine.models.load import model_spec
from prefine.progress import Step
from prefine.recipe import Model, Recipe
from prefine.registry import labelers
from prefine.schema import Candidate, Group, Score

if TYPE_CHECKING:
    from prefine.data.chat import Encoded
    from prefine.engines.session import Session

Found = tuple[float, int] | str
"""Summed log-prob and number of tokens of a response, or why there is none."""


@labelers.register("likelihood")
class Likelihood(Labeler):
    """The teacher's log-likelihood of the response, the mean over its tokens or the sum.

    Formula: 1/|y| sum_t log p(y_t | x, y_<t), with the end-of-turn token for responses that were finished; with
    reference_model minus its log-likelihood (the reward of DPO over beta), with pmi minus that for an empty prompt
    Paper: PAD, Gu et al. 2025 (arXiv:2502.14272), section 3.2, the reward
    Defaults: reduce: mean; max_length: null is the teacher's context
    Needs: model, whose token probabilities can be read, or an engine that tells the log-probs of a given response
    """

    def __init__(
        self,
        model: str | dict | None = None,
        reduce: Literal["mean", "sum"] = "mean",
        max_length: int | None = None,
        max_tokens: int = 8192,
        as_name: str | None = None,
        engine: dict | None = None,
        reference_model: str | dict | None = None,
        pmi: bool = False,
    ) -> None:
        if (model is None) == (engine is None):
            raise ValueError("give either model, for a teacher in this process, or engine")
        if engine is not None and reference_model is not None:
            raise ValueError(
                "reference_model: is subtracted from a model in this process; set model in place of engine"
            )
        if max_length is not None and max_length < 2:
            raise ValueError(f"max_length must be 2 or more, not {max_length}")
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, not {max_tokens}")
        self.spec = None if model is None else model_spec(model)
        self.reference = None if reference_model is None else model_spec(reference_model)
        self.reduce, self.max_length, self.max_tokens, self.pmi = reduce, max_length, max_tokens, pmi
        self.engine, self.name = engine, as_name or "likelihood"
        self.session: Session | None = None
        plain = "avg_logp" if reduce == "mean" else "sum_logp"
        # Only a log-likelihood itself may be taken for the teacher's in training.
        self.kind = "logp_gap" if pmi or self.reference is not None else plain

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        from prefine.models.load import model_digest

        self.plain_text, self.threads = recipe.data.plain_text, recipe.threads
        if self.pmi and self.plain_text:
            raise PrefineError("likelihood: pmi needs a chat template, without one there is no empty prompt")
        how: dict[str, Any] = {"reduce": self.reduce, "pmi": self.pmi}
        if self.engine is not None:
            self.session = open_session(self.engine, recipe)
            if "score" not in self.session.engine.features:
                name = self.engine.get("name")
                raise PrefineError(f"likelihood: the engine '{name}' does not tell the log-probs of a given response")
            return {"engine": self.session.identity, **how}
        assert self.spec is not None
        hold(self.spec, self.threads)
        if self.reference is not None:
            how["reference"] = {"model": self.reference.path, "digest": model_digest(self.reference)}
        return {"model": self.spec.path, "digest": model_digest(self.spec), **how}

    def score(self, groups: list[Group], step: Step) -> list[list[list[Score]]]:
        empty = [replace(g, messages=[{"role": "user", "content": ""}]) for g in groups]
        if self.session is not None:
            parts = self._asked(self.session, groups, step)
            minus = [self._asked(self.session, empty, None)] if self.pmi else []
        else:
            assert self.spec is not None
            parts = self._computed(self.spec, groups)
            minus = [self._computed(self.reference, groups)] if self.reference is not None else []
            minus += [self._computed(self.spec, empty)] if self.pmi else []
            step(sum(len(g.candidates) for g in groups))
        return [
            [[self._score(found, [m[g][k] for m in minus])] for k, found in enumerate(row)]
            for g, row in enumerate(parts)
        ]

    def _score(self, found: Found, minus: list[Found]) -> Score:
        for part in (found, *minus):
            if isinstance(part, str):
                return Score(self.name, None, self.kind, status=part)
        (total, count), *others = [part for part in (found, *minus) if not isinstance(part, str)]
        if not count:
            return Score(self.name, None, self.kind, status="empty")
        total -= math.fsum(t for t, _ in others)
        return Score(self.name, total / count if self.reduce == "mean" else total, self.kind)

    def _asked(self, session: Session, groups: list[Group], step: Step | None) -> list[list[Found]]:
        """Through the engine. Its log-probs end with the end of turn, which a cut response has not."""
        out: list[list[Found]] = [["empty_response"] * len(g.candidates) for g in groups]
        places = [(g, k) for g, group in enumerate(groups) for k, c in enumerate(group.candidates) if c.text.strip()]
        requests = [
            Request(tuple(groups[g].messages), purpose="likelihood", response=groups[g].candidates[k].text)
            for g, k in places
        ]
        total = sum(map(len, out))
        if step is not None and not requests:
            step(total)
        counted = scaled(step, total, len(requests)) if step is not None and requests else None
        for (g, k), reply in zip(places, session.ask(requests, counted), strict=True):
            logps = reply.logps or []
            if not reply.ok:
                out[g][k] = reply.error.partition(":")[0].strip() or reply.status
                continue
            cut = groups[g].candidates[k].finish_reason == "length"
            known = logps[:-1] if cut else logps
            out[g][k] = (math.fsum(known), len(known))
        return out

    def _computed(self, spec: Model, groups: list[Group]) -> list[list[Found]]:
        """In this process."""
        from prefine.models.forward import context_length
        from prefine.models.logps import response_logps

        model, self.tokenizer = hold(spec, self.threads)
        self.limit = self.max_length or context_length(model)
        out: list[list[Found]] = [["not_scored"] * len(g.candidates) for g in groups]
        encoded: list[Encoded] = []
        places: list[tuple[int, list[int]]] = []
        for i, group in enumerate(groups):
            for item, members in self._encode(group, out[i]):
                encoded.append(item)
                places.append((i, members))
        logps = response_logps(model, encoded, max_tokens=self.max_tokens) if encoded else []
        for (i, members), found in zip(places, logps, strict=True):
            for k, sums in zip(members, found, strict=True):
                out[i][k] = sums
        return out

    def _encode(self, group: Group, row: list[Found]) -> list[tuple[Encoded, list[int]]]:
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
                    row[k] = dropped.reason
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

    def close(self) -> None:
        if self.session is not None:
            self.session.close()
            self.session = None
