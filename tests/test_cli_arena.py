"""`prefine arena` as a command: a process that is voted in and stopped, its summary, and what becomes of the votes."""

from __future__ import annotations

import json
import re
import select
import signal
import subprocess
import sys
import urllib.request

import pytest

from prefine.cli.app import app, guarded
from tests.evaluate.arena.runs import evaluated


@pytest.fixture
def prefine(capfd):
    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = guarded(lambda: app(list(map(str, arguments)), standalone_mode=False))
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gold = {i: float(i) for i in range(4)}
    evaluated(tmp_path / "a", "dpo", {i: f"first {i}" for i in range(4)} | {4: "same"}, scores=gold | {4: 0.0})
    evaluated(
        tmp_path / "b", "sft", {i: f"second {i}" for i in range(6)} | {4: "same"}, scores=dict.fromkeys(range(6), 1.5)
    )
    return tmp_path


def vote_in_a_process(choose, *options):
    """Start the command, vote as `choose` says of the left text, stop it as Ctrl-C does; its exit code and output."""
    command = [sys.executable, "-m", "prefine", "arena", "a", "b", "--no-browser", *options]
    # A shell's background job ignores SIGINT, and so would everything that it starts.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None and process.stdout is not None
    try:
        said = ""
        while "http://" not in said:
            ready, _, _ = select.select([process.stderr], [], [], 60)
            line = process.stderr.readline() if ready else ""
            assert line, said
            said += line
        url = re.findall(r"http://127\.0\.0\.1:\d+/[\w-]+/", said)[0]
        state = json.load(urllib.request.urlopen(url + "state", timeout=20))
        while state["duel"]:
            choice = choose(state["duel"]["left"]["text"], state["duel"]["right"]["text"])
            if choice is None:
                break
            body = json.dumps({"duel": state["duel"]["id"], "choice": choice, "seconds": 2}).encode()
            request = urllib.request.Request(url + "vote", body, {"Content-Type": "application/json"})
            state = json.load(urllib.request.urlopen(request, timeout=20))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, said + err
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def prefers_first(left, right):
    return "left" if left.startswith("first") else "right"


def test_a_vote_from_start_to_stop_and_into_training(runs, prefine):
    asked = []

    def three_times(left, right):
        asked.append(left)
        return prefers_first(left, right) if len(asked) <= 3 else None

    code, out, err = vote_in_a_process(three_times)
    assert code == 0, err
    assert "two models, prompts to compare them on: 4; equal responses: 1; prompts that only some have: 1" in err
    assert "a against b: 100.0 % [29.2, 100.0]; 3 won, 0 tied, 0 lost (3 of 4 prompts voted on)" in out
    assert "left out, equal responses: 1" in out and "votes in a/arena/votes-me.jsonl" in out

    code, out, err = vote_in_a_process(lambda left, right: "tie")
    assert code == 0 and "pairs: 4, 3 of them voted on" in err and "3 won, 1 tied, 0 lost (4 of 4" in out

    code, out, _ = prefine("data", "import", "a/arena/votes-me.jsonl", "--out", "votes")
    assert code == 0
    code, out, err = prefine("data", "pair", "votes", "--pairer", "given", "judge=human:me", "--out", "pairs")
    assert code == 0, err
    code, out, _ = prefine("show", "pairs", "-n", 9, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 3
    for row in rows:
        chosen, rejected = (r[-1]["content"] for r in row["responses"])
        assert chosen.startswith("first") and rejected.startswith("second")


def test_agreement_with_the_judges_of_the_runs(runs, prefine):
    vote_in_a_process(prefers_first)
    vote_in_a_process(lambda left, right: "skip", "--voter", "eva")
    code, out, _ = prefine("arena", "a", "b", "--agreement", "--json")
    found = json.loads(out)
    assert code == 0 and found["files"] == ["a/arena/votes-eva.jsonl", "a/arena/votes-me.jsonl"]
    assert found["pairs"][0]["wins"] == 4 and found["pairs"][0]["skipped"] == 4
    # gold of the first model is 0, 1, 2, 3, that of the second 1.5: people agree with it on two of four prompts.
    judges = {j["judge"]: j for j in found["judges"]}
    assert judges["gold"]["accuracy"] == 0.5 and judges["gold"]["pairs"] == 4
    assert judges["bad"]["accuracy"] == 0.5
    code, out, _ = prefine("arena", "b", "a", "--agreement")
    assert code == 0 and "b against a: 0.0 %" in out and "gold and people: kappa " in out and "over 4 pairs" in out


def test_json_and_nothing_voted(runs, prefine):
    code, out, _ = prefine("arena", "a", "b", "--agreement")
    assert code == 0 and "no votes yet" in out and "no judge has judged the pairs that people voted on" in out
    code, out, err = vote_in_a_process(lambda left, right: None, "--json", "--limit", "2")
    assert code == 0 and json.loads(out)["pairs"][0]["n"] == 0 and "pairs: 2" in err


def test_mistakes(runs, prefine):
    evaluated(runs / "c", "same", {4: "same"})
    for arguments, message in (
        (["a", "x"], "there is no run x"),
        (["a", "b", "--voter", "../me"], "--voter: '../me' must be"),
        (["a", "c"], "there is nothing to vote on: prompts that only some have: 4"),
        (["b"], "no responses of the mode 'greedy'"),
    ):
        code, _, err = prefine("arena", *arguments, "--no-browser")
        assert code == 1 and message in err, err


def test_the_second_writer_of_a_file_is_refused(runs, prefine):
    from prefine.evaluate.arena.votes import Ballot, votes_file

    with Ballot(votes_file(runs / "a", "me"), "me"):
        code, _, err = prefine("arena", "a", "b", "--no-browser")
    assert code == 73 and "is in use by another arena" in err


def test_a_start_needs_no_torch(runs):
    code = (
        "import sys; from prefine.cli.app import app; app(['arena', 'a', 'b', '--agreement'], standalone_mode=False); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
