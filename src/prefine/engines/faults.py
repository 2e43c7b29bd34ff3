"""What went wrong with a call over HTTP, and what follows from it. No network in here.

| kind | examples | what follows |
|---|---|---|
| rate | 429 | the server is left alone for a while; not counted as a try |
| quota | 429 with `insufficient_quota`, 402 | the run stops and can be resumed |
| transient | 408, 409, 5xx, timeouts, broken bodies | tried again after a growing pause |
| permanent | other 4xx | not tried again; the reason is kept |
| content | a content filter, a prompt beyond the context | the same, and says nothing about the server |
| auth | 401, 403 | the run stops at once |
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Literal

Kind = Literal["rate", "quota", "transient", "permanent", "content", "auth"]

BACKOFF_CAP = 60.0
"""Longest pause, in seconds, before another try."""
CONSECUTIVE = 20
"""More failures in a row than this mean that something is set up wrongly."""

# Not "billing" alone: ordinary refusals for the rate mention the billing page, too.
_QUOTA = ("insufficient_quota", "billing_hard_limit", "billing_not_active", "insufficient credit", "credit balance")
_RATE = ("rate_limit", "rate limit", "too many requests", "throttl")
_AUTH = ("invalid_api_key", "authentication", "permission", "unauthorized")
_FILTER = ("content_filter", "content filter", "content_policy", "responsibleaipolicy")
_CONTEXT = ("context_length", "context length", "maximum context", "context window", "prompt is too long")
_MISTAKE = ("invalid_request", "invalid request", "badrequest", "bad request", "not_found", "notfound", "validation")


@dataclass(frozen=True)
class Fault:
    """A call without a usable reply. `reason` is a short name to count by; `after` the pause that the server asks."""

    kind: Kind
    reason: str
    detail: str = ""
    after: float | None = None

    @property
    def error(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


def classify(status: int, headers: Mapping[str, str], text: str, now: float) -> Fault | None:
    """What is wrong with a response, None for one with a reply. `now` is the time of day in seconds since 1970."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    error = _error(body)
    detail = f"HTTP {status}, {_short(error or text)}"
    words = (error or "").casefold()
    after = retry_after(headers, now)
    if status == 200 and body is None:
        return Fault("transient", "broken_reply", detail)
    if status == 200 and error is None:
        if isinstance(body, dict) and isinstance(body.get("choices"), list) and body["choices"]:
            return None
        return Fault("transient", "broken_reply", f"HTTP 200 without choices, {_short(text)}")
    if status == 402 or (status in (200, 403, 429) and any(w in words for w in _QUOTA)):
        return Fault("quota", "quota", detail)
    if status == 429 or (status == 200 and any(w in words for w in _RATE)):
        return Fault("rate", "rate_limit", detail, after)
    if any(w in words for w in _FILTER):
        return Fault("content", "content_filter", detail)
    if any(w in words for w in _CONTEXT) and status < 500:
        return Fault("content", "context_length", detail)
    if status in (401, 403) or (status == 200 and any(w in words for w in _AUTH)):
        return Fault("auth", "auth", detail)
    if status in (408, 409) or status >= 500:
        return Fault("transient", f"http_{status}", detail, after)
    if status == 200:
        mistaken = any(w in words for w in _MISTAKE)
        return Fault("permanent" if mistaken else "transient", "error_in_reply", detail, after)
    return Fault("permanent", {404: "not_found"}.get(status, "bad_request"), detail)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `retry-after` as seconds or as an HTTP date."""
    found = {k.casefold(): v.strip() for k, v in headers.items()}
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(found[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        date = parsedate_to_datetime(found["retry-after"])
    except (KeyError, ValueError):
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)


def backoff(attempt: int, base: float, draw: random.Random) -> float:
    """Seconds before the try after `attempt` (1, 2, ...): uniform below base, doubled each time, at most the cap."""
    return draw.uniform(0.0, min(BACKOFF_CAP, base * 2 ** (attempt - 1)))


class Breaker:
    """Says stop when more than `CONSECUTIVE` requests in a row have failed for good."""

    def __init__(self) -> None:
        self.failed: list[tuple[int, Fault]] = []

    def success(self) -> None:
        self.failed.clear()

    def failure(self, index: int, fault: Fault) -> bool:
        """Note a failed request; True when it is one too many."""
        self.failed.append((index, fault))
        return len(self.failed) > CONSECUTIVE


def _error(body: Any) -> str | None:
    """The error that a body tells of, as one text of its type, code and message."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        return None
    found = body.get("error")
    if not found:
        return str(body.get("detail") or body.get("message")) if "choices" not in body and _says(body) else None
    if isinstance(found, dict):
        parts = (found.get(name) for name in ("type", "code", "message"))
        return " ".join(str(p) for p in parts if p) or json.dumps(found)
    return str(found)


def _says(body: dict[str, Any]) -> bool:
    return bool(body.get("detail") or body.get("message"))


def _short(text: str, longest: int = 200) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= longest else plain[: longest - 3] + "..."
