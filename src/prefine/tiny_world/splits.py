"""Which part of the data a prompt belongs to: decided by its text alone, so parts can never overlap."""

import hashlib

SPLITS = {"sft": range(0, 12), "pref": range(12, 18), "tune": range(18, 19), "eval": range(19, 20)}
"""Split -> buckets of twenty. Settings are chosen on `tune`; `eval` is only for numbers that are reported."""


def split_of(prompt: str) -> str:
    """The split of a prompt."""
    digest = hashlib.blake2b(prompt.encode(), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 20
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)
