"""One epoch of TRL's DPO trainer over the first rows of a JSON Lines file, with the arguments of `candidate.py`.

`--best` is TRL at its best on these data: no checkpointing, micro-batches of two pairs, reference log-probs first.
Lists are trained as pairs of the best response with each other one.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--model", "--data", "--save"):
        parser.add_argument(name, required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--micro", type=int, default=2, help="pairs of a micro-batch with --best")
    a = parser.parse_args(given)
    os.environ |= {"OMP_NUM_THREADS": str(a.threads), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(a.threads)
    rows = [json.loads(line) for line in Path(a.data).read_text().splitlines()[: a.pairs]]
    sides = len(rows[0].get("responses", [0, 0])) - 1
    pairs = [
        {"prompt": r["prompt"], "chosen": best, "rejected": other}
        for r in rows
        for best, *others in [r.get("responses") or [r["chosen"], r["rejected"]]]
        for other in others
    ]
    micro = min(a.micro, a.batch) * sides if a.best else a.batch * sides
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=a.batch * sides // micro,
            num_train_epochs=1,
            learning_rate=a.lr,
            lr_scheduler_type="constant",
            beta=a.beta,
            max_length=2048,
            bf16=a.dtype == "bf16",
            gradient_checkpointing=not a.best,
            precompute_ref_log_probs=a.best,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=0,
        )
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32),
            args=config,
            train_dataset=Dataset.from_list(pairs),
            processing_class=AutoTokenizer.from_pretrained(a.model),
        )
        trainer.train()
        trainer.model.save_pretrained(a.save)


if __name__ == "__main__":
    main()
