"""From a folder of rows to an export: licenses, the view, and the pairs of groups that are not paired yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prefine.data.card import Facts, facts_of, has_groups
from prefine.data.export.base import VIEWS, Row, Wish, write_export
from prefine.data.export.views import Rows, labeled_of, lists_of, revisions_of, row_of, view_of
from prefine.data.folders import ROW_STAGES, open_folder
from prefine.data.licenses import refuse_noncommercial
from prefine.data.spans import Weights
from prefine.errors import PrefineError, nearest
from prefine.registry import exporters
from prefine.rundir import Counts, StageDir
from prefine.schema import Candidate, Group, Score


def export_folder(
    source: Path,
    to: str,
    out: Path,
    *,
    view: str | None = None,
    pairer: str | None = None,
    score: str | None = None,
    threshold: float | None = None,
    spans: str | None = None,
    with_ids: bool = False,
    name: str = "prefine",
    license: str | None = None,
    allow_noncommercial: bool = False,
) -> Facts:
    """Write the rows of `source` as the exporter `to` has them, and tell what was written."""
    exporter: Any = exporters.build({"name": to})
    folder = open_folder(source, ("pair", *ROW_STAGES))
    groups = has_groups(folder)
    view = _view(exporter.views, to, view, folder, groups)
    block = _block(pairer, groups, view)
    facts = facts_of(folder, license)
    refuse_noncommercial(facts.licenses, str(folder.path), allow_noncommercial)
    counts = Counts()
    if view == "spans":
        scorers: tuple[str, ...] = ()
        rows: Iterable[Row] = _edits(folder, groups, spans, counts)
    elif not groups:
        rows = view_of(lambda: map(row_of, folder.examples()), view, counts)
        scorers = ("score",) if any(e.scores for e in folder.examples()) else ()
    elif view == "list":
        scorers = tuple(sorted(facts.scorers))
        rows = lists_of(folder.groups(), scorers, counts)
    elif view == "unpaired" and block is None and (threshold is not None or facts.labels):
        scorers = ()
        rows = labeled_of(folder.groups(), score, threshold, counts)
    else:
        scorers = ()
        block = block or {"name": "responses" if view == "sft" else "given" if facts.judges else "best_worst"}
        rows = view_of(_paired(folder, block, score, counts), view, counts)
    write_export(exporter, rows, Wish(view, with_ids, scorers, name), out, facts, counts)
    counts.as_dict()
    return facts


def _edits(folder: StageDir, groups: bool, text: str | None, counts: Counts) -> Iterable[Row]:
    """The view `spans`, by the block `{tokenizer: MODEL, reward: 1, penalty: 0.5, equal: 0}`."""
    import yaml

    from prefine.models.load import load_tokenizer, model_spec

    value = yaml.safe_load(text) if text else None
    block: dict[str, Any] = value if isinstance(value, dict) else {"tokenizer": value}
    known = ("tokenizer", *vars(Weights()))
    for key in block:
        if key not in known:
            raise PrefineError(f"--spans has no key '{key}'{nearest(str(key), known)}; keys: {', '.join(known)}")
    path = block.pop("tokenizer", None)
    if not isinstance(path, str):
        raise PrefineError(
            "the view 'spans' needs the model that is to learn: --spans MODEL, or {tokenizer: MODEL, ...}"
        )
    if not groups:
        raise PrefineError(f"{folder.path} has examples; revisions are in groups: name the stage that generated them")
    if not all(isinstance(v, int | float) and v >= 0 for v in block.values()):
        raise PrefineError(f"--spans: the weights must be numbers of 0 or more, not {block}")
    return revisions_of(folder.groups(), load_tokenizer(model_spec(path)), Weights(**block), counts)


def _view(views: tuple[str, ...], to: str, wanted: str | None, folder: StageDir, groups: bool) -> str:
    if wanted is None:
        fitting = _fitting(folder) if not groups else None
        return fitting if fitting in views else views[0]
    if wanted not in views:
        hint = nearest(wanted, VIEWS) if wanted not in VIEWS else f"; it has: {', '.join(views)}"
        raise PrefineError(f"--to {to} has no view '{wanted}'{hint}")
    return wanted


def _fitting(folder: StageDir) -> str | None:
    """The view that examples have by themselves: by the first of them."""
    first = next(folder.examples(), None)
    if first is None:
        return None
    if first.labels:
        return "unpaired"
    return {1: "sft", 2: "pairs"}.get(len(first.responses), "list")


def _block(pairer: str | None, groups: bool, view: str) -> dict[str, Any] | None:
    import yaml

    from prefine.registry import pairers

    if pairer is None:
        return None
    if not groups or view == "list":
        raise PrefineError(
            f"--pairer makes rows of groups; these are {'groups' if groups else 'examples'} for the view '{view}'"
        )
    value = yaml.safe_load(pairer)
    return pairers.check(value if isinstance(value, dict) else {"name": str(value)})


def _paired(folder: StageDir, block: dict[str, Any], score: str | None, counts: Counts) -> Rows:
    """The examples of all groups, as the pair stage makes them; groups without one are dropped with its reason."""
    from prefine.pair.selection import mixed, require, weights
    from prefine.registry import pairers

    made = pairers.build(block)
    known = _scorers_of(folder.groups())
    mix = weights(score, known, required=made.needs_scores)
    require(getattr(made, "ratings", []), known)

    passes = iter([True])

    def rows() -> Iterator[Row]:
        first = next(passes, False)
        for group in folder.groups():
            found, reason = made.pairs(group, [mixed(c, mix) for c in group.candidates])
            if first and not found:
                counts.rows_in += 1
                counts.drop(reason or "no_example")
            yield from (row_of(e, group.task) for e in found)

    return rows


def _scorers_of(groups: Iterable[Group]) -> list[Group]:
    """For each split a group with one response that has every score there is: all that choosing a scorer looks at."""
    found: dict[str, dict[tuple[str, str | None], Score]] = {}
    for group in groups:
        for candidate in group.candidates:
            for s in candidate.scores:
                if s.value is not None:
                    found.setdefault(group.split, {}).setdefault((s.scorer, s.aspect), s)
    return [
        Group(split, [], [Candidate(split, [], scores=list(scores.values()))], split=split)
        for split, scores in found.items()
    ]
