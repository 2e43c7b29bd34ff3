"""KL and reward accuracy against sums worked out token by token from the models' full outputs."""

import pytest

from prefine.evaluate import divergence
from prefine.evaluate.samples import TOKEN_IDS, Answers, Models
from prefine.progress import Progress
from prefine.recipe import Model
from prefine.schema import Example, make_candidate, make_group


@pytest.fixture(scope="module")
def moved(tmp_path_factory, tiny_model_dir):
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("moved")
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    torch.manual_seed(3)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    model.save_pretrained(folder)
    return Model(path=str(folder))


def logp(models: Models, spec: Model, prompt: list[int], response: list[int]) -> float:
    """Sum of log p(token) read off the full logits."""
    import torch

    ids = torch.tensor([prompt + response])
    with torch.no_grad():
        logps = models.get(spec)(input_ids=ids).logits[0].double().log_softmax(-1)
    return sum(float(logps[len(prompt) - 1 + i, token]) for i, token in enumerate(response))


def test_kl_is_the_mean_log_ratio_of_the_sampled_tokens(tiny_model_dir, moved):
    from prefine.data.chat import prompt_ids

    start = Model(path=str(tiny_model_dir))
    models = Models(start)
    groups = [make_group([{"role": "user", "content": text}]) for text in ("hello", "good day")]
    drawn = {groups[0].id: [[65, 66, 2], [67]], groups[1].id: [[70, 71, 72, 73]]}
    answers = Answers("dpo", 1.0)
    ratios, lengths = [], []
    for group in groups:
        row = [make_candidate(group.id, "x", {TOKEN_IDS: " ".join(map(str, ids))}) for ids in drawn[group.id]]
        answers.responses[group.id] = row
        prompt = prompt_ids(models.tokenizer(), group.messages)
        sums = [logp(models, moved, prompt, ids) - logp(models, start, prompt, ids) for ids in drawn[group.id]]
        ratios.append(sum(sums) / len(sums))
        lengths.append(sum(map(len, drawn[group.id])) / len(sums))
    found = divergence.kl(models, moved, start, groups, answers, False, Progress.silent())
    assert found["value"] == pytest.approx(sum(ratios) / 2, abs=1e-4)
    assert found["per_token"] == pytest.approx(sum(ratios) / sum(lengths), abs=1e-4)
    assert found["n"] == 2 and found["temperature"] == 1.0


def example(prompt: str, *texts: str, scores: list[float] | None = None) -> Example:
    responses = [[{"role": "assistant", "content": t}] for t in texts]
    group = make_group([{"role": "user", "content": prompt}])
    return Example(f"{prompt}/{texts}", group.id, group.messages, responses, scores=scores or [], split="test")


def accuracy(tiny_model_dir, moved, examples, **options):
    start = Model(path=str(tiny_model_dir))
    settings = {"max_length": None, "overlong": "drop", "plain_text": False, **options}
    return divergence.reward_accuracy(Models(start), moved, start, examples, progress=Progress.silent(), **settings)


def test_reward_accuracy_by_hand(tiny_model_dir, moved):
    from prefine.data.chat import encode

    start = Model(path=str(tiny_model_dir))
    models = Models(start)
    examples = [example("one", "aa", "b"), example("two", "c", "dd"), example("three", "e", "ff", "g")]
    right, pairs, margin = 0, 0, 0.0
    for e in examples:
        encoded = encode(models.tokenizer(), e.prompt, e.responses)
        rewards = [
            logp(models, moved, encoded.prompt_ids, ids) - logp(models, start, encoded.prompt_ids, ids)
            for ids in encoded.responses
        ]
        for i in range(len(rewards)):
            for j in range(i + 1, len(rewards)):
                right, pairs, margin = right + (rewards[i] > rewards[j]), pairs + 1, margin + rewards[i] - rewards[j]
    found = accuracy(tiny_model_dir, moved, examples)
    assert pairs == found["pairs"] == 5 and found["n"] == 3 and found["examples"] == 3
    assert found["value"] == pytest.approx(right / pairs)
    assert found["margin"] == pytest.approx(margin / pairs, abs=1e-4)


def test_equal_scores_are_no_pair_and_long_examples_are_counted(tiny_model_dir, moved):
    tied = example("one", "aa", "b", "c", scores=[1.0, 0.5, 0.5])
    long = example("two", "a" * 500, "b")
    found = accuracy(tiny_model_dir, moved, [tied, long], max_length=100)
    assert found["pairs"] == 2 and found["dropped"] == {"too_long": 1}


def test_without_pairs_there_is_nothing(tiny_model_dir, moved):
    assert accuracy(tiny_model_dir, moved, [example("one", "only")]) is None
    assert accuracy(tiny_model_dir, moved, []) is None
