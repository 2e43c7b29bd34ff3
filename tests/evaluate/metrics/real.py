"""Real texts beside the project, with stand-ins for what a model would have written."""

import gzip
import json

from ...conftest import shared


def translations(n):
    """Sources, references, and the references with every eighth word gone and neighbors swapped now and then."""
    rows = json.loads(gzip.decompress(shared("data/wmt_de_en_valid.json.gz").read_bytes()))[:n]
    pairs = [r["translation"] for r in rows]
    return [p["de"] for p in pairs], [p["en"] for p in pairs], [worse(p["en"], i) for i, p in enumerate(pairs)]


def summaries(n):
    """Reference summaries of news, and as responses the first sentences of the articles."""
    lines = gzip.decompress(shared("data/cnn_dailymail_summaries_200.jsonl.gz").read_bytes()).decode().splitlines()[:n]
    rows = [json.loads(line) for line in lines]
    articles = [r["prompt"].split("Article:", 1)[-1].strip() for r in rows]
    return [r["completion"] for r in rows], [a[:300].replace(". ", ".\n") for a in articles]


def worse(text, i):
    words = [w for k, w in enumerate(text.split()) if (k + i) % 8]
    if i % 3 == 0 and len(words) > 3:
        words[1], words[2] = words[2], words[1]
    return " ".join(words)
