"""The OpenAI engine against a server on 127.0.0.1 that misbehaves."""

import json
import logging
import math
from dataclasses import replace

import pytest

from prefine import registry
from prefine.engines.base import Request, Sampling
from prefine.engines.chat_format import chat_body, read_chat, sent_seed
from prefine.engines.openai import OpenAIEngine
from prefine.engines.openai_batch import MOST_CHOICES, together
from prefine.engines.session import Session
from prefine.errors import Interrupted, PrefineError
from prefine.ledger import Ledger
from tests.engines.asking import engine, requests
from tests.engines.fault_server import KINDS, TRIED_AGAIN, FaultServer, logp_of


@pytest.fixture
def opened(tmp_path):
    """Opens sessions with one ledger each, by the name of its file."""
    sessions = []

    def make(openai, name="ledger.sqlite", **more):
        sessions.append(Session(openai, Ledger(tmp_path / name), max_tries=openai.max_tries, **more))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


def table(session, asked):
    return [(r.text, r.status, r.finish_reason, r.completion_tokens, r.model) for r in session.ask(asked)]


@pytest.mark.acceptance(name="limiter")
def test_a_server_that_misbehaves_gives_the_same_replies_in_the_end(opened):
    asked = requests(2000)
    with FaultServer() as good:
        expected = table(opened(engine(good, max_concurrency=64), "good"), asked)
        assert sum(good.calls.values()) == 2000
    with FaultServer(seed=1, rate=0.2, most_faults=2) as bad:
        session = opened(engine(bad, max_concurrency=64, timeout=1.5, max_tries=10), "bad")
        assert table(session, asked) == expected
    assert {text for text, *_ in expected} == {text for text, *_ in expected if text.startswith("reply to question")}
    assert set(bad.faults) == set(KINDS) and len({text for text, *_ in expected}) == 2000
    facts = session.facts()
    assert facts["requests"] == facts["answered"] == 2000 and not facts["failed"]
    # Every fault but a refusal for the rate is a try more; a slow machine may add timeouts of its own.
    assert facts["calls"] >= 2000 + sum(bad.faults[k] for k in TRIED_AGAIN)


@pytest.mark.acceptance(name="limiter")
def test_one_kind_of_fault_at_a_time_costs_the_expected_number_of_tries(opened):
    for kind in sorted({*KINDS} - {"hang"}):
        with FaultServer(rate=1.0, kinds=(kind,), most_faults=2) as server:
            session = opened(engine(server), kind)
            assert all(r.ok for r in session.ask(requests(10))), kind
            assert sum(server.calls.values()) == 30
            assert session.facts()["calls"] == (30 if kind in TRIED_AGAIN else 10), kind


def test_a_server_that_hangs_is_left_after_the_timeout(opened):
    with FaultServer(rate=1.0, kinds=("hang",), most_faults=1) as server:
        session = opened(engine(server, timeout=0.3, min_tokens_per_second=1000))
        assert session.ask(requests(3))[0].ok and session.facts()["calls"] == 6
        given_up = opened(engine(server, timeout=0.3, min_tokens_per_second=1000, max_tries=1), "other")
        (reply,) = given_up.ask(requests(1, max_tokens=9))
    assert (reply.status, reply.error) == ("failed_retryable", "timeout: no reply within 0.3 s")


def test_a_reply_is_read_whole(opened):
    with FaultServer() as server:
        session = opened(engine(server))
        (reply,) = session.ask([Request(({"role": "user", "content": "hello"},), Sampling(top_logprobs=3))])
    assert reply.text.startswith("reply to hello") and reply.finish_reason == "stop" and reply.model == "toy"
    assert (reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens) == (5, 2, 5)
    # "A" is there twice, with probabilities 1/2 and 1/8.
    assert reply.first_token == pytest.approx({"A": math.log(0.625), "B": math.log(0.25)})
    assert reply.logps == pytest.approx([math.log(0.5)])


def test_only_what_was_asked_for_is_sent():
    plain = Request(({"role": "user", "content": "hi"},), Sampling(max_tokens=7, seed=3))
    assert chat_body(plain, "m", "max_tokens", {}) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 7,
        "temperature": 0.0,
        "seed": 3,
    }
    full = Request(plain.messages, Sampling(0.7, 0.9, 5, 8, ("\n", "END"), 1, 2))
    body = chat_body(full, "m", "max_completion_tokens", {"seed": None, "reasoning_effort": "low"})
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 8,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "stop": ["\n", "END"],
        "logprobs": True,
        "top_logprobs": 2,
        "reasoning_effort": "low",
    }


def test_samples_of_one_prompt_get_seeds_of_their_own():
    message = ({"role": "user", "content": "hi"},)
    seeds = [sent_seed(Request(message, Sampling(seed=7), tag=f"group:{i}")) for i in range(100)]
    assert len(set(seeds)) == 100 and all(0 <= s < 2**31 for s in seeds)
    assert seeds == [sent_seed(Request(message, Sampling(seed=7), tag=f"group:{i}")) for i in range(100)]
    assert sent_seed(Request(message, Sampling(seed=8), tag="group:0")) != seeds[0]
    assert sent_seed(Request(message, Sampling(seed=7))) == 7


@pytest.mark.parametrize(
    ("message", "finish", "accepted", "expected"),
    [
        ({"content": None}, "stop", False, ("", "ok")),
        ({"content": "part"}, "content_filter", True, ("part", "failed_permanent")),
        ({"content": None, "refusal": "I will not"}, "stop", False, ("", "failed_permanent")),
        ({"content": None, "refusal": "I will not"}, "stop", True, ("I will not", "ok")),
        ({"content": "text", "refusal": None}, "length", False, ("text", "ok")),
    ],
)
def test_what_was_held_back_or_refused_is_a_failure(message, finish, accepted, expected):
    reply = read_chat(json.dumps({"choices": [{"message": message, "finish_reason": finish}]}), accepted)
    assert (reply.text, reply.status) == expected
    assert reply.error.startswith("content_filter") == (not reply.ok)


def test_refusals_that_were_stored_can_be_accepted_later_without_a_call(opened):
    def refuse(body):
        message = {"role": "assistant", "content": None, "refusal": "I will not"}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 4}}

    with FaultServer(answer=refuse) as server:
        first = opened(engine(server))
        (reply,) = first.ask(requests(1))
        assert reply.error == "content_filter: refused: I will not" and first.facts()["prompt_tokens"] == 4
        first.close()
        (reply,) = opened(engine(server, accept_refusals=True)).ask(requests(1))
        assert (reply.text, reply.ok) == ("I will not", True) and sum(server.calls.values()) == 1


def test_a_bad_request_fails_alone(opened):
    def answer(body):
        if body["messages"][0]["content"] == "question 3":
            return 400, json.dumps({"error": {"message": "maximum context length is 10 tokens"}})
        return None

    with FaultServer(answer=answer) as server:
        session = opened(engine(server))
        replies = session.ask(requests(10))
    assert [r.ok for r in replies] == [i != 3 for i in range(10)]
    assert replies[3].status == "failed_permanent" and session.facts()["failed"] == {"context_length": 1}


def test_a_server_without_log_probs_is_named_after_one_call(opened):
    with FaultServer() as server:
        server.logprobs = False
        with pytest.raises(PrefineError, match=r"toy does not give log-probs of the first token"):
            opened(engine(server)).ask(requests(50, top_logprobs=5))
        assert sum(server.calls.values()) == 1
    message = {"error": {"type": "invalid_request_error", "message": "logprobs are not supported"}}
    with FaultServer(answer=lambda body: (400, json.dumps(message))) as server:
        with pytest.raises(PrefineError, match="logprobs are not supported"):
            opened(engine(server), "other").ask(requests(50, top_logprobs=5))
        assert sum(server.calls.values()) == 1


@pytest.mark.parametrize("mode", ["echo", "prompt_logprobs"])
def test_log_probs_of_a_given_response(opened, tiny_model_dir, tokenizer, mode):
    from prefine.data.chat import encode

    asked = [
        Request(({"role": "user", "content": f"Say {word}"},), Sampling(), response=f"I say {word}")
        for word in ("one", "two", "three", "four")
    ]
    with FaultServer() as server:
        server.echo, server.prompt_logprobs = mode == "echo", mode == "prompt_logprobs"
        session = opened(engine(server, tokenizer=str(tiny_model_dir)))
        replies = session.ask(asked)
    for request, reply in zip(asked, replies, strict=True):
        item = encode(tokenizer, list(request.messages), [[{"role": "assistant", "content": request.response}]])
        ids = item.prompt_ids + item.responses[0]
        places = [len(item.prompt_ids) + k for k, counts in enumerate(item.masks[0]) if counts]
        assert reply.text == request.response and len(places) > len(request.response)
        assert reply.logps == pytest.approx([logp_of(ids, p) for p in places])
    assert sum(server.calls.values()) == 4 + (mode != "echo"), "one call to find the mode"


def test_a_server_that_cannot_score_is_named(opened, tiny_model_dir):
    scored = [Request(({"role": "user", "content": "hi"},), response="yes")]
    with FaultServer() as server:
        server.echo = server.prompt_logprobs = False
        with pytest.raises(PrefineError, match=r"log-probs of a given response.*echo is not supported"):
            opened(engine(server, tokenizer=str(tiny_model_dir))).ask(scored)
        with pytest.raises(PrefineError, match="need the setting 'tokenizer'"):
            opened(engine(server), "other").ask(scored)


def test_a_conversation_that_ends_with_the_assistant_is_not_sent(opened):
    with FaultServer() as server:
        (reply,) = opened(engine(server)).ask([Request(({"role": "assistant", "content": "hi"},))])
        assert reply.error.startswith("unsupported") and not server.calls


def test_no_server_is_found_before_many_calls_are_made_in_vain(opened):
    with FaultServer() as server:
        url = server.url
    with pytest.raises(PrefineError, match=r"no server answers at http://127\.0\.0\.1:"):
        opened(engine(url)).ask(requests(100))


def test_neither_preparing_nor_estimating_nor_the_ledger_needs_a_server(opened):
    with FaultServer() as server:
        session = opened(engine(server))
        session.estimate(requests(100))
        assert not server.calls and not server.gets
        expected = [r.text for r in session.ask(requests(5))]
        session.close()
    offline = opened(engine(server, api_key_env="NOT_SET"))
    assert [r.text for r in offline.ask(requests(5))] == expected
    with pytest.raises(PrefineError, match="the environment variable NOT_SET is not set"):
        offline.ask(requests(6))


SECRET = "sk-secret-5b1f93"


def test_the_key_is_sent_and_appears_nowhere(opened, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TOY_KEY", SECRET)
    caplog.set_level(logging.DEBUG)

    def repeat(body):
        good = {"choices": [{"message": {"content": f"your key is {SECRET}"}, "finish_reason": "stop"}]}
        bad = 400, json.dumps({"error": {"message": f"no such thing, {SECRET}"}})
        return bad if body["messages"][0]["content"].endswith("1") else good

    with FaultServer(key=SECRET, answer=repeat) as server:
        session = opened(engine(server, api_key_env="TOY_KEY"))
        replies = session.ask(requests(3))
        facts = json.dumps(session.facts())
        session.close()
    assert replies[0].text == "your key is [key]" and replies[1].error.endswith("no such thing, [key]")
    stored = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"SQLite" in stored and SECRET.encode() not in stored
    ledger = Ledger(tmp_path / "ledger.sqlite")
    everything = "".join(json.dumps(r.request) + r.result.raw + r.result.error for r in ledger.rows())
    ledger.close()
    assert "[key]" in everything and SECRET not in everything + facts + caplog.text + repr(session.engine.__dict__)


def test_a_wrong_key_stops_before_any_call(opened, monkeypatch):
    monkeypatch.setenv("TOY_KEY", "wrong-key-7d")
    with FaultServer(key=SECRET) as server:
        with pytest.raises(PrefineError, match=r"HTTP 401: it does not accept the key") as error:
            opened(engine(server, api_key_env="TOY_KEY")).ask(requests(100))
        with pytest.raises(PrefineError, match="needs a key: set api_key_env"):
            opened(engine(server), "other").ask(requests(100))
        assert not server.calls and "wrong-key-7d" not in str(error.value)


@pytest.fixture
def prices(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("toy: {input: 1.0, cached_input: 0.5, output: 4.0}\n")
    return str(path)


@pytest.mark.acceptance(name="cost")
def test_dollars_are_counted_and_stopped_before_they_are_exceeded(opened, prices):
    # Prompts have 10 tokens ("question n", n < 10), 2 of them cached, replies 5: 8 + 1 + 20 = 29 millionths a call.
    asked = requests(10)
    with FaultServer() as server:
        session = opened(engine(server, prices=prices, max_concurrency=1))
        session.ask(asked)
        assert session.facts()["cost_usd"] == pytest.approx(290e-6)
        # A call can cost 106 + 8 * 4 = 138 millionths at most: it is made while 138 are left of 310, so after 0, 1,
        # ... 5 calls (145 spent), and not after 6 (174 spent).
        limited = opened(engine(server, prices=prices, budget_usd=310e-6, max_concurrency=4), "limited")
        before = sum(server.calls.values())
        with pytest.raises(Interrupted, match=r"budget is used up: \$0\.0002 of \$0\.00031"):
            limited.ask(asked)
        assert sum(server.calls.values()) - before == 6
        assert limited.budget.spent_usd == pytest.approx(174e-6)
        limited.close()
        again = opened(engine(server, prices=prices, budget_usd=310e-6), "limited")
        with pytest.raises(Interrupted):
            again.ask(asked)
        assert sum(server.calls.values()) - before == 6, "what earlier runs spent counts"
        again.close()
        more = opened(engine(server, prices=prices, budget_usd=1.0), "limited")
        assert all(r.ok for r in more.ask(asked)) and sum(server.calls.values()) - before == 10


def test_tokens_have_a_budget_without_prices(opened):
    with FaultServer() as server:
        session = opened(engine(server, budget_tokens=200))
        with pytest.raises(Interrupted):
            session.ask(requests(10))
    # 106 + 8 may be needed, 15 are used: after 5 calls 75 are spent and 125 are left; after 6, 110.
    assert sum(server.calls.values()) == 6 and session.budget.spent_tokens == 90


def test_two_servers_share_the_work(opened):
    with FaultServer(latency=0.01) as a, FaultServer(latency=0.01) as b:
        session = opened(engine([a.url, b.url], max_concurrency=4))
        assert len({r.text for r in session.ask(requests(100))}) == 100
        assert sum(a.calls.values()) + sum(b.calls.values()) == 100
        assert min(sum(a.calls.values()), sum(b.calls.values())) > 25 and max(a.most_at_once, b.most_at_once) <= 4
    with FaultServer() as gone:
        pass
    with FaultServer() as there:
        session = opened(engine([gone.url, there.url]), "one is down")
        assert all(r.ok for r in session.ask(requests(50)))


def test_keys_do_not_depend_on_where_or_how_fast(opened):
    asked = requests(3)
    first = OpenAIEngine("toy", "http://127.0.0.1:1/v1")
    same = OpenAIEngine(
        "toy", ["http://127.0.0.1:2/v1/"], "KEY", max_concurrency=3, timeout=1.0, max_tries=2, budget_tokens=5
    )
    assert [r.key(first.identity()) for r in asked] == [r.key(same.identity()) for r in asked]
    changes = ({"model": "other"}, {"revision": "2"}, {"extra_body": {"top_p": 0.5}}, {"tokenizer": "t"})
    others = [OpenAIEngine(**{"model": "toy", "base_url": "http://h", **change}).identity() for change in changes]
    assert len({asked[0].key(i) for i in [first.identity(), *others]}) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "127.0.0.1:8000"}, "must begin with http"),
        ({"base_url": ["http://a", "b"]}, "must begin with http"),
        ({"base_url": []}, "an address or a list"),
        ({"base_url": "https://user:word@host/v1"}, "no user or password"),
        ({"max_concurrency": 0}, "1 or more, not 0"),
        ({"timeout": 0.0}, "above 0"),
        ({"budget_usd": 1.0}, "budget_usd needs prices"),
        ({"tokens_per_minute": -1.0}, "above 0"),
        ({"max_tokens_field": "tokens"}, "must be one of"),
        ({"max_concurency": 3}, "did you mean 'max_concurrency'"),
    ],
)
def test_a_wrong_setting_is_found_when_the_recipe_is_read(settings, message):
    block = {"name": "openai", "model": "m", "base_url": "http://127.0.0.1:8000/v1", **settings}
    with pytest.raises(PrefineError, match=message):
        registry.engines.check(block)


def test_the_block_of_a_recipe_makes_the_engine(prices):
    block = {"name": "openai", "model": "toy", "base_url": "http://127.0.0.1:8000/v1/", "prices": prices}
    made = registry.engines.build({**block, "budget_usd": 2.0, "requests_per_minute": 60.0})
    assert made.endpoints[0].url == "http://127.0.0.1:8000/v1" and made.budget.usd == 2.0
    assert made.endpoints[0].requests.per_minute == 60.0


def test_inside_a_running_event_loop_it_says_what_to_do(opened):
    import asyncio

    async def main():
        with pytest.raises(PrefineError, match=r"asyncio\.to_thread"):
            opened(engine("http://127.0.0.1:9/v1")).ask(requests(1))

    asyncio.run(main())


def samples(n, prompt="hello", **more):
    """`n` samples of one prompt, as generators ask for them."""
    sampling = Sampling(temperature=1.0, max_tokens=8, **more)
    return [
        Request(({"role": "user", "content": prompt},), replace(sampling, seed=i), "answer", f"{prompt}:{i}")
        for i in range(n)
    ]


def several(most=99):
    """Answers a call for n samples with as many choices, last one first; of more than `most` the others are missing."""

    def answer(body):
        text = body["messages"][0]["content"]
        choices = [
            {"index": k, "message": {"content": f"{text} {k}"}, "finish_reason": "stop"}
            for k in range(body.get("n", 1))
        ]
        used = {
            "prompt_tokens": 40,
            "completion_tokens": 3 * len(choices),
            "prompt_tokens_details": {"cached_tokens": 6},
        }
        return {"model": "toy", "choices": choices[:most][::-1], "usage": used}

    return answer


@pytest.mark.acceptance(name="cost")
def test_samples_of_a_prompt_in_one_call_have_its_prompt_counted_once(opened, prices):
    asked = [*samples(4), *samples(4, "other"), Request(({"role": "user", "content": "greedy"},), Sampling())]
    with FaultServer(answer=several()) as server:
        session = opened(engine(server, native_n=True, prices=prices))
        replies = session.ask(asked)
        assert sum(server.calls.values()) == 3
        assert [r.text for r in replies] == [
            *(f"hello {k}" for k in range(4)),
            *(f"other {k}" for k in range(4)),
            "greedy 0",
        ]
        assert [r.prompt_tokens for r in replies] == [40, 0, 0, 0, 40, 0, 0, 0, 40]
        assert [r.completion_tokens for r in replies] == [0] * 8 + [3], "each one's length is not told"
        facts = session.facts()
        assert (facts["calls"], facts["answered"]) == (3, 9)
        assert (facts["prompt_tokens"], facts["cached_tokens"], facts["completion_tokens"]) == (120, 18, 12 + 12 + 3)
        assert facts["cost_usd"] == pytest.approx((3 * (34 * 1.0 + 6 * 0.5) + 27 * 4.0) * 1e-6)
        assert [r.text for r in opened(engine(server)).ask(asked)] == [r.text for r in replies]
        # The same requests, whether asked together or one by one.
        assert sum(server.calls.values()) == 3
        alone = opened(engine(server), "alone")
        alone.ask(asked)
        assert sum(server.calls.values()) == 12 and alone.facts()["prompt_tokens"] == 9 * 40


def test_a_choice_that_is_missing_is_asked_for_again(opened):
    with FaultServer(answer=several(most=3)) as server:
        session = opened(engine(server, native_n=True, max_tries=3))
        replies = session.ask(samples(4))
    assert [r.text for r in replies] == ["hello 0", "hello 1", "hello 2", "hello 0"]
    assert sum(server.calls.values()) == 2 and session.facts()["calls"] == 2


def test_a_failure_of_a_call_is_one_of_each_of_its_samples(opened):
    refused = (400, {"error": {"code": "context_length_exceeded", "message": "too long"}})
    with FaultServer(answer=lambda body: refused) as server:
        session = opened(engine(server, native_n=True))
        replies = session.ask(samples(3))
    assert {(r.status, r.error.partition(":")[0]) for r in replies} == {("failed_permanent", "context_length")}
    assert session.facts()["calls"] == 1 and session.facts()["failed"] == {"context_length": 3}


def test_which_requests_go_together():
    asked = [*samples(3), *samples(1, top_p=0.5), *samples(2, "b"), Request(({"role": "user", "content": "b"},))]
    assert together(range(7), asked) == {0: [0, 1, 2], 3: [3], 4: [4, 5], 6: [6]}
    assert [len(m) for m in together(range(300), samples(300)).values()] == [MOST_CHOICES, MOST_CHOICES, 44]
