"""A random model with a tokenizer of its own, and preference data of four length profiles; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

PROFILES = {
    # mean and spread of the log-normal lengths of prompt and responses in words, and the number of responses
    "chat": ((200, 0.8, 8, 900), (150, 0.7, 4, 600), 2),
    "long": ((760, 0.2, 512, 1024), (40, 0.4, 8, 120), 2),
    "short": ((30, 0.5, 5, 120), (200, 0.5, 20, 700), 2),
    "list4": ((200, 0.8, 8, 900), (150, 0.7, 4, 600), 4),
}
VOCABULARY, WORDS = 32768, 24000


def make(folder: Path, *, rows: int = 256, hidden: int = 512, layers: int = 8) -> None:
    """Write `model/` (Qwen3-shaped, random weights) and one JSON Lines file for each profile."""
    rng = np.random.default_rng(0)
    syllables = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"]
    words = sorted({"".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(2 * WORDS)})[:WORDS]
    rng.shuffle(words)
    share = 1 / np.arange(1, len(words) + 1)
    share /= share.sum()

    def text(count: int) -> str:
        return " ".join(words[i] for i in rng.choice(len(words), count, p=share))

    _model(folder / "model", [text(400) for _ in range(1500)] + [" ".join(words)] * 2, hidden, layers)
    for name, (prompt, response, k) in PROFILES.items():
        lines = []
        for _ in range(rows):
            row: dict = {"prompt": text(_length(rng, *prompt))}
            answers = [" " + text(_length(rng, *response)) for _ in range(k)]
            if k == 2:
                row |= {"chosen": answers[0], "rejected": answers[1]}
            else:
                row |= {"responses": answers, "scores": [float(k - i) for i in range(k)]}
            lines.append(json.dumps(row))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def _length(rng: np.random.Generator, mean: float, sigma: float, low: int, high: int) -> int:
    return int(np.clip(round(rng.lognormal(np.log(mean) - sigma**2 / 2, sigma)), low, high))


def _model(folder: Path, texts: list[str], hidden: int, layers: int) -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    _tokenizer(folder, texts)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 128),
        head_dim=64,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)


def _tokenizer(folder: Path, texts: list[str]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<eos>", "<bos>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 8, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    ).save_pretrained(folder)
