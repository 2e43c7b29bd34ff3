"""The metrics comet and xcomet with a stand-in for comet-score."""

import pytest

from prefine.errors import PrefineError
from prefine.registry import metrics

from ..comet.test_scoring import seen, stand_in  # noqa: F401
from .rows import group, scored

SETTINGS = {"checkpoint": "m", "gpus": 0}


def test_each_response_with_its_source_and_first_reference(stand_in):  # noqa: F811
    place = str(stand_in.parents[1])
    asked = [
        (group("ref", reference_1="second", source_text="src"), "four"),
        (group("ref", prompt="q"), "no source"),
        (group(prompt="r", source_text="src"), "no reference"),
        (group("other", prompt="s", source_text="src"), "bad word"),
    ]
    metric, found = scored("xcomet", asked, environment=place, **SETTINGS)
    assert [s.status for s in found] == ["ok", "no_source", "no_reference", "ok"]
    assert [s.value for s in found] == [pytest.approx(0.54), None, None, pytest.approx(0.58)]
    assert [(row["src"], row["mt"], row["ref"]) for row in seen(stand_in)] == [
        ("src", "four", "ref"),
        ("src", "bad word", "other"),
    ]
    facts = metric.facts()
    assert facts["first_of_several_references"] == 1 and facts["errors"] == {"major": 1}
    assert facts["signature"] == "m|unbabel-comet=2.2.7|ref=yes|fp16"


def test_without_references_for_checkpoints_that_need_none(stand_in):  # noqa: F811
    asked = [(group(source_text="src"), "four")]
    metric, [score] = scored("comet", asked, environment=str(stand_in.parents[1]), reference=None, **SETTINGS)
    assert score.value == pytest.approx(0.04) and "ref=no" in metric.facts()["signature"]


def test_mistakes_are_told_before_anything_is_drawn(stand_in, tmp_path):  # noqa: F811
    place = str(stand_in.parents[1])
    with pytest.raises(PrefineError, match="none of the 1 prompts has a source, 'source_text'; did you mean 'source'"):
        scored("comet", [(group("r", source="s"), "t")], environment=place)
    with pytest.raises(PrefineError, match="has a reference"):
        scored("comet", [(group(source_text="s"), "t")], environment=place)
    with pytest.raises(PrefineError, match="prefine comet setup"):
        scored("comet", [(group("r", source_text="s"), "t")], environment=str(tmp_path / "no"))
    with pytest.raises(PrefineError, match="batch_size must be 1 or more"):
        metrics.build({"name": "xcomet", "batch_size": 0})
