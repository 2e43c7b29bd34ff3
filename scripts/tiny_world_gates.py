"""Measure the student and the teacher of the tiny world against the gates they have to pass to be shipped."""

import itertools
import statistics

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from prefine.tiny_world import Row, choice_prompt_path, gold
from prefine.tiny_world.families import FAMILIES

Responses = list[list[str]]


def opening(prompt: str) -> str:
    """What the chat template renders before a response."""
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


def chunks(items: list[int], size: int) -> list[list[int]]:
    """The list in pieces of `size`."""
    return [items[i : i + size] for i in range(0, len(items), size)]


@torch.no_grad()
def sample(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rows: list[Row],
    n: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> Responses:
    """`n` responses for each row; temperature 0 is greedy."""
    torch.manual_seed(seed)
    # generate() cuts to the 50 likeliest tokens unless told otherwise.
    how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["prompt"]))
    out: Responses = [[] for _ in rows]
    for chunk in chunks(order, max(1, 400 // n)):
        x = tokenizer([opening(rows[i]["prompt"]) for i in chunk], return_tensors="pt", padding=True)
        y = model.generate(
            input_ids=x["input_ids"],
            attention_mask=x["attention_mask"],
            max_new_tokens=40,
            num_return_sequences=n,
            **how,
        )
        texts = tokenizer.batch_decode(y[:, x["input_ids"].shape[1] :], skip_special_tokens=True)
        for place, i in enumerate(chunk):
            out[i] = texts[place * n : (place + 1) * n]
    return out


@torch.no_grad()
def choose(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: list[tuple[str, str, str]]
) -> torch.Tensor:
    """P(A), P(B), P(None) as first token for each (prompt, a, b): (questions, 3)."""
    template = choice_prompt_path().read_text()
    texts = [opening(template.format(prompt=prompt, a=a, b=b)) for prompt, a, b in questions]
    ids = tokenizer(texts)["input_ids"]
    letters = [tokenizer(word)["input_ids"][0] for word in ("A", "B", "None")]
    out = torch.zeros(len(ids), 3)
    for chunk in chunks(sorted(range(len(ids)), key=lambda i: len(ids[i])), 256):
        # Right padding needs no mask under causal attention.
        length = max(len(ids[i]) for i in chunk)
        x = torch.tensor([ids[i] + [0] * (length - len(ids[i])) for i in chunk])
        last = torch.tensor([len(ids[i]) - 1 for i in chunk])
        hidden = model.model(x, use_cache=False).last_hidden_state[torch.arange(len(chunk)), last]
        out[chunk] = model.lm_head(hidden).softmax(-1)[:, letters]
    return out


def judge(
    teacher: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: list[Row], responses: Responses
) -> dict[str, float]:
    """How often the teacher prefers, over both orders, the response of a pair that gold prefers."""
    pairs = [
        (row, a, b)
        for row, texts in zip(rows, responses, strict=True)
        for a, b in itertools.combinations(dict.fromkeys(texts), 2)
    ]
    forward = choose(teacher, tokenizer, [(row["prompt"], a, b) for row, a, b in pairs])
    backward = choose(teacher, tokenizer, [(row["prompt"], b, a) for row, a, b in pairs])
    agree: dict[str, list[float]] = {task: [] for task in FAMILIES}
    for (row, a, b), first, second in zip(pairs, forward.tolist(), backward.tolist(), strict=True):
        gap = gold(row["prompt"], a, row["task_meta"]) - gold(row["prompt"], b, row["task_meta"])
        if abs(gap) > 0.02:
            agree[row["task"]].append(float((first[0] + second[1] > first[1] + second[0]) == (gap > 0)))
    everything = list(itertools.chain(*agree.values()))
    return {
        "pairs": len(everything),
        "agreement": statistics.mean(everything),
        **{f"agreement {task}": statistics.mean(hits) for task, hits in agree.items()},
        "position bias": ((forward + backward)[:, 0] - (forward + backward)[:, 1]).mean().item() / 2,
        "P(None)": (forward + backward)[:, 2].mean().item() / 2,
    }


def describe(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: list[Row]
) -> tuple[dict[str, float], Responses]:
    """Gold of greedy and of four samples, by family and together, and the samples."""
    texts = {"greedy": sample(model, tokenizer, rows, 1, 0.0), "T=1": sample(model, tokenizer, rows, 4)}
    numbers: dict[str, float] = {}
    for how, responses in texts.items():
        scores = [
            [gold(row["prompt"], text, row["task_meta"]) for text in group]
            for row, group in zip(rows, responses, strict=True)
        ]
        numbers[f"gold {how}"] = statistics.mean(itertools.chain(*scores))
        for task in FAMILIES:
            own = [group for row, group in zip(rows, scores, strict=True) if row["task"] == task]
            numbers[f"gold {how} {task}"] = statistics.mean(itertools.chain(*own))
        if how == "T=1":
            numbers["sd within prompt"] = statistics.mean(statistics.pstdev(group) for group in scores)
    numbers["distinct of 4"] = statistics.mean(len(set(group)) for group in texts["T=1"])
    numbers["words T=1"] = statistics.mean(len(text.split()) for text in itertools.chain(*texts["T=1"]))
    return numbers, texts["T=1"]


def gates(student: dict[str, float], teacher: dict[str, float]) -> list[tuple[str, float, str, bool]]:
    """(what, measured, asked, passed)."""

    def above(what: str, value: float, least: float) -> tuple[str, float, str, bool]:
        return what, value, f"> {least}", value > least

    t1, bias = student["gold T=1"], abs(teacher["position bias"])
    return [
        above("teacher: agreement with gold on pairs of the student", teacher["agreement"], 0.75),
        *(above(f"teacher: agreement, {task}", teacher[f"agreement {task}"], 0.65) for task in FAMILIES),
        ("teacher: position bias", bias, "< 0.05", bias < 0.05),
        above("teacher: gold of greedy", teacher["gold greedy"], 0.85),
        ("student: gold at T = 1", t1, "0.35 to 0.65", 0.35 < t1 < 0.65),
        above("student: distinct of 4 samples", student["distinct of 4"], 3.3),
        above("student: sd of gold within a prompt", student["sd within prompt"], 0.15),
    ]
