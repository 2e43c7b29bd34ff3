"""Which score decides: one scorer's, or a weighted sum of several."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prefine.errors import PrefineError, nearest
from prefine.schema import Candidate, Group


def scorers(groups: Iterable[Group]) -> Counter[str]:
    """How many responses each scorer has scored; aspects are `scorer.aspect`."""
    found: Counter[str] = Counter()
    for group in groups:
        for candidate in group.candidates:
            found.update({_label(s.scorer, s.aspect) for s in candidate.scores if s.value is not None})
    return found


@dataclass
class Known:
    """How many responses each scorer has scored: of all prompts, and of those to train on."""

    everywhere: Counter[str]
    training: Counter[str]


def known(groups: Iterable[Group]) -> Known:
    """The scorers of these groups, in one pass; of the training ones alone, as long as there are any."""
    everywhere, training = Counter[str](), Counter[str]()
    for group in groups:
        found = scorers([group])
        everywhere.update(found)
        if group.split != "test":
            training.update(found)
    return Known(everywhere, training or everywhere)


def weights(
    wanted: str | dict[str, float] | None, groups: Iterable[Group] | Known, *, required: bool = True
) -> dict[str, float]:
    """The weight of each scorer that decides; checked against the scorers that there are.

    `wanted=None` means the only scorer of the training prompts (held-out ones may have others, from their data). With
    several, or none, this is an error if scores are `required`, and no weights at all otherwise.
    """
    there = groups if isinstance(groups, Known) else known(groups)
    whole = sorted(name for name in there.training if "." not in name) or sorted(there.training)
    if isinstance(wanted, str):
        wanted = {wanted: 1.0}
    if wanted is None:
        if len(whole) == 1:
            return {whole[0]: 1.0}
        if not required:
            return {}
        if not whole:
            raise PrefineError(
                "no response has a score: add a label section before this one, or use the pairer 'given' "
                "for data that came with preferences"
            )
        raise PrefineError(f"pair.score: there are several scorers ({', '.join(whole)}); name one, or give weights")
    if not wanted or not any(wanted.values()):
        raise PrefineError("pair.score: give at least one scorer a weight other than 0")
    for name in wanted:
        if name not in there.everywhere:
            raise PrefineError(f"pair.score: no response has a score by '{name}'{nearest(name, there.everywhere)}")
    return dict(sorted(wanted.items()))


def require(names: Iterable[str], groups: Iterable[Group] | Known) -> None:
    """Check that each of the ratings `names` is given to some response; the error names the nearest one there is."""
    wanted = list(names)
    if not wanted:
        return
    found = (groups if isinstance(groups, Known) else known(groups)).everywhere
    for name in wanted:
        if name not in found:
            hint = nearest(name, found) or "; no response has a score at all: add a label section before this one"
            raise PrefineError(f"pair.pairer: no response has a rating '{name}'{hint}")


def ratings_of(candidate: Candidate, names: Sequence[str]) -> dict[str, float] | None:
    """The response's scores by these names (`scorer` or `scorer.aspect`); None as soon as it lacks one of them."""
    found = {name: _value(candidate, name) for name in names}
    finite = {name: value for name, value in found.items() if value is not None and math.isfinite(value)}
    return finite if len(finite) == len(found) else None


def mixed(candidate: Candidate, mix: dict[str, float]) -> float | None:
    """sum of weight * score over the scorers; None as soon as one of them has none (or there is no scorer)."""
    total = 0.0
    for name, weight in mix.items():
        value = _value(candidate, name)
        if value is None:
            return None
        total += weight * value
    return total if mix else None


def _value(candidate: Candidate, name: str) -> float | None:
    for s in reversed(candidate.scores):
        if _label(s.scorer, s.aspect) == name:
            return s.value
    return None


def _label(scorer: str, aspect: str | None) -> str:
    return scorer if aspect is None else f"{scorer}.{aspect}"
