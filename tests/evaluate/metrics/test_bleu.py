"""BLEU, chrF and chrF++: worked by hand, and equal to sacrebleu on real text."""

import math

import pytest

from prefine.errors import PrefineError
from prefine.registry import metrics

from .real import translations
from .rows import extra, group, groups, scored, values

sacrebleu = extra("sacrebleu")

HYPOTHESIS, REFERENCE = "the cat sat on the mat", "the cat is on the mat"
# Matches of 1- to 4-grams: 5 of 6, 3 of 5, 1 of 4, and 0 of 3, which is smoothed to half a match.
WORKED = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 0.5 / 3) ** 0.25


def corpus(metric, asked):
    return metric.corpus([(g, [text]) for g, text in asked])


def test_bleu_by_hand():
    assert values("bleu", [REFERENCE], [HYPOTHESIS]) == [pytest.approx(WORKED)]
    metric, _ = scored("bleu", [(group(REFERENCE), HYPOTHESIS)])
    assert corpus(metric, [(group(REFERENCE), HYPOTHESIS)])["value"] == pytest.approx(WORKED)


def test_a_response_is_scored_up_to_its_length_and_a_corpus_is_not():
    asked = [(group("the cat"), "the cat")]
    metric, [score] = scored("bleu", asked)
    assert score.value == pytest.approx(100)
    assert corpus(metric, asked)["value"] == pytest.approx(0)


def test_a_corpus_adds_counts_and_is_no_mean():
    asked = list(zip(groups([REFERENCE, "a b c d e"]), [HYPOTHESIS, "a b c d"], strict=True))
    metric, found = scored("bleu", asked)
    precision = (9 / 10 * 6 / 8 * 3 / 6 * 1 / 4) ** 0.25
    assert corpus(metric, asked)["value"] == pytest.approx(100 * precision * math.exp(1 - 11 / 10))
    assert corpus(metric, asked)["value"] != pytest.approx(sum(s.value for s in found) / 2, abs=1)


def test_chrf_by_hand():
    # One of two letters, none of one pair; no longer n-grams: precision and recall are (1/2 + 0) / 2.
    assert values("chrf", ["ac"], ["ab"]) == [pytest.approx(25)]
    # The word n-gram of one word does not match either: (1/2 + 0 + 0) / 3.
    assert values("chrf++", ["ac"], ["ab"]) == [pytest.approx(100 / 6)]


def test_several_references_and_their_signature():
    both = group("no such words", references='["the cat sat on the mat"]')
    metric, [score] = scored("bleu", [(both, HYPOTHESIS)])
    assert score.value == pytest.approx(100) and metric.facts()["signature"].startswith("nrefs:2|")
    metric, _ = scored("bleu", [(both, HYPOTHESIS), (group("x", prompt="q"), "y")])
    assert metric.facts()["signature"].startswith("nrefs:var|")


def test_without_a_reference_there_is_no_score_and_the_reason_is_told():
    metric, found = scored("chrf", [(group("ab"), "ab"), (group(prompt="q"), "ab")])
    assert [(s.value, s.status) for s in found] == [(pytest.approx(100), "ok"), (None, "no_reference")]
    assert metric.corpus([(group(prompt="q"), ["ab"])]) is None
    assert metric.corpus([(group("ab"), []), (group("ab", prompt="r"), ["ab"])])["n"] == 1


def test_the_target_language_chooses_the_tokenizer():
    asked = [(group("我们喜欢猫。", tgt_lang="zh_CN", prompt="zh"), "我们喜欢狗。")]
    metric, [score] = scored("bleu", asked)
    assert "tok:zh" in metric.facts()["signature"]
    # Signs as tokens: 5 of 6, 3 of 5, 2 of 4, 1 of 3.
    assert score.value == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    fixed, [plain] = scored("bleu", asked, tokenize="13a")
    assert "tok:13a" in fixed.facts()["signature"] and plain.value == 0
    by_hand, _ = scored("bleu", asked, lang="de")
    assert "tok:13a" in by_hand.facts()["signature"]


@pytest.mark.parametrize(
    ("language", "package", "tokenizer"), [("ja", "MeCab", "ja-mecab"), ("ko", "mecab_ko", "ko-mecab")]
)
def test_tokenizers_of_japanese_and_korean(language, package, tokenizer):
    pytest.importorskip(package, reason=f"needs sacrebleu[{language}]")
    text = {"ja": "私は猫が好きです。", "ko": "나는 고양이를 좋아한다."}[language]
    metric, [score] = scored("bleu", [(group(text, tgt_lang=language), text)])
    assert score.value == pytest.approx(100) and f"tok:{tokenizer}" in metric.facts()["signature"]


def test_pairs_of_languages_are_a_corpus_each():
    english = [group("a b c d e f", prompt=f"e{i}", src_lang="de", tgt_lang="en") for i in range(2)]
    german = [group("u v w x y z", prompt="d", src_lang="en", tgt_lang="de")]
    asked = [(english[0], "a b c d e f"), (english[1], "a b c d e f"), (german[0], "u v w x y q")]
    metric, _ = scored("bleu", asked)
    found = corpus(metric, asked)
    # Of the German pair 5 of 6, 4 of 5, 3 of 4, 2 of 3, hence (1/3)^(1/4).
    assert found["parts"] == {"de-en": pytest.approx(100), "en-de": pytest.approx(100 * (1 / 3) ** 0.25)}
    assert found["value"] == pytest.approx(sum(found["parts"].values()) / 2)
    assert metric.facts()["signature"].startswith("nrefs:1")


def test_several_tokenizers_are_told_by_name():
    asked = [(group("a b", tgt_lang="en"), "a b"), (group("我们", tgt_lang="zh", prompt="q"), "我们")]
    metric, _ = scored("bleu", asked)
    assert set(metric.facts()["signature"]) == {"13a", "zh"}


def test_intervals_and_differences():
    asked = list(zip(groups([REFERENCE] * 30), [HYPOTHESIS, "the dog is on a mat"] * 15, strict=True))
    metric, _ = scored("bleu", asked)
    found = corpus(metric, asked)
    assert found["low"] < found["value"] < found["high"] and found["n"] == 30
    worse, better = ([(g, [text]) for g, _ in asked] for text in (HYPOTHESIS, REFERENCE))
    gap = metric.corpus_difference(better, list(reversed(worse)))
    # Thirty times the counts of HYPOTHESIS: half a match of 90 4-grams.
    theirs = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 0.5 / 90) ** 0.25
    assert gap["value"] == pytest.approx(100 - theirs) and gap["bootstrap_p"] < 0.01 and gap["n"] == 30
    same = metric.corpus_difference(worse, worse)
    assert same["value"] == 0 and same["bootstrap_p"] == same["randomization_p"] == 1
    assert metric.corpus_difference(worse[:1], better[1:]) is None


def test_systems_are_paired_by_prompt_and_all_responses_of_a_prompt_count():
    asked = groups(["a b c d e", "f g h i j", "k l m n o"])
    rows = [(asked[0], ["a b c d e", "x"]), (asked[1], ["f g y"]), (asked[2], ["k l m n o"])]
    metric, _ = scored("chrf", [(g, t) for g, texts in rows for t in texts])
    gap = metric.corpus_difference(rows, rows[::-1])
    assert gap["low"] == gap["high"] == 0
    texts = [(t, g.task_meta["reference"]) for g, some in rows for t in some]
    expected = sacrebleu.corpus_chrf([t for t, _ in texts], [[r for _, r in texts]]).score
    assert metric.corpus(rows)["value"] == pytest.approx(expected) and metric.corpus(rows)["n"] == 3


def test_mistakes():
    with pytest.raises(PrefineError, match="did you mean 'intl'"):
        scored("bleu", [(group("a"), "a")], tokenize="int")
    with pytest.raises(PrefineError, match="none of the 1 prompts has a reference"):
        scored("chrf", [(group(), "a")])


@pytest.mark.parametrize("name", ["bleu", "chrf", "chrf++"])
def test_equal_to_sacrebleu_on_real_text(name):
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    sources, references, responses = translations(150)
    theirs = {"bleu": BLEU(), "chrf": CHRF(), "chrf++": CHRF(word_order=2)}[name]
    single = BLEU(effective_order=True) if name == "bleu" else theirs
    asked = [
        (group(r, prompt=s, src_lang="de", tgt_lang="en"), t)
        for s, r, t in zip(sources, references, responses, strict=True)
    ]
    metric, found = scored(name, asked)
    expected = theirs.corpus_score(responses, [references])
    assert corpus(metric, asked)["value"] == expected.score
    assert metric.facts()["signature"] == str(theirs.get_signature())
    assert [s.value for s in found] == [
        single.sentence_score(t, [r]).score for r, t in zip(references, responses, strict=True)
    ]
    assert 20 < expected.score < 95


def test_real_text_with_two_references():
    from sacrebleu.metrics.bleu import BLEU

    sources, references, responses = translations(60)
    others = [" ".join(reversed(r.split())) for r in references]
    asked = [
        (group(r, prompt=s, reference_1=o), t)
        for s, r, o, t in zip(sources, references, others, responses, strict=True)
    ]
    metric, _ = scored("bleu", asked)
    theirs = BLEU()
    assert corpus(metric, asked)["value"] == theirs.corpus_score(responses, [references, others]).score
    assert metric.facts()["signature"] == str(theirs.get_signature())


def test_names_for_the_recipe():
    built = [metrics.build({"name": n}).name for n in ("bleu", "chrf", "chrf++")]
    assert built == ["bleu", "chrf", "chrf++"] and metrics.build({"name": "bleu", "as_name": "b"}).name == "b"
