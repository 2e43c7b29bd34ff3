"""Comparing a trained model with its start and with other runs: metrics, win rates, KL, reward accuracy, statistics."""
