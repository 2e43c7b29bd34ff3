"""Task benchmarks through lm-evaluation-harness: presets, local tasks, and their results as one table."""
