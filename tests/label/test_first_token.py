"""Probabilities of labels, worked out by hand."""

import math

import pytest

from prefine.label.first_token import checked, expected, probabilities
from prefine.label.verdicts import Unread


def logs(**p):
    return {k.replace("_", " "): math.log(v) for k, v in p.items()}


@pytest.mark.acceptance(name="choice_probabilities")
def test_spellings_with_and_without_space_are_summed():
    found = probabilities(logs(A=0.3, _A=0.2, B=0.1, _B_=0.05, C=0.2, a=0.1), ("A", "B"))
    assert found == pytest.approx([0.5, 0.15])
    assert probabilities({"\u2581A": math.log(0.25), "\u0120B": math.log(0.5), "": 0.0}, ("A", "B")) == pytest.approx(
        [0.25, 0.5]
    )


def test_a_longer_label_is_begun_by_its_beginnings():
    found = probabilities(logs(No=0.2, **{"None": 0.1}, N=0.05, A=0.3, Nothing=0.1, one=0.1), ("A", "B", "None"))
    assert found == pytest.approx([0.3, 0.0, 0.35])


@pytest.mark.acceptance(name="choice_probabilities")
def test_too_little_mass_is_no_answer():
    assert checked([0.3, 0.2], 0.5) == [0.3, 0.2]
    for found, least in (([0.3, 0.19], 0.5), ([0.0, 0.0], 0.0)):
        with pytest.raises(Unread) as caught:
            checked(found, least)
        assert caught.value.status == "low_mass"


def test_expected_points():
    # (1 * .1 + 4 * .3 + 5 * .4) / .8
    value, mass = expected(logs(**{"1": 0.1, "4": 0.2, "_4": 0.1, "5": 0.4, "10": 0.2}), range(1, 6), 0.5)
    assert (value, mass) == (pytest.approx(3.3 / 0.8), pytest.approx(0.8))
    with pytest.raises(Unread):
        expected(logs(**{"3": 0.4, "x": 0.6}), range(1, 6), 0.5)
