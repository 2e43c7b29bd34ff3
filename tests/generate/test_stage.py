"""The generate stage on a tiny model: what is stored, what is counted, what a killed run keeps."""

import pytest

from prefine.errors import PrefineError
from prefine.generate import stage
from prefine.progress import Progress
from prefine.recipe import Data, Generate, Model, Recipe
from prefine.rundir import RunDir
from prefine.schema import make_group
from tests.generate import counting


def prompts(n: int):
    groups = [make_group([{"role": "user", "content": f"say {i}"}], ["given"]) for i in range(n)]
    for i, group in enumerate(groups):
        group.split = "test" if i % 4 == 3 else "train"
    return groups


def recipe_for(model, **section) -> Recipe:
    block = {"name": "hf", "max_new_tokens": 6, **section.pop("generator", {})}
    return Recipe(
        name="r",
        model=Model(path=str(model)),
        data=Data(path="d"),
        seed=3,
        generate=Generate(generator=block, num_responses=2, **section),
    )


@pytest.fixture
def folders(tmp_path):
    directory = RunDir(tmp_path / "run")
    source, target = directory.stage("data", "x", "1" * 64), directory.stage("generate", "y", "2" * 64)
    source.start()
    target.start()
    return source, target


def test_responses_are_stored_with_where_they_come_from(tiny_model_dir, folders):
    source, target = folders
    source.write_part(prompts(8))
    counts, facts = stage.run(recipe_for(tiny_model_dir), target, source, Progress.silent())
    assert counts.as_dict()["rows_in"] == counts.rows_out == 8
    assert counts.extra["responses"] == 12
    assert counts.extra["held_out_prompts_passed"] == 2
    assert facts["generator"]["seed"] == "3"
    for group in target.groups():
        if group.split == "test":
            assert [c.text for c in group.candidates] == ["given"]
            continue
        assert [c.generator["index"] for c in group.candidates] == ["0", "1"]
        assert len({c.id for c in group.candidates}) == 2
        for c in group.candidates:
            assert c.generator["model"] == str(tiny_model_dir)
            assert c.generator["max_new_tokens"] == "6"
            assert c.finish_reason in ("stop", "length")
            assert 1 <= c.n_tokens <= 6
            assert c.avg_logprob < 0


def test_held_out_prompts_on_request_and_another_seed(tiny_model_dir, folders):
    source, target = folders
    source.write_part(prompts(4))
    counts, _ = stage.run(recipe_for(tiny_model_dir, include_held_out=True), target, source, Progress.silent())
    assert counts.extra["responses"] == 8
    first = {g.id: [c.text for c in g.candidates] for g in target.groups()}
    other = target.path.parent / "other"
    again = type(target)(other, "generate", "3" * 64, other)
    again.start()
    stage.run(recipe_for(tiny_model_dir, generator={"seed": 9}), again, source, Progress.silent())
    assert all(first[g.id] != [c.text for c in g.candidates] for g in again.groups())


def test_a_killed_stage_goes_on_with_the_same_texts(tiny_model_dir, folders, tmp_path, monkeypatch):
    source, target = folders
    monkeypatch.setattr(stage, "PART", 3)
    source.write_part(prompts(10))
    recipe = recipe_for(tiny_model_dir)
    stage.run(recipe, target, source, Progress.silent())
    whole = list(target.groups())
    assert len(target.parts) == 4
    target.parts[-1].unlink()
    target.parts[-1].unlink()
    kept = [p.stat().st_mtime_ns for p in target.parts]
    counts, _ = stage.run(recipe, target, source, Progress.silent())
    assert [p.stat().st_mtime_ns for p in target.parts][:2] == kept
    assert list(target.groups()) == whole
    assert counts.rows_out == counts.rows_in == 10


def test_prompts_beyond_the_context_are_dropped_and_counted(tiny_model_dir, folders):
    source, target = folders
    long = make_group([{"role": "user", "content": "x" * 2000}])
    source.write_part([*prompts(2), long])
    counts, _ = stage.run(recipe_for(tiny_model_dir), target, source, Progress.silent())
    assert counts.as_dict()["dropped"] == {"prompt_too_long": 1}
    assert long.id not in {g.id for g in target.groups()}


def test_only_held_out_prompts_is_an_error(tiny_model_dir, folders):
    source, target = folders
    source.write_part(prompts(4)[3:])
    with pytest.raises(PrefineError, match="none of the 1 prompts is for training"):
        stage.run(recipe_for(tiny_model_dir), target, source, Progress.silent())


def test_a_part_of_which_nothing_is_left_is_not_sampled_again(folders, monkeypatch, tiny_model_dir):
    source, target = folders
    monkeypatch.setattr(stage, "PART", 1)
    groups = [make_group([{"role": "user", "content": f"say {i}"}]) for i in range(4)]
    source.write_part(groups)
    block = {"name": "tests.generate.counting:Counting"}
    section = Generate(generator=block, num_responses=2, min_unique=2)
    recipe = recipe_for(tiny_model_dir).model_copy(update={"generate": section})
    counting.ASKED.clear()
    first, facts = stage.run(recipe, target, source, Progress.silent())
    assert first.as_dict()["dropped"] == {"low_diversity": 2}
    assert facts["distinct_of_sampled"] == {"1": 2, "2": 2}
    assert len(counting.ASKED) == 4
    again, _ = stage.run(recipe, target, source, Progress.silent())
    assert len(counting.ASKED) == 4
    assert again.as_dict() == first.as_dict()
