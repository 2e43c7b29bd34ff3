"""Objectives: small classes that turn response log-probs into a loss per example."""
