"""Metrics of responses: against references, by themselves, and by models that judge them."""
