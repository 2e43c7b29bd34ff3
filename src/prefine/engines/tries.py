"""Second tries: what is asked again where a reply could not be read, and why a reply has no usable text."""

from __future__ import annotations

from dataclasses import replace

from prefine.engines.base import Reply, Request

RETRY_TEMPERATURE = 0.5
"""Of second tries of greedy requests: the same tokens again would be as unreadable as before."""
RETRY_SEED = 1_000_003
"""Distance between the seeds of two tries, beyond any number of samples: some servers answer by the seed alone."""


def attempted(request: Request, attempt: int) -> Request:
    """The request for another try; the first, number 0, is the request itself."""
    if attempt == 0:
        return request
    sampling = request.sampling
    warm = sampling.temperature or RETRY_TEMPERATURE
    sampling = replace(sampling, temperature=warm, seed=sampling.seed + RETRY_SEED * attempt)
    return replace(request, sampling=sampling, tag=f"{request.tag}#{attempt}")


def failure(reply: Reply) -> str | None:
    """Why a reply has no text that its server stands by, as a short name; None where it has one."""
    if not reply.ok:
        return reply.error.partition(":")[0].strip() or reply.status
    return "content_filter" if reply.finish_reason == "content_filter" else None
