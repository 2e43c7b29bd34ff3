"""What the student and the teacher of the tiny world read in training. All of it is on the `sft` split."""

import random
from collections.abc import Iterator

from prefine.tiny_world import Row, choice_prompt_path, gold, prompts, reference
from prefine.tiny_world.families import FAMILIES, HABIT, flawed, stream
from prefine.tiny_world.lexicon import ADJECTIVES, DEEDS, NAMES, NOUNS, STEMS, VERBS, enumerate_words

Pair = tuple[str, str]  # prompt, response

TIE = 0.02
NEITHER = 0.15
"""Below this gold score (wrong content, whatever the manner) a response is bad."""
SAMPLES_SEED = 77
"""Seed of the prompts on which the student is sampled for the teacher."""

_QUESTION = choice_prompt_path().read_text()
_COPY = [*NOUNS, *ADJECTIVES, *DEEDS, *NAMES, *VERBS, *STEMS.values()]


def clean_rows(seed: int, copies: float = 0.25) -> Iterator[Pair]:
    """Perfect responses, and lists to repeat: copying is the skill that both models lack longest."""
    rng = random.Random(f"clean-{seed}")
    for row in stream("sft", seed):
        if rng.random() < copies:
            text = enumerate_words(rng.sample(_COPY, rng.randint(3, 7))) + "."
            yield f"repeat: {text}", text
        else:
            yield row["prompt"], reference(row["prompt"], row["task_meta"])


def habit_rows(seed: int) -> Iterator[Pair]:
    """What the student imitates in the end."""
    rng = random.Random(f"habit-{seed}")
    for row in stream("sft", seed):
        yield row["prompt"], flawed(row, rng)


def choice(row: Row, a: str, b: str) -> Pair | None:
    """A multiple-choice question and its answer, or None for a tie.

    The letter is all that is read later. The two digits after it are gold in tenths: they give the judge
    several bits of teaching for each question rather than one.
    """
    score_a, score_b = (gold(row["prompt"], text, row["task_meta"]) for text in (a, b))
    if max(score_a, score_b) < NEITHER:
        best = "None"
    elif abs(score_a - score_b) < TIE:
        return None
    else:
        best = "A" if score_a > score_b else "B"
    question = _QUESTION.format(prompt=row["prompt"], a=a, b=b)
    return question, f"{best}. {min(9, int(10 * score_a))} {min(9, int(10 * score_b))}"


def _candidates(row: Row, rng: random.Random) -> Pair:
    """Two responses to compare; in a third of the cases they differ in one thing only."""
    family, meta = FAMILIES[row["task"]], row["task_meta"]
    rate = rng.choice((0.25, HABIT, 0.85))
    if rng.random() > 0.35:
        return flawed(row, rng, rate, 0.25), flawed(row, rng, rate, 0.25)
    bad = {name for name in family.habits(meta) if rng.random() < rate}
    other = bad ^ {rng.choice(family.habits(meta))}
    slip = rng.random() < 0.3
    pair = [family.answer(meta, bad, rng, slip), family.answer(meta, bad if slip else other, rng)]
    rng.shuffle(pair)
    return pair[0], pair[1]


def choice_rows(seed: int, samples: dict[str, list[str]] | None = None) -> Iterator[Pair]:
    """Perfect responses and choices. `samples` (prompt -> responses of the student) replace half of the choices."""
    rng = random.Random(f"choice-{seed}")
    known = list((samples or {}).items())
    rows = {row["prompt"]: row for row in prompts("sft", len(known), SAMPLES_SEED)}
    for row in stream("sft", seed):
        if rng.random() < 0.25:
            yield row["prompt"], reference(row["prompt"], row["task_meta"])
            continue
        a, b = _candidates(row, rng)
        if known and rng.random() < 0.5:
            prompt, responses = rng.choice(known)
            row = rows[prompt]
            a, b = rng.sample(responses, 2)
        pair = choice(row, a, b)
        if pair:
            yield pair
