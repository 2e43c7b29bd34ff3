"""Judged benchmarks run live: questions, the policy's answers, a judge's verdicts, and their scores."""
