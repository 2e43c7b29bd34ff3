"""Labelers that ask a scripted engine."""

import re
import shutil
import tempfile
from pathlib import Path

from prefine.engines.base import Reply
from prefine.engines.session import Session
from prefine.label import asking, likelihood
from prefine.ledger import Ledger
from prefine.recipe import Data, Model, Recipe
from prefine.registry import labelers
from prefine.schema import Group, make_candidate, make_group

from ..engines.scripted import Scripted

RECIPE = Recipe(name="r", model=Model(path="m"), data=Data(path="d"))
ENGINE = {"name": "hf", "model": "unused"}


def quiet(n=1, *, note=None):
    """A step that nobody follows."""


def group_of(prompt: str, *texts: str, **meta: str) -> Group:
    group = make_group([{"role": "user", "content": prompt}], task_meta=meta)
    group.candidates = [make_candidate(group.id, t, key=str(i)) for i, t in enumerate(texts)]
    return group


class Asked:
    """Builds labelers whose engine is `answer`; keeps the requests that were sent."""

    def __init__(self, monkeypatch):
        self.requests, self.answer, self.features = [], None, None
        for module in (asking, likelihood):
            monkeypatch.setattr(module, "open_session", self._open)
        self.folder, self.opened = Path(tempfile.mkdtemp()), []

    def _open(self, block, recipe):
        def keep(request):
            self.requests.append(request)
            return self.answer(request)

        engine = Scripted(keep)
        if self.features is not None:
            engine.features = self.features
        self.opened.append(Session(engine, Ledger(self.folder / f"{len(self.opened)}.sqlite")))
        return self.opened[-1]

    def make(self, name, answer, **settings):
        self.answer = answer
        made = labelers.build({"name": name, "engine": ENGINE, **settings})
        made.prepare(RECIPE)
        return made

    def label(self, name, answer, groups, **settings):
        """The labeler after its work, its labels, and the groups with them added."""
        made = self.make(name, answer, **settings)
        labels = made.label(groups, quiet)
        for group, found in zip(groups, labels, strict=True):
            group.comparisons.extend(found.comparisons)
            for candidate, scores in zip(group.candidates, found.scores, strict=True):
                candidate.scores.extend(scores)
        return made, labels

    def close(self):
        for session in self.opened:
            session.close()
        shutil.rmtree(self.folder)


def text(request) -> str:
    return request.messages[0]["content"]


def code(request) -> str:
    """The code that a verdict has to carry."""
    return re.search(r'"code": "(\w+)"', text(request))[1]


def between(request, name: str) -> str:
    """The text that the question shows under a name."""
    return re.search(rf"=== {name} (\w{{8}}) ===\n(.*?)\n=== end of [\w ]+ \1 ===", text(request), re.DOTALL)[2]


def pair_of(request) -> tuple[str, str]:
    return between(request, "answer A"), between(request, "answer B")


def verdict(request, winner: str) -> str:
    return f'{{"reasons": "because", "winner": "{winner}", "code": "{code(request)}"}}'


def better(key):
    """A judge of pairs that prefers the text with the larger `key`."""

    def answer(request):
        a, b = (key(t) for t in pair_of(request))
        return verdict(request, "tie" if a == b else "A" if a > b else "B")

    return answer


def first(**logps: float) -> Reply:
    """A reply of one token; `_A` stands for " A"."""
    return Reply("?", "length", first_token={k.replace("_", " "): v for k, v in logps.items()})
