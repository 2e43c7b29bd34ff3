"""Responses by several models: each prompt is answered by some of them, drawn by its id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefine.engines.base import Request, Sampling
from prefine.engines.chance import weighted
from prefine.engines.drawing import Drawing
from prefine.engines.texts import load_text
from prefine.engines.tries import failure
from prefine.errors import PrefineError, nearest
from prefine.generate.asking import open_session, with_system, written
from prefine.generate.base import Generator
from prefine.generate.draw import draw
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import generators
from prefine.schema import Candidate, Group

if TYPE_CHECKING:
    from prefine.engines.session import Session

TEXTS = Path(__file__).parent / "texts"
MEMBER = ("engine", "student", "name", "weight", "stratum", "always", "temperature", "top_p", "max_tokens")
PRINCIPLES = ("helpfulness", "truthfulness", "honesty", "calibration")
AT_ONCE = 2048
"""Requests in one call: enough to batch, few enough to hold their replies."""


@dataclass
class Member:
    """A model of the pool."""

    name: str
    engine: dict[str, Any]
    student: bool
    weight: float
    stratum: str
    always: bool
    sampling: Sampling
    session: Session | None = None

    @property
    def asked(self) -> Session:
        assert self.session is not None, "prepare() comes first"
        return self.session


@generators.register("pool")
class Pool(Drawing, Generator):
    """Several models answer: num_responses distinct ones for each prompt, drawn by its id, spread over strata.

    Members are asked one after the other, each for all its prompts, so that of local models only one is in memory.

    Formula: systematic sampling, P(member is among the k) = min(1, k weight / sum of weights), by a hash of the prompt
    Paper: UltraFeedback, Cui et al. 2023 (arXiv:2310.01377), section 3.1; students in pairs as in Tulu 3 (2411.15124)
    Defaults: members: blocks with engine, or `student: true` for the recipe's model; name, weight (1), stratum (such
    as a size), always, temperature, top_p, max_tokens of each; principles: for a data set's name, or `*` for others,
    names with weights: helpfulness, truthfulness, honesty, calibration, those of principle_texts (name: file), none;
    the text is told as a system message and kept with the response, not in the prompt; a model that fails leaves its
    response out, and prompts with fewer than min_candidates are dropped
    Needs: members, two at least
    """

    def __init__(
        self,
        members: list[dict],
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 1024,
        min_candidates: int = 2,
        principles: dict[str, dict[str, float]] | None = None,
        principle_texts: dict[str, str] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(temperature, top_p, max_tokens=max_tokens, seed=seed)
        if len(members) < 2:
            raise ValueError("members must name at least two models; for one there is the generator 'answer'")
        if any(set(m) - set(MEMBER) for m in members):
            raise ValueError(
                "members: " + min(min(set(m) - set(MEMBER)) for m in members if set(m) - set(MEMBER)) + " is no key of"
                " a member; valid keys: " + str(sorted(MEMBER))
            )
        if any(bool(m.get("engine")) == bool(m.get("student")) for m in members):
            raise ValueError("members must each have an engine, or student: true")
        if any(not m.get("weight", 1) > 0 for m in members):
            raise ValueError("members must have weights above 0")
        if any(min(mix.values(), default=0) < 0 or not sum(mix.values()) > 0 for mix in (principles or {}).values()):
            raise ValueError("principles must each have weights of 0 or more, and not all 0")
        if min_candidates < 1:
            raise ValueError(f"min_candidates must be 1 or more, not {min_candidates}")
        sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        self.members = [_member(m, i, sampling) for i, m in enumerate(members)]
        self.min_candidates = min_candidates
        self.mixes, self.files = principles or {}, principle_texts or {}
        self.why: dict[str, str] = {}

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        self._check(recipe)
        known = {name: load_text(None, TEXTS / f"principle_{name}.txt", []).text for name in PRINCIPLES}
        self.texts = known | {name: load_text(file, Path(file), []).text for name, file in self.files.items()}
        for name in {n for mix in self.mixes.values() for n in mix} - set(self.texts) - {"none"}:
            raise PrefineError(f"pool: there is no principle '{name}'{nearest(name, [*self.texts, 'none'])}")
        self.seed = recipe.seed if self.seed is None else self.seed
        for member in self.members:
            if member.student:
                member.engine = {"name": "hf", "model": recipe.model.model_dump(), "plain_text": recipe.data.plain_text}
            member.session = open_session(member.engine, recipe)
        return {"members": {m.name: m.asked.identity for m in self.members}, "seed": self.seed}

    def _check(self, recipe: Recipe) -> None:
        names = [m.name for m in self.members]
        for name in names:
            if names.count(name) > 1:
                raise PrefineError(f"pool: {names.count(name)} members are called '{name}'; give them names")
        wanted = recipe.generate.num_responses if recipe.generate else 1
        if wanted > len(names):
            raise PrefineError(
                f"generate.num_responses is {wanted}, but the pool has only {len(names)} members, and each answers a "
                "prompt once"
            )
        if wanted < self.min_candidates:
            raise PrefineError(
                f"pool: min_candidates is {self.min_candidates}, above generate.num_responses, which is {wanted}"
            )
        if sum(m.always for m in self.members) > wanted:
            raise PrefineError(f"pool: more than {wanted} members (generate.num_responses) answer always")

    def ahead(self, groups: list[Group], num_responses: int, step: Step) -> None:
        """Ask each member for all its prompts; the ledger keeps the answers, and the session what failed."""
        drawn = {g.id: self.drawn(g, num_responses) for g in groups}
        for i, member in enumerate(self.members):
            mine = [g for g in groups if i in drawn[g.id]]
            for start in range(0, len(mine), AT_ONCE):
                part = mine[start : start + AT_ONCE]
                member.asked.ask([self._request(g, member) for g in part], step)
            member.asked.engine.close()

    def generate(self, groups: list[Group], num_responses: int, step: Step) -> list[list[Candidate]]:
        """The answers that `ahead` has left in the ledger. The steps were counted there."""
        self.why = {}
        made: dict[str, list[Candidate]] = {g.id: [] for g in groups}
        drawn = {g.id: self.drawn(g, num_responses) for g in groups}
        for i, member in enumerate(self.members):
            mine = [g for g in groups if i in drawn[g.id]]
            replies = member.asked.ask([self._request(g, member) for g in mine])
            for group, reply in zip(mine, replies, strict=True):
                if (reason := failure(reply)) is not None:
                    self.counts[f"failed_{member.name}_{reason}"] += 1
                else:
                    made[group.id].append(written(group.id, reply.text, reply, self._writer(group, member)))
        for group in groups:
            if len(made[group.id]) < self.min_candidates:
                self.why[group.id] = "too_few_candidates"
        return [[] if g.id in self.why else made[g.id] for g in groups]

    def drawn(self, group: Group, k: int) -> list[int]:
        """Places of the members that answer this prompt."""
        weights = [m.weight for m in self.members]
        strata, always = [m.stratum for m in self.members], [m.always for m in self.members]
        return draw(weights, strata, always, k, self.seed, group.id)

    def principle(self, group: Group, member: Member) -> str | None:
        """The name of the principle under which a member answers this prompt."""
        mix = self.mixes.get(group.source.get("dataset", ""), self.mixes.get("*"))
        if not mix:
            return None
        names = sorted(mix)
        found = weighted(names, [mix[n] for n in names], "principle", self.seed, group.id, member.name)
        return None if found == "none" else found

    def _request(self, group: Group, member: Member) -> Request:
        name = self.principle(group, member)
        messages = with_system(group.messages, self.texts[name] if name else None)
        tag = group.id if member.sampling.temperature else ""
        return Request(tuple(messages), self._sampling(member), "pool", tag)

    def _sampling(self, member: Member) -> Sampling:
        s = member.sampling
        return Sampling(s.temperature, s.top_p, 0, s.max_tokens, seed=self.seed or 0)

    def _writer(self, group: Group, member: Member) -> dict[str, str]:
        name, s = self.principle(group, member), self._sampling(member)
        drawn = {"temperature": s.temperature, "top_p": s.top_p, "max_tokens": s.max_tokens, "seed": s.seed}
        told = {"principle": name, "system_principle": self.texts[name]} if name else {}
        role = "student" if member.student else "pool"
        flat = {**member.asked.identity, **drawn, **told, "role": role, "member": member.name}
        return {k: str(v) for k, v in flat.items()}

    def refusal(self, group: Group) -> str | None:
        return self.why.get(group.id)

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """What was asked of each member, and how many responses it has in the end."""
        written = dict.fromkeys((m.name for m in self.members), 0)
        for group in groups:
            for c in group.candidates:
                if c.generator.get("member") in written:
                    written[c.generator["member"]] += 1
        return {"sessions": {m.name: m.asked.facts() for m in self.members}, "responses_of": written}

    def close(self) -> None:
        for member in self.members:
            if member.session is not None:
                member.session.close()
                member.session = None


def _member(block: dict[str, Any], place: int, sampling: dict[str, Any]) -> Member:
    engine, student = dict(block.get("engine") or {}), bool(block.get("student"))
    inner = engine["engine"] if isinstance(engine.get("engine"), dict) else engine
    model = inner.get("model", inner.get("name"))
    name = block.get("name") or ("student" if student else model if isinstance(model, str) else f"member-{place}")
    own = {key: block.get(key, value) for key, value in sampling.items()}
    drawn = Sampling(float(own["temperature"]), float(own["top_p"]), 0, int(own["max_tokens"]))
    weight, stratum = float(block.get("weight", 1)), str(block.get("stratum", ""))
    return Member(str(name), engine, student, weight, stratum, bool(block.get("always")), drawn)
