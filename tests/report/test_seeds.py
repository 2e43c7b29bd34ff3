"""Several seeds: each with a start of its own, what is said over seeds, and where single seeds stand."""

import re

import pytest

from prefine.report.answer import answer
from prefine.report.collect import collect
from prefine.report.findings import summary
from prefine.report.html import Report
from prefine.report.judges import judges_of
from prefine.report.markdown import markdown
from prefine.report.naming import notes, one_start_a_seed
from prefine.report.page import page
from prefine.report.parts import judges, metrics, settings, tasks, tradeoff
from prefine.report.parts import results as main
from prefine.report.results import results
from prefine.report.spreads import spreads
from tests.report.conftest import made_up_run

ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}


@pytest.fixture
def found(tmp_path):
    """Two methods with three seeds, whose starts differ by seed."""
    found = collect(made_up_run(tmp_path / "demo", {"dpo": 0.2, "pad": 0.02}, seeds=(0, 1, 2), prompts=24))
    for run in found.runs:
        run.scores["start"] = f"/runs/demo/train/start-{run.seed}/model"
        run.scores["models"]["start"]["greedy"]["metrics"]["gold"]["value"] = run.seed / 10
    return found


def test_every_start_is_shown(found):
    data = results(found)
    assert [(s["label"], s["gold"]["greedy"]["value"]) for s in data["starts"]] == [
        ("start, seed 0", 0.0),
        ("start, seed 1", 0.1),
        ("start, seed 2", 0.2),
    ]
    assert data["start"] == data["starts"][0]
    found.notes = notes(found.runs)
    assert found.notes == [
        "Every seed has a start model of its own, and a win rate is against that of the same seed: start-0 (seed 0), "
        "start-1 (seed 1) and start-2 (seed 2)."
    ]
    assert summary(data)[0] == (
        "2 methods (dpo, pad) trained, every seed from a start of its own, 3 seeds each, evaluated on 24 prompts and "
        "190 pairs held out from training."
    )
    html = str(main.part(Report(found, data, 3)).body)
    assert html.count('<tr class="start">') == 3 and "start, seed 2" in html
    rows = [line for line in markdown(data).splitlines() if line.startswith("| start, seed")]
    assert len(rows) == 3 and "0.100 [" in rows[1]


def test_starts_that_no_seed_tells_apart(found):
    found.runs[0].scores["start"] = "org/base"
    assert one_start_a_seed(found.runs) == {} and "The runs have different start models" in notes(found.runs)[0]
    data = results(found)
    assert {s["label"] for s in data["starts"]} == {"start, org/base", *(f"start, start-{i}" for i in range(3))}
    assert " from 4 different starts, 3 seeds each" in summary(data)[0]
    for run in found.runs:
        run.scores["start"] = "org/base"
    assert one_start_a_seed(found.runs) == {} and notes(found.runs) == []
    data = results(found)
    assert [s["label"] for s in data["starts"]] == ["start"] and "trained from org/base, 3 seeds each" in summary(data)[
        0
    ]


def test_unequal_numbers_of_seeds(found):
    found.runs = [r for r in found.runs if r.method == "dpo" or r.seed == 0]
    assert ", 1 to 3 seeds each," in summary(results(found))[0]
    found.runs = [r for r in found.runs if r.method == "dpo"]
    assert (
        "One method (dpo) trained, every seed from a start of its own, 3 seeds, evaluated" in summary(results(found))[0]
    )


def test_metrics_and_tasks_are_set_against_the_start_of_the_seed(found):
    data = results(found)
    for i, start in enumerate(data["starts"]):
        start["tasks"] = {"arc": {**ESTIMATE, "value": i / 10, "metric": "acc"}}
        start["metrics"]["greedy"]["bleu"] = {**ESTIMATE, "value": 20.0 + i}
    for run in data["runs"]:
        run["tasks"] = {"arc": {**ESTIMATE, "metric": "acc"}}
        run["metrics"]["greedy"]["bleu"] = {**ESTIMATE, "value": 30.0}
    report = Report(found, data, 3)
    html = str(tasks.part(report).body)
    assert [html.count(f">{gap}<") for gap in ("+50.0", "+40.0", "+30.0")] == [2, 2, 2]
    html = str(metrics.part(report).body)
    assert all(f"<b>{value}</b>" in html for value in ("20.0", "21.0", "22.0"))


def test_one_column_a_method_in_the_settings(found):
    report = Report(found, results(found), 3)
    html = str(settings.part(report).body)
    head = re.findall(r"<th scope=\"col\"[^>]*>([^<]*)</th>", html)[:3]
    assert head == ["setting", "dpo", "pad"] and "What differs between the methods:" in html
    assert "the seeds on this page are 0, 1 and 2." in html and "seed</th>" not in html
    found.runs[0].settings["evaluate.num_samples"] = 9
    html = str(settings.part(report).body)
    assert "What differs between the runs:" in html and "dpo, seed 2" in html


def test_labels_of_several_seeds_are_told_apart(found):
    data = results(found)
    labels = {"name": "likelihood", "model": "tiny-teacher", "responses": 9, "scored": 9}
    data["judges"]["labelers"] = [{**labels, "seed": 4}, {**labels, "seed": 5}]
    report = Report(found, data, 3)
    assert re.findall(r'<td data-v="(\d)">\1</td><td class="left">tiny', str(judges.part(report).body)) == ["4", "5"]
    data["judges"]["labelers"] = [{**labels, "seed": 4}]
    assert ">seed<" not in str(judges.part(report).body)


def test_a_method_is_its_mean_beside_its_seeds(found):
    html = str(tradeoff.part(Report(found, results(found), 3)).body)
    first = html[html.index("<svg") : html.index("</svg>")]
    # three small marks of dpo, and their mean
    assert [first.count(f'r="{size}"') for size in ("2.6", "4.5")] == [3, 1]
    assert "the large mark is their mean" in html and "mean over seeds" in first


def test_what_is_certain_over_prompts_may_not_be_so_over_seeds(found):
    data = results(found)
    for c in data["comparisons"]:
        c["win_rate"] |= {"value": 0.7, "adjusted": 0.001}
        c["over_seeds"] |= {"low": 0.6, "high": 0.8}
    said = answer(data)
    assert said.certain and said.over_seeds is True and said.headline.startswith("dpo is best: it beats the start")
    duel = data["comparisons"][-1]
    assert (duel["a"], duel["b"]) == ("dpo", "pad")
    duel["over_seeds"] |= {"low": 0.45, "high": 0.95}
    said = answer(data)
    assert said.certain and said.over_seeds is False and said.headline.startswith("dpo is best with these seeds: it")
    assert said.lines[-1].endswith("the share won includes 50\u202f% against pad (45.0 to 95.0\u202f%).")
    # stored from the other side it is the same
    duel |= {"a": "pad", "b": "dpo"}
    duel["win_rate"]["value"] = 0.3
    duel["over_seeds"] |= {"low": 0.05, "high": 0.55}
    assert answer(data) == said
    assert "Certain over these prompts, not over seeds" in page(found, data)
    duel["over_seeds"] |= {"low": None, "high": None}
    assert answer(data).headline.startswith("dpo is best: it") and answer(data).over_seeds is True
    assert "Certain over these prompts<" in page(found, data)


def test_single_seeds_are_in_no_competition(found):
    data = results(found)
    text = markdown(data)
    methods, runs = (part for part in text.split("\n\n") if part.startswith("| "))
    assert methods.splitlines()[2].startswith("| dpo | 3 | **") and "± " in methods and "**" not in runs
    assert "\u2021" in methods and "\u2021" not in runs
    columns = {head: cells for head, cells, _ in spreads(data)}
    first = next(c["over_seeds"] for c in data["comparisons"] if (c["a"], c["b"]) == ("dpo", "start"))
    assert columns["over seeds"][0] == f"[{100 * first['low']:.1f}, {100 * first['high']:.1f}]"
    assert columns["seeds"] == ["3", "3"]


def test_labelers_have_the_seed_of_their_stage(tmp_path):
    made = [{"labelers": {"choice": {"scored": 4}}, "settings": {"seed": seed}} for seed in (3, 4)]
    assert [one["seed"] for one in judges_of(tmp_path, made).labelers] == [3, 4]
    assert judges_of(tmp_path, [{"labelers": {"old": {}}}]).labelers == [{"name": "old", "seed": None}]


def test_an_untrained_model_is_no_start_of_its_own(found):
    for run in found.runs:
        run.scores["train_key"] = None
    data = results(found)
    assert data["starts"] == [] and data["start"] is None
    assert '<tr class="start">' not in str(main.part(Report(found, data, 3)).body)
