"""Small tokenizers of the kinds that models have, each with a chat template of its family."""

from __future__ import annotations

import json
from typing import Any

CORPUS = [
    "Hello there, how are you today? I am fine, thank you.",
    "The quick brown fox jumps over the lazy dog. What is the answer?",
    "user assistant system tool: yes and no, one two three four",
] * 3

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    + CHATML
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start|>' + m['role'] + '<|stop|>\n\n' }}"
    "{{ m['content'] | trim + '<|eot|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|stop|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content'] | trim }}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
THINKING = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|bot|>' }}"
    "{{ m['content'].split('</think>')[-1] if not loop.last else m['content'] }}{{ eos_token }}"
    "{% else %}{{ '<|user|>' + m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|bot|><think>\n' }}{% endif %}"
)


def byte_level(template: str | None, specials: list[str], **names: str) -> Any:
    """A byte-level BPE with merges, as GPT-2, Llama 3 and Qwen have."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=specials,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if "bos_token" in names:
        bos = names["bos_token"]
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=True),
                processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]),
            ]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **names)


def metaspace(template: str | None, scheme: str = "first") -> Any:
    """A sentencepiece-like BPE with byte fallback, as Llama 2, Mistral and Gemma have."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=specials + bytes_, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    # The byte pieces belong to the vocabulary but are no control tokens.
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] in specials]
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=template, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def normalizing(template: str) -> Any:
    """Control tokens that are matched after normalization, one of them not flagged special; text is folded by NFKC."""
    from tokenizers import AddedToken, normalizers

    tokenizer = byte_level(template, ["<|endoftext|>"], eos_token="<|endoftext|>")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.add_tokens([AddedToken("<|im_start|>", normalized=True, special=True)])
    tokenizer.add_tokens([AddedToken("<|im_end|>", normalized=True, special=False)])
    return tokenizer


def unigram(template: str) -> Any:
    """A sentencepiece-like Unigram model, whose vocabulary holds its control strings as pieces."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>"]
    pieces = [(p, 0.0) for p in specials] + [(c, -4.0) for c in "▁abcdefghijklmnopqrstuvwxyzHITW<>/_.,:?"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=template, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def slow() -> Any:
    """A tokenizer in plain Python, without places of tokens."""
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer(extra_ids=0)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    return tokenizer


_CHATML_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

KINDS = {
    "chatml": lambda: byte_level(CHATML, _CHATML_TOKENS, eos_token="<|im_end|>", pad_token="<|endoftext|>"),
    "chatml_marked": lambda: byte_level(MARKED, _CHATML_TOKENS, eos_token="<|endoftext|>"),
    "default_system": lambda: byte_level(DEFAULT_SYSTEM, _CHATML_TOKENS, eos_token="<|im_end|>"),
    "llama3": lambda: byte_level(
        LLAMA3, ["<|bos|>", "<|start|>", "<|stop|>", "<|eot|>"], bos_token="<|bos|>", eos_token="<|eot|>"
    ),
    "mistral": lambda: metaspace(MISTRAL),
    "mistral_legacy": lambda: metaspace(MISTRAL, "always"),
    "gemma": lambda: metaspace(GEMMA, "never"),
    "thinking": lambda: byte_level(
        THINKING, ["<|bos|>", "<|user|>", "<|bot|>", "<|eos|>"], bos_token="<|bos|>", eos_token="<|eos|>"
    ),
    "normalizing": lambda: normalizing(CHATML),
    "unigram": lambda: unigram(GEMMA),
    "slow": slow,
}
