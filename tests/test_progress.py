"""Plain lines where there is no terminal, bars where there is one, nothing when silent."""

from __future__ import annotations

import io

import pytest

from prefine import progress
from prefine.progress import Progress, duration


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_are_few_and_tell_rate_and_time_left(clock):
    out = io.StringIO()
    with Progress(out).task("sampling", total=400, unit="responses") as step:
        for _ in range(100):
            clock[0] += 1
            step(2, note="loss 0.53")
    assert out.getvalue().splitlines() == [
        "sampling: 60/400 responses, 2.0/s, 2 min 50 s left, loss 0.53",
        "sampling: 120/400 responses, 2.0/s, 2 min 20 s left, loss 0.53",
        "sampling: 180/400 responses, 2.0/s, 1 min 50 s left, loss 0.53",
        "sampling: 200/400 responses in 1 min 40 s (2.0/s), loss 0.53",
    ]


def test_what_an_earlier_process_did_does_not_count_for_the_rate(clock):
    out = io.StringIO()
    with Progress(out).task("scoring", total=30, unit="rows", done=20) as step:
        clock[0] += 10
        step(10)
    assert out.getvalue() == "scoring: 30/30 rows in 10 s (1.0/s)\n"


def test_an_unknown_total(clock):
    out = io.StringIO()
    with Progress(out).task("reading", unit="rows") as step:
        clock[0] += 31
        step(31_000)
    assert out.getvalue().splitlines()[0] == "reading: 31,000 rows, 1,000/s"


def test_a_task_that_fails_does_not_say_it_is_finished():
    out = io.StringIO()
    with pytest.raises(RuntimeError), Progress(out).task("x", total=1):
        raise RuntimeError
    assert out.getvalue() == ""


def test_silence():
    quiet = Progress.silent()
    quiet.line("not shown")
    with quiet.task("x", total=1) as step:
        step()
        step(2, note="n")


def test_bars_are_drawn_and_lines_stand_above_them():
    out = io.StringIO()
    shown = Progress(out, bars=True)
    with shown.task("outer", total=2, unit="epochs") as outer, shown.task("inner", total=4, unit="steps") as inner:
        inner(4, note="[not markup]")
        shown.line("a [line]")
        outer(1)
    text = out.getvalue()
    assert "outer" in text and "inner" in text and "4/4 steps" in text
    assert "a [line]\n" in text and "[not markup]" in text
    assert "outer: 1/2 epochs in" in text
    shown.line("after")
    assert out.getvalue().endswith("after\n")


def test_a_terminal_without_abilities_gets_plain_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    with Progress(out).task("x", total=1) as step:
        step()
    assert out.getvalue().startswith("x: 1/1 steps in 0.")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (3.21, "3.2 s"), (9.96, "10 s"), (45.4, "45 s"), (725, "12 min 5 s"), (7620, "2 h 7 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
