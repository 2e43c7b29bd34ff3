"""The engine in this process against what models and samplers say directly."""

import json
import math

import pytest
import torch

from prefine.data.chat import encode, prompt_ids
from prefine.engines.base import Request, Sampling
from prefine.engines.hf import HFEngine
from prefine.models.held import _held
from prefine.models.load import load_model, load_tokenizer
from prefine.recipe import Data, Model, Recipe
from prefine.tiny_world import prompts

RECIPE = Recipe(name="r", model=Model(path="tiny-student"), data=Data(path="x.jsonl"))


@pytest.fixture(scope="module")
def engine():
    made = HFEngine("tiny-teacher")
    made.prepare(RECIPE)
    yield made
    made.close()


@pytest.fixture(scope="module")
def asked():
    return [({"role": "user", "content": row["prompt"]},) for row in prompts("pref", 6)]


@pytest.fixture(scope="module")
def teacher():
    spec = Model(path="tiny-teacher")
    return load_model(spec), load_tokenizer(spec)


def replies(engine, requests):
    found = {}
    engine.send(requests, lambda i, outcome: found.__setitem__(i, outcome))
    assert sorted(found) == list(range(len(requests)))
    return [engine.read(r, found[i].raw) if found[i].status == "ok" else found[i] for i, r in enumerate(requests)]


@torch.no_grad()
def test_greedy_text_is_that_of_the_model(engine, asked, teacher):
    model, tokenizer = teacher
    for messages, reply in zip(
        asked, replies(engine, [Request(m, Sampling(max_tokens=40)) for m in asked]), strict=True
    ):
        ids = torch.tensor([prompt_ids(tokenizer, list(messages))])
        new = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40)[
            0, ids.shape[1] :
        ]
        assert reply.text == tokenizer.decode(new, skip_special_tokens=True).strip()
        assert (reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == ("stop", ids.shape[1], len(new))
        logp = model(torch.cat([ids[0], new])[None]).logits.log_softmax(-1)[0, ids.shape[1] - 1 : -1]
        assert reply.logps == pytest.approx(logp.gather(1, new[:, None])[:, 0].tolist(), abs=1e-4)


@torch.no_grad()
def test_the_first_token_s_alternatives(engine, asked, teacher):
    model, tokenizer = teacher
    one = Sampling(max_tokens=1, top_logprobs=5)
    more = Sampling(max_tokens=20, top_logprobs=5)
    for sampling in (one, more):
        for messages, reply in zip(asked, replies(engine, [Request(m, sampling) for m in asked]), strict=True):
            logits = model(torch.tensor([prompt_ids(tokenizer, list(messages))])).logits[0, -1]
            values, tokens = logits.log_softmax(-1).topk(5)
            want = dict(zip((tokenizer.decode([t]) for t in tokens.tolist()), values.tolist(), strict=True))
            assert reply.first_token == pytest.approx(want, abs=1e-4)


@torch.no_grad()
def test_log_probs_of_given_responses(engine, asked, teacher):
    model, tokenizer = teacher
    for messages, response in zip(asked, ["of course.", "no", "the red frog", "goodbye", "in short", "a"], strict=True):
        (reply,) = replies(engine, [Request(messages, response=response)])
        item = encode(tokenizer, list(messages), [[{"role": "assistant", "content": response}]])
        ids = torch.tensor(item.prompt_ids + item.responses[0])
        logp = model(ids[None]).logits.log_softmax(-1)[0, len(item.prompt_ids) - 1 : -1]
        assert reply.logps == pytest.approx(logp.gather(1, ids[len(item.prompt_ids) :, None])[:, 0].tolist(), abs=1e-4)


def test_samples_depend_on_the_request_alone(engine, asked):
    requests = [
        Request(m, Sampling(temperature=3.0, max_tokens=20, seed=seed), tag=tag)
        for m in asked
        for seed, tag in ((0, ""), (1, ""), (0, "other"))
    ]
    whole = [r.text for r in replies(engine, requests)]
    assert [r.text for r in replies(engine, requests[::-1])][::-1] == whole
    assert [replies(engine, [r])[0].text for r in requests[:6]] == whole[:6]
    assert len(set(whole)) > len(asked)
    small = HFEngine("tiny-teacher", batch_tokens=64)
    assert [r.text for r in replies(small, requests)] == whole


def test_stop_texts_cut_the_reply(engine, asked):
    (whole,) = replies(engine, [Request(asked[0], Sampling(max_tokens=40))])
    stop = whole.text[3:6]
    (cut,) = replies(engine, [Request(asked[0], Sampling(max_tokens=40, stop=("zzz", stop)))])
    assert cut.text == whole.text[: whole.text.find(stop)].strip() and cut.finish_reason == "stop"
    (short,) = replies(engine, [Request(asked[0], Sampling(max_tokens=3))])
    assert (short.finish_reason, short.completion_tokens) == ("length", 3)


def test_what_cannot_be_asked_fails_alone(engine, asked):
    long = ({"role": "user", "content": "word " * 5000},)
    first, bad, last = replies(engine, [Request(asked[0]), Request(long), Request(asked[1], Sampling(max_tokens=5))])
    assert first.ok and last.ok
    assert bad.status == "failed_permanent" and bad.error.startswith("context_length: ")


def test_the_user_s_turn_is_written_after_the_user_s_header(engine, teacher):
    _, tokenizer = teacher
    from prefine.data.chat import user_turn_ids

    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    open_turn = user_turn_ids(tokenizer, turns)
    whole = prompt_ids(tokenizer, [*turns, {"role": "user", "content": "well then"}])
    assert whole[: len(open_turn)] == open_turn
    assert tokenizer.decode(whole[len(open_turn) :]).startswith("well then")
    (reply,) = replies(engine, [Request(tuple(turns), Sampling(temperature=1.0, max_tokens=8))])
    assert reply.prompt_tokens == len(open_turn)


def test_the_model_is_loaded_at_the_first_request_and_let_go():
    made = HFEngine({"path": "tiny-student", "dtype": "float32"})
    facts = made.prepare(RECIPE)
    assert made.identity()["model"] == facts["digest"]
    held = len(_held)
    assert replies(made, [Request(({"role": "user", "content": "hi"},), Sampling(max_tokens=2))])[0].ok
    assert len(_held) == held + 1
    made.close()
    assert len(_held) == held


def test_stored_replies_are_finite_json(engine, asked):
    found = []
    engine.send([Request(asked[0], Sampling(max_tokens=3, top_logprobs=3))], lambda i, o: found.append(o))
    stored = json.loads(found[0].raw)
    assert stored["completion_tokens"] == found[0].completion_tokens == 3
    assert math.fsum(math.exp(v) for v in stored["first_token"].values()) <= 1 + 1e-6
