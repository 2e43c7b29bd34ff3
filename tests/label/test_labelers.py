"""Each labeler against the model's own numbers."""

import math

import pytest
import torch

from prefine.errors import PrefineError
from prefine.label.choice import Choice, label_ids
from prefine.label.question import load_template
from prefine.recipe import Data, Model, Recipe
from prefine.registry import labelers
from prefine.schema import Group, make_candidate, make_group

from ..conftest import make_model

RECIPE = Recipe(name="r", model=Model(path="m"), data=Data(path="d"))


def group_of(prompt: str, *texts: str) -> Group:
    group = make_group([{"role": "user", "content": prompt}])
    group.candidates = [make_candidate(group.id, t, key=str(i)) for i, t in enumerate(texts)]
    return group


GROUPS = [
    group_of("why is the dog red?", "because", "it is not", "because"),
    group_of("where?", "here", "there you are"),
]


def score(name: str, groups: list[Group], **settings):
    labeler = labelers.build({"name": name, **settings})
    labeler.prepare(RECIPE)
    return labeler.score(groups, lambda *_, **__: None)


def chat_ids(tokenizer, *turns: tuple[str, str], generation: bool = True) -> list[int]:
    messages = [{"role": r, "content": c} for r, c in turns]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=generation, return_dict=False)


@torch.no_grad()
def logp_after(model, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)


@torch.no_grad()
def response_logp(model, tokenizer, prompt: str, response: str, *, finished: bool = True) -> tuple[float, int]:
    start = chat_ids(tokenizer, ("user", prompt))
    more = tokenizer(response + "<|im_end|>" * finished)["input_ids"]
    logits = model(torch.tensor([start + more])).logits[0, len(start) - 1 : -1].log_softmax(-1)
    return logits.gather(1, torch.tensor(more)[:, None]).sum().item(), len(more)


def test_likelihood_is_the_mean_log_prob_with_the_end_of_turn(tiny_model_dir, tokenizer):
    model = make_model(tokenizer)
    mean = score("likelihood", GROUPS, model=str(tiny_model_dir))
    total = score("likelihood", GROUPS, model=str(tiny_model_dir), reduce="sum", as_name="sum")
    for g, group in enumerate(GROUPS):
        for k, c in enumerate(group.candidates):
            logp, n = response_logp(model, tokenizer, group.prompt, c.text)
            assert mean[g][k][0].value == pytest.approx(logp / n, abs=1e-5)
            assert total[g][k][0].value == pytest.approx(logp, abs=1e-4)
    assert (mean[0][0][0].scorer, total[0][0][0].scorer) == ("likelihood", "sum")


def test_likelihood_of_a_cut_response_has_no_end_of_turn(tiny_model_dir, tokenizer):
    group = group_of("why?", "because of")
    group.candidates[0].finish_reason = "length"
    [[[found]]] = score("likelihood", [group], model=str(tiny_model_dir))
    logp, n = response_logp(make_model(tokenizer), tokenizer, "why?", "because of", finished=False)
    assert found.value == pytest.approx(logp / n, abs=1e-5)


def test_likelihood_says_why_there_is_no_score(tiny_model_dir):
    group = group_of("why?", "x" * 300, "short", "")
    rows = score("likelihood", [group, group_of("no responses")], model=str(tiny_model_dir), max_length=100)
    assert [s[0].status for s in rows[0]] == ["too_long", "ok", "empty_response"]
    assert rows[0][1][0].value is not None
    assert rows[1] == []


def test_choice_is_the_models_probability_of_the_letter(tiny_model_dir, tokenizer):
    model = make_model(tokenizer)
    group = GROUPS[1]
    [rows] = score("choice", [group], model=str(tiny_model_dir), template="tiny_world", min_mass=0.0)
    template = load_template("tiny_world")
    a, b = (c.text for c in group.candidates)
    letter = tokenizer("AB")["input_ids"]

    def asked(first: str, second: str) -> list[float]:
        ids = chat_ids(tokenizer, ("user", template.fill(group.prompt, first, second)))
        return logp_after(model, ids).exp()[letter].tolist()

    ab, ba = asked(a, b), asked(b, a)
    p = {s.aspect: s.value for s in rows[0]}
    assert p["p"] == pytest.approx((ab[0] + ba[1]) / 2, rel=1e-4)
    assert p[None] == pytest.approx(math.log(max(p["p"], 1e-4)), abs=1e-6)
    assert p["first"] == pytest.approx(ab[0], rel=1e-4)
    assert p["second"] == pytest.approx(ba[1], rel=1e-4)
    assert p["swing"] == pytest.approx(abs(ab[0] - ba[1]), rel=1e-3)
    [one] = score("choice", [group], model=str(tiny_model_dir), template="tiny_world", min_mass=0.0, swap=False)
    p = [{s.aspect: s.value for s in row} for row in one]
    assert p[0]["p"] == pytest.approx(ab[0], rel=1e-4)
    assert p[1]["p"] == pytest.approx(ab[1], rel=1e-4)


def test_choice_asks_once_for_texts_that_are_equal(tiny_model_dir, monkeypatch):
    asked = []
    monkeypatch.setattr(Choice, "_ask", lambda self, rows, *_: asked.extend(rows) or dict.fromkeys(rows))
    score("choice", GROUPS, model=str(tiny_model_dir))
    assert len(asked) == 4


def test_choice_without_mass_on_the_letters_is_no_score(tiny_model_dir):
    [rows] = score("choice", GROUPS[1:], model=str(tiny_model_dir))
    assert [(s.value, s.status) for row in rows for s in row] == [(None, "no_usable_answer")] * 2
    [empty] = score("choice", [group_of("q", "a", "b", " ")], model=str(tiny_model_dir), min_mass=0.0)
    assert [row[0].status for row in empty] == ["ok", "ok", "empty_response"]
    [alone] = score("choice", [group_of("q", "a", "a")], model=str(tiny_model_dir), min_mass=0.0)
    assert [row[0].status for row in alone] == ["only_response"] * 2
    [long] = score("choice", [group_of("q", "a" * 600, "b" * 600)], model=str(tiny_model_dir), min_mass=0.0)
    assert [row[0].status for row in long] == ["no_usable_answer"] * 2


def test_choice_reports_the_position_bias(tiny_model_dir):
    labeler = labelers.build({"name": "choice", "model": str(tiny_model_dir)})
    from prefine.label.question import Answer

    group = group_of("q", "a", "b", "c")
    # A always gets 0.7 and B 0.2, except that c beats a in both orders.
    answers = {(i, j): Answer(0.7, 0.2, 0.1) for i in range(3) for j in range(3) if i != j}
    answers[0, 2], answers[2, 0] = Answer(0.1, 0.9, 0.0), Answer(0.9, 0.1, 0.0)
    for c, new in zip(group.candidates, labeler._scores(group, ["a", "b", "c"], answers), strict=True):
        c.scores = new
    facts = labeler.facts([group])
    # First: four times .7, .1 and .9; second: four times .2, .9 and .1; None: 4/6 of .1.
    assert facts["position_bias"] == pytest.approx((3.8 - 1.8) / 6, abs=1e-6)
    assert facts["none_mass"] == pytest.approx(0.4 / 6, abs=1e-6)
    # Two of three pairs are decided by the order alone.
    assert facts["flip_rate"] == pytest.approx(2 / 3, abs=1e-6)
    assert facts["swing"] == pytest.approx((4 * 0.5 + 2 * 0.0) / 6, abs=1e-6)


def test_labels_must_be_single_tokens(tokenizer):
    ids = label_ids(tokenizer, "t")
    assert [tokenizer.decode(i[0]) for i in ids] == ["A", "B", "N"]

    class Words:
        def __call__(self, text, add_special_tokens):
            return {"input_ids": [7, 8] if text.strip() in "AB" else [9]}

        def decode(self, ids):
            return "x"

    with pytest.raises(PrefineError, match="no single tokens for A and B"):
        label_ids(Words(), "t")


def test_programmatic_calls_the_function_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "my_scores.py").write_text(
        "def length(prompt, response, task_meta):\n"
        "    if response == 'here':\n        return None\n"
        "    return len(response) + float(task_meta.get('bonus', 0))\n"
        "def broken(prompt, response, task_meta):\n    return 1 / 0\n"
        "def text(prompt, response, task_meta):\n    return 'good'\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere", *__import__("sys").path])
    groups = [group_of("q", "here", "there")]
    groups[0].task_meta = {"bonus": "2"}
    [[none, five]] = score("programmatic", groups, function="my_scores:length", as_name="len")
    assert (none[0].value, none[0].status, five[0].value, five[0].scorer) == (None, "na", 7.0, "len")
    with pytest.raises(PrefineError, match=rf"my_scores:broken failed .* group {groups[0].id[:12]}.*ZeroDivisionError"):
        score("programmatic", groups, function="my_scores:broken")
    with pytest.raises(PrefineError, match=r"gave 'good' .* finite number"):
        score("programmatic", groups, function="my_scores:text")
    with pytest.raises(PrefineError, match="did you mean 'length'"):
        score("programmatic", groups, function="my_scores:lenght")
    with pytest.raises(PrefineError, match="no module 'my_scorez'"):
        score("programmatic", groups, function="my_scorez:length")
    with pytest.raises(PrefineError, match="must be module:function"):
        labelers.build({"name": "programmatic", "function": "length"})


@pytest.fixture(scope="module")
def reward_dir(tmp_path_factory, tokenizer):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        num_labels=1,
        # Padding and end of turn are one token, as in many reward models.
        pad_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
    )
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("reward")
    LlamaForSequenceClassification(config).save_pretrained(folder)
    padding = tokenizer.pad_token
    tokenizer.pad_token = "<|im_end|>"
    tokenizer.save_pretrained(folder)
    tokenizer.pad_token = padding
    return folder


def test_reward_model_scores_the_last_token_of_the_response(reward_dir, tokenizer):
    from transformers import LlamaForSequenceClassification

    model = LlamaForSequenceClassification.from_pretrained(reward_dir).eval()
    found = score("reward_model", GROUPS, model=str(reward_dir))
    for group, rows in zip(GROUPS, found, strict=True):
        for c, [s] in zip(group.candidates, rows, strict=True):
            ids = chat_ids(tokenizer, ("user", group.prompt), ("assistant", c.text), generation=False)[:-1]
            with torch.no_grad():
                hidden = model.model(torch.tensor([ids])).last_hidden_state[0, -1]
                assert s.value == pytest.approx(model.score(hidden).item(), abs=1e-5)
            assert (s.scorer, s.kind, s.status) == ("reward_model", "rm", "ok")


def test_reward_model_leaves_out_what_is_too_long(reward_dir):
    [[short, long, empty]] = score("reward_model", [group_of("q", "a", "b" * 80, " ")], model=str(reward_dir))
    assert [s[0].status for s in (short, long, empty)] == ["ok", "too_long", "empty_response"]
    assert long[0].value is None


def test_a_language_model_is_no_reward_model(tiny_model_dir):
    with pytest.raises(PrefineError, match="reward model"):
        score("reward_model", GROUPS, model=str(tiny_model_dir))


def test_settings_out_of_range_are_refused():
    with pytest.raises(PrefineError, match="min_mass must be between 0 and 1"):
        labelers.build({"name": "choice", "model": "m", "min_mass": 2.0})
    with pytest.raises(PrefineError, match="max_length must be 2 or more"):
        labelers.build({"name": "likelihood", "model": "m", "max_length": 1})


def test_likelihood_over_a_reference_model(tiny_model_dir, tmp_path, tokenizer):
    other = make_model(tokenizer, seed=1)
    other.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = score("likelihood", GROUPS, model=str(tiny_model_dir), reference_model=str(tmp_path))
    policy = make_model(tokenizer)
    for group, rows in zip(GROUPS, found, strict=True):
        for c, [s] in zip(group.candidates, rows, strict=True):
            ours, n = response_logp(policy, tokenizer, group.prompt, c.text)
            theirs, _ = response_logp(other, tokenizer, group.prompt, c.text)
            assert s.value == pytest.approx((ours - theirs) / n, abs=1e-5)
            assert s.kind == "logp_gap", "training must not take it for the teacher's log-likelihood"


def test_likelihood_beyond_that_without_the_prompt(tiny_model_dir, tokenizer):
    found = score("likelihood", GROUPS, model=str(tiny_model_dir), pmi=True, reduce="sum")
    model = make_model(tokenizer)
    for group, rows in zip(GROUPS, found, strict=True):
        for c, [s] in zip(group.candidates, rows, strict=True):
            ours, _ = response_logp(model, tokenizer, group.prompt, c.text)
            alone, _ = response_logp(model, tokenizer, "", c.text)
            assert s.value == pytest.approx(ours - alone, abs=1e-4)


def test_likelihood_through_an_engine(tiny_model_dir, tmp_path):
    recipe = RECIPE.model_copy(update={"output_dir": str(tmp_path)})
    groups = [group_of("why?", "because", "it is not so", "", "cut of"), group_of("none")]
    groups[0].candidates[3].finish_reason = "length"
    local = score("likelihood", groups, model=str(tiny_model_dir))
    labeler = labelers.build({"name": "likelihood", "engine": {"name": "hf", "model": str(tiny_model_dir)}})
    labeler.prepare(recipe)
    steps = []
    asked = labeler.score(groups, lambda n=1, **_: steps.append(n))
    labeler.close()
    for ours, theirs in zip(asked[0], local[0], strict=True):
        assert ours[0].status == theirs[0].status
        assert ours[0].value == (None if theirs[0].value is None else pytest.approx(theirs[0].value, abs=1e-5))
    assert asked[1] == []
    assert sum(steps) == pytest.approx(4)


def test_likelihood_settings_that_do_not_fit(tiny_model_dir):
    engine = {"name": "hf", "model": str(tiny_model_dir)}
    for block, message in (
        ({}, "give either model"),
        ({"model": "m", "engine": engine}, "give either model"),
        ({"engine": engine, "reference_model": "m"}, "set model in place of engine"),
    ):
        with pytest.raises(PrefineError, match=message):
            labelers.build({"name": "likelihood", **block})
    plain = RECIPE.model_copy(update={"data": Data(path="d", plain_text=True)})
    with pytest.raises(PrefineError, match="pmi needs a chat template"):
        labelers.build({"name": "likelihood", "model": str(tiny_model_dir), "pmi": True}).prepare(plain)
