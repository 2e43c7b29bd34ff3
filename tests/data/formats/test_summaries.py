"""Summaries of posts and articles with judgements. The rows are synthetic."""

from __future__ import annotations

import json

import pytest

from prefine.data.load import load
from prefine.data.messages import Dropped
from prefine.data.split import split_key
from prefine.recipe import Data
from tests.data.formats.test_formats import convert, judged, texts

INFO = {"id": "t3_a", "post": "A long story.", "title": "Help", "subreddit": "advice", "site": None, "article": None}


def compared(choice: int, worker: str, confidence=None, **more) -> dict:
    return {
        "info": INFO,
        "summaries": [
            {"text": " short ", "policy": "sup1", "note": "x"},
            {"text": "shorter", "policy": "ref", "note": None},
        ],
        "choice": choice,
        "worker": worker,
        "batch": "b1",
        "split": "train",
        "extra": {"confidence": confidence},
        **more,
    }


def test_judgements_of_several_workers_stay_several(tmp_path):
    rows = [compared(1, "w1", 8), compared(0, "w2"), compared(1, "w1", 3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    groups = load(Data(path=str(tmp_path / "rows.jsonl"))).groups
    assert len(groups) == 1 and texts(groups[0]) == ["short", "shorter"]
    assert [(c.outcome, c.judge, c.strength) for c in groups[0].comparisons] == [
        ("b", "human:w1", 8.0),
        ("a", "human:w2", None),
        ("b", "human:w1", 3.0),
    ]
    assert [c.generator["model"] for c in groups[0].candidates] == ["sup1", "ref"]
    assert groups[0].task == "summarization" and split_key(groups[0]) == "tldr:t3_a"
    assert groups[0].task_meta["domain"] == "reddit" and groups[0].task_meta["subreddit"] == "advice"


def test_the_prompt_asks_for_a_summary_or_ends_as_the_plain_text_does():
    _, group, _ = convert(compared(1, "w"))
    text = group.messages[0]["content"]
    assert text.startswith("Summarize") and "r/advice" in text and "Help" in text and text.endswith("A long story.")
    _, plain, _ = convert(compared(1, "w"), plain_text=True)
    assert plain.messages[0]["content"] == "SUBREDDIT: r/advice\nTITLE: Help\nPOST: A long story.\nTL;DR:"
    assert texts(plain)[0] == " short "


def test_news_articles_are_a_domain_of_their_own():
    _, group, _ = convert(compared(0, "w", info={"id": "n", "article": "It rained.", "post": None}))
    assert group.task_meta["domain"] == "news" and group.messages[0]["content"].endswith("It rained.")
    assert judged(group) == [("short", "shorter")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"choice": 2}, "bad_choice"),
        ({"summaries": [{"text": "a"}]}, "bad_choice"),
        ({"summaries": [{"text": "a"}, {"text": "a "}]}, "identical_responses"),
        ({"info": {"id": "x"}}, "missing_article"),
    ],
)
def test_comparisons_that_cannot_be_used(changes, reason):
    with pytest.raises(Dropped) as caught:
        convert({**compared(0, "w"), **changes}, "tldr_comparisons")
    assert caught.value.reason == reason


def test_axes_are_scores_and_may_be_missing():
    axes = {"overall": 6, "accuracy": "7", "coverage": None, "coherence": "N/A"}
    _, group, _ = convert({"info": INFO, "summary": {"text": "short", "policy": "p", "note": "", "axes": axes}})
    one = group.candidates[0]
    assert [one.score("human", a) for a in axes] == [6.0, 7.0, None, None]
    assert {s.status for s in one.scores if s.value is None} == {"na"}
    # The same post has the same group, whatever the file.
    assert group.id == convert(compared(0, "w"))[1].id


def test_posts_with_their_authors_summaries():
    row = {"id": "t3_a", "subreddit": "advice", "title": "Help", "post": "A long story.", "summary": " Need help "}
    name, group, _ = convert(row)
    assert name == "tldr_sft" and texts(group) == ["Need help"] and group.candidates[0].generator == {"role": "human"}
    assert group.id == convert(compared(0, "w"))[1].id and split_key(group) == "tldr:t3_a"
