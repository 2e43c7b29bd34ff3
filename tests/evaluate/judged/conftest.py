"""A judge whose replies a test writes, with a real ledger."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from prefine.engines.session import Session
from prefine.ledger import Ledger
from prefine.recipe import Data, Model, Recipe
from tests.engines.scripted import Scripted


@pytest.fixture
def recipe():
    return Recipe(name="r", model=Model(path="m"), data=Data(path="d"))


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """`judge(answer)` makes the engine of every benchmark answer so; `asked` are the messages it saw, as texts."""
    seen = SimpleNamespace(asked=[], features=Scripted.features)

    def script(answer):
        def reply(request):
            seen.asked.append("\n".join(m["content"] for m in request.messages))
            seen.messages = request.messages
            seen.sampling = request.sampling
            return answer(request)

        def opened(block, recipe):
            engine = Scripted(reply, block["model"])
            vars(engine)["features"] = seen.features
            return Session(engine, Ledger(tmp_path / "ledger.sqlite"))

        monkeypatch.setattr("prefine.evaluate.judged.asking.open_session", opened)

    seen.script = script
    return seen


@pytest.fixture
def lines(tmp_path):
    """Writes rows as JSON lines and gives the file's path."""

    def write(name, rows):
        path = tmp_path / name
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
        return str(path)

    return write


def step(n: float = 1, *, note: str | None = None) -> None:
    """Counts nothing."""


ENGINE = {"name": "openai", "model": "judge-1", "base_url": "http://127.0.0.1:1/v1"}
