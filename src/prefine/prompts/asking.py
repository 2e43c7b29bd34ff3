"""Asking an engine for what has to be read out of its replies, with second tries where it cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from prefine.engines.base import Reply, Request
from prefine.engines.tries import attempted, failure

if TYPE_CHECKING:
    from prefine.engines.session import Session

T = TypeVar("T")


def ask(
    session: Session,
    requests: Sequence[Request],
    read: Callable[[int, Reply], T | None],
    max_reasks: int,
    counts: Counter[str],
) -> list[T | None]:
    """What `read` makes of each reply (it gets the request's place, too); None where none of the tries could be read.

    `counts` hears of replies that failed or could not be read, by reason.
    """
    out: list[T | None] = [None] * len(requests)
    pending = list(range(len(requests)))
    for attempt in range(max_reasks + 1):
        if not pending:
            break
        asked = [attempted(requests[i], attempt) for i in pending]
        unread = []
        for i, request, reply in zip(pending, asked, session.ask(asked), strict=True):
            if (reason := failure(reply)) is not None:
                counts[f"failed_{reason}"] += 1
                continue
            out[i] = read(i, reply)
            if out[i] is None:
                session.unparsed(request)
                unread.append(i)
        pending = unread
    counts["unreadable_replies"] += len(pending)
    return out
