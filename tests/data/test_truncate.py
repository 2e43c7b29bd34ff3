"""Truncation: what is cut, in which order, and that nothing is ever left empty."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine.data.chat import Dropped, encode, prompt_ids
from tests.data.toys import KINDS

make = functools.cache(lambda kind: KINDS[kind]())


def turn(role: str, n: int, letter: str = "z") -> dict[str, str]:
    """A turn of `n` tokens: the toy tokenizer has no merge of this letter."""
    return {"role": role, "content": letter * n}


def encode_lengths(prompt: int, responses: list[int], max_length: int, overlong: str = "truncate"):
    sides = [[turn("assistant", n)] for n in responses]
    return encode(make("chatml"), [turn("user", prompt)], sides, max_length=max_length, overlong=overlong)


OVERHEAD = len(prompt_ids(make("chatml"), [turn("user", 1)])) - 1


@pytest.mark.acceptance(name="truncation_table")
@pytest.mark.parametrize(
    ("prompt", "responses", "outcome"),
    [
        (20, [10, 12], "whole"),
        (20, [150, 160], "responses"),
        (20, [10, 150], "asymmetric_truncation"),
        (20, [150, 10], "asymmetric_truncation"),
        (300, [10, 12], "prompt"),
        (300, [150, 160], "both"),
        (300, [10, 150], "asymmetric_truncation"),
        (300, [40, 45], "prompt"),
    ],
)
def test_table_of_truncation(prompt, responses, outcome):
    if outcome == "asymmetric_truncation":
        with pytest.raises(Dropped, match=outcome):
            encode_lengths(prompt, responses, 120)
        return
    encoded = encode_lengths(prompt, responses, 120)
    assert encoded.length <= 120 and all(map(any, encoded.masks))
    cut_prompt = {"truncated_prompt": 1} if outcome in ("prompt", "both") else {}
    cut_responses = {"truncated_responses": 2} if outcome in ("responses", "both") else {}
    assert encoded.flags == {**cut_prompt, **cut_responses}
    end = make("chatml").eos_token_id
    # A response that was cut has no end of turn, a whole one keeps it.
    assert [r[-1] == end for r in encoded.responses] == [not cut_responses] * 2
    if outcome == "responses":
        assert [len(r) for r in encoded.responses] == [120 - 20 - OVERHEAD] * 2
    if outcome == "both":
        assert [len(r) for r in encoded.responses] == [60, 60] and len(encoded.prompt_ids) == 60


def test_drop_is_the_default():
    with pytest.raises(Dropped, match="too_long"):
        encode_lengths(300, [10, 12], 120, overlong="drop")
    assert encode_lengths(20, [10, 12], 120, overlong="drop").flags == {}


@pytest.mark.acceptance(name="truncation_table")
def test_a_prompt_that_would_keep_nothing_of_its_last_turn_is_dropped():
    with pytest.raises(Dropped, match="prompt_alone_too_long"):
        encode_lengths(300, [10, 12], OVERHEAD + 20)


def test_whole_turns_go_from_the_oldest_on_and_the_system_stays():
    tokenizer = make("chatml")
    prompt = [
        turn("system", 5, "Q"),
        turn("user", 30, "X"),
        turn("assistant", 30, "W"),
        turn("user", 30, "V"),
        turn("assistant", 30, "U"),
        turn("user", 30, "K"),
    ]
    whole = len(prompt_ids(tokenizer, prompt))
    encoded = encode(tokenizer, prompt, [[turn("assistant", 9)]], max_length=whole, overlong="truncate")
    text = tokenizer.decode(encoded.prompt_ids)
    assert "Q" * 5 in text and "X" not in text and "W" not in text and "V" * 30 in text and "K" * 30 in text
    assert text.startswith("<|im_start|>system")
    ids = prompt_ids(tokenizer, prompt, max_length=100)
    text = tokenizer.decode(ids)
    assert len(ids) <= 100 and "Q" * 5 in text and "V" not in text and "K" * 30 in text


def test_the_end_of_a_long_last_turn_stays():
    tokenizer = make("chatml")
    messages = [{"role": "user", "content": "Z" * 200 + "K" * 20}]
    ids = prompt_ids(tokenizer, messages, max_length=80)
    assert len(ids) <= 80 and "Z" * 10 + "K" * 20 + "<|im_end|>" in tokenizer.decode(ids)


@pytest.mark.parametrize("kind", list(KINDS))
@given(
    sizes=st.tuples(st.integers(1, 150), st.integers(1, 150), st.integers(1, 150)),
    max_length=st.integers(20, 200),
    plain=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_truncation_never_leaves_an_empty_response(kind, sizes, max_length, plain):
    sides = [[turn("assistant", sizes[1])], [turn("assistant", sizes[2], "y")]]
    prompt = [turn("user", 40), turn("assistant", 20), turn("user", sizes[0])]
    try:
        encoded = encode(make(kind), prompt, sides, max_length=max_length, overlong="truncate", plain_text=plain)
    except Dropped as dropped:
        assert dropped.reason in ("asymmetric_truncation", "prompt_alone_too_long", "too_long")
        return
    assert encoded.length <= max_length and encoded.prompt_ids
    assert all(map(any, encoded.masks)) and [len(m) for m in encoded.masks] == [len(r) for r in encoded.responses]
