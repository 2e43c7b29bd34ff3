"""Whether two models speak of the same tokens."""

from __future__ import annotations

from typing import Any

from prefine.errors import PrefineError


class DifferentVocabularies(PrefineError):
    """Two tokenizers that do not map the same strings to the same ids."""


def shared_vocabulary(student_tokenizer: Any, teacher_tokenizer: Any) -> int:
    """The number of logits that are tokens, to which those of both models are cut before they are compared.

    Models of one family pad their embeddings to different sizes, so the number of rows tells nothing. Tokenizers that
    do not map the same strings to the same ids are an error.
    """
    ours, theirs = student_tokenizer.get_vocab(), teacher_tokenizer.get_vocab()
    if ours != theirs:
        raise DifferentVocabularies(
            f"student and teacher have different tokenizers: {_first_difference(ours, theirs)}. Token-level "
            "distillation across tokenizers is not supported; take a teacher of the student's family, or train on the "
            "teacher's text with the objective sft"
        )
    return max(ours.values()) + 1


def _first_difference(ours: dict[str, int], theirs: dict[str, int]) -> str:
    """The difference with the smallest id, in words."""
    different = [token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)]
    token = min(different, key=lambda t: (min(v[t] for v in (ours, theirs) if t in v), t))
    places = [
        f"has id {vocabulary[token]} for the {who}" if token in vocabulary else f"is unknown to the {who}"
        for who, vocabulary in (("student", ours), ("teacher", theirs))
    ]
    return f"{token!r} {' and '.join(places)}"
