"""A vector for each row: computed by a model, or read from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prefine.data.clean.base import Models, Rows, need_models
from prefine.data.clean.budget import unit
from prefine.data.clean.rows import messages_of, responses_of
from prefine.errors import PrefineError, nearest

AT_ONCE = 256
"""Texts given to the model together."""


def vectors_of(rows: Rows, model: str | None, file: str | None, models: Models | None) -> tuple[list[str], np.ndarray]:
    """The ids of all rows and their vectors, (N, width) of length 1.

    With a model the text is the conversation with its first response. A file is Parquet with the columns `id` and
    `embedding`; a row that it lacks is an error.
    """
    if file is not None:
        return _read(rows, Path(file))
    embed = need_models(models, "an embedding").embed
    ids: list[str] = []
    texts: list[str] = []
    parts: list[np.ndarray] = []
    for row in rows:
        ids.append(row.id)
        texts.append("\n".join([m["content"] for m in messages_of(row)] + [r.text for r in responses_of(row)[:1]]))
        if len(texts) == AT_ONCE:
            parts.append(embed(str(model), texts).astype(np.float32))
            texts = []
    if texts:
        parts.append(embed(str(model), texts).astype(np.float32))
    return ids, unit(np.concatenate(parts)) if parts else np.zeros((0, 1))


def _read(rows: Rows, path: Path) -> tuple[list[str], np.ndarray]:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise PrefineError(f"{path}: there is no file with embeddings")
    table = pq.read_table(path)
    for name in ("id", "embedding"):
        if name not in table.column_names:
            raise PrefineError(f"{path}: there is no column '{name}'{nearest(name, table.column_names)}")
    place = {i: k for k, i in enumerate(table["id"].to_pylist())}
    ids = [row.id for row in rows]
    missing = [i for i in ids if i not in place]
    if missing:
        raise PrefineError(f"{path}: {len(missing)} of {len(ids)} rows have no embedding, for example {missing[0]}")
    listed = table["embedding"].to_pylist()
    widths = {len(v) for v in listed}
    if len(widths) > 1:
        raise PrefineError(f"{path}: the embeddings have several widths ({', '.join(map(str, sorted(widths)))})")
    chosen = np.array([listed[place[i]] for i in ids], np.float64).reshape(len(ids), -1)
    return ids, unit(chosen)
