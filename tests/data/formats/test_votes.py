"""Data that people voted on: SHP and Stack Exchange. The rows are synthetic."""

from __future__ import annotations

import json

import pytest

from prefine.data.load import load
from prefine.data.markdown import from_html
from prefine.data.messages import Dropped
from prefine.data.split import split_key
from prefine.errors import PrefineError
from prefine.pair.given import Given
from prefine.recipe import Data
from tests.data.formats.test_formats import convert, judged, texts


def comments(post: str, a: str, b: str, label: int, ratio: float, scores=(5, 2), **more) -> dict:
    return {
        "post_id": post,
        "domain": "askbaking_train",
        "history": f"Post {post}",
        "human_ref_A": f"comment {a}",
        "human_ref_B": f"comment {b}",
        "c_root_id_A": a,
        "c_root_id_B": b,
        "score_A": scores[0],
        "score_B": scores[1],
        "labels": label,
        "score_ratio": ratio,
        **more,
    }


def test_the_comments_of_a_post_are_one_group_each_of_them_once(tmp_path):
    rows = [
        comments("p", "x", "y", 1, 2.5),
        comments("p", "z", "x", 0, 4.0, scores=(2, 5)),
        comments("q", "x", "w", 1, 1.5),
        comments("p", "x", "v", 1, 3.0, human_ref_B="comment y"),
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    groups = load(Data(path=str(tmp_path / "rows.jsonl"))).groups
    assert [len(g.candidates) for g in groups] == [4, 2]
    # Another comment with the words of `y` is another candidate.
    assert [c.generator["comment"] for c in groups[0].candidates] == ["x", "y", "z", "v"]
    assert judged(groups[0]) == [("comment x", "comment y")] * 2 and [c.outcome for c in groups[0].comparisons] == [
        "a",
        "b",
        "a",
    ]
    assert [c.strength for c in groups[0].comparisons] == [2.5, 4.0, 3.0]
    assert [c.score("votes") for c in groups[0].candidates] == [5, 2, 2, 2]
    assert split_key(groups[0]) == "shp:p" and groups[0].task_meta["domain"] == "askbaking_train"
    assert "score_ratio" not in groups[0].task_meta


def test_weak_comparisons_can_be_left_out():
    convert(comments("p", "x", "y", 1, 2.0), "shp", given={"min_score_ratio": 2.0})
    with pytest.raises(Dropped, match="below_min_score_ratio"):
        convert(comments("p", "x", "y", 1, 1.9), "shp", given={"min_score_ratio": 2.0})
    with pytest.raises(PrefineError, match="at least 1"):
        convert(comments("p", "x", "y", 1, 1.9), "shp", given={"min_score_ratio": 0.5})


def question(*answers: dict, **more) -> dict:
    return {
        "qid": 7,
        "question": "<p>Why does <code>a &lt; b</code> fail?</p>",
        "answers": list(answers),
        "date": "2020/01/01",
        "metadata": ["https://example.org/q/7", "https://example.org"],
        **more,
    }


def answer(n: int, score: int, text: str, **more) -> dict:
    return {"answer_id": n, "author": f"writer {n}", "author_id": n, "pm_score": score, "text": text, **more}


def test_html_becomes_markdown_and_authors_stay():
    first = answer(1, 3, "<p>See <a href='https://x.org'>this</a>.</p>", selected=True, author_profile="https://u/1")
    _, group, source = convert(question(first, answer(2, 3, "<p>Yes</p>"), answer(3, -1, "<p> </p>")))
    assert group.messages[0]["content"] == "Why does `a < b` fail?"
    assert texts(group) == ["See [this](https://x.org).", "Yes"]
    assert group.candidates[0].generator == {
        "role": "human",
        "author": "writer 1",
        "author_id": "1",
        "author_profile": "https://u/1",
        "answer_id": "1",
        "selected": "True",
    }
    # Equal votes are scores like others: no comparison is made of a tie.
    assert [c.score("pm_score") for c in group.candidates] == [3, 3] and not group.comparisons
    assert group.source["page"] == "https://example.org/q/7" and split_key(group) == "stackexchange:7"
    assert source.notes["responses_dropped_empty_response"] == 1
    with pytest.raises(Dropped, match="no_candidates"):
        convert(question(answer(3, -1, "")), "stackexchange_raw")


def test_answers_with_different_votes_are_compared_ten_times_at_most():
    row = question(*(answer(n, n // 2, f"<p>answer {n}</p>") for n in range(6)))
    _, group, _ = convert(row)
    # Six answers have 15 pairs, of which three are ties.
    _, everything, _ = convert(row, "stackexchange_raw", given={"max_pairs": None})
    votes = {c.id: c.score("pm_score") for c in group.candidates}
    assert len(everything.comparisons) == 12 and len(group.comparisons) == 10
    assert all(c.outcome == "a" and votes[c.a] - votes[c.b] == c.strength > 0 for c in everything.comparisons)
    kept = {(c.a, c.b) for c in group.comparisons}
    assert kept < {(c.a, c.b) for c in everything.comparisons}
    # A hash of contents chooses: neither the order of the answers nor a smaller cap changes who comes first.
    _, turned, _ = convert(question(*reversed(row["answers"])))
    assert {(c.a, c.b) for c in turned.comparisons} == kept
    _, three, _ = convert(row, "stackexchange_raw", given={"max_pairs": 3})
    assert {(c.a, c.b) for c in three.comparisons} < kept
    pairs, _ = Given().pairs(group, [None] * 6)
    assert len(pairs) == 10
    with pytest.raises(PrefineError, match="max_pairs must be 0 or more"):
        convert(row, "stackexchange_raw", given={"max_pairs": -1})


def test_markdown_keeps_code_lists_links_and_emphasis():
    html = (
        "<p>Do <em>this</em>:</p><ul><li>one<ul><li>inner</li></ul></li><li>two</li></ul>"
        "<pre><code>if x &lt; 1:\n    my_name = 2 * 3 * 4\n</code></pre><ol><li>first</li></ol>"
        "<blockquote><p>said</p></blockquote><p>snake_case and 2*3</p>"
    )
    text = from_html(html)
    assert "Do *this*:" in text and "- one\n  - inner\n- two" in text
    assert "```\nif x < 1:\n    my_name = 2 * 3 * 4\n```" in text
    assert "1. first" in text and "> said" in text and text.endswith("snake_case and 2*3")


def test_paired_answers():
    row = {"qid": "9", "question": "Why?", "response_j": "so", "response_k": "dunno"}
    _, group, _ = convert(row)
    assert judged(group) == [("so", "dunno")] and split_key(group) == "stackexchange:9"
    del row["qid"]
    assert split_key(convert(row)[1]) == "why?"
