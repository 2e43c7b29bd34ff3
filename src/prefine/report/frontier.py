"""Which methods are worth their cost: the Pareto front of quality against time or memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Offer:
    """A method with its cost (less is better) and quality (more is better)."""

    name: str
    cost: float
    quality: float


def front(offers: Sequence[Offer]) -> list[Offer]:
    """Those that no other one beats at the same or a lower cost, the cheapest first; equal offers stand together."""
    return sorted((o for o in offers if not beaten_by(o, offers)), key=lambda o: (o.cost, -o.quality))


def beaten_by(offer: Offer, offers: Sequence[Offer]) -> list[Offer]:
    """The offers that are at least as good and as cheap, and better in one of the two."""
    return [
        o
        for o in offers
        if o.cost <= offer.cost and o.quality >= offer.quality and (o.cost, o.quality) != (offer.cost, offer.quality)
    ]
