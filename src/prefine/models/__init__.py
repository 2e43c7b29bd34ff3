"""Models: loading, adapters, and log-probabilities of responses."""
