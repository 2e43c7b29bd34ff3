import warnings

import pytest

from prefine.errors import PrefineError

from .real import summaries
from .rows import extra, group, scored, values

with warnings.catch_warnings():
    # The package warns of its own use of matplotlib and torch.
    warnings.simplefilter("ignore")
    extra("bert_score")

from bert_score import BERTScorer


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, tokenizer):
    """A random tiny encoder, its tokenizer with a limit, and one without."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=600,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    for name, limit in (("limited", 600), ("endless", int(1e30))):
        BertModel(config).save_pretrained(folder / name)
        tokenizer.model_max_length = limit
        tokenizer.save_pretrained(folder / name)
    return folder


def theirs(folder, references, responses):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer = BERTScorer(model_type=str(folder), num_layers=2, device="cpu")
        return [v.tolist() for v in scorer.score(responses, references)]


def test_equal_to_bert_score_on_real_text(encoder):
    folder = encoder / "limited"
    references, responses = summaries(12)
    expected = theirs(folder, references, responses)
    for i, value in enumerate(("precision", "recall", "f1")):
        found = values("bertscore", references, responses, model=str(folder), num_layers=2, value=value)
        assert found == pytest.approx(expected[i], abs=1e-6)
        assert len({round(v, 4) for v in found}) > 6


def test_several_references_the_same_text_and_none(encoder):
    folder = str(encoder / "limited")
    asked = [
        (group("something else", reference_1="the same text"), "the same text"),
        (group("a reference", prompt="q"), "  "),
        (group(prompt="r"), "text"),
        (group("only one", prompt="s"), "another"),
    ]
    metric, found = scored("bertscore", asked, model=folder, num_layers=2)
    assert [s.value for s in found[:3]] == [pytest.approx(1), 0, None] and found[2].status == "no_reference"
    assert found[3].value == pytest.approx(theirs(folder, ["only one"], ["another"])[2][0], abs=1e-6)
    facts = metric.facts()
    assert facts["signature"].startswith(f"{folder}_L2_no-idf_version=") and len(facts["digest"]) == 64


def test_a_tokenizer_without_a_limit_gets_the_models(encoder):
    long = "x" * 700
    # The package alone overflows here.
    [value] = values("bertscore", [long], [long], model=str(encoder / "endless"), num_layers=2)
    assert value == pytest.approx(1)


def test_the_first_word_of_roberta_has_its_space(tmp_path):
    import torch
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "h", "i", "\u0120", "hi", "\u0120hi"]
    merges = [("h", "i"), ("\u0120", "hi")]
    tokenizer = RobertaTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=merges)
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    RobertaModel(config).save_pretrained(tmp_path)
    metric, _ = scored("bertscore", [(group("hi hi"), "hi")], model=str(tmp_path), num_layers=2)
    ids = metric._scorer._tokenizer.encode("hi hi")
    assert [words[i] for i in ids[1:-1]] == ["\u0120hi", "\u0120hi"]
    assert metric._scorer._tokenizer.model_max_length <= config.max_position_embeddings - 2


def test_mistakes(encoder, tmp_path):
    with pytest.raises(PrefineError, match="set num_layers"):
        scored("bertscore", [(group("a"), "a")], model=str(encoder / "limited"))
    with pytest.raises(PrefineError, match="bertscore"):
        scored("bertscore", [(group("a"), "a")], model=str(encoder / "limited"), num_layers=9)
