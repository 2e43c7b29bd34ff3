"""prefine's sampling beside transformers' own `generate`: the same model, prompts, number of samples and limits.

    python benchmarks/sampling.py [--prompts 64] [--samples 4]

Both take turns for three rounds; what counts is the ratio of CPU seconds for each sampled token inside a round. The
baseline gets prompts sorted by length and batches of the same number of rows.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

ROWS = 64


def baseline(model: Any, tokenizer: Any, prompts: list[list[dict]], n: int, new_tokens: int) -> int:
    """Sampled tokens of `generate`, in batches of `ROWS` rows."""
    import torch

    from prefine.data.chat import prompt_ids, stop_ids
    from prefine.models.forward import left_pad

    stops, total = stop_ids(tokenizer, model), 0
    rows = sorted((prompt_ids(tokenizer, p) for p in prompts), key=len)
    for i in range(0, len(rows), ROWS // n):
        ids, seen, _ = left_pad(rows[i : i + ROWS // n], torch.device("cpu"))
        with torch.no_grad():
            out = model.generate(
                input_ids=ids,
                attention_mask=seen,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                num_return_sequences=n,
                max_new_tokens=new_tokens,
                eos_token_id=stops,
                pad_token_id=stops[0],
            )[:, ids.shape[1] :]
        ended = torch.isin(out, torch.tensor(stops))
        first = torch.where(ended.any(1), ended.float().argmax(1) + 1, out.shape[1])
        total += int(first.sum())
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-student")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=40)
    a = parser.parse_args()

    import torch

    from prefine.models.load import load_model, load_tokenizer
    from prefine.models.sampling import sample
    from prefine.recipe import Model
    from prefine.tiny_world import prompts as world

    torch.set_num_threads(1)
    spec = Model(path=a.model)
    model, tokenizer = load_model(spec), load_tokenizer(spec)
    groups = list(world(split="eval", n=a.prompts))
    texts = [[{"role": "user", "content": g["prompt"] if isinstance(g, dict) else g.prompt}] for g in groups]
    keys = [str(i) for i in range(len(texts))]
    ratios = []
    for number in range(3):
        costs = {}
        for name in ("prefine", "generate") if number % 2 == 0 else ("generate", "prefine"):
            torch.manual_seed(number)
            began = time.process_time()
            if name == "generate":
                tokens = baseline(model, tokenizer, texts, a.samples, a.new_tokens)
            else:
                found = sample(model, tokenizer, texts, keys, n=a.samples, max_new_tokens=a.new_tokens, seed=number)
                tokens = sum(s.n_tokens for row in found for s in row)
            costs[name] = (time.process_time() - began) / tokens
        ratios.append(costs["generate"] / costs["prefine"])
        print({k: f"{1 / v:,.0f} tokens per CPU second" for k, v in costs.items()}, flush=True)
    print(f"generate / prefine: {median(ratios):.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]")


if __name__ == "__main__":
    main()
