import functools

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.metrics import meteor, wordnet
from prefine.evaluate.metrics.wordnet import DEBIAN, NoSynonyms, find_wordnet, has_data, lexnames, make_nltk_data

from .real import summaries
from .rows import extra, group, scored, values

extra("nltk")

GUIDE = (
    "It is a guide to action that ensures that the military will forever heed Party commands",
    "It is a guide to action which ensures that the military always obeys the commands of the party",
)


@pytest.fixture
def without_wordnet(monkeypatch):
    monkeypatch.setattr(meteor, "find_wordnet", lambda required: find_wordnet(required=required, source=DEBIAN / "no"))
    monkeypatch.setattr(wordnet, "has_data", lambda name: False)


@pytest.fixture(scope="module")
def with_wordnet(tmp_path_factory):
    """nltk keeps the reader that it has opened, so all tests share one place."""
    if not (DEBIAN / "data.noun").is_file() and not has_data("corpora/wordnet"):
        pytest.skip("needs WordNet (Debian's wordnet-base, or nltk's data)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_without_synonyms_by_hand():
    # Of 4 words on each side `the` and `is` match, apart from each other: 1/2, and half of it for 2 chunks of 2.
    assert values("meteor", ["the car is fast"], ["the automobile is quick"], synonyms=False) == [pytest.approx(0.25)]
    # All 3 match, one by its stem, in one chunk: 1 - 0.5 (1/3)^3.
    expected = pytest.approx(1 - 0.5 / 27)
    assert values("meteor", ["the cats ran"], ["The cat ran"], synonyms=False) == [expected]
    assert values("meteor", ["a b"], ["c"], synonyms=False) == values("meteor", ["a"], [""], synonyms=False) == [0]


def test_the_value_of_nltks_own_documentation():
    assert values("meteor", [GUIDE[0]], [GUIDE[1]], synonyms=False) == [pytest.approx(0.6944, abs=5e-5)]


def test_the_result_names_what_was_used(without_wordnet):
    metric, _ = scored("meteor", [(group("a"), "a")])
    assert metric.facts()["signature"].startswith("meteor|stages=exact+stem|tok=")
    with pytest.raises(PrefineError, match="wordnet-base"):
        scored("meteor", [(group("a"), "a")], synonyms=True)


def test_with_synonyms(with_wordnet):
    metric, [score] = scored("meteor", [(group("the car is fast"), "the automobile is quick")], synonyms=True)
    # fast = quick is a third match and makes 2 chunks; automobile has been stemmed by then and is not found.
    assert score.value == pytest.approx(3 / 4 * (1 - 0.5 * (2 / 3) ** 3))
    assert metric.facts()["signature"].startswith("meteor|stages=exact+stem+wordnet")


def test_the_best_of_several_references_counts():
    _, [score] = scored("meteor", [(group("x y z", reference_1="a b"), "a b")], synonyms=False)
    assert score.value == pytest.approx(1 - 0.5 / 8)


def test_nltks_layout_is_made_from_debians_files(tmp_path):
    source = tmp_path / "wordnet"
    source.mkdir()
    (tmp_path / "real").write_text("noun data")
    (source / "data.noun").symlink_to(tmp_path / "real")
    made = make_nltk_data(source, tmp_path / "nltk_data") / "corpora" / "wordnet"
    assert (made / "data.noun").read_text() == "noun data" and not (made / "data.noun").is_symlink()
    assert (made / "index.sense").read_text() == "" and (made / "lexnames").read_text() == lexnames()
    (made / "data.noun").write_text("kept")
    make_nltk_data(source, tmp_path / "nltk_data")
    assert (made / "data.noun").read_text() == "kept"


def test_numbers_of_lexicographer_files():
    # lexnames(5WN): 00 adj.all ... 03 noun.Tops ... 29 verb.body ... 44 adj.ppl
    lines = lexnames().splitlines()
    assert len(lines) == 45
    assert [lines[i] for i in (0, 3, 29, 44)] == [
        "00\tadj.all\t3",
        "03\tnoun.Tops\t1",
        "29\tverb.body\t2",
        "44\tadj.ppl\t3",
    ]


def check_real_text(synsets, **settings):
    from nltk import word_tokenize
    from nltk.translate.meteor_score import single_meteor_score

    words = functools.partial(word_tokenize, preserve_line=not has_data("tokenizers/punkt_tab/english"))
    references, responses = summaries(15)
    found = values("meteor", references, responses, **settings)
    assert found == [
        single_meteor_score(words(r), words(t), wordnet=synsets) for r, t in zip(references, responses, strict=True)
    ]
    assert 0.02 < sum(found) / len(found) < 0.9


def test_equal_to_nltk_on_real_text():
    check_real_text(NoSynonyms(), synonyms=False)


def test_equal_to_nltk_on_real_text_with_synonyms(with_wordnet):
    check_real_text(find_wordnet(required=True), synonyms=True)
