"""Judged benchmarks by command, with a judge behind HTTP that fails one reply in four."""

import hashlib
import json
import math
from pathlib import Path

import pytest

from tests.engines.fault_server import FaultServer
from tests.test_cli import prefine  # noqa: F401

N = 12
VERDICTS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")


class Judge:
    """Answers by the text it is asked with. Of the requests it has not seen yet every fourth goes wrong, once."""

    def __init__(self):
        self.seen, self.went_wrong = [], []
        self.chances = {}
        """What was said of the first answer's chance, by the text of the question."""

    def __call__(self, body):
        said = body["messages"][-1]["content"]
        mark = int(hashlib.sha256(said.encode()).hexdigest(), 16)
        if body not in self.seen:
            self.seen.append(body)
            if len(self.seen) % 4 == 0:
                kind = ("500", "429", "broken", "mumbles")[len(self.seen) // 4 % 4]
                kind = "500" if kind == "mumbles" and body.get("logprobs") else kind
                self.went_wrong.append(kind)
                return self.wrong(body, kind)
        if body.get("logprobs"):
            p = self.chances[said] = 0.05 + 0.9 * (mark % 1000) / 1000
            return chat(body, "m", {"m": p, "M": 1 - p})
        if "solve" in said:
            return chat(body, f"The verdict is [[{VERDICTS[mark % 5]}]]")
        return chat(body, f"It is [[{1 + mark % 10}]]")

    def wrong(self, body, kind):
        if kind == "mumbles":
            return chat(body, "well, well")
        if kind == "broken":
            return 200, '{"choices": [{"mess'
        return int(kind), {"error": {"type": {"429": "rate_limit_error", "500": "server_error"}[kind], "message": "no"}}

    @property
    def lost(self):
        """How many replies the one try of a request did not get; a 429 is no try."""
        return sum(kind in ("500", "broken") for kind in self.went_wrong)


def chat(body, text, chances=None):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if chances:
        top = [{"token": token, "logprob": math.log(p)} for token, p in chances.items()]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    used = {"prompt_tokens": 9, "completion_tokens": 2}
    return {"object": "chat.completion", "model": body["model"], "choices": [choice], "usage": used}


@pytest.fixture
def served(tmp_path, lines, monkeypatch, tiny_model_dir):
    """A judge at work, and a recipe that asks it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    judge = Judge()
    alpaca = [{"instruction": f"name fruit {i}", "output": f"fruit {i}: plum", "generator": "other"} for i in range(N)]
    hard = [{"uid": f"u{i}", "prompt": f"solve {i}", "category": "hard_prompt", "output": "x"} for i in range(N)]
    theirs = [{"uid": f"u{i}", "model": "other", "output": f"it is {i}"} for i in range(N)]
    mt = [{"question_id": 81 + i, "category": "writing", "turns": [f"write {i}", "again"]} for i in range(N // 2)]
    with FaultServer(answer=judge) as server:
        engine = {"name": "openai", "model": "judge-1", "base_url": server.url, "max_tries": 1, "backoff": 0.01}
        common = {"engine": engine, "max_new_tokens": 4}
        blocks = [
            {"name": "alpaca_eval", "questions": lines("alpaca.jsonl", alpaca), **common},
            {
                "name": "arena_hard",
                "questions": lines("hard.jsonl", hard),
                "baseline": lines("theirs.jsonl", theirs),
                "style_control": False,
                "resamples": 20,
                "max_reasks": 0,
                **common,
            },
            {"name": "mt_bench", "questions": lines("mt.jsonl", mt), "max_reasks": 0, **common},
        ]
        recipe = {
            "name": "r",
            "model": {"path": str(tiny_model_dir)},
            "data": {"path": lines("d.jsonl", [{"prompt": "say a"}, {"prompt": "say b"}]), "test_fraction": 1.0},
            "evaluate": {"num_samples": 0, "max_new_tokens": 4, "benchmarks": blocks},
            "report": {},
        }
        Path("r.yaml").write_text(json.dumps(recipe))
        yield judge, server


def newest():
    """The benchmarks of the newest evaluation, and its folder."""
    found = [p for p in Path("runs/r/evaluate").iterdir() if (p / "scores.json").exists()]
    place = max(found, key=lambda p: p.stat().st_mtime_ns)
    return json.loads((place / "scores.json").read_text())["benchmarks"], place


def scores(found, name):
    return found[name]["models"]["start"]


def test_an_api_judges_a_run_and_a_second_run_asks_what_failed(prefine, served):  # noqa: F811
    judge, server = served
    code, out, _ = prefine("run", "r.yaml")
    assert code == 0 and {"500", "429", "broken", "mumbles"} == set(judge.went_wrong)
    first, _ = newest()
    asked = sum(server.calls.values())
    assert asked == len(judge.seen) + judge.went_wrong.count("429")
    for name, value in (("alpaca_eval", "win_rate"), ("arena_hard", "mean_vote"), ("mt_bench", "score")):
        facts, line = first[name]["judge"], scores(first, name)
        assert facts["engine"] == {"model": "judge-1"} and facts["base_url"] == server.url
        assert facts["name"] == line["judge"] == f"judge-1, {facts['templates']}" and len(facts["templates"]) == 12
        assert line["n_failed"] > 0 and line["bounds"][0] <= line[value] <= line["bounds"][1]
        assert sum(line["without_verdict"].values()) >= line["n_failed"] > 0
        assert any("verdicts failed, more than 2%" in note or "ratings" in note for note in line["notes"])
        assert any(row.startswith(name) and "judge-1" in row for row in out.splitlines())
    reasons = [why for name in first for why in scores(first, name)["without_verdict"]]
    assert {"http_500", "broken_reply", "parse_error"} <= set(reasons)

    code, _, err = prefine("run", "r.yaml")
    assert code == 0 and f"{judge.lost} requests that failed are asked again" in err
    assert sum(server.calls.values()) - asked == judge.lost > 0 and len(judge.seen) == asked - judge.went_wrong.count(
        "429"
    )
    second, place = newest()
    line = scores(second, "alpaca_eval")
    assert (line["n_parsed"], line["n_failed"], line.get("bounds"), line["without_verdict"]) == (N, 0, None, {})
    flips, chances = by_hand(judge)
    rows = [json.loads(row) for row in (place / "judgments" / line["file"]).read_text().splitlines()]
    assert [row["preference"] - 1 for row in rows] == pytest.approx(chances)
    assert line["win_rate"] == pytest.approx(100 * sum(chances) / N)
    assert line["orders"]["flip_rate"] == pytest.approx(sum(flips) / N, abs=1e-6)
    assert line["orders"]["invalid_rate"] == 0 and line["orders"]["tie_rate"] == 0
    # What the judge said without a verdict stays as it is.
    left = [why for name in second for why in scores(second, name)["without_verdict"]]
    assert set(left) == {"parse_error"}

    prefine("run", "r.yaml")
    assert sum(server.calls.values()) == asked + judge.lost


def by_hand(judge):
    """By question whether the two orders named two winners, and the mean chance of our answer."""
    flips, chances = [], []
    for i in range(N):
        texts = sorted(
            (t for t in judge.chances if f"name fruit {i}\n" in t), key=lambda t: t.index(f"fruit {i}: plum")
        )
        assert len(texts) == 2
        # The baseline stands first in the first text.
        ours = [1 - judge.chances[texts[0]], judge.chances[texts[1]]]
        flips.append((ours[0] - 0.5) * (ours[1] - 0.5) < 0)
        chances.append(sum(ours) / 2)
    return flips, chances
