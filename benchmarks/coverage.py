"""How often the 95 % intervals of an evaluation contain the truth: 1,000 simulated comparisons of each kind.

    python benchmarks/coverage.py

writes results/coverage.csv; `--only NAME...` runs a few, `--simulations N` others. Every kind draws its data from
a known distribution, so the truth is known exactly or to four digits. The last column says how far a share may lie from
95 % by chance: two standard errors, 1.4 points of 1,000. All simulations of a kind use the same resamples, which is
faster.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from prefine.evaluate.agreement import cohens_kappa
from prefine.evaluate.benchmarks import length_controlled
from prefine.evaluate.benchmarks.arena_hard import Judgment, Vote
from prefine.evaluate.benchmarks.bradley_terry import battles, scores_v01
from prefine.evaluate.benchmarks.mt_bench import Rating, average
from prefine.evaluate.corpus_tests import corpus_difference
from prefine.evaluate.paired import paired_difference, wilson
from prefine.evaluate.seeds import over_seeds
from prefine.evaluate.statistics import share, win_rate

RESULTS = Path(__file__).parent / "results" / "coverage.csv"
SIMULATIONS = 1000

Ends = tuple[float | None, float | None]
Case = Callable[[np.random.Generator, int], tuple[float, Ends]]
"""A generator and the simulation's number to the truth and an interval."""


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def greedy(prompts: int) -> Case:
    """One response each; won .5, tied .1, lost .4."""

    def draw(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
        gap = rng.choice([1.0, 0.0, -1.0], prompts, p=[0.5, 0.1, 0.4])
        found = win_rate([[g] for g in gap], [[0.0]] * prompts)
        return 0.55, (found.low, found.high)

    return draw


def sampled(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
    """Four samples of each model on 200 prompts, on some of which ours are better: 16 dependent pairs a prompt."""
    better = rng.choice([-1.0, 0.0, 1.5], 200)
    ours, theirs = rng.logistic(size=(200, 4)) + better[:, None], rng.logistic(size=(200, 4))
    found = win_rate(ours.tolist(), theirs.tolist())
    # P(a logistic variable plus d exceeds another) = (1 - (1 + d) e^-d) / (1 - e^-d)^2, and 1/2 at d = 0
    wins = [(1 - (1 + d) * np.exp(-d)) / (1 - np.exp(-d)) ** 2 for d in (-1.0, 1.5)]
    return float((sum(wins) + 0.5) / 3), (found.low, found.high)


def alpaca_eval(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
    """805 preferences near 0 and 1, as a confident judge gives them."""
    found = share(rng.beta(0.08, 0.24, 805).tolist())
    return 0.25, (found.low, found.high)


def controlled(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
    """Length-controlled: 400 instructions, verdicts drawn from the fitted model, refitted in 200 resamples."""
    n, (a, b, c) = 400, (-1.2, 0.8, -0.7)
    gamma, delta = rng.normal(-0.5, 1.0, n), rng.normal(-200.0, 600.0, n)
    p = sigmoid(a * length_controlled.length_feature(delta) + b * gamma + c)
    verdicts = (rng.random(n) < p).astype(float)
    rows = length_controlled.Design(np.empty((0, 3)), np.empty(0), delta, gamma, verdicts)
    fitted = length_controlled.fit(rows, 100.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    truth = 100 * float(weights @ sigmoid(b * (nodes - 0.5) + c) / weights.sum())
    return truth, length_controlled.interval(rows, fitted, resamples=200)


def differences(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
    """100 paired scores, skewed and correlated."""
    hard = rng.gamma(2.0, 1.0, 100)
    found = paired_difference(
        (hard + rng.gamma(1.0, 0.6, 100)).tolist(),
        (hard + rng.normal(0.4, 0.5, 100)).tolist(),
    )
    return 0.2, (found.low, found.high)


def ranked_pairs(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
    """Reward accuracy: 200 prompts of one to five pairs, easier where there are more."""
    pairs = rng.integers(1, 6, 200)
    right = rng.binomial(pairs, 0.5 + 0.06 * pairs)
    found = share((right / pairs).tolist(), pairs.tolist())
    k = np.arange(1, 6)
    return float((k * (0.5 + 0.06 * k)).sum() / k.sum()), (found.low, found.high)


def arena_hard(prompts: bool) -> Case:
    """500 prompts in both orders, whose two games depend on each other."""

    def draw(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
        judgments = []
        for q, strength in enumerate(rng.choice([0.15, 0.75], 500)):
            votes = [Vote(g, float(rng.random() < strength), int(rng.choice([1, 3]))) for g in (0, 1)]
            judgments.append(Judgment(str(q), "m", "base", "j", "c", tuple(votes), 0))
        if prompts:
            found = share([j.score for j in judgments], [j.weight for j in judgments])
            return 0.45, (found.low, found.high)
        score = scores_v01(battles(judgments))["m"]
        return 45.0, (score.low, score.high)

    return draw


def mt_bench(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
    """80 questions of two turns, rated from 1 to 10 by rounding; the truth is that of four million draws."""
    quality = rng.normal(6.5, 2.0, 80)
    ratings = np.clip(np.rint(quality[:, None] + rng.normal(0, 1.2, (80, 2))), 1, 10)
    found = average(
        [Rating(str(q), "m", t + 1, "j", "t", float(ratings[q, t])) for q in range(80) for t in (0, 1)],
    )
    return MT_BENCH_TRUTH, (found.low, found.high)


_DRAWS = np.random.default_rng(0).normal(6.5, (2.0**2 + 1.2**2) ** 0.5, 4_000_000)
MT_BENCH_TRUTH = float(np.clip(np.rint(_DRAWS), 1, 10).mean())


def corpus(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
    """A difference of two systems in a corpus metric (F1 of 200 segments' counts), by the paired bootstrap."""
    length = rng.integers(5, 40, 200)
    tables = [
        np.column_stack([rng.binomial(length, p), length, rng.binomial(2 * length, 0.5)]).astype(float)
        for p in (0.55, 0.5)
    ]
    found = corpus_difference(
        tables[0], tables[1], lambda s: 2 * s[0] / (s[1] + s[2]), bootstraps=400, randomizations=1
    )
    return 0.05, (found.low, found.high)


def seeds(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
    """Three training seeds on 100 prompts, by Student's t: what other seeds would give on these prompts."""
    prompts = rng.normal(0, 1, 100)
    runs = [(prompts + rng.normal(0.3, 0.1)).tolist() for _ in range(3)]
    found = over_seeds(runs, resamples=10)
    return 0.3 + float(prompts.mean()), (found.low, found.high)


def proportion(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
    """Wilson's interval of a share .9 of 100."""
    return 0.9, wilson(int(rng.binomial(100, 0.9)), 100) or (None, None)


def kappa(rng: np.random.Generator, i: int) -> tuple[float, Ends]:
    """Cohen's kappa of two judges of 200 comparisons, which agree by more than chance in half of them."""
    a, b = rng.integers(0, 2, (2, 200))
    found = cohens_kappa(a.tolist(), np.where(rng.random(200) < 0.5, a, b).tolist(), resamples=2000)
    return 0.5, (found.low, found.high)


CASES: dict[str, Case] = {
    "win rate, greedy, 100 prompts": greedy(100),
    "win rate, greedy, 200 prompts": greedy(200),
    "win rate, greedy, 500 prompts": greedy(500),
    "win rate, 4 x 4 samples, 200 prompts": sampled,
    "difference of scores, 100 prompts": differences,
    "reward accuracy, 200 prompts": ranked_pairs,
    "AlpacaEval win rate, 805 instructions": alpaca_eval,
    "length-controlled win rate, 400 instructions": controlled,
    "Arena-Hard over prompts, 500 prompts": arena_hard(prompts=True),
    "Arena-Hard over battles (as published), 500 prompts": arena_hard(prompts=False),
    "MT-Bench, 80 questions": mt_bench,
    "corpus metric, 200 segments": corpus,
    "three seeds": seeds,
    "share of 100": proportion,
    "kappa of 200 comparisons": kappa,
}


def measure(name: str, simulations: int) -> dict[str, object]:
    """The share of intervals with the truth in them."""
    start, inside, widths = time.perf_counter(), 0, []
    for i in range(simulations):
        truth, (low, high) = CASES[name](np.random.default_rng([i, len(name)]), i)
        assert low is not None and high is not None
        inside += low <= truth <= high
        widths.append(high - low)
    return {
        "interval": name,
        "simulations": simulations,
        "covered": round(inside / simulations, 4),
        "mean_width": f"{np.mean(widths):.4g}",
        "by_chance": round(2 * (0.95 * 0.05 / simulations) ** 0.5, 4),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="kinds whose names begin so; writes no file")
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    options = parser.parse_args()
    names = [n for n in CASES if not options.only or n.startswith(tuple(options.only))]
    rows = []
    for name in names:
        rows.append(measure(name, options.simulations))
        print(f"{rows[-1]['covered']:.3f}  {name}  ({rows[-1]['seconds']} s)", flush=True)
    if not options.only and options.simulations == SIMULATIONS:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("w", newline="") as out:
            writer = csv.DictWriter(out, fieldnames=[k for k in rows[0] if k != "seconds"], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
