"""Comparisons by judges, votes of people on the same answers, and how often they are equal (MT-Bench's agreement)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from prefine.evaluate.benchmarks.mt_bench import judge_of
from prefine.evaluate.benchmarks.pairwise import ERROR, FIRST, SECOND, TIE, Pair, parse_label, winner
from prefine.evaluate.benchmarks.reading import Row, files_of, read_rows


@dataclass(frozen=True)
class Comparison:
    """One verdict on two models' answers to a turn of a question: `model_1`, `model_2` or `tie`."""

    question: str
    turn: int
    model_1: str
    model_2: str
    winner: str
    judge: str

    @property
    def key(self) -> tuple[str, int, str, str]:
        return self.question, self.turn, *sorted((self.model_1, self.model_2))  # type: ignore[return-value]

    @property
    def vote(self) -> str:
        """The winning model's name, or `tie`."""
        return {FIRST: f"={self.model_1}", SECOND: f"={self.model_2}"}.get(self.winner, TIE)


def read_pairs(rows: Iterable[Row]) -> list[tuple[Comparison, Pair]]:
    """Rows of a judge that compared in both orders, as FastChat stores them.

    Of several rows for one (question, turn, models, judge, template) the last valid one stands, or else the last.

    A row has `g1_winner` and `g2_winner`, or the texts `g1_judgment` and `g2_judgment` to read them from. The prompt of
    a pair is its question, so that both turns stay together when prompts are resampled.
    """
    out: dict[tuple[object, ...], tuple[Comparison, Pair]] = {}
    for row in rows:
        question, turn = str(row.need("question_id")), row.whole_at("turn") if "turn" in row else 1
        pair = Pair(question, _verdict(row, "g1"), _verdict(row, "g2"))
        judge, template = judge_of(row)
        comparison = Comparison(question, turn, str(row.need("model_1")), str(row.need("model_2")), pair.result, judge)
        key = (*comparison.key, judge, template)
        if key not in out or pair.result != ERROR or out[key][1].result == ERROR:
            out[key] = (comparison, pair)
    return list(out.values())


def _verdict(row: Row, game: str) -> str:
    stored = row.get(f"{game}_winner")
    if stored is None:
        return winner(parse_label(str(row.need(f"{game}_winner", f"{game}_judgment"))), swapped=game == "g2")
    if stored not in (FIRST, SECOND, TIE, ERROR):
        row.wrong(f"{game}_winner: '{stored}' is none of {FIRST}, {SECOND}, {TIE}, {ERROR}")
    return stored


_WINNERS = {"model_a": FIRST, "model_b": SECOND, "model_1": FIRST, "model_2": SECOND}


def read(path: Path) -> list[Comparison]:
    """Votes with `question_id`, `model_a`, `model_b`, `winner` (any word with `tie` is one), `judge` and `turn`."""
    out = []
    for row in read_rows(files_of(path)):
        said = str(row.need("winner"))
        if said not in _WINNERS and TIE not in said:
            row.wrong(f"winner: '{said}' is none of model_a, model_b, tie")
        out.append(
            Comparison(
                str(row.need("question_id")),
                row.whole_at("turn") if "turn" in row else 1,
                str(row.need("model_a", "model_1")),
                str(row.need("model_b", "model_2")),
                _WINNERS.get(said, TIE),
                str(row.get("judge") or ""),
            )
        )
    return out


def agreement(judged: Sequence[Comparison], votes: Sequence[Comparison]) -> dict[str, Any]:
    """By judge and turn: the share of (judge, human) vote pairs on the same answers that are equal, in percent.

    `with_ties` counts all vote pairs, where a judge's inconsistent verdict is a tie; `without_ties` those in which both
    decided. Each human vote on the same question, turn and pair of models makes one vote pair. `humans` is the same for
    all pairs of human votes.
    """
    by_key: dict[tuple[str, int, str, str], list[str]] = {}
    for v in votes:
        by_key.setdefault(v.key, []).append(v.vote)
    out: dict[str, Any] = {}
    for judge in sorted({c.judge for c in judged}):
        pairs = [(c.turn, c.vote, v) for c in judged if c.judge == judge for v in by_key.get(c.key, [])]
        out[judge or "judge"] = _by_turn(pairs)
    own = [(key[1], a, b) for key, cast in by_key.items() for a, b in combinations(cast, 2)]
    return out | {"humans": _by_turn(own)}


def _by_turn(pairs: list[tuple[int, str, str]]) -> dict[str, Any]:
    out = {}
    for turn in sorted({t for t, _, _ in pairs}):
        own = [(a, b) for t, a, b in pairs if t == turn]
        decided = [(a, b) for a, b in own if TIE not in (a, b)]
        out[f"turn_{turn}"] = {"with_ties": _share(own), "without_ties": _share(decided)}
    return out


def _share(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    equal = sum(a == b for a, b in pairs)
    return {"agree": equal, "total": len(pairs), "percent": 100 * equal / len(pairs) if pairs else None}
