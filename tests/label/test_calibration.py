"""The temperature of a labeler's scores, by hand."""

import math

import pytest

from prefine.errors import PrefineError
from prefine.label.base import Labeler
from prefine.label.calibration import COLDEST, HOTTEST, calibrate, fit_temperature
from prefine.schema import Score


def test_three_of_four_agree_with_a_difference_of_one():
    # sigmoid(1 / T) = 3 / 4
    assert fit_temperature([(1.0, 1.0)] * 3 + [(1.0, 0.0)]) == pytest.approx(1 / math.log(3))
    assert fit_temperature([(-2.0, 0.0)] * 3 + [(2.0, 0.0)]) == pytest.approx(2 / math.log(3))


def test_a_tie_is_half_a_win():
    # One win and one tie: a share of 3 / 4.
    assert fit_temperature([(1.0, 1.0), (1.0, 0.5)]) == pytest.approx(1 / math.log(3))
    # A difference of 0 says nothing.
    assert fit_temperature([(1.0, 1.0), (1.0, 0.5), (0.0, 1.0)]) == pytest.approx(1 / math.log(3))


def test_two_differences():
    # With b = 1 / T: 1 (s(b) - 1) + 2 (s(2 b) - 1/2) = 0 at the optimum; checked by putting it in.
    b = 1 / fit_temperature([(1.0, 1.0), (2.0, 1.0), (2.0, 0.0), (2.0, 0.5)])
    assert (1 / (1 + math.exp(-b)) - 1) + 2 * (3 / (1 + math.exp(-2 * b)) - 1.5) == pytest.approx(0, abs=1e-12)


def test_always_right_and_mostly_wrong_stop_at_the_bounds():
    assert fit_temperature([(1.0, 1.0)] * 5) == COLDEST
    assert fit_temperature([(1.0, 0.0), (1.0, 0.0), (1.0, 1.0)]) == HOTTEST


class Lengths(Labeler):
    """Scores a response by its length; none for one of three letters."""

    name = "length"

    def score(self, groups, step):
        return [
            [[Score("length", None if len(c.text) == 3 else float(len(c.text)))] for c in g.candidates] for g in groups
        ]


def test_comparisons_without_a_score_are_left_out(tmp_path):
    rows = ["12,1"] * 3 + ["1,12", "123,1"]
    lines = [f"p{i},{row}" for i, row in enumerate(rows)]
    (tmp_path / "people.csv").write_text("prompt,chosen,rejected\n" + "\n".join(lines) + "\n")
    t, facts = calibrate(Lengths(), str(tmp_path / "people.csv"))
    assert t == pytest.approx(1 / math.log(3)) and facts["comparisons"] == 4


def test_files_that_cannot_calibrate(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "p", "completion": "x"}\n')
    with pytest.raises(PrefineError, match="there are no comparisons to calibrate by"):
        calibrate(Lengths(), str(tmp_path / "prompts.jsonl"))
    (tmp_path / "equal.jsonl").write_text('{"prompt": "p", "chosen": "x", "rejected": "y"}\n')
    with pytest.raises(PrefineError, match="'length' tells no two responses apart"):
        calibrate(Lengths(), str(tmp_path / "equal.jsonl"))
