"""Forward and backward passes over a global batch, however it is cut into micro-batches and processes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from prefine.errors import PrefineError
from prefine.models.policy import Policy
from prefine.models.trees import Mode, Packed, pack
from prefine.objectives.base import Objective
from prefine.recipe import Train
from prefine.train.batches import Item, MicroBatch, cut
from prefine.train.memory import out_of_memory
from prefine.train.numbers import BY_EXAMPLE, Batch, facts_of, offsets, responses_of, targets_of


class ShortOfMemory(Exception):
    """This process, or another one, ran out of memory; all of them stopped at the same place."""


class Passes:
    """Gradients and sums of one objective over global batches; every process makes the same calls."""

    def __init__(
        self,
        accelerator: Accelerator,
        policy: Policy,
        objective: Objective,
        settings: Train,
        mode: Mode,
        max_tokens: int,
    ) -> None:
        self.accelerator, self.policy, self.objective = accelerator, policy, objective
        self.batch_size = settings.batch_size
        self.max_tokens = max_tokens
        self.mode: Mode = mode
        self.vocab_size = int(policy.causal.get_output_embeddings().weight.shape[0])
        self.rank, self.world = accelerator.process_index, accelerator.num_processes

    def backward(self, batch: list[Item], seed: Callable[[], None]) -> tuple[dict[str, float], list[str]]:
        """Add the gradient of the batch's loss to the weights.

        Returns the sums of metrics over the examples of all processes, and the ids of this process's examples whose
        loss is not finite. `seed` starts the random numbers of the batch anew.
        """
        parts = self._cut(batch)
        if self.objective.coupled:
            return self._backward_whole(batch, parts, seed)
        return self._backward_by_parts(batch, parts)

    def _cut(self, batch: Sequence[Item]) -> list[MicroBatch]:
        return cut(batch, self.max_tokens, self.rank, self.world, mode=self.mode)

    def _backward_by_parts(self, batch: list[Item], parts: list[MicroBatch]) -> tuple[dict[str, float], list[str]]:
        """Gradients of an objective whose examples do not touch each other, one micro-batch after another."""
        total, facts = float(self._weights(batch).sum()), facts_of(batch, self.vocab_size)
        sums: dict[str, float] = {}
        bad: list[str] = []

        def share_of(part: MicroBatch, items: Sequence[Item], numbers: dict[str, Tensor]) -> Tensor:
            loss, found, wrong = self._losses(items, numbers, facts)
            if not part.filler:
                bad.extend(wrong)
                add(sums, found)
            return loss * (0.0 if part.filler else 1 / total)

        with self._enough_for_all():
            for part in parts:
                tokens = self._differentiate(part, functools.partial(share_of, part))
                add(sums, {"tokens": 0.0 if part.filler else tokens})
        return self._over_processes(sums), bad

    def _differentiate(self, part: MicroBatch, loss: Callable[[Sequence[Item], dict[str, Tensor]], Tensor]) -> float:
        """Add the gradient of the loss of a micro-batch, a sum over its items; returns its tokens without padding."""
        packed, statistics, reference = self._laid_out(part, frozenset())
        starts = offsets(part.items)
        cuts = self.policy.parts(packed, statistics, [b - a for a, b in pairwise(starts)])
        if len(cuts) == 2:
            numbers = self.policy(packed, statistics, targets_of(part.items, packed) if part.items[0].targets else None)
            loss(part.items, {**numbers, **reference}).backward()
            return float(packed.tokens)

        def of_some(first: int, last: int, numbers: dict[str, Tensor]) -> Tensor:
            items = part.items[starts.index(first) : starts.index(last)]
            return loss(items, {**numbers, **{name: values[first:last] for name, values in reference.items()}})

        self.policy.backward_by_parts(packed, statistics, cuts, of_some)
        return float(packed.tokens)

    @contextlib.contextmanager
    def _enough_for_all(self) -> Iterator[None]:
        """Where memory runs out in one process, all raise `ShortOfMemory` together, after their work of this block.

        There must be no collective operation inside: the process that failed would be missing from it.
        """
        short = None
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            # The error itself would keep the tensors of its frames alive.
            short = str(error)
        flag = torch.tensor(float(short is not None), device=self.accelerator.device)
        if self.world > 1:
            flag = self.accelerator.reduce(flag, "sum")
        if float(flag):  # type: ignore[arg-type]
            raise ShortOfMemory(short or "another process is out of memory")

    def _backward_whole(
        self, batch: list[Item], parts: list[MicroBatch], seed: Callable[[], None]
    ) -> tuple[dict[str, float], list[str]]:
        """Gradients of an objective whose examples touch each other: the loss of the whole batch, by its numbers first.

        A batch of several parts goes through the model twice: without gradients for its numbers, then again to carry
        the loss's gradient by the numbers to the weights. Dropout is the same both times.
        """
        once = len(parts) == 1 and self.world == 1
        with contextlib.nullcontext() if once else torch.no_grad(), self._enough_for_all():
            found = [self._numbers(part) for part in parts]
        flat = self._gathered(batch, parts, [{k: v.detach() for k, v in numbers.items()} for numbers, _ in found])
        differentiable = {
            k
            for numbers, _ in found
            for k, v in numbers.items()
            if (not once or v.requires_grad) and not k.startswith("ref_")
        }
        for name in differentiable:
            flat[name].requires_grad_()
        loss, sums, bad = self._losses(batch, flat, facts_of(batch, self.vocab_size))
        leaves = [flat[name] for name in sorted(differentiable)]
        grads = torch.autograd.grad(loss / sums["weight"], leaves, allow_unused=True)
        by_name = {n: g for n, g in zip(sorted(differentiable), grads, strict=True) if g is not None}
        if not once:
            seed()
        places = [self._places(batch, part) for part in parts]
        with self._enough_for_all():
            for i, part in enumerate(parts):
                numbers = found[i][0] if once else self._numbers(part)[0]
                surrogate = numbers["logps"].new_zeros(())
                for name, grad in by_name.items():
                    at = places[i][name in BY_EXAMPLE].to(grad.device)
                    values = numbers[name]
                    share = grad[at][..., : values.shape[-1]] if values.dim() > 1 else grad[at]
                    surrogate = surrogate + (values * share).sum()
                (surrogate * (0.0 if part.filler else 1.0)).backward()
        tokens = sum(t for part, (_, t) in zip(parts, found, strict=True) if not part.filler)
        return {**sums, **self._over_processes({"tokens": tokens})}, bad

    def _numbers(self, part: MicroBatch, more: frozenset[str] = frozenset()) -> tuple[dict[str, Tensor], float]:
        """What the policy gives for every response of a micro-batch, and its tokens without padding."""
        packed, statistics, reference = self._laid_out(part, more)
        targets = targets_of(part.items, packed) if part.items[0].targets else None
        return {**self.policy(packed, statistics, targets), **reference}, float(packed.tokens)

    def _laid_out(self, part: MicroBatch, more: frozenset[str]) -> tuple[Packed, frozenset[str], dict[str, Tensor]]:
        """A micro-batch's trees, the statistics that the objective needs of them, and its reference log-probs where the
        items have none."""
        statistics = (self.objective.statistics | more) - {"ref_token_logps"}
        prompts = "prompt_logps" in statistics
        packed = pack([item.encoded for item in part.items], mode=self.mode, prompts=prompts)
        packed = packed.to(self.accelerator.device)
        # First the reference: layers that are computed again in the backward pass are those of the last call.
        absent = self.objective.needs_reference and not part.items[0].ref_logps
        return packed, statistics, self._reference(packed) if absent else {}

    def _reference(self, packed: Packed) -> dict[str, Tensor]:
        """What the start gives for the same micro-batch: the policy without its adapter."""
        if not hasattr(self.policy.model, "disable_adapter"):
            raise PrefineError("the examples have no reference log-probs, and a policy without an adapter gives none")
        names = {"token_logps"} if "ref_token_logps" in self.objective.statistics else set()
        with self.policy.as_reference():
            found = self.policy(packed, names)
        return {f"ref_{name}": values for name, values in found.items() if name in ("logps", "token_logps")}

    def _losses(
        self, items: Sequence[Item], numbers: dict[str, Tensor], facts: Batch
    ) -> tuple[Tensor, dict[str, float], list[str]]:
        """Weighted sum of losses, sums of metrics over examples, and the ids of examples whose loss is not finite."""
        total = numbers["logps"].new_zeros(())
        sums: dict[str, float] = {}
        bad: list[str] = []
        for positions, responses in responses_of(items, numbers, self.objective, facts):
            output = self.objective(responses)
            losses = output.losses
            weights = self.objective.weight(responses.lengths) if output.weights is None else output.weights
            weights = weights.to(losses.dtype)
            total = total + (losses * weights).sum()
            more = {"loss": losses.detach() * weights, "weight": weights, "examples": torch.ones_like(losses)}
            add(sums, {k: float(v.detach().double().sum()) for k, v in {**output.metrics, **more}.items()})
            finite = torch.isfinite(losses.detach()).tolist()
            bad += [items[i].id for i, ok in zip(positions, finite, strict=True) if not ok]
        return total, sums, bad

    def _weights(self, items: Sequence[Item]) -> Tensor:
        """Each example's share of the mean, known before the forward pass."""
        out = []
        for item in items:
            out.append(self.objective.weight(torch.tensor([item.lengths], device=self.accelerator.device)))
        return torch.cat(out)

    def _gathered(
        self, batch: Sequence[Item], parts: Sequence[MicroBatch], found: Sequence[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The numbers of all parts of all processes, in the order of the batch. Each was computed by one process."""
        out: dict[str, Tensor] = {}
        places = [self._places(batch, part) for part in parts]
        widest = max(sum(mask) for item in batch for mask in item.encoded.masks)
        for name in sorted({n for numbers in found for n in numbers}):
            like = found[0][name]
            rows = len(batch) if name in BY_EXAMPLE else offsets(batch)[-1]
            out[name] = like.new_zeros((rows, widest) if like.dim() > 1 else (rows,))
            for part, place, numbers in zip(parts, places, found, strict=True):
                if not part.filler:
                    at, values = place[name in BY_EXAMPLE].to(like.device), numbers[name]
                    if values.dim() > 1:
                        out[name][at, : values.shape[-1]] = values
                    else:
                        out[name][at] = values
            if self.world > 1:
                out[name] = self.accelerator.reduce(out[name], "sum")  # type: ignore[assignment]
        return out

    def _places(self, batch: Sequence[Item], part: MicroBatch) -> tuple[Tensor, Tensor]:
        """Where a part's responses, and its examples, stand among those of the batch."""
        position = {item.id: i for i, item in enumerate(batch)}
        starts, examples = offsets(batch), [position[item.id] for item in part.items]
        responses = [
            starts[i] + j
            for i, item in zip(examples, part.items, strict=True)
            for j in range(len(item.encoded.responses))
        ]
        return torch.tensor(responses), torch.tensor(examples)

    @torch.no_grad()
    def sums(self, items: Sequence[Item], more: frozenset[str] = frozenset()) -> tuple[dict[str, float], list[str]]:
        """Sums of losses and metrics over examples of all processes, without gradients; ids of those without a finite
        loss.

        A coupled objective sees the items as batches of the training's size. `more` are per-token statistics beyond the
        objective's, whose sums over chosen responses are given under `=name`.
        """
        sums: dict[str, float] = {}
        bad: list[str] = []
        size = self.batch_size if self.objective.coupled else len(items)
        for start in range(0, len(items), size):
            batch = items[start : start + size]
            facts = facts_of(batch, self.vocab_size)
            parts = self._cut(batch)
            if self.objective.coupled:
                with self._enough_for_all():
                    numbers = [self._numbers(part, more)[0] for part in parts]
                flat = self._gathered(batch, parts, numbers)
                _, found, wrong = self._losses(batch, flat, facts)
                add(sums, {**found, **extras(batch, flat, more)})
                bad += wrong
                continue
            mine: dict[str, float] = {}
            with self._enough_for_all():
                for part in parts:
                    numbers, _ = self._numbers(part, more)
                    _, found, wrong = self._losses(part.items, numbers, facts)
                    if not part.filler:
                        add(mine, {**found, **extras(part.items, numbers, more)})
                        bad += wrong
            add(sums, self._over_processes(mine))
        return sums, bad

    def _over_processes(self, sums: dict[str, float]) -> dict[str, float]:
        """The sums of all processes. Metrics of examples that only some have are gathered, too."""
        if self.world == 1:
            return sums
        merged: dict[str, float] = {}
        for other in gather_object([sums]):
            add(merged, other)
        return merged


def add(sums: dict[str, float], found: dict[str, float]) -> None:
    """Add the values of one dictionary to those of another."""
    for name, value in found.items():
        sums[name] = sums.get(name, 0.0) + value


def extras(items: Sequence[Item], numbers: dict[str, Tensor], names: frozenset[str]) -> dict[str, float]:
    """Sums over the tokens of chosen responses, for metrics by token; their names begin with `=`."""
    if not names:
        return {}
    first = torch.tensor(offsets(items)[:-1], device=numbers["logps"].device)
    out = {f"={name}": float(numbers[name][first].double().sum()) for name in names}
    return {**out, "=tokens": float(sum(item.lengths[0] for item in items))}
