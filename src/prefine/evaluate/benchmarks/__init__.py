"""Scores of judged benchmarks (AlpacaEval, Arena-Hard, MT-Bench) from judgments that exist, without any judge call."""
