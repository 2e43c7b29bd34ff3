"""What is asked of vLLM and what is read of its answers, with a stand-in for the package: it needs a GPU to run."""

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest

from prefine.data.chat import encode, prompt_ids, user_turn_ids
from prefine.engines.base import Request, Sampling
from prefine.errors import PrefineError
from prefine.models.load import load_tokenizer
from prefine.recipe import Data, Model, Recipe
from prefine.registry import engines

RECIPE = Recipe(name="r", model=Model(path="tiny-student"), data=Data(path="x.jsonl"))
HELLO = ({"role": "user", "content": "say hello"},)


class LLM:
    made: ClassVar[list] = []
    context = 64

    def __init__(self, **arguments):
        LLM.made.append(arguments)
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=self.context))
        self.asked = []

    def generate(self, prompts, params, use_tqdm):
        self.asked += list(zip(prompts, params, strict=True))
        LLM.last = self
        return [self.answer(p["prompt_token_ids"], s.given) for p, s in zip(prompts, params, strict=True)]

    @staticmethod
    def answer(ids, given):
        def entry(token, logprob, text=""):
            return {token: SimpleNamespace(logprob=logprob, decoded_token=text)}

        first = {**entry(7, -0.5, "A"), **entry(9, -1.5, " B"), **entry(11, -2.5, "A")}
        done = SimpleNamespace(
            text=" A fine day ", finish_reason="stop", token_ids=[7, 8], logprobs=[first, entry(8, -0.25)]
        )
        table = (
            [None, *(entry(token, -0.1 * i) for i, token in enumerate(ids) if i)]
            if "prompt_logprobs" in given
            else None
        )
        return SimpleNamespace(prompt_token_ids=ids, prompt_logprobs=table, outputs=[done])


@pytest.fixture
def engine(monkeypatch):
    package = ModuleType("vllm")
    package.LLM = LLM
    package.SamplingParams = lambda **given: SimpleNamespace(given=given)
    monkeypatch.setitem(sys.modules, "vllm", package)
    LLM.made.clear()
    made = engines.build({"name": "vllm", "model": "tiny-student", "max_model_len": 64, "arguments": {"seed": 3}})
    made.prepare(RECIPE)
    return made


def ask(engine, *requests):
    found = {}
    engine.send(requests, found.__setitem__)
    return [engine.read(r, found[i].raw) if found[i].status == "ok" else found[i] for i, r in enumerate(requests)]


def test_prompts_go_as_the_token_ids_of_training(engine):
    tokenizer = load_tokenizer(Model(path="tiny-student"))
    asked = Request(HELLO, Sampling(0.7, 0.9, 20, 12, ("\n",), seed=5, top_logprobs=3))
    scored = Request(HELLO, response="hi there")
    turn = Request((), Sampling(max_tokens=4))
    reply, score, _ = ask(engine, asked, scored, turn)
    (ids, params), (pair, scoring), (user, greedy) = [(p["prompt_token_ids"], s.given) for p, s in LLM.last.asked]
    assert ids == prompt_ids(tokenizer, list(HELLO)) and user == user_turn_ids(tokenizer, [])
    key = asked.key(engine.identity())
    assert params == {
        "temperature": 0.7, "top_p": 0.9, "top_k": 20, "max_tokens": 12, "stop": ["\n"], "seed": int(key[:8], 16),
        "logprobs": 3,
    }  # fmt: skip
    assert greedy["seed"] is None and greedy["top_k"] == -1 and greedy["temperature"] == 0
    assert (reply.text, reply.finish_reason, reply.logps) == ("A fine day", "stop", [-0.5, -0.25])
    assert (reply.prompt_tokens, reply.completion_tokens) == (len(ids), 2)
    # exp(-0.5) + exp(-2.5) = 0.68862, whose logarithm is -0.373071
    assert reply.first_token == pytest.approx({"A": -0.373071, " B": -1.5}, abs=1e-5)
    item = encode(tokenizer, list(HELLO), [[{"role": "assistant", "content": "hi there"}]])
    assert pair == item.prompt_ids + item.responses[0] and scoring["prompt_logprobs"] == 0
    assert score.logps == pytest.approx([-0.1 * i for i in range(len(item.prompt_ids), len(pair))])
    assert score.text == "hi there"


def test_the_model_is_loaded_once_and_only_when_asked(engine):
    assert not LLM.made
    ask(engine, Request(HELLO))
    ask(engine, Request(HELLO))
    assert len(LLM.made) == 1
    assert LLM.made[0]["max_model_len"] == 64 and LLM.made[0]["seed"] == 3 and LLM.made[0]["enable_prefix_caching"]


def test_a_prompt_beyond_the_context_fails_alone(engine):
    good, bad = ask(engine, Request(HELLO), Request(({"role": "user", "content": "word " * 200},)))
    assert good.ok and bad.status == "failed_permanent" and bad.error.startswith("context_length: ")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(PrefineError, match=r"pip install 'prefine\[vllm\]'"):
        engines.build({"name": "vllm", "model": "tiny-student"}).prepare(RECIPE)
