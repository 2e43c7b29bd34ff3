"""ROUGE-L by hand, and a search that never misses what a comparison with every text would find."""

from hypothesis import given
from hypothesis import strategies as st

from prefine.data.clean.text import words
from prefine.prompts.novelty import Known, rouge_l


def lcs(a, b):
    """The textbook's table."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def test_rouge_l_by_hand():
    # Lin 2004: "police killed the gunman" and "the gunman police killed" share "police killed", 2 of 4 and 4 words.
    assert rouge_l(["police", "killed", "the", "gunman"], ["the", "gunman", "police", "killed"]) == 0.5
    assert rouge_l(["police", "killed", "the", "gunman"], ["police", "kill", "the", "gunman"]) == 0.75
    assert rouge_l(["a", "b", "c"], ["a", "c"]) == 0.8
    assert rouge_l([], ["a"]) == 0


def test_the_nearest_is_named_and_the_bound_is_not_included():
    known = Known(0.7)
    known.add("one", "sort the list of words by length")
    known.add("two", "sort the list of names by length")
    known.add("three", "tell a joke")
    # 6 of 7 and 7 words with each: the first one wins.
    assert known.near("sort the list of cars by length") == ("one", 6 / 7)
    assert known.near("tell a story") is None
    exact = Known(0.8)
    exact.add("x", "a b c")
    assert exact.near("a c") is None
    assert exact.same("A  b\nC") == "x"
    assert exact.same("a c") is None


TEXTS = st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=9).map(" ".join), min_size=1, max_size=12)


@given(TEXTS, st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]))
def test_the_index_misses_nothing(texts, bound):
    *there, asked = texts
    known = Known(bound)
    for i, text in enumerate(there):
        known.add(str(i), text)
    tokens = words(asked)
    best = None
    for i, text in enumerate(there):
        other = words(text)
        likeness = 2 * lcs(tokens, other) / (len(tokens) + len(other))
        if likeness > bound and (best is None or likeness > best[1]):
            best = str(i), likeness
    assert known.near(asked) == best
