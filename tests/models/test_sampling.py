"""Sampling: the same texts in any order and batch, transformers' own greedy texts, the right distribution."""

import hashlib
import math
import random

import pytest
import torch

from prefine.errors import PrefineError
from prefine.models.decoding import Decoding, choose, uniforms
from prefine.models.forward import context_length, cut, last_logits, tokens_that_fit
from prefine.models.sampling import sample, sample_ids

from ..conftest import make_model

WORDS = ["red", "green", "blue", "small", "old", "dog", "cat", "house", "tree", "why", "where", "is", "the", "a"]


def prompts(n: int, seed: int = 0):
    rng = random.Random(seed)
    return [[{"role": "user", "content": " ".join(rng.choices(WORDS, k=rng.randint(1, 9)))}] for _ in range(n)]


@pytest.fixture(scope="module")
def model(tokenizer):
    return make_model(tokenizer)


def test_uniforms_are_a_fixed_stream():
    # 53 bits of the first eight bytes, little-endian, worked out with integers.
    word = int.from_bytes(hashlib.shake_128(b"7\x002\x00key").digest(8), "little")
    assert uniforms(7, "key", 2, 1)[0] == (word >> 11) / 2**53
    assert list(uniforms(7, "key", 2, 5)[:3]) == list(uniforms(7, "key", 2, 3))
    assert len({uniforms(s, k, i, 1)[0] for s in (0, 1) for k in "ab" for i in (0, 1)}) == 8


def test_order_and_batch_size_do_not_change_what_is_sampled(model, tokenizer):
    rows = prompts(24)
    keys = [f"prompt-{i}" for i in range(len(rows))]
    settings = {"n": 3, "max_new_tokens": 12, "seed": 5}
    whole = sample(model, tokenizer, rows, keys, **settings)
    order = random.Random(3).sample(range(len(rows)), len(rows))
    shuffled = sample(model, tokenizer, [rows[i] for i in order], [keys[i] for i in order], **settings)
    assert [shuffled[order.index(i)] for i in range(len(rows))] == whole
    for batch_tokens in (1, 600, 3000):
        parts = sample(model, tokenizer, rows, keys, batch_tokens=batch_tokens, **settings)
        assert [[s.token_ids for s in g] for g in parts] == [[s.token_ids for s in g] for g in whole]
    alone = sample(model, tokenizer, rows[4:5], keys[4:5], **settings)
    assert [s.text for s in alone[0]] == [s.text for s in whole[4]]


def test_samples_differ_by_index_seed_and_key(model, tokenizer):
    row = prompts(1)
    first = sample(model, tokenizer, row * 2, ["a", "b"], n=2, max_new_tokens=8)
    other = sample(model, tokenizer, row, ["a"], n=2, max_new_tokens=8, seed=1)
    assert len({s.text for g in (*first, *other) for s in g}) == 6
    # More samples of a prompt leave the first ones as they are, and so does a longer limit.
    more = sample(model, tokenizer, row, ["a"], n=4, max_new_tokens=12)
    assert [s.token_ids[:8] for s in more[0][:2]] == [s.token_ids for s in first[0]]


def test_greedy_is_what_transformers_generates(model, tokenizer):
    rows = prompts(8)
    ours = sample(model, tokenizer, rows, list("abcdefgh"), n=2, temperature=0.0, max_new_tokens=20)
    for messages, (one, two) in zip(rows, ours, strict=True):
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        theirs = model.generate(**ids, do_sample=False, max_new_tokens=20)[0, ids["input_ids"].shape[1] :]
        assert one == two
        assert one.token_ids == theirs.tolist()
        assert one.text == tokenizer.decode(theirs, skip_special_tokens=True)


def test_average_log_prob_is_that_of_the_model(model, tokenizer):
    rows = prompts(6)
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    found = sample(model, tokenizer, rows, list("abcdef"), n=2, temperature=0.7, top_k=20, max_new_tokens=15)
    for messages, group in zip(rows, found, strict=True):
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        for s in group:
            with torch.no_grad():
                logits = model(torch.tensor([ids + s.token_ids])).logits[0, len(ids) - 1 : -1]
            logps = logits.log_softmax(-1).gather(1, torch.tensor(s.token_ids)[:, None])
            assert s.avg_logprob == pytest.approx(logps.mean().item(), abs=1e-5)
            assert s.n_tokens == len(s.token_ids) <= 15
            assert (s.finish_reason == "stop") == (s.token_ids[-1] == stop)
            assert s.finish_reason == "stop" or s.n_tokens == 15


def test_rows_that_stop_early_leave_the_others_alone(model, tokenizer, monkeypatch):
    """Half of the vocabulary ends a response, so batches shrink at almost every step."""
    rows = [[5 + i, 9, 40 + i] for i in range(30)]
    keys = [str(i) for i in range(30)]
    monkeypatch.setattr("prefine.models.sampling.stop_ids", lambda *_: list(range(0, 258, 2)))
    together = sample_ids(model, tokenizer, rows, keys, Decoding(max_new_tokens=40), n=2)
    for i in (0, 13, 29):
        assert sample_ids(model, tokenizer, rows[i : i + 1], keys[i : i + 1], Decoding(max_new_tokens=40), n=2) == [
            [pytest_close(s) for s in together[i]]
        ]
    assert {s.finish_reason for g in together for s in g} == {"stop"}


class pytest_close:
    """Equal to a sample up to rounding of its average log-prob."""

    def __init__(self, sampled):
        self.sampled = sampled

    def __eq__(self, other):
        same = (other.token_ids, other.text) == (self.sampled.token_ids, self.sampled.text)
        return same and math.isclose(other.avg_logprob, self.sampled.avg_logprob, abs_tol=1e-5)


def test_tokens_come_with_their_probability():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    n = 4000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    for decoding, z in (
        (Decoding(), logits),
        (Decoding(temperature=0.5), logits / 0.5),
        (Decoding(temperature=1e-40), torch.tensor([[-math.inf, -math.inf, 0.0, -math.inf]])),
        (Decoding(top_k=2), torch.tensor([[-math.inf, 1.0, 2.0, -math.inf]])),
        # softmax is .087 .237 .644 .032: the largest two reach 0.7, three are needed for 0.9.
        (Decoding(top_p=0.7), torch.tensor([[-math.inf, 1.0, 2.0, -math.inf]])),
        (Decoding(top_p=0.9), torch.tensor([[0.0, 1.0, 2.0, -math.inf]])),
    ):
        token, logp = choose(logits.expand(n, 4), u, decoding)
        share = torch.bincount(token, minlength=4) / n
        assert torch.allclose(share, z.softmax(-1)[0], atol=1.5 / n * 2)
        assert torch.allclose(logp, logits[0].log_softmax(-1)[token])


def test_the_ends_of_the_unit_interval_hit_tokens_with_probability():
    logits = torch.tensor([[-math.inf, 0.0, 0.0, -math.inf]] * 2)
    token, _ = choose(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), Decoding())
    assert token.tolist() == [1, 2]


def test_the_context_bounds_responses(tokenizer):
    model = make_model(tokenizer, max_position_embeddings=24)
    assert context_length(model) == 24
    out = sample_ids(model, tokenizer, [[4] * 20, [4] * 24, [4] * 10], list("abc"), Decoding(max_new_tokens=6), n=2)
    assert [[s.n_tokens <= 4 for s in out[0]], out[1]] == [[True, True], []]
    assert len(out[2]) == 2


def test_batches_are_the_largest_first_and_independent_of_order():
    sizes, keys = [5, 9, 5, 2], ["c", "x", "a", "b"]
    assert cut([0, 1, 2, 3], sizes, keys, 10) == [[1], [2, 0], [3]]
    assert cut([3, 2, 1, 0], sizes, keys, 10) == [[1], [2, 0], [3]]
    assert cut([0, 1], sizes, keys, 1) == [[1], [0]]


def test_damaged_weights_are_an_error(tokenizer):
    model = make_model(tokenizer)
    model.lm_head.weight.data[3] = math.nan
    with pytest.raises(PrefineError, match="not finite numbers"):
        sample(model, tokenizer, prompts(1), ["a"], max_new_tokens=3)


def test_the_token_after_each_row_with_what_rows_share_computed_once(model):
    rng = random.Random(0)
    families = [[[*head, *(rng.randrange(4, 250) for _ in range(k))] for k in ks] for head, ks in (
        ([7, 8, 9, 10, 11], (1, 5, 3)), ([5], (2, 2)), ([20] * 9, (4,)), ([6, 6], (0, 3))
    )]  # fmt: skip
    got = last_logits(model, families)
    with torch.no_grad():
        want = torch.stack([model(torch.tensor([row])).logits[0, -1] for rows in families for row in rows])
    assert torch.allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("kind", ["GPT2", "Mistral", "Gemma3Text", "Lfm2"])
def test_models_with_other_positions_windows_and_caches(kind, tokenizer):
    import transformers

    common = {"vocab_size": 259, "initializer_range": 0.2, "eos_token_id": 2, "bos_token_id": None, "pad_token_id": 0}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    windows = {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6}
    more = {
        "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        "Mistral": {**sizes, **windows},
        "Gemma3Text": {**sizes, **windows, "query_pre_attn_scalar": 8},
        "Lfm2": {**sizes, "num_key_value_heads": 2, "full_attn_idxs": [1]},
    }[kind]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, kind + "Config")(**common, **more)
    ).eval()
    rows = [[5, 6, 7], [9] * 11, [40, 41, 42, 43, 44, 45, 46, 47]]
    greedy = sample_ids(model, tokenizer, rows, list("abc"), Decoding(temperature=0.0, max_new_tokens=10))
    for row, [found] in zip(rows, greedy, strict=True):
        ids = torch.tensor([row])
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=10)
        assert found.token_ids == theirs[0, len(row) :].tolist()
    families = [[[*rows[1], 4], [*rows[1], 8, 9, 10]], [rows[2]]]
    with torch.no_grad():
        want = torch.stack([model(torch.tensor([row])).logits[0, -1] for family in families for row in family])
    assert torch.allclose(last_logits(model, families), want, atol=2e-5)


def test_a_batch_that_does_not_fit_is_halved(model, tokenizer, monkeypatch):
    from prefine.models.sampling import _Batch

    run, told = _Batch.run, []

    def small(self, *args):
        found = run(self, *args)
        if len(self.rows) > 2:
            raise torch.OutOfMemoryError
        return found

    rows, keys = [[5, 6], [7], [8, 9, 10], [11], [12]], list("abcde")
    whole = sample_ids(model, tokenizer, rows, keys, Decoding(max_new_tokens=5), n=2)
    monkeypatch.setattr(_Batch, "run", small)
    halves = sample_ids(
        model, tokenizer, rows, keys, Decoding(max_new_tokens=5), n=2, step=lambda n=1, *, note=None: told.append(n)
    )
    assert [[s.token_ids for s in g] for g in halves] == [[s.token_ids for s in g] for g in whole]
    assert sum(told) == 10


def test_batches_fit_the_memory(model):
    # 2 layers, keys and values, 2 heads of 8, 4 bytes: 256 bytes for a token, more than a GiB at 2^22 tokens.
    assert tokens_that_fit(model) == 131_072
    model.config.num_hidden_layers = 2 << 10
    try:
        assert tokens_that_fit(model) == (1 << 30) // (256 << 10)
    finally:
        model.config.num_hidden_layers = 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"max_new_tokens": 0}, "max_new"),
    ],
)
def test_settings_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        Decoding(**wrong)
