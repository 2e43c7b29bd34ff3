"""Whoever answers requests: a model in this process, a server, a cluster. Engines know nothing of stages or ledgers."""
