"""Multiple choice: which of two responses does a teacher pick?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from prefine.engines.base import Sampling
from prefine.engines.rehearsal import rehearsing
from prefine.errors import PrefineError
from prefine.label.asking import Asker
from prefine.label.base import Labeler, latest
from prefine.label.calibration import calibrate
from prefine.label.choice_asking import LETTERS, Place, ask_lists, ask_pairs, places
from prefine.label.first_token import ALTERNATIVES
from prefine.label.question import LABELS, Answer, conversation, load_template, log_score, selection
from prefine.label.strength import bradley_terry
from prefine.label.templates import load_form
from prefine.models.forward import context_length, cut, last_logits
from prefine.models.held import hold
from prefine.models.load import model_spec
from prefine.progress import Step
from prefine.recipe import Recipe
from prefine.registry import labelers
from prefine.schema import Group, Score

ORDERED = ("first", "second", "none", "swing", "flip")
"""Aspects kept with each score, means over the response's pairings: the probability of picking it when it stands first
and when it stands second (with listwise: anywhere else), of None, how far the two orders are apart, and how often they
disagree on the winner."""
LISTS = "choice_list.txt"
MANY = 6
"""Responses from which on `auto` asks about all of them at once."""


@labelers.register("choice")
class Choice(Labeler):
    """The log-probability with which a teacher picks the response over the others, asked A, B or None in both orders.

    Formula: ln max(p_i, 1e-4), p_i = mean over j of [P(A | i, j) + P(B | j, i)] / 2; the aspect `p` is p_i
    Paper: PAD, Gu et al. 2025 (arXiv:2502.14272), section 3.3; its code asks one order only (swap: false)
    Defaults: template: null is prompts/choice.txt, `tiny_world` that of the embedded teacher, else a file with
    {prompt}, {a} and {b}; an answer with P(A) + P(B) + P(None) below min_mass is no answer; mode: mean is the formula
    above; bradley_terry has the log-strengths that fit the pairs' P(A) / [P(A) + P(B)], with `ridge` tied virtual
    comparisons a pair; listwise asks one question about all responses in every cyclic shift, n calls for n (n - 1),
    with a file {prompt} and {answers}, and p_i is the mean probability; auto is listwise for 6 to 26 responses, unless
    template is given or swap is false, else mean; calibration: a file of comparisons by people, not trained on, to
    which a temperature T is fit: scores are divided by T, so that sigmoid(difference) is the chance that they agree
    Needs: model, an instruction-tuned one in this process, or an engine that tells the first token's probabilities
    """

    def __init__(
        self,
        model: str | dict | None = None,
        template: str | None = None,
        swap: bool = True,
        min_mass: float = 0.5,
        max_tokens: int = 8192,
        as_name: str | None = None,
        engine: dict | None = None,
        mode: Literal["auto", "mean", "bradley_terry", "listwise"] = "auto",
        ridge: float = 0.1,
        calibration: str | None = None,
    ) -> None:
        if (model is None) == (engine is None):
            raise ValueError("give either model, for a teacher in this process, or engine")
        if not 0 <= min_mass <= 1:
            raise ValueError(f"min_mass must be between 0 and 1, not {min_mass}")
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, not {max_tokens}")
        if not ridge > 0:
            raise ValueError(f"ridge must be above 0, not {ridge}")
        self.swap, self.min_mass, self.max_tokens, self.mode, self.ridge = swap, min_mass, max_tokens, mode, ridge
        self.template_name, self.name = template, as_name or "choice"
        self.calibration, self.temperature = calibration, 1.0
        self.spec = None if model is None or mode == "listwise" else model_spec(model)
        sampling = Sampling(max_tokens=1, top_logprobs=ALTERNATIVES)
        # The list of all responses is long and asked about once an order, so an engine does it as well as we could.
        lists = engine or {"name": "hf", "model": model, "batch_tokens": max_tokens}
        self.lists = Asker(lists, sampling, max_reasks=0) if mode in ("auto", "listwise") else None
        self.asker = None if engine is None else Asker(engine, sampling, max_reasks=0)
        if mode == "listwise":
            self.asker = self.lists

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        self.recipe = recipe
        listwise = self.mode == "listwise"
        if self.lists is not None:
            self.form = load_form(self.template_name if listwise else None, LISTS, ("prompt", "answers"))
        if listwise:
            facts = self._open_lists()
        else:
            self.template = load_template(self.template_name)
            facts = self._load(recipe) if self.asker is None else self.asker.open(recipe, "choice", self.template.text)
        facts |= {"template": self.template_name or (LISTS if listwise else "choice.txt"), "mode": self.mode}
        self.temperature = 1.0
        if self.calibration is not None and not rehearsing():
            self.temperature, facts["calibration"] = calibrate(self, self.calibration)
        return facts

    def _open_lists(self) -> dict[str, Any]:
        assert self.lists is not None
        return self.lists.open(self.recipe, "choice", self.form.text)

    def _load(self, recipe: Recipe) -> dict[str, Any]:
        from prefine.models.load import model_digest

        assert self.spec is not None
        self.model, self.tokenizer = hold(self.spec, recipe.threads)
        self.labels = label_ids(self.tokenizer, self.spec.path)
        return {
            "model": self.spec.path,
            "digest": model_digest(self.spec),
            "label_tokens": dict(zip(LABELS, self.labels, strict=True)),
        }

    def calls(self, groups: Iterable[Group]) -> int | None:
        sizes = [len(_texts(g)) for g in groups]
        lists = sum(n for n in sizes if self._listwise(n) and 2 <= n <= len(LETTERS))
        if self.asker is None:
            return lists or None
        return lists + sum(n * (n - 1) // (1 if self.swap else 2) for n in sizes if not self._listwise(n))

    def _listwise(self, n: int) -> bool:
        """Whether n responses are asked about all at once."""
        if self.mode == "auto":
            return self.swap and self.template_name is None and MANY <= n <= len(LETTERS)
        return self.mode == "listwise"

    def score(self, groups: list[Group], step: Step) -> list[list[list[Score]]]:
        many = [self._listwise(len(_texts(g))) for g in groups]
        lists = self._score_lists([g for g, m in zip(groups, many, strict=True) if m], step)
        pairs = self._score_pairs([g for g, m in zip(groups, many, strict=True) if not m], step)
        out = [next(lists if m else pairs) for m in many]
        for score in (s for rows in out for scores in rows for s in scores if s.aspect is None):
            score.value = None if score.value is None else score.value / self.temperature
        return out

    def _score_lists(self, groups: list[Group], step: Step) -> Iterator[list[list[Score]]]:
        if not groups:
            return iter(())
        assert self.lists is not None
        if self.lists.session is None:
            self._open_lists()
        texts = [_texts(g) for g in groups]
        shifts, asked = ask_lists(self.lists, self.form, groups, texts, self.min_mass, step)
        return iter([self._listed(*row) for row in zip(groups, texts, shifts, asked, strict=True)])

    def _score_pairs(self, groups: list[Group], step: Step) -> Iterator[list[list[Score]]]:
        if not groups:
            return iter(())
        texts = [_texts(g) for g in groups]
        refs: dict[Place, list[str]] = {}
        if self.asker is not None:
            answers, refs = ask_pairs(self.asker, self.template, groups, texts, self.swap, self.min_mass, step)
        else:
            answers = self._ask(self._questions(groups, texts), step, sum(len(g.candidates) for g in groups))
        by_group: list[dict[tuple[int, int], Answer | None]] = [{} for _ in groups]
        keys: list[dict[str, list[str]]] = [{} for _ in groups]
        for (g, i, j), answer in answers.items():
            by_group[g][i, j] = answer
            for text in (texts[g][i], texts[g][j]):
                keys[g].setdefault(text, []).extend(refs.get((g, i, j), []))
        out = [self._scores(g, t, a) for g, t, a in zip(groups, texts, by_group, strict=True)]
        for group, rows, known in zip(groups, out, keys, strict=True):
            for candidate, scores in zip(group.candidates, rows, strict=True):
                scores[0].refs = list(known.get(candidate.text, []))
        return iter(out)

    def _questions(self, groups: list[Group], texts: list[list[str]]) -> dict[Place, list[int]]:
        """Token ids of the questions on every pair of distinct texts, in both orders with `swap`; [] if impossible."""
        from prefine.data.chat import Dropped, prompt_ids

        out: dict[Place, list[int]] = {}
        for g, i, j in places(texts, self.swap):
            question = self.template.fill(conversation(groups[g].messages), texts[g][i], texts[g][j])
            try:
                out[g, i, j] = prompt_ids(self.tokenizer, [{"role": "user", "content": question}])
            except Dropped:
                out[g, i, j] = []
        return out

    def _ask(self, questions: dict[Place, list[int]], step: Step, responses: int) -> dict[Place, Answer | None]:
        """The answers; questions with one first response are computed together. `step` hears of `responses` in all."""
        out: dict[Place, Answer | None] = dict.fromkeys(questions)
        families: dict[tuple[int, int], list[Place]] = {}
        for place, ids in questions.items():
            if 0 < len(ids) < context_length(self.model):
                families.setdefault(place[:2], []).append(place)
        members = list(families.values())
        sizes = [sum(len(questions[p]) for p in places) for places in members]
        for batch in cut(list(range(len(members))), sizes, [str(m[0]) for m in members], self.max_tokens):
            logits = last_logits(self.model, [[questions[p] for p in members[b]] for b in batch])
            logp = logits.log_softmax(-1)
            found = zip(*(logp[:, ids].logsumexp(-1).exp().tolist() for ids in self.labels), strict=True)
            places = [p for b in batch for p in members[b]]
            for place, probabilities in zip(places, found, strict=True):
                answer = Answer(*probabilities)
                out[place] = answer if answer.mass >= self.min_mass else None
            step(responses * len(places) / len(questions))
        step(responses * (1 - sum(map(len, members)) / len(questions)) if questions else responses)
        return out

    def _scores(
        self, group: Group, unique: Sequence[str], answers: dict[tuple[int, int], Answer | None]
    ) -> list[list[Score]]:
        p = selection(len(unique), answers)
        made = [self._score(p[i], i, answers, len(unique)) for i in range(len(unique))]
        if self.mode == "bradley_terry":
            for scores, strength in zip(made, _strengths(len(unique), answers, self.ridge), strict=True):
                scores[0] = replace(scores[0], value=strength, status=scores[0].status if strength is None else "ok")
        return self._of_candidates(group, unique, made)

    def _of_candidates(self, group: Group, unique: Sequence[str], made: list[list[Score]]) -> list[list[Score]]:
        """Each candidate's scores; equal responses have the same."""
        index = {text: i for i, text in enumerate(unique)}
        empty = [Score(self.name, None, "mcq", status="empty_response")]
        found = [made[index[c.text]] if c.text in index else empty for c in group.candidates]
        return [[replace(s, refs=list(s.refs)) for s in scores] for scores in found]

    def _listed(
        self, group: Group, unique: Sequence[str], shifts: list[list[float] | None], keys: list[str]
    ) -> list[list[Score]]:
        """Scores from the probabilities in every cyclic shift; none as soon as one of them has no answer."""
        n = len(unique)
        known = [row for row in shifts if row is not None]
        if not shifts or len(known) < len(shifts):
            many = "too_many_responses" if n > len(LETTERS) else "no_usable_answer"
            status = "only_response" if n < 2 else many
            none = [[Score(self.name, None, "mcq", status=status, refs=keys)] for _ in unique]
            return self._of_candidates(group, unique, none)
        made = []
        first = sorted(range(n), key=lambda k: unique[k])
        for i in range(n):
            p = math.fsum(row[i] for row in known) / n
            leading = known[first.index(i)][i]
            aspects = {"p": p, "first": leading, "second": (n * p - leading) / (n - 1)}
            scores = [Score(self.name, log_score(p), "mcq", refs=keys)]
            made.append(scores + [Score(self.name, v, "mcq", aspect=a) for a, v in aspects.items()])
        return self._of_candidates(group, unique, made)

    def _score(self, p: float | None, i: int, answers: dict[tuple[int, int], Answer | None], n: int) -> list[Score]:
        if p is None:
            status = "only_response" if n < 2 else "no_usable_answer"
            return [Score(self.name, None, "mcq", status=status)]
        out = [Score(self.name, log_score(p), "mcq"), Score(self.name, p, "mcq", aspect="p")]
        known = {order: a for order, a in answers.items() if a is not None and i in order}
        for aspect, value in zip(ORDERED, _by_order(i, known), strict=True):
            if value is not None:
                out.append(Score(self.name, value, "mcq", aspect=aspect))
        return out

    def facts(self, groups: Iterable[Group]) -> dict[str, Any]:
        """The teacher's position bias, 0 for one that does not mind the order.

        position_bias: mean of P(first) - P(second); swing: mean of |P(A | i, j) - P(B | j, i)|, how far the order moves
        a response's chance; flip_rate: share of pairs that the two orders decide differently; none_mass: mean P(None).
        """
        seen: dict[str, list[float]] = {aspect: [] for aspect in ORDERED}
        for group in groups:
            for candidate in group.candidates:
                for aspect in ORDERED:
                    last = latest(candidate, self.name, aspect)
                    if last is not None and last.value is not None:
                        seen[aspect].append(last.value)
        mean = {k: round(math.fsum(v) / len(v), 6) if v else None for k, v in seen.items()}
        bias = None if mean["first"] is None or mean["second"] is None else round(mean["first"] - mean["second"], 6)
        order = {"position_bias": bias, "swing": mean["swing"], "flip_rate": mean["flip"], "none_mass": mean["none"]}
        asked = {} if self.asker is None else self.asker.facts()
        if self.lists is not None and self.lists is not self.asker and self.lists.session is not None:
            asked["lists"] = self.lists.facts()
        return order | asked

    def close(self) -> None:
        for asker in (self.asker, self.lists):
            if asker is not None:
                asker.close()


def _texts(group: Group) -> list[str]:
    """The distinct responses that have text."""
    return list(dict.fromkeys(c.text for c in group.candidates if c.text.strip()))


def _strengths(n: int, answers: dict[tuple[int, int], Answer | None], ridge: float) -> list[float | None]:
    """Log-strengths that fit the pairs, orders averaged; None for a response none of whose pairs has an answer."""
    found: dict[tuple[int, int], list[float]] = {}
    for (i, j), answer in answers.items():
        if answer is not None and answer.first + answer.second > 0:
            p = answer.first / (answer.first + answer.second)
            found.setdefault((min(i, j), max(i, j)), []).append(p if i < j else 1 - p)
    fitted = bradley_terry(n, {pair: math.fsum(p) / len(p) for pair, p in found.items()}, ridge)
    known = {i for pair in found for i in pair}
    return [strength if i in known else None for i, strength in enumerate(fitted)]


def _by_order(i: int, answers: dict[tuple[int, int], Answer]) -> list[float | None]:
    """The values of `ORDERED` for response i."""
    first = {order[1]: a for order, a in answers.items() if order[0] == i}
    second = {order[0]: a for order, a in answers.items() if order[1] == i}
    both = sorted(first.keys() & second.keys())
    swing = [abs(first[j].first - second[j].second) for j in both]
    flip = [float((first[j].first > first[j].second) != (second[j].second > second[j].first)) for j in both]
    none = [a.none for a in answers.values()]
    shown = [a.first for a in first.values()], [a.second for a in second.values()]
    return [math.fsum(v) / len(v) if v else None for v in (*shown, none, swing, flip)]


def label_ids(tokenizer: Any, path: str) -> list[list[int]]:
    """For A, B and None the ids of their tokens, with and without a leading space; those of one token count.

    A tokenizer without a token for None lends its first piece, if A and B do not begin with it.
    """
    out: list[list[int]] = []
    for label in LABELS:
        written = [_ids(tokenizer, text) for text in (label, " " + label)]
        whole = [
            ids[-1] for ids in written if len(ids) == 1 or (len(ids) == 2 and not _text(tokenizer, ids[0]).strip())
        ]
        out.append(list(dict.fromkeys(whole)))
    if not out[2]:
        out[2] = _ids(tokenizer, LABELS[2])[:1]
    if not all(out) or len({i for ids in out for i in ids}) != sum(map(len, out)):
        raise PrefineError(
            f"choice: the tokenizer of {path} has no single tokens for A and B, so that it cannot answer in one; "
            "use another teacher, or the labeler 'likelihood'"
        )
    return out


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text(tokenizer: Any, token: int) -> str:
    return tokenizer.decode([token])
