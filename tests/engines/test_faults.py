"""What a bad response means: status, headers, and what the body says."""

import json
import random

import pytest

from prefine.engines.faults import BACKOFF_CAP, CONSECUTIVE, Breaker, Fault, backoff, classify, retry_after

GOOD = json.dumps({"choices": [{"message": {"content": "hi"}}]})
NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


def error(message="no", **more):
    return json.dumps({"error": {"message": message, **more}})


CASES = [
    (200, GOOD, None, None),
    (200, GOOD[:-5], "transient", "broken_reply"),
    (200, "", "transient", "broken_reply"),
    (200, "{}", "transient", "broken_reply"),
    (200, json.dumps({"choices": []}), "transient", "broken_reply"),
    (200, json.dumps([1, 2]), "transient", "broken_reply"),
    (200, error(type="server_error"), "transient", "error_in_reply"),
    (200, error("Rate limit reached"), "rate", "rate_limit"),
    (200, error(type="invalid_request_error"), "permanent", "error_in_reply"),
    (200, error(code="insufficient_quota"), "quota", "quota"),
    (200, error(code="invalid_api_key"), "auth", "auth"),
    (200, json.dumps({"error": "internal failure"}), "transient", "error_in_reply"),
    (429, error(type="rate_limit_error"), "rate", "rate_limit"),
    (429, "slow down", "rate", "rate_limit"),
    (429, error("You exceeded your current quota", type="insufficient_quota"), "quota", "quota"),
    (429, error("Limit reached; see your billing page to raise it"), "rate", "rate_limit"),
    (402, "{}", "quota", "quota"),
    (401, error("Incorrect API key"), "auth", "auth"),
    (403, "<html>no</html>", "auth", "auth"),
    (408, "", "transient", "http_408"),
    (409, "", "transient", "http_409"),
    (500, error(), "transient", "http_500"),
    (503, "<html><h1>Service Unavailable</h1></html>", "transient", "http_503"),
    (529, error("overloaded"), "transient", "http_529"),
    (400, error("bad field"), "permanent", "bad_request"),
    (422, json.dumps({"detail": [{"msg": "field required"}]}), "permanent", "bad_request"),
    (404, error("The model does not exist"), "permanent", "not_found"),
    (302, "", "permanent", "bad_request"),
    (400, error(code="context_length_exceeded"), "content", "context_length"),
    (400, error("This model's maximum context length is 4096 tokens"), "content", "context_length"),
    (400, error(code="content_filter"), "content", "content_filter"),
    (400, json.dumps({"object": "error", "message": "maximum context length is 64"}), "content", "context_length"),
]


@pytest.mark.parametrize(("status", "text", "kind", "reason"), CASES)
def test_kinds(status, text, kind, reason):
    fault = classify(status, {}, text, NOW)
    assert (fault and fault.kind) == kind and (fault and fault.reason) == reason


def test_a_fault_says_what_the_server_said_in_one_short_line():
    fault = classify(500, {}, "<html>\n" + "long " * 200, NOW)
    assert fault is not None
    assert fault.error.startswith("http_500: HTTP 500, <html> long long")
    assert len(fault.error) < 250 and "\n" not in fault.error


@pytest.mark.acceptance(name="limiter")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": " 0.5 "}, 0.5),
        ({"Retry-After-Ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 09:00:30 +0100"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after": "in a while"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_the_pause_that_a_server_asks_for_is_kept_for_refusals_and_breakdowns():
    for status in (429, 503):
        fault = classify(status, {"Retry-After": "12"}, "", NOW)
        assert fault is not None and fault.after == 12.0


def test_backoff_is_uniform_below_a_bound_that_doubles_up_to_a_minute():
    draw = random.Random(0)
    for attempt, bound in ((1, 2.0), (2, 4.0), (3, 8.0), (6, 60.0), (50, 60.0)):
        pauses = [backoff(attempt, 2.0, draw) for _ in range(4000)]
        assert 0 <= min(pauses) < 0.05 * bound and 0.95 * bound < max(pauses) <= bound
        assert sum(pauses) / len(pauses) == pytest.approx(bound / 2, rel=0.05)
    assert BACKOFF_CAP == 60.0


def test_the_breaker_opens_at_the_21st_failure_in_a_row():
    breaker, fault = Breaker(), Fault("permanent", "bad_request")
    assert CONSECUTIVE == 20
    assert not any(breaker.failure(i, fault) for i in range(20))
    breaker.success()
    assert not any(breaker.failure(i, fault) for i in range(20))
    assert breaker.failure(20, fault)
    assert [i for i, _ in breaker.failed] == list(range(21))
