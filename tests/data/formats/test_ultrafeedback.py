"""UltraFeedback, raw and in pairs; the rows are synthetic and have what is wrong with the real ones."""

from __future__ import annotations

import pytest

from prefine.data.build import Source
from prefine.data.formats.ultrafeedback_raw import FIXED, UltraFeedbackRaw
from prefine.data.messages import Dropped
from prefine.pair.selection import weights
from tests.data.formats.test_formats import USER, bot, convert, judged, texts


def completion(text: str, ratings: list, overall, **more) -> dict:
    names = ("instruction_following", "honesty", "truthfulness", "helpfulness")
    rated = {n: {"Rating": r, "Rationale": f"on {n}"} for n, r in zip(names, ratings, strict=True)}
    return {"model": f"model-{text}", "response": text, "annotations": rated, "overall_score": overall, **more}


def row(*completions: dict, **more) -> dict:
    return {"source": "flan", "instruction": "Hi", "models": ["m"], "completions": list(completions), **more}


def overall(group) -> list[float | None]:
    return [c.score("ultrafeedback", "overall") for c in group.candidates]


@pytest.mark.acceptance(name="ultrafeedback")
def test_every_aspect_is_a_score_and_their_mean_is_computed_here():
    wrong_mean = {"fine-grained_score": 1.0, "critique": "Fine."}
    _, group, _ = convert(row(completion("a", ["5", "N/A", "4", 3], "7", **wrong_mean), completion("b", [1] * 4, 2)))
    a = group.candidates[0]
    assert a.score("fine_mean") == 4.0 and a.score("ultrafeedback", "n_aspects") == 3
    assert a.score("ultrafeedback", "truthfulness") == 4.0
    honesty = next(s for s in a.scores if s.aspect == "honesty")
    assert (honesty.value, honesty.status, honesty.kind) == (None, "na", "judge_aspect")
    assert next(s for s in a.scores if s.aspect == "overall").rationale == "Fine."
    assert next(s for s in a.scores if s.aspect == "helpfulness").rationale == "on helpfulness"
    # The mean of the aspects is the one score that pairs are made by when none is named.
    assert weights(None, [group]) == {"fine_mean": 1.0}
    assert group.task_meta == {"source": "flan"} and a.generator["model"] == "model-a"


@pytest.mark.acceptance(name="ultrafeedback")
@pytest.mark.parametrize(
    ("ratings", "given", "wanted"),
    [
        ([2, 2, 2, 2], 10, 1.0),
        ([1, "N/A", 2, 1], "10", 1.0),
        ([5, 4, 4, 4], 10, 10.0),
        ([4, 4, 4, 4], 10, None),
        ([3, 2, 2, 2], 10.0, None),
        (["N/A"] * 4, 10, None),
        ([1, 1, 1, 1], 9.5, 9.5),
        ([5, 5, 5, 5], "N/A", None),
    ],
)
def test_an_overall_score_of_10_that_was_a_1(ratings, given, wanted):
    _, group, source = convert(row(completion("a", ratings, given)))
    assert overall(group) == [wanted]
    status = next(s for s in group.candidates[0].scores if s.aspect == "overall").status
    assert status == ("ok" if wanted is not None else "na" if given == "N/A" else "ambiguous_overall10")
    assert source.notes["overall_10_repaired_to_1"] == (wanted == 1.0)
    _, group, _ = convert(row(completion("a", ratings, given)), revision=FIXED)
    assert overall(group) == [None if given == "N/A" else float(given)]


@pytest.mark.acceptance(name="ultrafeedback")
def test_no_ratings_no_mean():
    _, group, _ = convert(row(completion("a", ["N/A"] * 4, 3)))
    mean = next(s for s in group.candidates[0].scores if s.scorer == "fine_mean")
    assert (mean.value, mean.status) == (None, "na") and group.candidates[0].score("ultrafeedback", "n_aspects") == 0


@pytest.mark.acceptance(name="ultrafeedback")
def test_the_principle_belongs_to_the_response_alone():
    told = {"principle": "honesty", "custom_system_prompt": "Say when you do not know."}
    _, group, _ = convert(row(completion("a", [5] * 4, 8, **told), completion("b", [4] * 4, 7)))
    assert group.messages == [USER]
    assert group.candidates[0].generator == {
        "model": "model-a",
        "principle": "honesty",
        "system_principle": "Say when you do not know.",
    }
    assert group.candidates[1].generator == {"model": "model-b"}


@pytest.mark.acceptance(name="ultrafeedback")
def test_rows_without_usable_completions_and_truthful_qa_are_dropped():
    form = UltraFeedbackRaw()
    for bad, reason in [
        (row(), "no_candidates"),
        (row(completion(" ", [5] * 4, 8)), "no_candidates"),
        (row(completion("a", [5] * 4, 8), source="truthful_qa"), "truthful_qa"),
    ]:
        with pytest.raises(Dropped) as caught:
            form(bad, Source("rows"))
        assert caught.value.reason == reason
    kept = UltraFeedbackRaw(keep_truthful_qa=True)(
        row(completion("a", [5] * 4, 8), source="truthful_qa"), Source("rows")
    )
    assert texts(kept) == ["a"]
    source = Source("rows")
    assert texts(form(row(completion("a", [5] * 4, 8), completion("", [5] * 4, 8)), source)) == ["a"]
    assert source.notes["responses_dropped_empty_response"] == 1


def binarized(**changes) -> dict:
    return {
        "prompt": "Hi",
        "prompt_id": "1",
        "chosen": [USER, bot("good")],
        "rejected": [USER, bot("bad")],
        "messages": [USER, bot("good")],
        "score_chosen": 8.5,
        "score_rejected": 5.0,
        **changes,
    }


@pytest.mark.acceptance(name="ultrafeedback")
def test_binarized_pairs_keep_their_scores_and_ties_are_dropped():
    name, group, _ = convert(binarized())
    assert name == "ultrafeedback_binarized" and judged(group) == [("good", "bad")] and group.messages == [USER]
    assert [(c.score("overall"), c.scores[0].kind) for c in group.candidates] == [
        (8.5, "judge_single"),
        (5.0, "judge_single"),
    ]
    _, form_group, _ = convert(binarized(score_chosen=None, score_rejected=None))
    assert not form_group.candidates[0].scores
    for bad, reason in [
        (binarized(score_rejected="8.5"), "tied_scores"),
        (binarized(rejected=[USER, bot("good ")]), "identical_responses"),
        (binarized(rejected=[{"role": "user", "content": "Other"}, bot("bad")]), "context_differs"),
        (binarized(rejected=[USER, bot("")]), "empty_response"),
    ]:
        with pytest.raises(Dropped) as caught:
            convert(bad, "ultrafeedback_binarized")
        assert caught.value.reason == reason
