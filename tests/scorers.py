"""Scoring functions that tests name in recipes."""


def vowels(prompt: str, response: str, task_meta: dict[str, str]) -> float:
    return float(sum(c in "aeiou" for c in response))


def share_of_vowels(prompt: str, response: str, task_meta: dict[str, str]) -> float:
    return vowels(prompt, response, task_meta) / max(1, len(response))
