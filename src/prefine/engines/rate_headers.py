"""What a server's headers say about how much may still be asked of it: x-ratelimit-remaining-* and -reset-*."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

LONGEST = 60.0
"""Seconds after which such a number is no longer believed, whatever it says: then the server may refuse by itself."""
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


@dataclass
class Left:
    """What a server still allows, and until when (seconds of one clock) that holds."""

    amount: float
    until: float

    def wait(self, needed: float, now: float) -> float:
        """Seconds until so much may be asked: 0 where it is left, else until the allowance is whole again."""
        return 0.0 if self.amount >= needed else max(0.0, self.until - now)


def told(headers: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """For `requests` and `tokens` what is left and the seconds until the allowance is whole; absent where unsaid."""
    found = {k.casefold(): v.strip() for k, v in headers.items()}
    out = {}
    for name in ("requests", "tokens"):
        amount = _number(found.get(f"x-ratelimit-remaining-{name}"))
        seconds = duration(found.get(f"x-ratelimit-reset-{name}"))
        if amount is not None and seconds is not None:
            out[name] = amount, min(seconds, LONGEST)
    return out


def duration(text: str | None) -> float | None:
    """Seconds in `20ms`, `1s`, `6m0s` or a plain number of seconds; None for anything else."""
    if text is None:
        return None
    parts = _PART.findall(text)
    if parts and "".join(a + b for a, b in parts) == text:
        return math.fsum(float(n) * _SECONDS[unit] for n, unit in parts)
    return _number(text)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
