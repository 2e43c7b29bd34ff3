import pytest

from prefine.registry import metrics

from .rows import group, scored


def test_distinct_n_of_a_response_and_of_all():
    metric, found = scored("distinct_n", [(group(), "A b, a b!"), (group(), "a"), (group(), "")])
    # ab ba ab: 2 of 3; too short for a pair: no value.
    assert [s.value for s in found] == [pytest.approx(2 / 3), None, None]
    assert [s.status for s in found] == ["ok", "no_score", "no_score"]
    all_of_it = metric.corpus([(group(), ["a b a b", "b a c"]), (group(), ["a"])])
    # ab ba ab, ba ac: 3 of 5.
    assert all_of_it["value"] == pytest.approx(3 / 5) and all_of_it["ngrams"] == 5 and all_of_it["low"] is None
    assert metric.corpus([(group(), ["a"])]) is None and metric.facts() == {"n": 2}


def test_repetition_is_the_share_of_ngrams_seen_before():
    metric, found = scored("repetition", [(group(), "a b a b a b"), (group(), "a b c d"), (group(), "a")], n=2)
    assert [s.value for s in found] == [pytest.approx(3 / 5), 0, 0] and metric.higher_is_better is False
    assert scored("repetition", [(group(), "x y z w x y z w")])[1][0].value == pytest.approx(1 / 5)


def test_signs_of_scripts_without_spaces_are_words():
    assert scored("repetition", [(group(), "好好好好")], n=1)[1][0].value == pytest.approx(3 / 4)


def test_compression_grows_with_repetition():
    texts = ["the same words " * 60, " ".join(str(i * i) for i in range(250)), ""]
    metric, found = scored("compression", [(group(), t) for t in texts])
    assert found[0].value > 10 > 4 > found[1].value > 1 and found[2].value is None
    # Two equal responses compress as one that is twice as long.
    twice = metric.corpus([(group(), [texts[1], texts[1]])])["value"]
    assert 1.7 * found[1].value < twice < 2 * found[1].value
    assert metric.corpus([(group(), [" "])]) is None


@pytest.mark.parametrize("name", ["distinct_n", "repetition"])
def test_n_must_be_positive(name):
    from prefine.errors import PrefineError

    with pytest.raises(PrefineError, match="n must be 1 or more"):
        metrics.build({"name": name, "n": 0})
