"""Functions that recipes of the tests name as `valid`."""


def only_sorting(text):
    return text.startswith("sort")


def with_meta(text):
    return {"task": "other", "task_meta": {"length": str(len(text))}} if text.startswith("sort") else None


def wrong(text):
    return {"tsk": "other"}
