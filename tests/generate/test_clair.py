"""Minimal revisions by a scripted teacher."""

import json

import pytest

from prefine.engines.base import Reply
from prefine.errors import PrefineError
from prefine.generate import stage
from prefine.generate.clair import Clair
from prefine.progress import Progress
from prefine.schema import Comparison, make_group

ENGINE = {"name": "hf", "model": "teacher"}


def run(world, block, groups, **section):
    recipe = world.recipe(generator={"engine": ENGINE, **block}, **section)
    source, target = world.folders("generate", groups)
    counts, facts = stage.run(recipe, target, source, Progress.silent())
    return target, counts, facts


def revision(text, reasons="too vague"):
    return f"<reasons>{reasons}</reasons>\n<revision>\n{text}\n</revision>"


ORIGINAL = "Bees fly home by the sun and by the smell of the hive"


def answered(prompt="How do bees find home?", *responses):
    group = make_group([{"role": "user", "content": prompt}], list(responses or [ORIGINAL]))
    return group


def test_clair_keeps_the_original_and_prefers_the_revision(world):
    better = ORIGINAL.replace("the sun", "the position of the sun")
    group = answered("q", ORIGINAL, "Something else entirely that is left alone")
    group.comparisons = [Comparison(group.candidates[1].id, group.candidates[0].id, "a", "human")]
    made = world({"teacher": lambda r: revision(better)})
    target, _, facts = run(made, {"name": "clair"}, [group], num_responses=1)
    (found,) = target.groups()
    assert [c.text for c in found.candidates] == [*(c.text for c in group.candidates), better]
    new = found.candidates[2]
    assert new.generator["parent"] == new.parent == group.candidates[0].id
    assert (new.generator["role"], new.generator["rationale"]) == ("revision", "too vague")
    # Three words are put into thirteen.
    assert float(new.generator["similarity"]) == 1 - 3 / 16
    assert facts["similarity"] == {"0.8": 1}
    assert [(c.a, c.b, c.outcome, c.judge) for c in found.comparisons] == [
        (group.candidates[1].id, group.candidates[0].id, "a", "human"),
        (new.id, group.candidates[0].id, "a", "clair"),
    ]
    from prefine.pair.given import Given

    pairs, _ = Given().pairs(found, [None] * 3)
    assert [better, ORIGINAL] in [[r[0]["content"] for r in p.responses] for p in pairs]
    text = made.asked[0][1].messages[0]["content"]
    assert f"<prompt>\nq\n</prompt>\n\n<answer>\n{ORIGINAL}\n</answer>" in text


@pytest.mark.parametrize(
    "text, reason",
    [
        (ORIGINAL.replace("sun", "moon"), None),
        ("  " + ORIGINAL.replace(" ", "  "), "unchanged"),
        ("Cats are not bees at all and never were any", "too_different"),
        (ORIGINAL + " and more" * 8, "length"),
        (ORIGINAL.replace("Bees", "In this revised version bees"), "talks_of_revising"),
        (
            ORIGINAL.replace(
                "smell of the hive",
                "\u0437\u0430\u043f\u0430\u0445 \u0443\u043b\u044c\u044f \u0438 \u0441\u043e\u043b\u043d\u0446\u0430",
            ),
            "other_language",
        ),
    ],
)
def test_what_a_revision_must_be(text, reason):
    assert Clair(ENGINE).fault(ORIGINAL, text) == reason


def test_too_similar_is_of_long_texts():
    long = " ".join(f"w{i}" for i in range(200))
    assert Clair(ENGINE).fault(long, long.replace("w7 ", "x ")) == "too_similar"


def test_rejected_revisions_are_counted_and_unreadable_ones_asked_for_again(world):
    def answer(request):
        text = request.messages[0]["content"]
        if "unreadable" in text:
            return "no tags" if "#" not in request.tag else revision(ORIGINAL.replace("sun", "moon"))
        if "cut" in text:
            return Reply(revision(ORIGINAL), "length")
        return revision(ORIGINAL)

    groups = [answered("unreadable"), answered("cut"), answered("same"), answered("empty", "  ")]
    made = world({"teacher": answer})
    target, counts, facts = run(made, {"name": "clair"}, groups)
    assert [g.prompt for g in target.groups()] == ["unreadable"]
    assert counts.as_dict()["dropped"] == {"no_response_to_revise": 1, "revision_cut": 1, "revision_unchanged": 1}
    assert counts.extra["revision_cut"] == counts.extra["revision_unchanged"] == 1
    assert facts["session"]["unparsed"] == 1


def test_worsened_answers_lose_to_their_originals(world):
    def answer(request):
        worse = "in one respect, its tone" in request.messages[0]["content"]
        return revision(ORIGINAL.replace("sun", "stars" if worse else "moon"))

    block = {"name": "clair", "worsen": True, "aspect": "tone"}
    target, _, _ = run(world({"teacher": answer}), block, [answered()])
    (found,) = target.groups()
    original, better, worse = found.candidates
    assert [(c.a, c.b) for c in found.comparisons] == [(better.id, original.id), (original.id, worse.id)]
    assert (worse.generator["role"], worse.generator["aspect"]) == ("worsened", "tone")


JUDGE = {"name": "judge_pairwise", "engine": {"name": "hf", "model": "judge"}, "max_reasks": 0}


@pytest.mark.parametrize(
    ("prefers", "kept", "dropped"),
    [
        ("moon", True, {}),
        ("by the sun", False, {"revision_not_better": 1}),
        ("first", False, {"revision_not_better": 1}),
        ("silence", False, {"revision_no_verdict": 1}),
    ],
)
def test_a_judge_must_prefer_the_revision_in_both_orders(world, prefers, kept, dropped):
    def judge(request):
        text = request.messages[0]["content"]
        a = text[text.index("=== answer A") : text.index("=== end of answer A")]
        if prefers == "silence":
            return "hm"
        return '{"winner": "%s"}' % ("A" if prefers == "first" or prefers in a else "B")

    made = world({"teacher": lambda r: revision(ORIGINAL.replace("sun", "moon")), "judge": judge})
    groups = [answered(), answered("other", "one two three four", "five")]
    groups[1].split = "test"
    target, counts, facts = run(made, {"name": "clair", "judge": JUDGE}, groups) if kept else (None, None, None)
    if not kept:
        with pytest.raises(PrefineError, match=f"no prompt got a response .*{next(iter(dropped))}: 1"):
            run(made, {"name": "clair", "judge": JUDGE}, groups)
        return
    (found,) = [g for g in target.groups() if g.split != "test"]
    _, new = found.candidates
    assert counts.as_dict()["dropped"] == dropped
    assert [(c.judge, c.outcome == ("a" if c.a == new.id else "b")) for c in found.comparisons] == [
        ("clair", True),
        ("judge_pairwise", True),
    ]
    assert len(found.comparisons[1].refs) == 2 and facts["judged"]["questions"] == {"asked": 2}
    assert facts["judge"]["engine"] == {"model": "judge"}
    assert [model for model, _ in made.asked] == ["teacher", "judge", "judge"]


def test_a_worsened_answer_must_lose_and_a_judge_must_compare(world):
    def judge(request):
        text = request.messages[0]["content"]
        a = text[text.index("=== answer A") : text.index("=== end of answer A")]
        return json.dumps({"winner": "A" if "moon" in a else "B"})

    def teacher(request):
        # What is to be worse has the moon as well, which this judge likes.
        return revision(
            ORIGINAL.replace("sun", "bright moon" if "its tone" in request.messages[0]["content"] else "moon")
        )

    block = {"name": "clair", "worsen": True, "aspect": "tone", "judge": JUDGE}
    target, counts, _ = run(world({"teacher": teacher, "judge": judge}), block, [answered()])
    (found,) = target.groups()
    assert [c.generator.get("role") for c in found.candidates[1:]] == ["revision"]
    assert counts.extra["worsened_not_worse"] == 1
    single = {**JUDGE, "name": "judge_single"}
    with pytest.raises(PrefineError, match="'judge_single' does not compare two responses"):
        run(world({"teacher": teacher, "judge": lambda r: "5"}, name="w2"), {**block, "judge": single}, [answered()])


def test_clair_with_keep_is_an_error(world):
    with pytest.raises(PrefineError, match=r"generate.keep chooses among samples"):
        run(world({"teacher": None}), {"name": "clair"}, [answered()], keep=2)


def test_settings_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="min_similarity must be below max_similarity"):
        Clair(ENGINE, min_similarity=0.9, max_similarity=0.5)
