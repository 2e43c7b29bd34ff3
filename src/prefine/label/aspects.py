"""A judge who rates several responses together, one respect at a time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefine.engines.base import Reply, Sampling
from prefine.errors import PrefineError, nearest
from prefine.label.asking import Asker, Found, Question, scaled
from prefine.label.base import Labels, latest
from prefine.label.judging import Judging
from prefine.label.pairwise import unique_texts
from prefine.label.templates import PROMPTS, conversation, load_form, read_template
from prefine.label.verdicts import ratings, read, score
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import labelers
from prefine.schema import Group, Score

LEVELS = 5
POINTS = 10
OVERALL = "overall"

Rated = tuple[float | None, str | None]
"""A rating, None for one that does not apply, and the reasons for it."""


@dataclass(frozen=True)
class Sheet:
    """Texts that are rated together in one respect, in the order in which they are shown."""

    group: int
    aspect: str
    texts: tuple[str, ...]


@labelers.register("aspects")
class Aspects(Judging):
    """Ratings from 1 to 5 in several respects, up to four responses in one call, and a grade of the whole from 1 to 10.

    Formula: the score is the mean of the respects that apply; each of them is an aspect of it, and `overall` another
    Paper: UltraFeedback, Cui et al. 2023 (arXiv:2310.01377), section 3
    Defaults: aspects: the four of the paper, the names of files in label/prompts/aspects or files of your own; overall:
    also ask for the grade, each response by itself; per_call: texts shown together, in an order by hash; reference: the
    field of task_meta with what is known to be right; a reply with another number of ratings than texts is asked for
    again max_reasks times, then it is no rating
    Needs: an engine
    """

    def __init__(
        self,
        engine: dict,
        aspects: list[str] | None = None,
        overall: bool = True,
        per_call: int = 4,
        reference: str | None = None,
        template: str | None = None,
        overall_template: str | None = None,
        temperature: float = 0.0,
        max_new_tokens: int = 2048,
        max_reasks: int = 2,
        seed: int = 0,
        as_name: str | None = None,
    ) -> None:
        super().__init__(
            engine,
            reference,
            template,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            max_reasks=max_reasks,
            seed=seed,
            as_name=as_name,
        )
        if aspects is not None and not aspects:
            raise ValueError("aspects: name at least one")
        if per_call < 1:
            raise ValueError(f"per_call must be 1 or more, not {per_call}")
        self.wanted = aspects or ["instruction_following", "honesty", "truthfulness", "helpfulness"]
        self.overall, self.per_call, self.overall_template = overall, per_call, overall_template
        self.asker = Asker(engine, Sampling(temperature, max_tokens=max_new_tokens, seed=seed), max_reasks)

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        self.definitions = dict(map(_definition, self.wanted))
        if len(self.definitions) < len(self.wanted) or OVERALL in self.definitions:
            raise PrefineError(f"aspects: the names {', '.join(self.wanted)} must differ, also from '{OVERALL}'")
        slots = ("prompt", "answers", "aspect")
        self.form = load_form(self.template, "aspects.txt", slots, ("reference", "count", "entry"))
        overall = ("prompt", "answer"), ("reference", "low", "high")
        self.whole = load_form(self.overall_template, "judge_single.txt", *overall)
        texts = (self.form.text, *self.definitions.values(), self.whole.text if self.overall else "")
        return self.asker.open(recipe, "aspects", *texts) | {"aspects": list(self.definitions)}

    def calls(self, groups: Iterable[Group]) -> int:
        return sum(len(self._sheets(g, group)) for g, group in enumerate(groups))

    def _sheets(self, g: int, group: Group) -> list[Sheet]:
        """The group's texts in every respect, cut into calls of about the same size."""
        texts, out = unique_texts(group), []
        names = [_definition(a)[0] for a in self.wanted]
        for aspect in names if texts else []:
            order = sorted(texts, key=lambda text: _place(group.id, aspect, self.seed, text))
            cuts = math.ceil(len(order) / self.per_call)
            out += [Sheet(g, aspect, tuple(order[c::cuts])) for c in range(cuts)]
        return out + [Sheet(g, OVERALL, (text,)) for text in texts if self.overall]

    def label(self, groups: list[Group], step: Step) -> list[Labels]:
        sheets = [sheet for g, group in enumerate(groups) for sheet in self._sheets(g, group)]
        responses = sum(len(g.candidates) for g in groups)
        if not sheets:
            step(responses)
        questions = [self._question(groups[sheet.group], sheet) for sheet in sheets]
        counted = scaled(step, responses, len(sheets)) if sheets else None
        found = self.asker.ask(questions, self._read, counted)
        by_group: list[dict[str, list[Score]]] = [{} for _ in groups]
        for sheet, answer in zip(sheets, found, strict=True):
            for text, made in zip(sheet.texts, self._scores(sheet, answer), strict=True):
                by_group[sheet.group].setdefault(text, []).append(made)
        return [Labels(self._rows(group, rated)) for group, rated in zip(groups, by_group, strict=True)]

    def _question(self, group: Group, sheet: Sheet) -> Question:
        reference = group.task_meta.get(self.reference or "") or None
        texts = {"prompt": conversation(group.messages), "reference": reference}
        if sheet.aspect == OVERALL:
            asked = self.whole.filled({**texts, "answer": sheet.texts[0]}, {"low": "1", "high": str(POINTS)})
        else:
            words = {"aspect": self.definitions[sheet.aspect], "count": str(len(sheet.texts))}
            asked = self.form.filled(
                texts, words, {"answers": [(f"text {i}", t) for i, t in enumerate(sheet.texts, 1)]}
            )
        return Question(asked, group.id[:16] if self.temperature > 0 else "", sheet)

    def _read(self, question: Question, reply: Reply) -> list[Rated]:
        """A rating for each text of the sheet."""
        sheet: Sheet = question.about
        if sheet.aspect == OVERALL:
            grade = read(reply, question.asked, score(1, POINTS))
            return [(grade.value, grade.rationale)]
        may_lack = "N/A" in self.definitions[sheet.aspect]
        wanted = ratings(len(sheet.texts), 1, LEVELS, may_lack=may_lack)
        reading = read(reply, question.asked, wanted)
        return list(zip(reading.value, reading.rationale, strict=True))

    def _scores(self, sheet: Sheet, found: Found[list[Rated]]) -> list[Score]:
        """One score for each text of the sheet, with the place where it stood."""
        rated = found.value or [(None, None)] * len(sheet.texts)
        status = ["na" if found.value and value is None else found.status for value, _ in rated]
        places = [None if sheet.aspect == OVERALL else i for i, _ in enumerate(rated, start=1)]
        return [
            Score(self.name, value, "judge_aspect", sheet.aspect, status[i], reasons, list(found.refs), places[i])
            for i, (value, reasons) in enumerate(rated)
        ]

    def _rows(self, group: Group, rated: dict[str, list[Score]]) -> list[list[Score]]:
        """For each candidate the mean of its aspects, then the aspects; equal responses share theirs."""
        out = []
        for candidate in group.candidates:
            given = [replace(score, refs=list(score.refs)) for score in rated.get(candidate.text, [])]
            out.append([self._mean([s for s in given if s.aspect != OVERALL]), *given])
        return out

    def _mean(self, given: list[Score]) -> Score:
        """The mean of the ratings that apply; none as soon as one of them could not be had."""
        failed = next((s.status for s in given if s.status not in ("ok", "na")), None)
        values = [s.value for s in given if s.value is not None]
        if failed or not values:
            status = failed or ("na" if given else "empty_response")
            return Score(self.name, None, "judge_aspect", status=status)
        return Score(self.name, math.fsum(values) / len(values), "judge_aspect")

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """Mean rating by aspect, and by the place where a response stood: equal for a judge that does not mind it."""
        by_aspect: dict[str, list[float]] = {}
        by_place: dict[int, list[float]] = {}
        for group in groups:
            for candidate in group.candidates:
                for aspect in (*self.definitions, OVERALL):
                    last = latest(candidate, self.name, aspect)
                    if last is not None and last.value is not None:
                        by_aspect.setdefault(aspect, []).append(last.value)
                        if last.place is not None:
                            by_place.setdefault(last.place, []).append(last.value)
        means = {name: round(math.fsum(v) / len(v), 6) for name, v in by_aspect.items()}
        places = {str(place): round(math.fsum(v) / len(v), 6) for place, v in sorted(by_place.items())}
        return {"by_aspect": means, "by_place": places} | self.asker.facts()

    def close(self) -> None:
        self.asker.close()


def _definition(aspect: str) -> tuple[str, str]:
    """Name and text of an aspect: one of those that come with prefine, or a file, named after it."""
    path = PROMPTS / "aspects" / f"{aspect}.txt"
    if not path.is_file():
        path = Path(aspect)
    if not path.is_file():
        known = [p.stem for p in (PROMPTS / "aspects").glob("*.txt")]
        raise PrefineError(f"aspects: there is no aspect and no file '{aspect}'{nearest(aspect, known)}")
    return path.stem, read_template(path)


def _place(group: str, aspect: str, seed: int, text: str) -> bytes:
    """What the order of the texts in one call follows from."""
    return hashlib.sha256("\0".join([group, aspect, str(seed), text]).encode("utf-8", "surrogatepass")).digest()
