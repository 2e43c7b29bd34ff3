"""The one training loop. It knows no objective by name: an objective declares what it needs and is given it."""

from __future__ import annotations

import contextlib
import gc
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor

from prefine.errors import Interrupted, PrefineError
from prefine.models.masters import Masters
from prefine.models.policy import Policy
from prefine.models.trees import Mode, tree_size
from prefine.objectives.base import Objective
from prefine.recipe import Train
from prefine.train import checkpoint
from prefine.train.batches import Item, Schedule, total_steps
from prefine.train.budget import MOST
from prefine.train.drift import Samples
from prefine.train.log import MetricsLog, Trackers
from prefine.train.memory import peak_memory_mb, reset_peak_memory
from prefine.train.optim import learning_rate, make_optimizer
from prefine.train.passes import Passes, ShortOfMemory

if TYPE_CHECKING:
    from prefine.progress import Progress

T = TypeVar("T")
START_TOLERANCE = 1e-3


class Trainer:
    """Trains a policy with an objective on encoded examples.

    The gradient of a step is that of sum_i w_i loss_i / sum_i w_i over the examples of the global batch, however it
    is cut
    into micro-batches and processes. `folder` receives metrics.jsonl and checkpoints; `fingerprint` is what a
    checkpoint must agree with to be resumed. `before_step` may replace the examples of a step (given their list and the
    step's number), with responses sampled on policy for one. `samples` are taken before training and at every
    evaluation, and change nothing.
    """

    def __init__(
        self,
        policy: Policy,
        objective: Objective,
        train: Train,
        items: Sequence[Item],
        held_out: Sequence[Item],
        *,
        folder: Path,
        seed: int,
        mode: Mode,
        fingerprint: dict[str, Any],
        progress: Progress,
        accelerator: Accelerator | None = None,
        masters: Masters | None = None,
        max_tokens: int | None = None,
        before_step: Callable[[list[Item], int], list[Item]] | None = None,
        samples: Samples | None = None,
    ) -> None:
        self.accelerator = accelerator or Accelerator(cpu=not torch.cuda.is_available())
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.objective = objective.to(self.accelerator.device)
        self.train_settings, self.items, self.held_out = train, items, held_out
        self.folder, self.seed, self.mode = folder, seed, mode
        self.fingerprint, self.progress, self.before_step = fingerprint, progress, before_step
        self.samples = samples if self.accelerator.is_main_process else None
        self.policy, self.masters = policy, masters or Masters(policy.model)
        if not self.masters.named:
            raise PrefineError("nothing to train: no parameter of the model requires a gradient")
        policy.gather_in_place(self.masters.room)
        self.optimizer = make_optimizer(self.masters.named.values(), train)
        total = total_steps(len(items), train.batch_size, train.num_train_epochs, train.max_steps)
        self.schedule = Schedule(len(items), train.batch_size, total, seed)
        wanted = max_tokens or (MOST["cpu"] if train.max_tokens == "auto" else train.max_tokens)
        if self.world > 1:
            # What is free differs, and all must cut a batch alike.
            mine = torch.tensor([wanted], device=self.accelerator.device)
            wanted = int(self.accelerator.gather(mine).min())  # type: ignore[union-attr]
        self.passes = Passes(self.accelerator, self.policy, self.objective, train, mode, wanted)
        self.metrics_log = MetricsLog(folder / "metrics.jsonl")
        self.step = 0
        self.window: dict[str, list[float]] = {}
        self.tokens = 0
        self.seconds = 0.0
        self._stop = False

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def run(self, *, resume: bool = True) -> dict[str, Any]:
        """Train to the end, from the newest checkpoint if there is one. Returns facts for the manifest."""
        reset_peak_memory()
        if resume:
            self._resume()
        self.metrics_log.rewind(self.step)
        if self.samples is not None:
            self.samples.rewind(self.step)
        if self.step == 0:
            self._check_start()
            self._sample()
        total = self.schedule.total_steps
        trackers = self._trackers()
        with self._listening(), self.progress.task("training", total, "steps", self.step) as show:
            while self.step < total:
                started = time.monotonic()
                row = self._optimizer_step()
                self.seconds += time.monotonic() - started
                show(1, note=f"loss {row['loss']:.4f}")
                self._after_step(row, trackers)
        trackers.close()
        return {
            "steps": self.step,
            "tokens": self.tokens,
            "train_seconds": round(self.seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "trainable_parameters": sum(p.numel() for p in self.masters.named.values()),
            "device": str(self.accelerator.device),
            "processes": self.world,
            "max_tokens": self.passes.max_tokens,
        }

    def _optimizer_step(self) -> dict[str, float]:
        """One step on the global batch; returns the step's means over its examples."""
        self._seed()
        self.policy.train()
        self.objective.train()
        batch = self._prepared([self.items[i] for i in self.schedule.batch(self.step)])
        sums, bad = self._gradients(batch)
        rate = learning_rate(self.train_settings, self.step, self.schedule.total_steps)
        if self.world > 1:
            self.masters.reduce()
        weights = [p for p in self.masters.named.values() if p.grad is not None]
        norm = float(torch.nn.utils.clip_grad_norm_(weights, self.train_settings.max_grad_norm))
        self._refuse_non_finite(norm, bad, batch)
        before = self._sample_weights() if self.step == 0 else {}
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.masters.publish()
        if before:
            self._check_changed(before)
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += int(sums["tokens"])
        return {**self._means(sums), "learning_rate": rate, "grad_norm": norm}

    def _gradients(self, batch: list[Item]) -> tuple[dict[str, float], list[str]]:
        """Gradients of the batch; what a try that ran out of memory has left is forgotten."""
        state = {name: value.clone() for name, value in self.objective.state_dict().items()}

        def compute() -> tuple[dict[str, float], list[str]]:
            self.objective.load_state_dict(state)
            self.optimizer.zero_grad(set_to_none=True)
            self.policy.zero_grad(set_to_none=True)
            self._seed()
            return self.passes.backward(batch, self._seed)

        return self._within_memory(compute, batch)

    def _within_memory(self, compute: Callable[[], T], items: Sequence[Item]) -> T:
        """What `compute` gives; where memory runs out, once more in micro-batches of half as many tokens, in all
        processes alike."""
        while True:
            try:
                return compute()
            except ShortOfMemory:
                self._halve(items)
            self.policy.forget_rows()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _halve(self, batch: Sequence[Item]) -> None:
        tokens, largest = self.passes.max_tokens, max(batch, key=lambda item: tree_size(item.encoded))
        if tokens <= tree_size(largest.encoded):
            raise PrefineError(
                f"step {self.step + 1}: the memory is not enough for micro-batches of {tokens} tokens (the longest "
                f"example is {largest.id} with {tree_size(largest.encoded)}). Set train.max_tokens or train.max_length "
                "lower, train.gradient_checkpointing: true, or a LoRA (model.lora_r)"
            )
        self.passes.max_tokens = tokens // 2
        self.progress.line(f"step {self.step + 1}: out of memory; going on with micro-batches of {tokens // 2} tokens")

    def _seed(self) -> None:
        torch.manual_seed((self.seed * 1_000_003 + self.step) * self.world + self.rank)

    def _prepared(self, batch: list[Item]) -> list[Item]:
        """The batch as it is trained on: for on-policy objectives with responses that the policy samples now."""
        return batch if self.before_step is None else self.before_step(batch, self.step)

    def _means(self, sums: dict[str, float]) -> dict[str, float]:
        """Sums over examples to means over examples, with what the objective derives from them."""
        n = max(1.0, sums["examples"])
        out = {k: v / n for k, v in sums.items() if k not in ("examples", "tokens", "weight") and k[0] != "="}
        return {**out, **self.objective.summary(out), "loss": sums["loss"] / sums["weight"]}

    def _refuse_non_finite(self, norm: float, bad: list[str], batch: Sequence[Item]) -> None:
        flag = torch.tensor(float(bool(bad) or not math.isfinite(norm)), device=self.accelerator.device)
        if self.world > 1:
            flag = self.accelerator.reduce(flag, "sum")
        if float(flag) == 0:  # type: ignore[arg-type]
            return
        rows = bad or [item.id for item in batch]
        raise PrefineError(
            f"step {self.step + 1}: the loss or its gradient is not finite (gradient norm {norm}); the weights "
            f"were not "
            f"changed. Rows: {', '.join(rows[:8])}{' ...' if len(rows) > 8 else ''}. Look at them with 'prefine "
            f"show', or "
            "lower train.learning_rate"
        )

    def _after_step(self, row: dict[str, float], trackers: Trackers) -> None:
        """Log, evaluate, save and stop where the settings, or a signal, say so."""
        settings, total = self.train_settings, self.schedule.total_steps
        for name, value in row.items():
            self.window.setdefault(name, []).append(value)
        done = self.step == total
        if self.step == 1 or self.step % settings.logging_steps == 0 or done:
            self._log({k: sum(v) / len(v) for k, v in self.window.items()}, trackers)
            self.window = {}
        every = settings.eval_steps or max(1, math.ceil(total / 4))
        if self.held_out and (self.step % every == 0 or done):
            self._log({f"eval/{k}": v for k, v in self.evaluate().items()}, trackers)
            self._sample()
        stop = self._asked_to_stop()
        if stop or (settings.save_steps and self.step % settings.save_steps == 0 and not done):
            self.save()
        if stop and not done:
            raise Interrupted(f"stopped at step {self.step} of {total}; saved. The same command goes on from there")

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Loss and metrics, as means over all held-out examples. Changes no state."""
        self.policy.eval()
        self.objective.eval()
        more = frozenset({"entropy", "hits"}) if self.policy.fused else frozenset()
        sums, _ = self._within_memory(lambda: self.passes.sums(self.held_out, more), self.held_out)
        out = self._means(sums)
        if more:
            out["entropy"] = sums["=entropy"] / sums["=tokens"]
            out["token_accuracy"] = sums["=hits"] / sums["=tokens"]
        return out

    def _sample(self) -> None:
        """Let the policy answer a few held-out prompts. One process does; the others wait where they meet it next."""
        if self.samples is not None:
            self.samples.take(self.policy, self.step)

    def _log(self, values: dict[str, float], trackers: Trackers) -> None:
        if not self.accelerator.is_main_process:
            return
        epoch = self.step / self.schedule.steps_per_epoch
        row = {"step": self.step, "epoch": round(epoch, 4), "seconds": round(self.seconds, 3), "tokens": self.tokens}
        row.update({k: v if not math.isfinite(v) else float(f"{v:.8g}") for k, v in values.items()})
        self.metrics_log.write(row)
        trackers.log(row)

    def _trackers(self) -> Trackers:
        names = self.train_settings.report_to if self.accelerator.is_main_process else []
        return Trackers(self.accelerator, list(names), "prefine", self.folder, self.fingerprint)

    def _trainable(self) -> dict[str, torch.nn.Parameter]:
        return self.masters.named

    def save(self) -> None:
        """Write a checkpoint that resumes exactly; older ones are deleted only after it is durable."""
        if not self.accelerator.is_main_process:
            self.accelerator.wait_for_everyone()
            return
        weights = self._trainable()
        moments: dict[str, Tensor] = {}
        for name, parameter in weights.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                moments[f"{name}::{key}"] = value
        tensors = {"weights": dict(weights), "optimizer": moments, "objective": dict(self.objective.state_dict())}
        state = {
            "max_tokens": self.passes.max_tokens,
            "step": self.step,
            "window": self.window,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }
        checkpoint.save(self.checkpoints, self.step, tensors, state, self.fingerprint)  # type: ignore[arg-type]
        checkpoint.prune(self.checkpoints, self.train_settings.save_total_limit)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        found = None
        if self.accelerator.is_main_process:
            found = checkpoint.newest(self.checkpoints, self.progress.line)
        self.accelerator.wait_for_everyone()
        if self.world > 1:
            found = checkpoint.newest(self.checkpoints, self.progress.line)
        if found is None:
            return
        tensors, state = checkpoint.load(found, self.fingerprint)
        moments: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors["optimizer"].items():
            name, _, kind = key.partition("::")
            moments.setdefault(name, {})[kind] = value
        with torch.no_grad():
            for name, parameter in self._trainable().items():
                parameter.copy_(tensors["weights"][name])
        state_of = {i: moments[name] for i, name in enumerate(self._trainable()) if name in moments}
        # The optimizer knows on which device it wants what.
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state_of})
        self.masters.publish()
        self.objective.load_state_dict(tensors.get("objective", {}))
        # A run that went short of memory stays at what it came down to; a recipe may ask for even less.
        wanted = self.train_settings.max_tokens
        self.passes.max_tokens = state["max_tokens"] if wanted == "auto" else min(state["max_tokens"], wanted)
        self.step, self.window = state["step"], state["window"]
        self.tokens, self.seconds = state["tokens"], state["seconds"]
        self.progress.line(f"resuming from step {self.step} of {self.schedule.total_steps} ({found})")

    @torch.no_grad()
    def _check_start(self) -> None:
        """The loss before the first step must be finite, and have its theoretical value where there is one."""
        self.policy.eval()
        self.objective.eval()
        # Short ones say as much as a whole batch, which would cost a third of a step.
        probe = sorted((self.items[i] for i in self.schedule.batch(0)), key=lambda i: (tree_size(i.encoded), i.id))[:2]
        sums, bad = self._within_memory(lambda: self.passes.sums(probe), probe)
        loss = sums["loss"] / sums["weight"]
        if bad or not math.isfinite(loss):
            raise PrefineError(f"the loss before training is not finite; rows: {', '.join(bad)}")
        expected = self.objective.start_loss()
        slack = START_TOLERANCE if not self.train_settings.bf16 else 0.05
        if expected is not None and abs(loss - expected) > slack * max(1.0, abs(expected)):
            raise PrefineError(
                f"the loss before training is {loss:.4f}, but at the start the policy is the reference and it must be "
                f"{expected:.4f}: the reference log-probs are not those of this model"
            )

    def _sample_weights(self) -> dict[str, Tensor]:
        return {n: p.detach().flatten()[:4096].clone() for n, p in self._trainable().items()}

    def _check_changed(self, before: dict[str, Tensor]) -> None:
        without = [n for n, p in self._trainable().items() if p.grad is None]
        if without:
            self.progress.line(f"warning: {len(without)} trainable tensors got no gradient, {without[0]} for one")
        if all(torch.equal(p.detach().flatten()[:4096], before[n]) for n, p in self._trainable().items()):
            raise PrefineError("the first optimizer step changed no weight: the gradient or the learning rate is zero")

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """SIGTERM and the first Ctrl-C only raise a flag, read between steps; a second one stops at once."""

        def ask(number: int, frame: Any) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        try:
            old = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:
            yield
            return
        try:
            yield
        finally:
            for s, handler in old.items():
                signal.signal(s, handler)

    def _asked_to_stop(self) -> bool:
        if self.world == 1:
            return self._stop
        flag = torch.tensor(float(self._stop), device=self.accelerator.device)
        return float(self.accelerator.reduce(flag, "sum")) > 0  # type: ignore[arg-type]
