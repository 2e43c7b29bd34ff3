"""Several models: who answers, in which order they are asked, principles, failures, and a kill in the middle."""

from collections import Counter

import pytest

from prefine.engines.base import Outcome
from prefine.errors import PrefineError
from prefine.generate import stage
from prefine.progress import Progress
from prefine.registry import generators
from tests.prompts.world import Stopped, rows, seeds

GROUPS = seeds(*[f"prompt {i}" for i in range(12)])


def members(*names, **more):
    return [{"engine": {"name": "hf", "model": name}, **more.get(name, {})} for name in names]


def pool(*names, settings=None, **more):
    return {"name": "pool", "members": members(*names, **more), **(settings or {})}


def run(world, block, groups=GROUPS, **section):
    recipe = world.recipe(generator=block, **{"num_responses": 2, **section})
    source, target = world.folders("generate", groups)
    counts, facts = stage.run(recipe, target, source, Progress.silent())
    return target, counts, facts


def answers(*names):
    return {name: (lambda r, name=name: f"{name} says {r.messages[-1]['content']}") for name in names}


def test_each_prompt_is_answered_by_distinct_members_drawn_by_its_id(world):
    made = world(answers("a", "b", "c"))
    target, _, facts = run(made, pool("a", "b", "c"))
    drawn = {}
    for group in target.groups():
        names = [c.generator["member"] for c in group.candidates]
        assert len(set(names)) == 2
        assert [c.text for c in group.candidates] == [f"{name} says {group.prompt}" for name in names]
        drawn[group.id] = set(names)
    assert len({frozenset(v) for v in drawn.values()}) == 3
    assert sum(facts["responses_of"].values()) == 24
    assert sum(made.calls.values()) == 24
    # Half of the prompts: the same members answer them.
    some, _, _ = run(world(answers("a", "b", "c"), name="half"), pool("a", "b", "c"), GROUPS[::2])
    assert {g.id: {c.generator["member"] for c in g.candidates} for g in some.groups()} == {
        g.id: drawn[g.id] for g in GROUPS[::2]
    }


def test_one_model_is_asked_after_the_other_and_let_go_of(world, monkeypatch):
    monkeypatch.setattr(stage, "PART", 3)
    made = world(answers("a", "b"))
    run(made, pool("a", "b"))
    order = [entry for i, entry in enumerate(made.log) if i == 0 or made.log[i - 1] != entry]
    # All of a's prompts in all parts, then a is closed, before b is loaded; at the end both sessions are closed.
    assert order[:4] == [("ask", "a"), ("close", "a"), ("ask", "b"), ("close", "b")]
    assert ("ask", "a") not in order[4:]
    assert ("ask", "b") not in order[4:]


def test_a_failing_model_leaves_its_response_out(world):
    def b(request):
        n = int(request.messages[-1]["content"].split()[1])
        return Outcome("failed_retryable", error="timeout: slow") if n < 2 else f"b {n}"

    made = world({**answers("a"), "b": b})
    block = pool("a", "b", settings={"min_candidates": 1})
    target, counts, _ = run(made, block)
    sizes = {g.prompt: len(g.candidates) for g in target.groups()}
    assert sizes["prompt 0"] == sizes["prompt 1"] == 1
    assert sizes["prompt 2"] == 2
    assert counts.extra["failed_b_timeout"] == 2
    # Three tries each while a model is loaded, and none again when the rows are written.
    assert sorted(Counter(made.calls.values()).items()) == [(1, 22), (3, 2)]
    both, counts, _ = run(world({**answers("a"), "b": b}, name="two"), pool("a", "b"))
    assert counts.as_dict()["dropped"] == {"too_few_candidates": 2}
    assert len(rows(both)) == 10


def test_principles_are_told_and_kept_beside_the_prompt(world):
    groups = seeds(*[f"question {i}" for i in range(60)])
    for group in groups[:30]:
        group.source["dataset"] = "evol"
    mixes = {"evol": {"helpfulness": 1}, "*": {"honesty": 1, "none": 3}}
    made = world(answers("a", "b"))
    target, _, _ = run(made, pool("a", "b", settings={"principles": mixes}), groups)
    told = Counter()
    for group in target.groups():
        assert [m["role"] for m in group.messages] == ["user"]
        for c in group.candidates:
            name = c.generator.get("principle")
            told[group.source["dataset"], name] += 1
            assert ("system_principle" in c.generator) == (name is not None)
    assert told["evol", "helpfulness"] == 60
    # A quarter of 60, within four standard deviations of sqrt(60 * 3/16) = 3.4.
    assert abs(told["d", "honesty"] - 15) < 14
    assert told["d", "honesty"] + told["d", None] == 60
    systems = [r.messages[0] for _, r in made.asked if r.messages[0]["role"] == "system"]
    assert len(systems) == 60 + told["d", "honesty"]


def test_own_principles_are_files(world, tmp_path):
    (tmp_path / "rude.txt").write_text("Be rude.\n")
    settings = {"principles": {"*": {"rude": 1}}, "principle_texts": {"rude": str(tmp_path / "rude.txt")}}
    target, _, _ = run(world(answers("a", "b")), pool("a", "b", settings=settings))
    assert {c.generator["system_principle"] for g in target.groups() for c in g.candidates} == {"Be rude."}
    wrong = pool("a", "b", settings={"principles": {"*": {"honest": 1}}})
    with pytest.raises(PrefineError, match="there is no principle 'honest'; did you mean 'honesty'"):
        run(world(answers("a", "b"), name="w"), wrong)


def test_the_student_is_a_member_that_always_answers(world):
    made = world({**answers("a", "b", "c")})
    asked = []

    def session(block, recipe):
        if isinstance(block["model"], dict):
            asked.append(block["model"]["path"])
            return type(made).session(made, {"model": "c"}, recipe)
        return type(made).session(made, block, recipe)

    made.session = session
    block = pool("a", "b")
    block["members"].append({"student": True, "always": True})
    target, _, _ = run(made, block)
    assert asked == ["student"]
    for group in target.groups():
        roles = [c.generator["role"] for c in group.candidates]
        assert sorted(roles) == ["pool", "student"]


def test_weights_strata_and_own_sampling(world):
    block = pool(
        "a", "b", "c", a={"stratum": "s", "temperature": 0.2}, b={"stratum": "s"}, c={"weight": 2, "stratum": "t"}
    )
    target, _, _ = run(world(answers("a", "b", "c")), block)
    for group in target.groups():
        names = [c.generator["member"] for c in group.candidates]
        assert "c" in names
        assert [c.generator["temperature"] for c in group.candidates if c.generator["member"] == "a"] in (["0.2"], [])


@pytest.mark.parametrize("limit", [1, 11, 13, 23])
def test_a_kill_after_any_call_ends_in_the_same_rows_and_asks_nothing_twice(world, monkeypatch, limit):
    monkeypatch.setattr(stage, "PART", 5)
    whole = world(answers("a", "b", "c"), name="whole")
    target, counts, _ = run(whole, pool("a", "b", "c"))
    killed = world(answers("a", "b", "c"), limit, name="killed")
    with pytest.raises(Stopped):
        run(killed, pool("a", "b", "c"))
    killed.limit = None
    again, after, _ = run(killed, pool("a", "b", "c"))
    assert rows(again) == rows(target)
    assert after.as_dict() == counts.as_dict()
    assert set(killed.calls.values()) == {1}
    assert killed.calls == whole.calls


@pytest.mark.parametrize(
    "block, section, message",
    [
        (pool("a"), {}, "at least two models"),
        (pool("a", "b", a={"wait": 1}), {}, "members: wait is no key of a member"),
        (pool("a", "b", a={"student": True}), {}, "each have an engine, or student: true"),
        (pool("a", "b", a={"weight": 0}), {}, "weights above 0"),
        (pool("a", "a"), {}, "2 members are called 'a'; give them names"),
        (pool("a", "b"), {"num_responses": 3}, "num_responses is 3, but the pool has only 2 members"),
        (pool("a", "b"), {"num_responses": 1}, "min_candidates is 2, above generate.num_responses"),
        (pool("a", "b", settings={"principles": {"*": {"none": 0}}}), {}, "weights of 0 or more, and not all 0"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(world, block, section, message):
    made = world(answers("a", "b"))
    with pytest.raises(PrefineError, match=message):
        run(made, block, **section)
    assert not made.asked


def test_mistakes_in_members_are_seen_when_a_recipe_is_read():
    _, problems = generators.inspect(pool("a", "b", a={"wait": 1}))
    assert "wait is no key of a member" in str(problems[0])
