"""Blind side-by-side votes by people on the responses of finished runs: what to vote on, the votes, the local page."""
