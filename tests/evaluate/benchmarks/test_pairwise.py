import pytest

from prefine.evaluate.benchmarks.pairwise import Pair, parse_label, win_rate, winner

ONE, TWO = "model_1", "model_2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("so [[A]]", "A"),
        ("[[B]]", "B"),
        ("[[C]]", "tie"),
        ("[[B]] not [[A]]", "A"),
        ("[A]", "error"),
        ("$ERROR$", "error"),
    ],
)
def test_labels_in_texts(text, said):
    assert parse_label(text) == said


def test_letters_are_models_by_order():
    assert [winner(s, swapped=False) for s in ("A", "B", "tie", "error")] == [ONE, TWO, "tie", "error"]
    assert [winner(s, swapped=True) for s in ("A", "B", "tie", "error")] == [TWO, ONE, "tie", "error"]


@pytest.mark.parametrize(
    ("first", "swapped", "result"),
    [
        (ONE, ONE, ONE),
        (TWO, TWO, TWO),
        (ONE, TWO, "tie"),
        (ONE, "tie", "tie"),
        ("tie", "tie", "tie"),
        (ONE, "error", "error"),
        ("error", "error", "error"),
    ],
)
def test_only_two_agreeing_orders_are_a_win(first, swapped, result):
    assert Pair("q", first, swapped).result == result


def test_win_rates_by_hand():
    pairs = [
        Pair("1", ONE, ONE, (10, 20)),
        Pair("2", ONE, ONE, (30, 20)),
        Pair("3", ONE, TWO, (50, 20)),
        Pair("4", TWO, TWO),
        Pair("5", ONE, "error"),
    ]
    found = win_rate(pairs)
    assert (found["win"], found["loss"], found["tie"], found["n_parsed"], found["n_failed"]) == (2, 1, 1, 4, 1)
    assert (found["win_rate"], found["loss_rate"], found["win_rate_adjusted"]) == (50, 25, 62.5)
    # one failed: 2.5 of 5 if lost, 3.5 of 5 if won
    assert found["bounds"] == [50, 70]
    # three of four pairs have equal verdicts; the first shown was said to win in 2 + 1 of the first verdicts, and in
    # 2 (swapped, model_2) of the second: 5 of 8
    assert found["orders_agree"] == 75 and found["first_shown_wins"] == 62.5
    assert found["length_ratio"] == pytest.approx(90 / 60)
    assert found["low"] < 62.5 < found["high"]


def test_the_other_side_mirrors():
    pairs = [Pair(str(i), *v) for i, v in enumerate([(ONE, ONE), (ONE, ONE), (TWO, ONE), (TWO, TWO), (ONE, "tie")])]
    ours, theirs = win_rate(pairs), win_rate([p.reversed() for p in pairs])
    assert ours["win_rate"] == theirs["loss_rate"] and ours["p_value"] == theirs["p_value"]
    assert ours["win_rate_adjusted"] + theirs["win_rate_adjusted"] == 100
    assert ours["first_shown_wins"] + theirs["first_shown_wins"] == 100
    assert Pair("1", ONE, "tie", (1, 2)).reversed() == Pair("1", TWO, "tie", (2, 1))


def test_the_sign_flip_test_by_hand():
    # five wins: both all-plus and all-minus of 32 sign patterns are as far from zero, so p is 1/16
    p = win_rate([Pair(str(i), ONE, ONE) for i in range(5)])["p_value"]
    assert p == pytest.approx(1 / 16, abs=0.01)
    assert win_rate([Pair("1", ONE, TWO)])["p_value"] == 1


def test_both_turns_of_a_prompt_are_one_unit():
    pairs = [Pair("1", ONE, ONE), Pair("1", ONE, ONE), Pair("2", ONE, ONE), Pair("2", ONE, ONE)]
    # two prompts: four sign patterns, two of them as far from zero
    assert win_rate(pairs)["p_value"] == pytest.approx(0.5, abs=0.02)


def test_nothing_valid():
    found = win_rate([Pair("1", "error", ONE)])
    assert found["win_rate"] is None and found["p_value"] is None and found["n_failed"] == 1
    assert found["bounds"] == [0, 100]
