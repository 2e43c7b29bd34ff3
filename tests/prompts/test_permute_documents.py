"""Documents in other orders: labels stay, answers and preferences come along, splits are those of the seed."""

import pytest

from prefine.errors import PrefineError
from prefine.progress import Progress
from prefine.prompts import permute_documents, stage
from prefine.registry import makers
from prefine.schema import Comparison, Score, make_group
from tests.prompts.world import rows, seeds

PROMPT = """Answer from the documents.

Document [1] (Title: bees)
Bees fly by the sun.

Document [2] (Title: bread)
Bread rises by yeast.
It takes an hour.

Document [3] (Title: ice)
Ice floats.

Question: why does bread rise?"""


def group():
    made = make_group(
        [{"role": "user", "content": PROMPT}], ["By yeast.", "No idea."], task_meta={"gold_document": "1"}
    )
    good, bad = made.candidates
    good.scores = [Score("judge", 9.0)]
    made.comparisons = [Comparison(good.id, bad.id, "a", "human")]
    return made


def maker(**settings):
    made = makers.build({"name": "permute_documents", **settings})
    made.seed = 0
    return made


def test_a_permutation_by_hand():
    made = maker().permuted(group(), (2, 0, 1))
    assert (
        made.prompt
        == """Answer from the documents.

Document [1] (Title: ice)
Ice floats.

Document [2] (Title: bees)
Bees fly by the sun.

Document [3] (Title: bread)
Bread rises by yeast.
It takes an hour.

Question: why does bread rise?"""
    )
    assert made.task_meta["prefine.document_order"] == "2,0,1"
    assert made.task_meta["gold_document"] == "2"
    good, bad = made.candidates
    assert (good.text, good.scores[0].value) == ("By yeast.", 9.0)
    assert [(c.a, c.b, c.outcome) for c in made.comparisons] == [(good.id, bad.id, "a")]
    assert good.id != group().candidates[0].id == good.generator["copy_of"]


def test_the_inverse_restores_the_prompt():
    there = maker().permuted(group(), (2, 0, 1))
    # Old place 2 came to 0, 0 to 1, 1 to 2.
    back = maker().permuted(there, (1, 2, 0))
    assert back.prompt == PROMPT
    assert back.task_meta["gold_document"] == "1"


def test_orders_are_distinct_and_not_the_own_one():
    orders = maker(n=99).orders(group())
    assert len(orders) == len(set(orders)) == 5
    assert (0, 1, 2) not in orders
    assert maker(n=2).orders(group()) == orders[:2]
    many = make_group([{"role": "user", "content": "\n".join(f"Document {i}: text {i}" for i in range(8))}])
    found = maker(n=30).orders(many)
    assert len(set(found)) == 30
    assert all(sorted(order) == list(range(8)) for order in found)
    assert tuple(range(8)) not in found


def test_the_stage_counts_and_keeps_the_split(world, monkeypatch):
    monkeypatch.setattr(permute_documents, "PART", 2)
    made = world({})
    plain = seeds("no documents here")
    other = make_group([{"role": "user", "content": PROMPT + " Be brief."}])
    source, target = made.folders("prompts", [group(), *plain, other])
    recipe = made.recipe(maker={"name": "permute_documents", "n": 2}, include_seeds=True)
    counts, _ = stage.run(recipe, target, source, Progress.silent())
    copies = [g for g in target.groups() if "copy_of" in g.source]
    assert len(copies) == 4
    assert len(target.parts) == 3
    assert counts.as_dict()["dropped"] == {"fewer_than_two_documents": 1}
    assert counts.rows_out == 7
    from prefine.data.split import split_of

    for seed in (group(), other):
        splits = {g.split for g in copies if g.source["copy_of"] == seed.id}
        assert splits == {split_of(seed, 0.2, "prefine")}
    whole = rows(target)
    target.parts[-1].unlink()
    again, _ = stage.run(recipe, target, source, Progress.silent())
    assert rows(target) == whole
    assert again.as_dict() == counts.as_dict()


def test_another_pattern():
    text = "First <doc>a b</doc> then <doc>c\n\nd</doc> end"
    made = maker(document=r"<doc>[\s\S]*?</doc>")
    swapped = made.permuted(make_group([{"role": "user", "content": text}]), (1, 0))
    assert swapped.prompt == "First <doc>c\n\nd</doc> then <doc>a b</doc> end"
    with pytest.raises(PrefineError, match="document is no regular expression"):
        maker(document="(")
