"""Model cards: a header that parses, the facts of the run, and nobody's own file overwritten."""

import json
import re
import shutil

import pytest
import yaml

from prefine.errors import PrefineError
from prefine.report.cards import MARK, card, write_cards
from prefine.report.collect import collect
from prefine.report.results import results
from prefine.report.stage import build, cards
from prefine.report.trainings import unevaluated
from tests.report.conftest import made_up_run


def with_models(tmp_path, **options):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.06}, prompts=30, **options)
    for place in (run.path / "train").iterdir():
        (place / "model").mkdir()
    return run


def parsed(text: str) -> tuple[dict, str]:
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


def test_a_card_stands_beside_the_weights(tmp_path):
    run = with_models(tmp_path)
    build(run, tmp_path / "report.html")
    header, body = parsed(next(run.path.glob("train/*/model/README.md")).read_text())
    assert header["library_name"] == "transformers" and header["tags"] == ["prefine", "dpo"]
    # tiny-student is no model of the hub
    assert "base_model" not in header and "`tiny-student`" in body
    (entry,) = header["model-index"]
    values = {m["type"]: m["value"] for m in entry["results"][0]["metrics"]}
    data = results(collect(run))
    assert values["win_rate"] == round(data["runs"][0]["win_rate"]["value"], 6)
    assert "| objective.beta | 0.1 |" in body and "| learning_rate | 0.0002 |" in body
    assert re.search(r"win rate against the start, greedy \| \d+\.\d\u202f% \[\d+\.\d, \d+\.\d\] \| 30 \|", body)
    assert "Its safety was not measured" in body and "One training seed" in body


def test_hub_names_licenses_and_adapters(tmp_path):
    run = with_models(tmp_path)
    found = collect(run)
    one = found.runs[0]
    one.scores["start"] = "org/base-1b"
    one.settings["model.lora_r"] = 8
    one.sources = [
        {"dataset": "org/pairs", "license": "cc-by-nc-4.0", "revision": "", "url": "", "prompts": 1200},
        {"dataset": "own.jsonl", "license": "unknown", "revision": "", "url": "", "prompts": 3},
    ]
    header, body = parsed(card(one, results(found)["runs"][0]))
    assert header["base_model"] == "org/base-1b" and header["base_model_relation"] == "adapter"
    assert header["library_name"] == "peft" and header["datasets"] == ["org/pairs"]
    assert "| org/pairs | cc-by-nc-4.0 | 1,200 |" in body and "forbids commercial use" in body
    assert "Where a license is unknown" in body and body.lstrip().startswith(MARK)


def test_text_out_of_data_cannot_leave_its_cell(tmp_path):
    found = collect(with_models(tmp_path))
    one = found.runs[0]
    one.label = "a: b\n---\nlicense: mit"
    one.sources = [{"dataset": "x | y\n# title", "license": "mit", "revision": "", "url": "", "prompts": 1}]
    header, body = parsed(card(one, results(found)["runs"][0]))
    assert "license" not in header and header["model-index"][0]["name"] == "a: b --- license: mit"
    assert "| x \\| y # title | mit | 1 |" in body


def test_somebody_elses_card_stays(tmp_path):
    run = with_models(tmp_path)
    own = next(run.path.glob("train/*/model")) / "README.md"
    own.write_text("my own words")
    found = collect(run)
    assert write_cards(found, results(found)) == [] and own.read_text() == "my own words"
    own.write_text(f"---\n---\n{MARK}\nold")
    assert write_cards(found, results(found)) == [own] and "## Results" in own.read_text()


def without_evaluation(run, method):
    """Takes the evaluation of one model out of a run; the folder of its weights."""
    for place in run.path.glob(f"evaluate/{method}-*"):
        shutil.rmtree(place)
    (place,) = run.path.glob(f"train/{method}-*")
    (place / "model").mkdir(exist_ok=True)
    return place / "model"


def told(place, **facts):
    """Adds facts to a manifest."""
    file = place / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


def test_a_model_without_an_evaluation_has_a_card_too(tmp_path):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.06, "simpo": 0.01}, prompts=30)
    model = without_evaluation(run, "simpo")
    told(model.parent, start="org/base-1b", train_seconds=9000.0)
    (model.parent / "metrics.jsonl").write_text(
        '{"step": 4, "loss": 0.7, "rewards/accuracies": 0.5}\n{"step": 5, "eval/loss": 0.625}\n'
        '{"step": 8, "loss": 0.5, "grad_norm": 2.0}\n{"step": 9, "loss": "nan"}\n'
    )
    build(run, tmp_path / "report.html")
    header, body = parsed((model / "README.md").read_text())
    assert header["base_model"] == "org/base-1b" and header["tags"] == ["prefine", "simpo"]
    assert "model-index" not in header
    assert "Trained from `org/base-1b` with the objective `simpo` on 1,858 examples, seed 0" in body
    assert "| objective.beta | 2.5 |" in body
    assert "| as logged | training, step 8 | held out, step 5 |" in body
    assert "| loss, in the objective's own unit | 0.500 | 0.625 |" in body
    assert "| share of pairs ranked as labeled | 0.500 | \u2013 |" in body and "grad" not in body
    assert "Not evaluated: its run holds no evaluation of this model." in body and "95 %" not in body
    assert "2.50 hours on cpu, at most 812 MB" in body and "report.html" not in body
    assert "Its safety was not measured." in body and "held out from training; nothing" not in body
    assert [r["name"] for r in json.loads((tmp_path / "results.json").read_text())["runs"]] == ["dpo"]


def test_cards_need_no_evaluation_at_all(tmp_path):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.06}, seeds=(1, 2), prompts=3)
    shutil.rmtree(run.path / "evaluate")
    first, second = run.path.glob("train/*")
    for place in (first, second):
        (place / "model").mkdir()
    (second / "model" / "README.md").write_text("my own words")
    with pytest.raises(PrefineError, match="no finished evaluation"):
        build(run, tmp_path / "report.html")
    assert (first / "model" / "README.md").exists() and (second / "model" / "README.md").read_text() == "my own words"
    assert cards(run) == [first / "model" / "README.md"] and cards([]) == []
    assert {r.label for r in unevaluated([run.path])} == {"dpo, seed 1", "dpo, seed 2"}


def test_a_card_follows_the_evaluation(tmp_path):
    """What was said before it, that there is none, goes."""
    run = with_models(tmp_path)
    (model,) = run.path.glob("train/*/model")
    shutil.move(run.path / "evaluate", tmp_path / "aside")
    assert cards(run) == [model / "README.md"] and "Not evaluated" in (model / "README.md").read_text()
    shutil.move(tmp_path / "aside", run.path / "evaluate")
    assert cards(run) == []
    build(run, tmp_path / "report.html")
    assert "Not evaluated" not in (model / "README.md").read_text()
