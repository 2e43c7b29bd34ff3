"""KL from the start and length over steps, and what was sampled, as the report shows them."""

import re

import pytest

from prefine.report import drift
from prefine.report.collect import collect
from prefine.report.html import Report
from prefine.report.parts import training
from prefine.report.results import results
from prefine.report.stage import build
from tests.report.conftest import ANSWERS, HOSTILE, STRANGE, made_up_run
from tests.report.test_results import check, documented


def report_of(path, methods=("dpo", "pad"), **changes):
    found = collect(made_up_run(path / "demo", dict.fromkeys(methods, 0.05), prompts=12, drift=True, **changes))
    return Report(found, results(found), 9)


def test_curves_have_the_measured_points_and_their_intervals(tmp_path):
    report = report_of(tmp_path)
    runs = report.found.methods["dpo"]
    series = drift._series("dpo", 0, runs, "value", bounds=True)
    assert series.points == [(0, 0.0), (30, 3.0), (60, 6.0), (90, 9.0), (120, 12.0)]
    assert series.band == [(0, 0.0, 0.0), (30, 2.0, 5.0), (60, 5.0, 8.0), (90, 8.0, 11.0), (120, 11.0, 14.0)]
    length = drift._series("dpo", 0, runs, "tokens", bounds=False)
    assert length.points == [(0, 12.0), (30, 11.0), (60, 10.0), (90, 9.0), (120, 8.0)] and length.band == []
    kl, tokens = map(str, drift.curves(report))
    assert "KL from the start" in kl and "95\u202f% interval" in kl and "4 held-out prompts a step" in kl
    assert "dpo from 0 to 12.0; pad from 0 to 12.0" in kl and kl.count('class="band"') == 2
    assert "Length of samples" in tokens and "dpo from 12.0 to 8.00" in tokens and 'class="band"' not in tokens
    assert "[11.0, 14.0]" in kl and "75.0\u202f%" in kl and "1.20" in kl


def test_several_seeds_are_a_mean_and_the_range_they_span(tmp_path):
    report = report_of(tmp_path, ("dpo",), seeds=(0, 10))
    series = drift._series("dpo", 0, report.found.methods["dpo"], "value", bounds=True)
    assert series.points[1] == (30, 3.5) and series.band[1] == (30, 3.0, 4.0)
    assert "95\u202f% interval" not in str(drift.curves(report)[0])


def test_a_step_whose_kl_is_not_finite_is_left_out_of_the_curve_alone(tmp_path):
    report = report_of(tmp_path, ("dpo",))
    (run,) = report.found.runs
    run.drift[2].update(value=None, low=None, high=None, per_token=None)
    series = drift._series("dpo", 0, [run], "value", bounds=True)
    assert [x for x, _ in series.points] == [x for x, *_ in series.band] == [0, 30, 90, 120]
    assert len(drift.curves(report)) == 2


def test_samples_of_one_prompt_stand_side_by_side_over_the_steps(tmp_path):
    html = str(drift.texts(report_of(tmp_path)))
    assert html.startswith("<details><summary>Samples while training")
    assert html.count("<table") == drift.SHOWN_PROMPTS
    first = html[html.index("<table") : html.index("</table>")]
    assert [x for x in re.findall(r'<th scope="row">(\d+)</th>', first)] == ["0", "30", "60", "90", "120"]
    assert "plum and fig (dpo at 0)" in first and "plum and fig (pad at 0)" in first
    assert "no fruit here (dpo at 60)" in first and "(dpo at 120)" in first
    assert HOSTILE not in html and "&lt;script&gt;window.hacked" in html
    assert "cut off" not in first


def test_long_trainings_are_thinned(tmp_path):
    report = report_of(tmp_path, ("dpo",))
    (run,) = report.found.runs
    run.drift = [{**run.drift[1], "step": step} for step in range(1000)]
    run.drawn = [{**run.drawn[3], "step": step} for step in range(1000)]
    assert str(drift.curves(report)[0]).count('<th scope="row">') == drift.MOST_ROWS
    html = str(drift.texts(report))
    assert re.findall(r'<th scope="row">([\d,]+)</th>', html) == ["0", "250", "500", "749", "999"]
    assert html.count("[cut off]") == 5
    assert drift.evenly(list(range(10)), 4) == [0, 3, 6, 9] and drift.evenly([1, 2], 4) == [1, 2]


def test_the_part_shows_both_and_says_nothing_without_samples(tmp_path, demo_run):
    part = training.part(report_of(tmp_path))
    assert part is not None and part.body.index("Reward margin") < part.body.index("KL from the start")
    assert "Samples while training" in part.body
    found = collect(demo_run)
    bare = Report(found, results(found), 9)
    assert drift.curves(bare) == [] and drift.texts(bare) == ""
    part = training.part(bare)
    assert part is not None and "KL" not in part.body and "Samples while" not in part.body
    assert bare.data["runs"][0]["kl_curve"] is None


def test_the_estimate_of_kto_has_a_name_of_its_own(tmp_path):
    report = report_of(tmp_path, ("kto",))
    for row in report.found.runs[0].log:
        row["kl/z0"] = 0.25
    part = training.part(report)
    assert part is not None
    assert part.body.count("<b>KL from the start</b>") == 1 and "<b>Reference point of KTO</b>" in part.body


def test_results_have_the_curve(tmp_path):
    run = report_of(tmp_path, ("dpo",)).data["runs"][0]
    rows, schema = run["kl_curve"], documented()
    check(run, schema["properties"]["runs"]["items"], schema["definitions"])
    assert [row["value"] for row in rows] == [0.0, 3.0, 6.0, 9.0, 12.0]
    assert rows[4]["low"] == 11.0 and rows[4]["tokens"] == 8.0 and rows[4]["finished"] == 0.75


@pytest.mark.parametrize("strange", [False, True])
def test_the_page_shows_texts_as_texts(tmp_path, strange):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.1}, prompts=12, strange=strange, drift=not strange)
    html = build(run, tmp_path / "out" / "report.html").read_text()
    assert "Samples while training" in html
    for text in STRANGE[:2] if strange else ANSWERS[1:2]:
        assert text not in html
    assert "\u202e" not in html and html.count("<script") == 1
