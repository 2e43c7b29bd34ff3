"""Worlds of scripted engines."""

import pytest

from tests.prompts.world import World


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Makes a `World` in a folder of its own; all sessions are opened in the last one made."""
    made = []

    def make(answers, limit=None, name="world"):
        made.append(World(tmp_path / name, answers, limit))
        return made[-1]

    monkeypatch.setattr("prefine.engines.session.open_session", lambda block, recipe: made[-1].session(block, recipe))
    return make
