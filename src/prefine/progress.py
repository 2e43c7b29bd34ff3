"""Progress of long work: a bar with rate and time left on a terminal, quiet plain lines anywhere else.

Everything goes to standard error, so that standard output holds results only.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any, Protocol

PLAIN_SECONDS = 30.0
"""Time between two lines about the same task when the output is not a terminal."""


class Step(Protocol):
    """What `Progress.task` hands out: call it with the number of units just done, and a note if there is news."""

    def __call__(self, n: float = 1, *, note: str | None = None) -> None: ...


class Progress:
    """Shows tasks and lines on `stream` (standard error); bars only where it is a terminal.

    Tasks may be nested: on a terminal they are shown below each other.
    """

    def __init__(self, stream: IO[str] | None = None, *, bars: bool | None = None, silent: bool = False) -> None:
        self._stream = stream if stream is not None else sys.stderr
        terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._bars = terminal if bars is None else bars
        self._silent = silent
        self._live: Any = None
        self._open = 0

    @classmethod
    def silent(cls) -> Progress:
        """Shows nothing: for tests, and for all processes of a run but the first."""
        return cls(silent=True)

    def line(self, text: str) -> None:
        """Print one line, above the bars if there are any."""
        if self._silent:
            return
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    @contextlib.contextmanager
    def task(self, name: str, total: float | None = None, unit: str = "steps", done: float = 0) -> Iterator[Step]:
        """Follow work of `total` units (None: unknown), `done` of them finished by an earlier process."""
        if self._silent:
            yield lambda n=1, *, note=None: None
        elif self._bars:
            with self._bar(name, total, unit, done) as step:
                yield step
        else:
            plain = _Plain(self, name, total, unit, done)
            yield plain
            plain.finish()

    @contextlib.contextmanager
    def _bar(self, name: str, total: float | None, unit: str, done: float) -> Iterator[Step]:
        if self._live is None:
            self._live = _rich_progress(self._stream)
            self._live.start()
        live, self._open = self._live, self._open + 1
        meter = _Meter(total, unit, done)
        task = live.add_task(name, total=total, completed=done, rate="", note="")

        def step(n: float = 1, *, note: str | None = None) -> None:
            meter.add(n, note)
            live.update(task, completed=meter.done, rate=f"{meter.count()} {meter.speed()}", note=meter.note)

        try:
            yield step
            live.remove_task(task)
            self.line(f"{name}: {meter.summary()}")
        finally:
            self._open -= 1
            if self._open == 0:
                live.stop()
                self._live = None


class _Meter:
    """Counts units and says how fast they come; units of an earlier process do not count for the rate."""

    def __init__(self, total: float | None, unit: str, done: float) -> None:
        self.total, self.unit, self.done, self.note = total, unit, done, ""
        self._before, self._started, self._lock = done, time.monotonic(), threading.Lock()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Units per second."""
        return (self.done - self._before) / max(self.seconds, 1e-9)

    def add(self, n: float, note: str | None) -> None:
        with self._lock:
            self.done += n
            if note is not None:
                self.note = note

    def count(self) -> str:
        total = "" if self.total is None else f"/{self.total:,.0f}"
        return f"{self.done:,.0f}{total} {self.unit}"

    def speed(self) -> str:
        return f"{self.rate:,.{0 if self.rate >= 100 else 1 if self.rate >= 1 else 3}f}/s"

    def left(self) -> str:
        if self.total is None or self.rate <= 0:
            return ""
        return f", {duration(max(self.total - self.done, 0) / self.rate)} left"

    def summary(self) -> str:
        speed = f" ({self.speed()})" if self.done > self._before else ""
        return f"{self.count()} in {duration(self.seconds)}{speed}" + (f", {self.note}" if self.note else "")


class _Plain(_Meter):
    """One line every `PLAIN_SECONDS`, and one at the end."""

    def __init__(self, progress: Progress, name: str, total: float | None, unit: str, done: float) -> None:
        super().__init__(total, unit, done)
        self._progress, self._name, self._said = progress, name, time.monotonic()

    def __call__(self, n: float = 1, *, note: str | None = None) -> None:
        self.add(n, note)
        if time.monotonic() - self._said >= PLAIN_SECONDS:
            self._said = time.monotonic()
            more = f", {self.note}" if self.note else ""
            self._progress.line(f"{self._name}: {self.count()}, {self.speed()}{self.left()}{more}")

    def finish(self) -> None:
        self._progress.line(f"{self._name}: {self.summary()}")


def duration(seconds: float) -> str:
    """`3.2 s`, `45 s`, `12 min 5 s` or `2 h 7 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _rich_progress(stream: IO[str]) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(file=stream, force_terminal=True),
        transient=True,
    )
