"""Rates, concurrency and routing, at times that the tests make up."""

import bisect
import random

import pytest

from prefine.engines.limits import REST, UNHEALTHY_AFTER, Bucket, Concurrency, Endpoint, choose


def endpoint(url="a", most=4, requests=None, tokens=None):
    return Endpoint(url, Concurrency(most), Bucket(requests), Bucket(tokens))


def test_a_bucket_gives_a_tenth_at_once_and_the_rest_evenly():
    # 600 a minute: 60 at once, then 0.9 * 600 / 60 = 9 a second.
    bucket = Bucket(600)
    assert bucket.wait(60, 0.0) == 0.0
    bucket.take(60, 0.0)
    assert bucket.wait(1, 0.0) == pytest.approx(1 / 9)
    assert bucket.wait(18, 1.0) == pytest.approx(1.0)
    assert bucket.wait(9, 1.0) == 0.0


def test_what_is_larger_than_the_bucket_waits_for_a_full_one_and_leaves_a_debt():
    bucket = Bucket(600)
    assert bucket.wait(150, 0.0) == 0.0
    bucket.take(150, 0.0)
    # 90 missing up to nothing, 1 more wanted: 91 / 9 seconds.
    assert bucket.wait(1, 0.0) == pytest.approx(91 / 9)


def test_given_back_tokens_can_be_taken_and_used_ones_beyond_the_guess_are_owed():
    bucket = Bucket(600)
    bucket.take(60, 0.0)
    bucket.give(20)
    assert bucket.wait(20, 0.0) == 0.0
    bucket.give(-30)
    assert bucket.wait(1, 0.0) == pytest.approx(11 / 9)
    bucket.give(1000)
    assert bucket.level == bucket.size


@pytest.mark.parametrize("per_minute", [7, 60, 1000])
def test_no_minute_has_more_than_its_allowance(per_minute):
    draw, now, taken = random.Random(per_minute), 0.0, []
    bucket = Bucket(per_minute)
    while now < 400:
        wait = bucket.wait(1, now)
        if wait == 0.0:
            bucket.take(1, now)
            taken.append(now)
        else:
            now += wait + (draw.random() * 5 if draw.random() < 0.1 else 0)
    windows = [bisect.bisect_left(taken, start + 60) - i for i, start in enumerate(taken)]
    assert max(windows) <= per_minute
    assert len(taken) > 0.5 * 400 * per_minute / 60


def test_no_rate_means_no_wait():
    bucket = Bucket(None)
    bucket.take(1e9, 0.0)
    assert bucket.wait(1e9, 0.0) == 0.0


def test_concurrency_falls_to_three_quarters_and_grows_by_one_in_25_successes():
    concurrency = Concurrency(32)
    concurrency.refused(sent=1.0, now=2.0)
    assert concurrency.limit == 24
    for _ in range(24):
        concurrency.succeeded()
    assert concurrency.limit == 24
    concurrency.succeeded()
    assert concurrency.limit == 25
    for _ in range(25 * 20):
        concurrency.succeeded()
    assert concurrency.limit == 32


def test_refusals_of_calls_made_before_the_decrease_count_once():
    concurrency = Concurrency(32)
    for _ in range(32):
        concurrency.refused(sent=1.0, now=2.0)
    assert concurrency.limit == 24
    concurrency.refused(sent=2.0, now=3.0)
    assert concurrency.limit == 18
    for t in range(3, 60):
        concurrency.refused(sent=t, now=t + 1)
    assert concurrency.limit == 1


def test_a_refusal_starts_the_count_of_successes_anew():
    concurrency = Concurrency(8)
    concurrency.refused(0.0, 1.0)
    for _ in range(20):
        concurrency.succeeded()
    concurrency.refused(0.5, 1.5)
    for _ in range(24):
        concurrency.succeeded()
    assert concurrency.limit == 6


def test_the_least_used_server_is_next():
    a, b = endpoint("a"), endpoint("b")
    picked = []
    for _ in range(6):
        found, _ = choose([a, b], 1, 0.0)
        assert found is not None
        found.start(1, 0.0)
        picked.append(found.url)
    assert picked == ["a", "b", "a", "b", "a", "b"]


def test_how_long_to_wait_is_the_shortest_and_none_where_a_reply_decides():
    a, b = endpoint("a", most=1), endpoint("b", most=1)
    a.start(1, 0.0)
    b.pause(3.0, 0.0)
    assert choose([a, b], 1, 0.0) == (None, 3.0)
    assert choose([a, b], 1, 3.0)[0] is b
    b.start(1, 3.0)
    assert choose([a, b], 1, 3.0) == (None, None)


def test_a_broken_server_is_avoided_until_it_rested_unless_it_is_the_only_one():
    a, b = endpoint("a"), endpoint("b")
    for _ in range(UNHEALTHY_AFTER - 1):
        a.failed(10.0)
    assert choose([a, b], 1, 10.0)[0] is a
    a.failed(10.0)
    assert choose([a, b], 1, 10.0)[0] is b
    assert choose([a], 1, 10.0)[0] is a
    assert choose([a, b], 1, 10.0 + REST)[0] is a
    a.failed(30.0)
    a.answered()
    assert choose([a, b], 1, 30.0)[0] is a


def test_tokens_of_a_call_are_held_back_until_the_rate_allows_them():
    server = endpoint(tokens=6000)  # 600 at once, then 90 a second
    server.start(600, 0.0)
    found, wait = choose([server], 90, 0.0)
    assert found is None and wait == pytest.approx(1.0)
