"""The encode function over tokenizers and templates of every common kind."""

from __future__ import annotations

import functools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefine.data.chat import Dropped, apply_template, encode, prompt_ids, stop_ids
from prefine.errors import PrefineError
from tests.conftest import shared
from tests.data.toys import CHATML, KINDS, MISTRAL, byte_level, metaspace

PROMPT = [
    {"role": "user", "content": "Hello there"},
    {"role": "assistant", "content": "I am fine"},
    {"role": "user", "content": "What is the answer?"},
]
TEMPLATED = [k for k in KINDS if k != "thinking"]
make = functools.cache(lambda kind: KINDS[kind]())


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def trained_text(tokenizer, encoded, k: int) -> str:
    ids = [i for i, on in zip(encoded.responses[k], encoded.masks[k], strict=True) if on]
    return tokenizer.decode(ids, skip_special_tokens=False).strip()


def rendered_ids(tokenizer, messages, generation_prompt: bool = False) -> list[int]:
    """What transformers itself makes of a conversation."""
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=generation_prompt, tokenize=True, return_dict=False
    )


@pytest.mark.acceptance(name="boundary")
@pytest.mark.parametrize("kind", TEMPLATED)
def test_ids_are_those_of_the_template(kind):
    tokenizer = make(kind)
    encoded = encode(tokenizer, PROMPT, [say("The answer is one é"), say("no")])
    assert encoded.prompt_ids == prompt_ids(tokenizer, PROMPT) == rendered_ids(tokenizer, PROMPT, True)
    for k, text in enumerate(["The answer is one é", "no"]):
        whole = encoded.prompt_ids + encoded.responses[k]
        assert rendered_ids(tokenizer, PROMPT + say(text))[: len(whole)] == whole
    assert encoded.flags == {}


@pytest.mark.acceptance(name="boundary")
@pytest.mark.parametrize("kind", list(KINDS))
def test_one_bos_end_of_turn_trained_and_mask_exactly_on_the_response(kind):
    tokenizer = make(kind)
    encoded = encode(tokenizer, PROMPT, [say("The answer is one"), say("no, thank you")])
    end = stop_ids(tokenizer)[0]
    for k, text in enumerate(["The answer is one", "no, thank you"]):
        ids = encoded.prompt_ids + encoded.responses[k]
        if tokenizer.bos_token_id is not None:
            assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
        assert encoded.masks[k] == [True] * len(encoded.responses[k])
        assert encoded.responses[k][-1] == end
        expected = text.lower() if kind == "normalizing" else text
        assert trained_text(tokenizer, encoded, k) == expected + tokenizer.decode([end])


def test_a_prompt_that_changes_when_it_is_answered_is_cut_where_both_agree():
    tokenizer = make("thinking")
    encoded = encode(tokenizer, PROMPT, [say("yes"), say("no")])
    assert encoded.flags == {"template_not_prefix_preserving": 2}
    assert tokenizer.decode(encoded.prompt_ids).endswith("<|bot|>")
    assert tokenizer.decode(prompt_ids(tokenizer, PROMPT)).endswith("<|bot|><think>\n")


@pytest.mark.acceptance(name="mask_without_marks")
def test_the_mask_is_that_of_generation_marks_where_a_template_has_them():
    marked, plain = make("chatml_marked"), make("chatml")
    messages = PROMPT + say("The answer")
    theirs = marked.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)[
        "assistant_masks"
    ]
    for tokenizer in (marked, plain):
        encoded = encode(tokenizer, PROMPT, [say("The answer")])
        n = len(encoded.prompt_ids)
        assert [bool(m) for m in theirs[n : n + len(encoded.masks[0])]] == encoded.masks[0]


def test_other_roles_inside_a_response_are_not_trained_on():
    tokenizer = make("chatml")
    turns = [*say("call it"), {"role": "tool", "content": "42"}, *say("it is 42")]
    encoded = encode(tokenizer, PROMPT, [turns, say("no")])
    assert trained_text(tokenizer, encoded, 0) == "call it<|im_end|>it is 42<|im_end|>"
    assert "tool\n42" in tokenizer.decode(encoded.responses[0])
    assert trained_text(tokenizer, encoded, 1) == "no<|im_end|>"


def test_template_without_a_system_role_gets_its_text_in_the_first_user_turn():
    tokenizer = make("gemma")
    system = [{"role": "system", "content": "Be kind."}]
    encoded = encode(tokenizer, system + ask("Hello"), [say("yes")])
    assert "user\nBe kind.\n\nHello<end_of_turn>" in tokenizer.decode(encoded.prompt_ids)
    assert encoded.flags == {"system_folded": 1}
    with pytest.raises(Dropped, match="refused_by_chat_template"):
        encode(tokenizer, ask("a") + ask("b"), [say("c")])


@pytest.mark.acceptance(name="boundary")
def test_a_merge_over_the_boundary_is_not_trained_on():
    tokenizer = make("chatml")
    encoded = encode(tokenizer, ask("The quick "), [say("brown fox"), say("! no")], plain_text=True)
    # " brown" is one token with the prompt's last space; "!" is not.
    assert tokenizer.decode(encoded.prompt_ids) == "The quick"
    assert tokenizer.decode(encoded.responses[0]) == " brown fox<|im_end|>"
    assert trained_text(tokenizer, encoded, 0) == "fox<|im_end|>"
    assert encoded.masks[1][:2] == [False, True] and trained_text(tokenizer, encoded, 1) == "! no<|im_end|>"
    assert encoded.flags["straddling_tokens"] == 1


def test_plain_text_is_bos_text_and_end():
    tokenizer = make("llama3")
    encoded = encode(tokenizer, ask("Hello"), [say(" there")], plain_text=True)
    assert encoded.prompt_ids == tokenizer("Hello")["input_ids"] and encoded.prompt_ids[0] == tokenizer.bos_token_id
    assert encoded.prompt_ids + encoded.responses[0] == [*tokenizer("Hello there")["input_ids"], tokenizer.eos_token_id]
    assert encoded.masks == [[True] * len(encoded.responses[0])]


def test_an_unfinished_response_gets_no_end_of_turn():
    for kind in KINDS:
        tokenizer = make(kind)
        encoded = encode(tokenizer, PROMPT, [say("one two"), say("no")], finished=[False, True])
        assert trained_text(tokenizer, encoded, 0) == "one two"
        assert encoded.responses[1][-1] == stop_ids(tokenizer)[0]


def test_a_second_bos_of_the_template_is_taken_out():
    tokenizer = metaspace("{{ bos_token }}" + MISTRAL)
    encoded = encode(tokenizer, ask("Hello"), [say("yes")])
    assert encoded.prompt_ids.count(tokenizer.bos_token_id) == 1 and encoded.flags == {"double_bos": 1}
    assert encoded.prompt_ids == prompt_ids(tokenizer, ask("Hello"))


def test_without_a_template_the_error_offers_the_built_in_ones():
    tokenizer = byte_level(None, ["<|end|>"], eos_token="<|end|>")
    with pytest.raises(PrefineError, match=r"no chat template.*chatml or plain"):
        encode(tokenizer, PROMPT, [say("x")])
    with pytest.raises(PrefineError, match=r"did you mean 'chatml'"):
        apply_template(tokenizer, "chatlm")


def test_built_in_templates_end_a_turn_with_one_token():
    tokenizer = byte_level(None, ["<|end|>"], eos_token="<|end|>")
    apply_template(tokenizer, "plain")
    encoded = encode(tokenizer, PROMPT, [say("one")])
    assert tokenizer.decode(encoded.prompt_ids) == "Hello there\nI am fine<|end|>\nWhat is the answer?\n"
    assert tokenizer.decode(encoded.responses[0]) == "one<|end|>"
    apply_template(tokenizer, "chatml")
    encoded = encode(tokenizer, ask("hi"), [say("one")])
    assert tokenizer.decode(encoded.prompt_ids) == "<|im_start|>user\nhi<|end|>\n<|im_start|>assistant\n"
    assert encoded.responses[0][-1] == tokenizer.eos_token_id
    marked = byte_level(None, ["<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>")
    apply_template(marked, "chatml")
    assert marked.decode(encode(marked, ask("hi"), [say("one")]).responses[0]) == "one<|im_end|>"


def test_a_template_without_an_end_of_turn_gets_the_eos_token():
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    tokenizer = byte_level(template, ["<|end|>"], eos_token="<|end|>")
    encoded = encode(tokenizer, ask("hi"), [say("one"), say("two")])
    assert [tokenizer.decode(r) for r in encoded.responses] == [" one<|end|>", " two<|end|>"]
    assert encoded.flags == {"end_of_turn_appended": 2} and stop_ids(tokenizer) == [tokenizer.eos_token_id]


def test_a_template_from_a_file(tmp_path):
    tokenizer = byte_level(None, ["<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>")
    file = tmp_path / "mine.jinja"
    file.write_text(CHATML)
    apply_template(tokenizer, str(file))
    assert tokenizer.chat_template == CHATML
    file.write_text("{% for m in messages %}")
    with pytest.raises(PrefineError, match=r"mine.jinja, line 1: not a Jinja template"):
        apply_template(tokenizer, str(file))


def test_empty_responses_are_dropped():
    for text in ("", "  \n"):
        for plain in (False, True):
            with pytest.raises(Dropped, match="empty_response"):
                encode(make("chatml"), PROMPT, [say("x"), say(text)], plain_text=plain)


def control_ids(tokenizer) -> set[int]:
    return set(tokenizer.added_tokens_decoder) - {tokenizer.unk_token_id}


def special_strings(tokenizer) -> list[str]:
    return [str(t.content) for t in tokenizer.added_tokens_decoder.values()]


@st.composite
def hostile(draw, kind: str):
    """Text with control strings of the tokenizer: whole, torn apart, nested, repeated, beside odd characters."""
    strings = special_strings(make(kind))
    piece = st.one_of(
        st.sampled_from(strings),
        st.sampled_from(strings).map(lambda s: s[:2] + "\u200d" + s[2:]),
        st.sampled_from(strings).map(lambda s: s[: len(s) // 2] + s + s[len(s) // 2 :]),
        st.sampled_from(strings).map(lambda s: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in s)),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
        st.sampled_from([" ", "\n", "Hello", "<", ">", "é", "日本"]),
    )
    return "".join(draw(st.lists(piece, min_size=1, max_size=6)))


@pytest.mark.acceptance(name="boundary")
@pytest.mark.parametrize("kind", list(KINDS))
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_text_never_becomes_a_control_token(kind, data):
    tokenizer = make(kind)
    said, first, second = (data.draw(hostile(kind)) for _ in range(3))
    prompt = [*ask(said or "x"), *say(first or "y"), *ask("Go on")]
    harmless = encode(tokenizer, [*ask("x"), *say("y"), *ask("Go on")], [say("a"), say("b")])
    try:
        encoded = encode(tokenizer, prompt, [say(first), say(second)])
    except Dropped as dropped:
        # A Unigram model whose vocabulary holds the control strings cannot write them in another way.
        assert dropped.reason == "empty_response" or (kind, dropped.reason) == ("unigram", "control_tokens_in_text")
        return
    special = control_ids(tokenizer)
    for k in range(2):
        mine = [i for i in encoded.prompt_ids + encoded.responses[k] if i in special]
        assert mine == [i for i in harmless.prompt_ids + harmless.responses[k] if i in special]
        assert encoded.responses[k][-1] == stop_ids(tokenizer)[0] and any(encoded.masks[k])


@pytest.mark.parametrize("kind", ["chatml", "llama3", "mistral"])
def test_escaped_text_still_reads_the_same(kind):
    tokenizer = make(kind)
    text = "a" + "b".join(special_strings(tokenizer)) + "c"
    encoded = encode(tokenizer, ask(text), [say(text)])
    assert text in tokenizer.decode(encoded.prompt_ids, skip_special_tokens=False)
    ids = [i for i in encoded.responses[0] if i not in control_ids(tokenizer)]
    assert tokenizer.decode(ids).strip() == text
    assert encoded.flags["escaped_control_strings"] == 1
    plain = encode(tokenizer, ask(text), [say(text)], plain_text=True)
    assert [i for i in plain.prompt_ids if i in control_ids(tokenizer)] == plain.prompt_ids[:1] * (
        tokenizer.bos_token_id is not None
    )
    assert plain.responses[0][-1] == tokenizer.eos_token_id
    assert not control_ids(tokenizer) & set(plain.responses[0][:-1])


@pytest.mark.parametrize("kind", ["chatml", "llama3", "mistral", "mistral_legacy", "gemma"])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_guarded_encoding_of_harmless_text_is_the_ordinary_one(kind, text):
    from prefine.data.tokens import codec

    tokenizer = make(kind)
    encoder = codec(tokenizer)
    whole, neutral = (
        tokenizer.apply_chat_template(ask(t), tokenize=False, add_generation_prompt=True)
        for t in (text, encoder.neutral(text))
    )
    if len(whole) == len(neutral) and not encoder.injects(text):
        assert encoder.encode_guarded(whole, neutral).ids == encoder.encode(whole).ids


def test_the_real_tiny_tokenizer():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared("models/stories260K"))
    with pytest.raises(PrefineError, match="has no chat template"):
        encode(tokenizer, PROMPT, [say("x")])
    apply_template(tokenizer, "plain")
    encoded = encode(tokenizer, ask("Tell me </s> a <s> story"), [say("Once upon a time"), say("No.")])
    assert encoded.prompt_ids.count(1) == 1 and encoded.prompt_ids[0] == 1 and 2 not in encoded.prompt_ids
    assert [r[-1] for r in encoded.responses] == [2, 2]
    assert trained_text(tokenizer, encoded, 0) == "Once upon a time</s>"


@pytest.mark.parametrize("kind", TEMPLATED)
@given(
    said=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    answers=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), min_size=1, max_size=3
    ),
)
@settings(max_examples=20, deadline=None)
def test_any_text_gives_the_ids_of_the_template_and_a_mask_on_the_response(kind, said, answers):
    tokenizer = make(kind)
    answers = [a if a.strip() else "x" for a in answers]
    encoded = encode(tokenizer, ask(said), [say(a) for a in answers])
    for ids, mask, answer in zip(encoded.responses, encoded.masks, answers, strict=True):
        whole = encoded.prompt_ids + ids
        if "escaped_control_strings" not in encoded.flags:
            assert rendered_ids(tokenizer, ask(said) + say(answer))[: len(whole)] == whole
        assert mask[-1] and ids[-1] == stop_ids(tokenizer)[0] and mask == sorted(mask)
        if not encoded.flags:
            assert all(mask)
