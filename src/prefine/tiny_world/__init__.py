"""The embedded tiny world: three task families in a closed vocabulary, gold scores, a student and a teacher.

Everything here is standard library; the models are files (`student_path`, `teacher_path`).
"""

import random
from pathlib import Path
from typing import Any

from prefine.tiny_world.families import FAMILIES, Demonstration, Row, flawed, stream
from prefine.tiny_world.splits import split_of

__all__ = [
    "Demonstration",
    "Row",
    "aspects",
    "choice_prompt_path",
    "demonstrations",
    "gold",
    "new_task",
    "prompts",
    "reference",
    "student_path",
    "teacher_path",
    "writing_lessons",
]

WRITE = "write a task."
"""What a model that has taken the writing lessons is asked for a new prompt."""


def prompts(split: str, n: int, seed: int = 0) -> list[Row]:
    """`n` distinct prompts of `sft`, `pref`, `tune` or `eval`; the same seed gives the same rows."""
    rows = stream(split, seed)
    return [next(rows) for _ in range(n)]


def demonstrations(n: int, seed: int = 0) -> list[Demonstration]:
    """`n` prompts of `sft` with a response as the student learned it, bad habits included."""
    rng = random.Random(f"demonstrations-{seed}")
    return [{**row, "completion": flawed(row, rng)} for row in prompts("sft", n, seed)]


def writing_lessons(n: int, seed: int = 0) -> list[dict[str, str]]:
    """`n` prompts of `sft`, each as the answer to `WRITE`: what a model learns to make up prompts from."""
    return [{"prompt": WRITE, "completion": row["prompt"]} for row in prompts("sft", n, seed)]


def new_task(prompt: str) -> dict[str, Any] | None:
    """The `task` and `task_meta` of a prompt that somebody made up, as its scorer needs them.

    None if it is no task of this world, or if it belongs to `tune` or `eval`, which nothing may learn from.
    """
    if split_of(prompt) in ("tune", "eval"):
        return None
    for task, family in FAMILIES.items():
        meta = family.read(prompt)
        if meta is not None:
            return {"task": task, "task_meta": meta}
    return None


def aspects(prompt: str, response: str, task_meta: dict[str, str]) -> dict[str, float]:
    """The parts of `gold`: `content`, and the manners that this prompt asks for, all in [0, 1]."""
    return FAMILIES[task_meta["family"]].aspects(task_meta, response)


def gold(prompt: str, response: str, task_meta: dict[str, str]) -> float:
    """The programmatic score of a response in [0, 1].

    content * (1/5 + 4/5 * mean of the manners): a product, so a well-mannered wrong answer scores near 0.
    """
    parts = aspects(prompt, response, task_meta)
    content = parts.pop("content")
    return content * (1 + 4 * (sum(parts.values()) / len(parts))) / 5


def reference(prompt: str, task_meta: dict[str, str]) -> str:
    """A perfect response: its gold score is 1."""
    return FAMILIES[task_meta["family"]].answer(task_meta)


def student_path() -> Path:
    """Folder of the student's weights and tokenizer."""
    return Path(__file__).parent / "weights" / "student"


def teacher_path() -> Path:
    """Folder of the teacher's weights and tokenizer."""
    return Path(__file__).parent / "weights" / "teacher"


def choice_prompt_path() -> Path:
    """Text of the multiple-choice question that the teacher was trained on, with {prompt}, {a} and {b}."""
    return Path(__file__).parent / "choice_prompt.txt"
