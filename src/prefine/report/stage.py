"""The stage `report`: one HTML page, results.json, results.md and model cards from the files of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefine.durable import write_bytes, write_json
from prefine.report.cards import write_cards, write_training_cards
from prefine.report.collect import collect
from prefine.report.markdown import markdown
from prefine.report.page import page
from prefine.report.results import results
from prefine.rundir import RunDir

NUM_EXAMPLES = 24


def build(
    run: RunDir | Path | Sequence[RunDir | Path],
    out: Path,
    title: str | None = None,
    *,
    num_examples: int = NUM_EXAMPLES,
) -> Path:
    """Write the page to `out`, with results.json and results.md beside it, and return `out`.

    `run` is a run directory or several, whose models then stand on one page. Every evaluated model is shown; every
    trained one gets a card in its folder.
    """
    cards(run)
    found = collect(run)
    data = results(found, title)
    write_json(out.parent / "results.json", data)
    write_bytes(out.parent / "results.md", markdown(data).encode())
    write_bytes(out, page(found, data, num_examples=num_examples).encode())
    write_cards(found, data)
    return out


def cards(run: RunDir | Path | Sequence[RunDir | Path]) -> list[Path]:
    """Write the cards of the models that were trained but not evaluated, and return their files."""
    given = [run] if isinstance(run, (RunDir, Path)) else run
    return write_training_cards([r.path if isinstance(r, RunDir) else r for r in given])
