"""Scores for responses: teacher likelihood, teacher choice, reward models, functions of one's own."""
