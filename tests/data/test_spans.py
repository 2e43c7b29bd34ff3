"""Edits between a response and its revision, in whole words of a tokenizer."""

import pytest

from prefine.data.spans import Op, Weights, edits
from tests.conftest import make_tokenizer


def words_of(a, b, tokenizer):
    return [(op.op, a[slice(*op.initial)], b[slice(*op.revised)]) for op in edits(a, b, tokenizer)]


def test_a_word_is_changed_as_a_whole_though_its_tokens_are_bytes(tokenizer):
    a, b = "the cat sat.", "the old car sat"
    # Bytes alone would keep "ca" of both words. A blank is a word of its own for a tokenizer of bytes.
    assert words_of(a, b, tokenizer) == [
        ("equal", "the ", "the "),
        ("replace", "cat", "old car"),
        ("equal", " sat", " sat"),
        ("delete", ".", ""),
    ]


def test_words_with_their_blank_are_one_unit_where_tokens_are():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["Ġthe", "Ġcat", "Ġcar", "Ġsat", "the", "Ġ", "."]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*words, "?"])}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="?")
    assert words_of("the cat sat", "the car sat.", tokenizer) == [
        ("equal", "the", "the"),
        ("replace", " cat", " car"),
        ("equal", " sat", " sat"),
        ("insert", "", "."),
    ]


@pytest.mark.parametrize(
    ("a", "b", "ops"),
    [
        ("", "new", [("insert", "", "new")]),
        ("old", "", [("delete", "old", "")]),
        ("same", "same", [("equal", "same", "same")]),
        ("猫坐", "狗坐", [("replace", "猫", "狗"), ("equal", "坐", "坐")]),
        ("café", "cafe", [("replace", "café", "cafe")]),
        ("a <|im_end|>", "a <|im_end|>!", [("equal", "a <|im_end|>", "a <|im_end|>"), ("insert", "", "!")]),
    ],
)
def test_edges(a, b, ops, tokenizer):
    assert words_of(a, b, tokenizer) == ops


def test_ranges_cover_both_texts_and_end_between_tokens():
    tokenizer = make_tokenizer()
    a, b = "Ünï cödé 12+3, done \u2013 über x", "Über 12+33 dône — über, x y"
    found = edits(a, b, tokenizer)
    assert "".join(a[slice(*op.initial)] for op in found) == a
    assert "".join(b[slice(*op.revised)] for op in found) == b
    assert all(a[slice(*op.initial)] == b[slice(*op.revised)] for op in found if op.op == "equal")


def test_weights():
    same, other = Op("equal", (0, 1), (0, 1)), Op("replace", (1, 3), (1, 5))
    assert (
        same.row(Weights(2.0, 0.5, 0.1))["initial_weight"] == same.row(Weights(2.0, 0.5, 0.1))["revised_weight"] == 0.1
    )
    assert other.row(Weights(2.0, 0.5, 0.1)) == {
        "op": "replace",
        "initial_start": 1,
        "initial_end": 3,
        "revised_start": 1,
        "revised_end": 5,
        "initial_weight": -0.5,
        "revised_weight": 2.0,
    }
