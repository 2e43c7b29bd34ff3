"""Reward models and classifiers against their own outputs."""

import math

import pytest
import torch

from prefine.errors import PrefineError

from .rows import group, scored


def classifier(folder, tokenizer, labels, **changes):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={n: i for i, n in enumerate(labels)},
        **changes,
    )
    model = LlamaForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


@torch.no_grad()
def logits(model, tokenizer, text):
    return model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0]


ASKED = [(group(), "a nice text"), (group(), "no"), (group(), "you are all fools")]


def test_toxicity_is_the_probability_of_its_class(tmp_path, tokenizer):
    model = classifier(tmp_path, tokenizer, ["fine", "Toxic", "other"])
    metric, found = scored("toxicity", ASKED, model=str(tmp_path))
    expected = [logits(model, tokenizer, text).softmax(-1)[1].item() for _, text in ASKED]
    assert [s.value for s in found] == pytest.approx(expected, abs=1e-5)
    assert metric.higher_is_better is False and metric.facts()["activation"] == "softmax" and metric.facts()["cut"] == 0


def test_classes_that_may_hold_together_get_a_sigmoid(tmp_path, tokenizer):
    changes = {"problem_type": "multi_label_classification"}
    model = classifier(tmp_path, tokenizer, ["toxic", "insult"], **changes)
    _, found = scored("toxicity", ASKED, model=str(tmp_path), label="insult")
    expected = [logits(model, tokenizer, text).sigmoid()[1].item() for _, text in ASKED]
    assert [s.value for s in found] == pytest.approx(expected, abs=1e-5)


def test_long_texts_are_cut_and_counted_and_empty_ones_have_no_value(tmp_path, tokenizer):
    model = classifier(tmp_path, tokenizer, ["fine", "toxic"])
    text = "abcdefgh" * 12
    metric, found = scored("toxicity", [(group(), text), (group(), " ")], model=str(tmp_path))
    assert found[0].value == pytest.approx(logits(model, tokenizer, text[:64]).softmax(-1)[1].item(), abs=1e-5)
    assert (found[1].value, found[1].status) == (None, "empty_response") and metric.facts()["cut"] == 1


def test_a_class_that_is_not_there_and_a_model_that_is_no_classifier(tmp_path, tokenizer, tiny_model_dir):
    classifier(tmp_path, tokenizer, ["fine", "toxic"])
    with pytest.raises(PrefineError, match="no class 'toxik'; did you mean 'toxic'"):
        scored("toxicity", ASKED, model=str(tmp_path), label="toxik")
    with pytest.raises(PrefineError, match="is no classifier, it has no weights for score"):
        scored("toxicity", ASKED, model=str(tiny_model_dir))


def test_reward_is_that_of_the_labeler(tmp_path, tokenizer):
    model = classifier(tmp_path, tokenizer, ["reward"])
    asked = [(group(prompt="why?"), "so"), (group(prompt="why?"), "x" * 80)]
    metric, found = scored("reward", asked, model=str(tmp_path))
    chat = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "so"}]
    ids = tokenizer.apply_chat_template(chat, return_dict=False)
    # Without the line break that the template puts after the end of turn.
    with torch.no_grad():
        expected = model(torch.tensor([ids[: len(ids) - ids[::-1].index(tokenizer.eos_token_id)]])).logits[0, 0].item()
    assert found[0].value == pytest.approx(expected, abs=1e-5)
    assert (found[1].value, found[1].status) == (None, "too_long") and metric.higher_is_better
    _, [chance, _] = scored("reward", asked, model=str(tmp_path), probability=True)
    assert chance.value == pytest.approx(1 / (1 + math.exp(-expected)), abs=1e-6)
    assert metric.facts()["max_length"] == 64
