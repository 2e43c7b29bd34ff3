"""Make the weights of the embedded tiny world, and check them.

python scripts/build_tiny_world.py make     # tokenizer, student, teacher: within an hour on two cores
python scripts/build_tiny_world.py gates    # the table of the shipped weights; exit code 1 if a gate fails
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from tiny_world_corpora import SAMPLES_SEED, Pair, choice_rows, clean_rows, habit_rows
from tiny_world_gates import describe, gates, judge, opening, sample
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from prefine.tiny_world import prompts, student_path

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SHAPES = {
    "student": {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 384},
    "teacher": {"hidden_size": 160, "num_hidden_layers": 5, "intermediate_size": 448},
}


STEPS = {"student": 2000, "teacher": 2200}
RATES = {"student": 3e-3, "teacher": 2.5e-3}
SIZE = 32
"""Rows in a batch: small batches give the most steps for a second of work."""
SAMPLED = 3000
"""Prompts on which the student is sampled for the teacher, four times each."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE over both corpora: about one token a word, and any text can be written."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpora = (itertools.islice(rows, 6000) for rows in (clean_rows(1), habit_rows(2), choice_rows(3)))
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator((f"{p}\n{r}" for p, r in itertools.chain(*corpora)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=512,
    )


def make_model(name: str, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A Qwen3-shaped model with tied embeddings, freshly initialized."""
    torch.manual_seed(0)
    shape = SHAPES[name]
    return Qwen3ForCausalLM(
        Qwen3Config(
            **shape,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            vocab_size=len(tokenizer),
            max_position_embeddings=512,
            tie_word_embeddings=True,
            # Contexts are short: a small base turns the rotary pairs fast enough to tell near positions apart.
            rope_parameters={"rope_type": "default", "rope_theta": 100.0},
            initializer_range=0.02 * (768 / shape["hidden_size"]) ** 0.5,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def encode(tokenizer: PreTrainedTokenizerFast, pairs: list[Pair]) -> list[tuple[list[int], int]]:
    """Token ids of prompt and response, and where the response begins."""
    before = tokenizer([opening(prompt) for prompt, _ in pairs])["input_ids"]
    after = tokenizer([response + "<|im_end|>" for _, response in pairs])["input_ids"]
    return [(a + b, len(a)) for a, b in zip(before, after, strict=True)]


def batches(tokenizer: PreTrainedTokenizerFast, rows: Iterator[Pair]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and response mask, both (SIZE, length); rows of like length together.

    Right padding needs no attention mask: under a causal mask pads come after everything that counts.
    """
    rng = random.Random(0)
    while True:
        pool = sorted(encode(tokenizer, list(itertools.islice(rows, 16 * SIZE))), key=lambda row: len(row[0]))
        chunks = [pool[i : i + SIZE] for i in range(0, len(pool), SIZE)]
        rng.shuffle(chunks)
        for chunk in chunks:
            length = max(len(ids) for ids, _ in chunk)
            ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in chunk])
            place = torch.arange(length)
            start = torch.tensor([[start] for _, start in chunk])
            end = torch.tensor([[len(ids)] for ids, _ in chunk])
            yield ids, (place >= start) & (place < end)


def train(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rows: Iterator[Pair],
    steps: int,
    rate: float,
    name: str,
) -> None:
    """Response loss, AdamW, linear to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 50) * max(0.02, 1 - step / steps)
    )
    running, began = 0.0, time.time()
    model.train()
    for step, (ids, response) in enumerate(itertools.islice(batches(tokenizer, rows), steps), 1):
        hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1]
        # Only places that predict a response token reach the head.
        loss = F.cross_entropy(model.lm_head(hidden[response[:, 1:]]), ids[:, 1:][response[:, 1:]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        running = 0.98 * running + 0.02 * loss.item() if running else loss.item()
        if step % 100 == 0:
            print(f"{name} step {step}/{steps} loss {running:.3f} {time.time() - began:.0f}s", flush=True)
    model.eval()


def student_rows(steps: int) -> Iterator[Pair]:
    """The first half is clean: the habits come after the skill."""
    return itertools.chain(itertools.islice(clean_rows(11), steps // 2 * SIZE), habit_rows(12))


def teacher_rows_in_order(steps: int, samples: Path) -> Iterator[Pair]:
    """Skill, then judging made-up answers, then judging the student's own as well."""
    yield from itertools.islice(clean_rows(13), steps // 4 * SIZE)
    yield from itertools.islice(choice_rows(14), steps // 4 * SIZE)
    while not samples.exists():
        time.sleep(1)
    yield from choice_rows(15, json.loads(samples.read_text()))


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Weights in bf16, tokenizer with the chat template, generation config."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.backend_tokenizer.no_padding()  # sampling has switched it on; a saved tokenizer has no such state
    tokenizer.save_pretrained(folder, save_jinja_files=False)


def load(folder: Path) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """A shipped model, in fp32, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def make_student(out: Path, work: Path) -> None:
    """Train the student, and sample it on prompts of its own split for the teacher to judge."""
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    model = make_model("student", tokenizer)
    train(model, tokenizer, student_rows(STEPS["student"]), STEPS["student"], RATES["student"], "student")
    rows = prompts("sft", SAMPLED, SAMPLES_SEED)
    responses = sample(model, tokenizer, rows, 4)
    save(model, tokenizer, out / "student")
    text = json.dumps({row["prompt"]: group for row, group in zip(rows, responses, strict=True)})
    # The teacher's process waits for this file, so it has to appear whole.
    (work / "samples.tmp").write_text(text)
    (work / "samples.tmp").rename(work / "samples.json")


def make_teacher(out: Path, work: Path) -> None:
    """Train the teacher; its last half needs the student's samples."""
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    model = make_model("teacher", tokenizer)
    rows = teacher_rows_in_order(STEPS["teacher"], work / "samples.json")
    train(model, tokenizer, rows, STEPS["teacher"], RATES["teacher"], "teacher")
    save(model, tokenizer, out / "teacher")


def make(out: Path) -> None:
    """Everything; student and teacher as two processes of one thread."""
    began = time.time()
    with tempfile.TemporaryDirectory() as work:
        make_tokenizer().save_pretrained(Path(work) / "tokenizer")
        jobs = [subprocess.Popen([sys.executable, __file__, name, "--out", out, "--work", work]) for name in SHAPES]
        try:
            # A failed student would leave the teacher waiting for its samples.
            if any(job.wait() for job in jobs):
                raise SystemExit("a model could not be made")
        finally:
            for job in jobs:
                job.kill()
    print(f"made in {time.time() - began:.0f}s")


def measure(out: Path, n: int) -> bool:
    """Print the gate table and its JSON; true if all gates are passed."""
    rows = prompts("eval", n)
    (student, tokenizer), (teacher, _) = load(out / "student"), load(out / "teacher")
    start, samples = describe(student, tokenizer, rows)
    best = describe(teacher, tokenizer, rows)[0] | judge(teacher, tokenizer, rows, samples)
    table = gates(start, best)
    print("| gate | measured | asked | |\n|---|---|---|---|")
    for what, value, asked, passed in table:
        print(f"| {what} | {value:.3f} | {asked} | {'pass' if passed else 'FAIL'} |")
    print(json.dumps({"student": start, "teacher": best}))
    return all(passed for *_, passed in table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "verb", choices=["make", "gates", "student", "teacher"], help="student and teacher are parts of make"
    )
    parser.add_argument("--out", type=Path, default=student_path().parent, help="where the weights go, or are")
    parser.add_argument("--work", type=Path, help="where a part of make finds the tokenizer and the samples")
    parser.add_argument("--prompts", type=int, default=300, help="number of eval prompts for the gates")
    arguments = parser.parse_args()
    if arguments.verb == "gates":
        sys.exit(0 if measure(arguments.out, arguments.prompts) else 1)
    torch.set_num_threads(1)
    if arguments.verb == "make":
        make(arguments.out)
    else:
        {"student": make_student, "teacher": make_teacher}[arguments.verb](arguments.out, arguments.work)
