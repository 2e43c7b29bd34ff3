"""What asking costs: prices from the user's file, budgets that stop before they are exceeded, estimates without a call.

There are no built-in prices: they would soon be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefine.engines.base import Request
from prefine.errors import PrefineError, nearest
from prefine.schema import Message

CountTokens = Callable[[Sequence[Message]], int]

_KEYS = ("input", "cached_input", "output")


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens. Cached tokens are those of the prompt that the server had seen before."""

    input: float
    output: float
    cached_input: float

    def cost(self, prompt: int, cached: int, completion: int) -> float:
        """Dollars for one call; `cached` are among the `prompt` tokens."""
        return (self.input * (prompt - cached) + self.cached_input * cached + self.output * completion) / 1e6


def load_price(path: str, model: str) -> Price:
    """The price of `model` in a YAML file of blocks `model: {input: 0.15, cached_input: 0.075, output: 0.6}`."""
    import yaml

    try:
        table = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PrefineError(f"prices: {path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(table, dict) or not all(isinstance(k, str) for k in table):
        raise PrefineError(f"prices: {path} is no mapping of models to prices")
    if model not in table:
        raise PrefineError(f"prices: {path} has no price of '{model}'{nearest(model, table)}")
    return _price(table[model], f"prices: {path}: {model}")


def _price(block: Any, where: str) -> Price:
    if not isinstance(block, dict):
        raise PrefineError(f"{where}: a price is a mapping {{input: ..., output: ...}}")
    for key, value in block.items():
        if key not in _KEYS:
            raise PrefineError(f"{where}: unknown key '{key}'{nearest(str(key), _KEYS)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise PrefineError(f"{where}: {key} must be dollars per million tokens, not {value!r}")
    missing = [k for k in ("input", "output") if k not in block]
    if missing:
        raise PrefineError(f"{where}: {missing[0]} is missing")
    return Price(block["input"], block["output"], block.get("cached_input", block["input"]))


class Budget:
    """What may be spent, and a meter of what is. A call is reserved at its highest before it is made.

    `usd` and `tokens` (of prompts and replies together) are limits, None for none. A call whose bill never came (a
    broken connection) counts at its highest.
    """

    def __init__(self, usd: float | None = None, tokens: int | None = None, price: Price | None = None) -> None:
        if usd is not None and price is None:
            raise PrefineError("a budget in dollars needs the price of the model: set prices to a file with it")
        self.usd, self.tokens, self.price = usd, tokens, price
        self.spent_usd, self.spent_tokens = 0.0, 0
        self._unbilled_usd, self._unbilled_tokens = 0.0, 0
        self._held_usd, self._held_tokens = 0.0, 0

    @property
    def limited(self) -> bool:
        return self.usd is not None or self.tokens is not None

    def cost(self, prompt: int, cached: int, completion: int) -> float | None:
        """Dollars, None without a price."""
        return None if self.price is None else self.price.cost(prompt, cached, completion)

    def start(self, prompt: int, cached: int, completion: int) -> None:
        """Take these tokens as what was spent before, beside calls of this process whose bill never came."""
        self.spent_tokens, self.spent_usd = self._unbilled_tokens, self._unbilled_usd
        self.spend(prompt, cached, completion)

    def spend(self, prompt: int, cached: int, completion: int) -> None:
        """Count tokens as spent."""
        self.spent_tokens += prompt + completion
        self.spent_usd += self.cost(prompt, cached, completion) or 0.0

    def spend_unbilled(self, prompt: int, completion: int) -> None:
        """Count a call whose bill never came at the most it can have cost."""
        self._unbilled_tokens += prompt + completion
        self._unbilled_usd += self.cost(prompt, 0, completion) or 0.0
        self.spend(prompt, 0, completion)

    def reserve(self, prompt: int, completion: int) -> bool:
        """Hold what a call can cost at most; False, and nothing held, when that could exceed the budget."""
        usd, tokens = self.cost(prompt, 0, completion) or 0.0, prompt + completion
        if self.tokens is not None and self.spent_tokens + self._held_tokens + tokens > self.tokens:
            return False
        if self.usd is not None and self.spent_usd + self._held_usd + usd > self.usd + 1e-12:
            return False
        self._held_usd += usd
        self._held_tokens += tokens
        return True

    def give_back(self, prompt: int, completion: int) -> None:
        """Let go of what a call held; what it did cost is `spend`."""
        self._held_usd -= self.cost(prompt, 0, completion) or 0.0
        self._held_tokens -= prompt + completion

    def exhausted(self) -> str:
        """The message of a stop."""
        return (
            f"the budget is used up: {self.text()}, and the next call could exceed it; with a larger budget_usd or "
            "budget_tokens the same command goes on"
        )

    def text(self) -> str:
        """What is spent, of what."""
        tokens = f"{self.spent_tokens:,}" + (f" of {self.tokens:,}" if self.tokens is not None else "") + " tokens"
        if self.price is None:
            return tokens
        return f"${self.spent_usd:.4f}" + (f" of ${self.usd:g}" if self.usd is not None else "") + f", {tokens}"


@dataclass(frozen=True)
class Estimate:
    """What asking would take. `approximate` says that tokens are counted as a quarter of the characters."""

    requests: int
    from_ledger: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    """Expected: the mean of earlier replies to this model where there are any, else the longest allowed."""
    most_completion_tokens: int
    approximate: bool
    usd: float | None
    most_usd: float | None

    def __str__(self) -> str:
        about = "about " if self.approximate else ""
        text = (
            f"{self.requests:,} requests, {self.from_ledger:,} of them answered before: {self.calls:,} calls, "
            f"{about}{self.prompt_tokens:,} prompt tokens, {self.completion_tokens:,} reply tokens expected "
            f"({self.most_completion_tokens:,} at most)"
        )
        return text if self.usd is None else f"{text}, ${self.usd:.4f} (${self.most_usd:.4f} at most)"


def approximate_tokens(messages: Sequence[Message]) -> int:
    """A quarter of the characters, and four tokens for the frame of each message."""
    return sum(-(-len(m["content"]) // 4) + 4 for m in messages)


def most_tokens(request: Request) -> tuple[int, int]:
    """A bound on the tokens of prompt and reply: no token is shorter than a byte, and templates add little."""
    texts = [m["content"] for m in request.messages] + [request.response or ""]
    prompt = 64 + sum(len(t.encode("utf-8", "surrogatepass")) + 16 for t in texts)
    return prompt, 1 if request.response is not None else request.sampling.max_tokens
