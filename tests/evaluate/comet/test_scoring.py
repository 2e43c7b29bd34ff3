"""What goes to comet-score and what comes back, with a stand-in that writes what the real command writes."""

import json
import os
import sys

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.comet.scoring import Scored, comet_scores, read_scores

STAND_IN = """#!{python}
import argparse, json, os, pathlib
p = argparse.ArgumentParser()
for name in ("-s", "-t", "-r", "--model", "--batch_size", "--gpus", "--to_json"):
    p.add_argument(name)
for name in ("--quiet", "--only_system"):
    p.add_argument(name, action="store_true")
a = p.parse_args()
if a.model == "broken":
    raise SystemExit("no such model")
sides = {{k: pathlib.Path(f).read_text().splitlines() for k, f in (("src", a.s), ("mt", a.t), ("ref", a.r)) if f}}
rows = [dict(zip(sides, texts)) for texts in zip(*sides.values())]
for row in rows:
    row["COMET"] = len(row["mt"]) / 100 + float(a.gpus) + (0.5 if "ref" in row else 0)
    if "bad" in row["mt"]:
        row["errors"] = [{{"text": "bad", "severity": "major", "confidence": 0.4, "start": 0, "end": 3}}]
    row["seen"] = [a.model, a.batch_size, os.environ.get("PYTHONPATH")]
pathlib.Path(a.to_json).write_text(json.dumps({{a.t: rows}}))
pathlib.Path({log!r}).write_text(json.dumps(rows))
"""


@pytest.fixture
def stand_in(tmp_path):
    """A folder that looks like the environment; its command writes what it was given to seen.json beside it."""
    program = tmp_path / "environment" / "bin" / "comet-score"
    program.parent.mkdir(parents=True)
    program.write_text(STAND_IN.format(python=sys.executable, log=str(tmp_path / "seen.json")))
    program.chmod(0o755)
    return program


def seen(program):
    return json.loads((program.parents[2] / "seen.json").read_text())


def test_scores_come_in_the_order_of_the_translations(stand_in):
    found = comet_scores(stand_in, "hub/id", ["q", "q"], ["four", "a bad one"], ["r", "r"])
    assert [s.value for s in found] == [pytest.approx(0.54), pytest.approx(0.59)]
    assert found[0].errors == [] and found[1].errors[0]["severity"] == "major"


def test_every_text_is_one_line_whatever_is_in_it(stand_in):
    texts = ["one\ntwo", "\u2028three\r\n\x85four\x0b", "", "\t five ", "broken \ud800 sign"]
    comet_scores(stand_in, "m", ["s"] * 5, texts, texts)
    assert [row["mt"] for row in seen(stand_in)] == ["one two", "three four", "", "five", "broken ? sign"]


def test_without_references_none_are_given(stand_in):
    [found] = comet_scores(stand_in, "m", ["s"], ["four"], None, gpus=1, batch_size=3)
    assert found.value == pytest.approx(1.04) and set(seen(stand_in)[0]) == {"src", "mt", "COMET", "seen"}
    assert seen(stand_in)[0]["seen"][1] == "3"


def test_our_own_pythons_settings_do_not_reach_the_command(stand_in, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    comet_scores(stand_in, "m", ["s"], ["t"], ["r"])
    assert seen(stand_in)[0]["seen"] == ["m", "16", None] and os.environ["PYTHONPATH"] == "/nowhere"


def test_a_checkpoint_file_is_named_by_its_whole_path(stand_in, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.ckpt").write_text("weights")
    comet_scores(stand_in, "model.ckpt", ["s"], ["t"], ["r"])
    assert seen(stand_in)[0]["seen"][0] == str(tmp_path / "model.ckpt")
    with pytest.raises(PrefineError, match="there is no checkpoint other"):
        comet_scores(stand_in, "other.ckpt", ["s"], ["t"], ["r"])


def test_failures_say_what_the_command_said(stand_in):
    with pytest.raises(PrefineError, match="exit code 1:\nno such model"):
        comet_scores(stand_in, "broken", ["s"], ["t"], ["r"])
    with pytest.raises(ValueError, match="as many sources"):
        comet_scores(stand_in, "m", ["s"], ["t", "u"], ["r"])


def test_what_is_no_list_of_scores_is_refused(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"mt.txt": [{"COMET": 0.25}, {"COMET": 1}]}))
    assert read_scores(path, 2) == [Scored(0.25), Scored(1.0)]
    with pytest.raises(PrefineError, match="2 scores for 3"):
        read_scores(path, 3)
    for text in ("not json", "{}", '{"a": [{}]}', '{"a": [], "b": []}', "[]"):
        path.write_text(text)
        with pytest.raises(PrefineError, match="no scores that can be read"):
            read_scores(path, 0)
    with pytest.raises(PrefineError, match="no scores that can be read"):
        read_scores(tmp_path / "absent.json", 1)
