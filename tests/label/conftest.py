"""Fixtures of the labelers' tests."""

import pytest

from .asked import Asked


@pytest.fixture
def asked(monkeypatch):
    made = Asked(monkeypatch)
    yield made
    made.close()
