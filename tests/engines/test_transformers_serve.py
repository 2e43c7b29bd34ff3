"""The OpenAI engine against a real server: `transformers serve` with the embedded student, where it is installed."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from prefine import tiny_world
from prefine.engines.base import Request, Sampling
from prefine.engines.openai import OpenAIEngine
from prefine.engines.session import Session
from prefine.errors import PrefineError
from prefine.ledger import Ledger

MISSING = [name for name in ("fastapi", "uvicorn", "openai") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"transformers[serving] is not installed (no {', '.join(MISSING)})"),
]

PROMPTS = ["hello", "Say one word.", "kuto pate", "What is this?"]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The address of a server on a free port of 127.0.0.1."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "hf" / "hub").mkdir(parents=True)
    log = folder / "log.txt"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(tiny_world.student_path())]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", "0", "--log-level", "info"]
    env = {**os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
    try:
        yield address(server, log)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def address(server, log):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text())
        if found:
            return found[1] + "/v1"
        assert server.poll() is None, log.read_text()
        time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture
def opened(url, tmp_path):
    sessions = []

    def make(**more):
        engine = OpenAIEngine(str(tiny_world.student_path()), url, max_concurrency=2, timeout=120.0, **more)
        sessions.append(Session(engine, Ledger(tmp_path / f"{len(sessions)}.sqlite")))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


def asked(**more):
    return [Request(({"role": "user", "content": p},), Sampling(max_tokens=12, **more), "test") for p in PROMPTS]


def test_greedy_replies_are_those_of_the_model(opened):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_world.student_path())
    model = AutoModelForCausalLM.from_pretrained(tiny_world.student_path())
    session = opened()
    replies = session.ask(asked())
    for prompt, reply in zip(PROMPTS, replies, strict=True):
        chat = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        new = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        assert reply.ok and reply.text == tokenizer.decode(new, skip_special_tokens=True)
        assert reply.prompt_tokens == ids.shape[1] and reply.completion_tokens == len(new)
    facts = session.facts()
    assert facts["answered"] == facts["calls"] == len(PROMPTS) and facts["prompt_tokens"] > 0


def test_what_it_cannot_do_is_named(opened):
    with pytest.raises(PrefineError, match="does not give log-probs of the first token"):
        opened().ask(asked(top_logprobs=3))
    scored = [Request(r.messages, response="kuto") for r in asked()]
    with pytest.raises(PrefineError, match="does not give log-probs of a given response"):
        opened(tokenizer=str(tiny_world.student_path())).ask(scored)


def test_another_model_is_a_permanent_failure(url, tmp_path):
    session = Session(OpenAIEngine("another", url), Ledger(tmp_path / "ledger.sqlite"))
    (reply,) = session.ask(asked()[:1])
    session.close()
    assert reply.status == "failed_permanent" and "requested 'another'" in reply.error
