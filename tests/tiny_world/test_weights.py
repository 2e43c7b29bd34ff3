"""The shipped files: small, complete, and with a tokenizer that can write any text."""

import itertools
import json

import pytest

from prefine.tiny_world import prompts, reference, student_path, teacher_path

FOLDERS = [student_path(), teacher_path()]
NEEDED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json")


def test_files_are_there_and_small():
    files = [folder / name for folder in FOLDERS for name in NEEDED]
    assert all(file.is_file() for file in files)
    assert sum(file.stat().st_size for folder in FOLDERS for file in folder.iterdir()) < 10_000_000


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_weights_are_bf16_and_generation_ends_at_the_right_token(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    config, generation = (json.loads((folder / name).read_text()) for name in ("config.json", "generation_config.json"))
    assert config["dtype"] == "bfloat16"
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.bos_token is None
    assert generation["eos_token_id"] == tokenizer.eos_token_id != tokenizer.pad_token_id == generation["pad_token_id"]


def test_student_and_teacher_share_the_tokenizer():
    assert len({(folder / "tokenizer.json").read_bytes() for folder in FOLDERS}) == 1


def test_tokenizer_round_trips_and_is_close_to_a_token_a_word():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(student_path())
    rows = prompts("eval", 90)
    texts = [*(row["prompt"] for row in rows), *(reference(row["prompt"], row["task_meta"]) for row in rows)]
    for text in [*texts, "Grüße, 你好! \n\ttabs  and  spaces 123 🙂"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    tokens = sum(len(tokenizer(text)["input_ids"]) for text in texts)
    assert tokens < 1.6 * sum(len(text.split()) for text in texts)


def test_chat_template_preserves_prefixes_and_marks_the_assistant():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(student_path())
    talk = [("user", "sort a."), ("assistant", "a."), ("user", "again."), ("assistant", "b.")]
    turns = [{"role": role, "content": content} for role, content in talk]
    texts = [tokenizer.apply_chat_template(turns[:n], tokenize=False) for n in range(1, 5)]
    assert all(long.startswith(short) for short, long in itertools.pairwise(texts))
    opened = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert texts[1].startswith(opened)
    marked = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    kept = [token for token, mask in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(kept) == "a.<|im_end|>b.<|im_end|>"
