import pytest

from .real import summaries
from .rows import extra, group, scored, values

extra("rouge_score")

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def test_by_hand():
    reference, response = "the cat is here", "The cat, sat"
    # Two of three words and two of four; one of two pairs and one of three; the common sequence is both words.
    expected = {"rouge1": 4 / 7, "rouge2": 2 / 5, "rougeL": 4 / 7, "rougeLsum": 4 / 7}
    assert {k: values(k, [reference], [response])[0] for k in KINDS} == pytest.approx(expected)


def test_lsum_takes_lines_as_sentences():
    assert values("rougeL", ["a b\nc d"], ["c d\na b"]) == [pytest.approx(0.5)]
    assert values("rougeLsum", ["a b\nc d"], ["c d\na b"]) == [pytest.approx(1)]


def test_stems_only_on_request():
    assert values("rouge1", ["running"], ["runs"]) == [0]
    assert values("rouge1", ["running"], ["runs"], stem=True) == [pytest.approx(1)]
    metric, _ = scored("rouge1", [(group("a"), "a")], stem=True)
    assert metric.facts()["signature"] == "rouge1|stem=yes|v0.1.2"


def test_the_best_of_several_references_counts():
    metric, found = scored("rouge1", [(group("x y", reference_1="a b"), "a b")])
    assert found[0].value == pytest.approx(1) and metric.facts()["signature"] == "rouge1|stem=no|v0.1.2"


def test_references_in_other_scripts_are_counted():
    metric, found = scored("rougeLsum", [(group("我们"), "我们"), (group("cat", prompt="q"), "cat")])
    assert [s.value for s in found] == [0, pytest.approx(1)]
    assert metric.facts() == {"signature": "rougeLsum|stem=no|split=newline|v0.1.2", "references_without_words": 1}


@pytest.mark.parametrize("stem", [False, True])
def test_equal_to_rouge_score_on_real_text(stem):
    from rouge_score.rouge_scorer import RougeScorer

    references, responses = summaries(40)
    theirs = RougeScorer(list(KINDS), use_stemmer=stem)
    expected = [theirs.score(r, t) for r, t in zip(references, responses, strict=True)]
    for kind in KINDS:
        found = values(kind, references, responses, stem=stem)
        assert found == [e[kind].fmeasure for e in expected]
        assert 0.02 < sum(found) / len(found) < 0.9
