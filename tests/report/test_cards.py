"""Model cards: a header that parses, the facts of the run, and nobody's own file overwritten."""

import re

import yaml

from prefine.report.cards import MARK, card, write_cards
from prefine.report.collect import collect
from prefine.report.results import results
from prefine.report.stage import build
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
