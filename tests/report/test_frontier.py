"""The Pareto front, by hand and against its definition."""

import random

from prefine.report.frontier import Offer, beaten_by, front


def test_front_by_hand():
    cheap, best = Offer("cheap", 1, 0.5), Offer("best", 4, 0.9)
    middle, worse, late = Offer("middle", 2, 0.7), Offer("worse", 2, 0.6), Offer("late", 5, 0.9)
    offers = [late, best, worse, cheap, middle]
    assert [o.name for o in front(offers)] == ["cheap", "middle", "best"]
    assert [o.name for o in beaten_by(worse, offers)] == ["middle"] and [o.name for o in beaten_by(late, offers)] == [
        "best"
    ]


def test_equal_offers_do_not_beat_each_other():
    twins = [Offer("a", 1, 0.5), Offer("b", 1, 0.5)]
    assert front(twins) == twins and front([]) == []


def test_everything_off_the_front_is_beaten_by_something_on_it():
    rng = random.Random(0)
    for _ in range(200):
        offers = [Offer(str(i), rng.randint(1, 6), rng.randint(1, 6)) for i in range(8)]
        best = front(offers)
        qualities = [o.quality for o in best]
        assert qualities == sorted(qualities) and [o.cost for o in best] == sorted(o.cost for o in best)
        for offer in offers:
            assert (offer in best) != any(b in best for b in beaten_by(offer, offers))
