"""Responses to prompts, sampled so that the same seed gives the same texts in any order and batch."""
