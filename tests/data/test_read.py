"""Files of every kind, and that what is wrong with them is told by file and line."""

from __future__ import annotations

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefine.data.read import read_rows
from prefine.errors import PrefineError
from prefine.recipe import Data
from prefine.rundir import Counts
from prefine.schema import make_group

ROWS = [
    {"prompt": "a", "chosen": [{"role": "assistant", "content": "x"}], "n": 1},
    {"prompt": "é\nb", "chosen": [{"role": "assistant", "content": "[y]"}], "n": 2},
]


def dump(path, rows=ROWS):
    """Write rows as the name of the file says."""
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[1]
    if kind == "json":
        raw = json.dumps(rows).encode()
    elif kind in ("jsonl", "ndjson"):
        raw = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()
    elif kind == "csv":
        table = path.with_suffix(".tmp")
        with table.open("w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in r.items()} for r in rows)
        raw = table.read_bytes()
    else:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        raw = sink.getvalue().to_pybytes()
    path.write_bytes(gzip.compress(raw) if path.name.endswith(".gz") else raw)
    return path


def rows_of(path, **settings):
    counts = Counts()
    found = list(read_rows(Data(path=path if isinstance(path, (str, list)) else str(path), **settings), counts))
    return found, counts


@pytest.mark.parametrize("kind", ["json", "jsonl", "ndjson", "csv", "parquet"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind, packed):
    found, _ = rows_of(dump(tmp_path / f"rows.{kind}{packed}"))
    wanted = [{**r, "n": str(r["n"])} for r in ROWS] if kind == "csv" else ROWS
    assert [row for _, row in found] == wanted
    assert [key for key, _ in found] == [f"rows.{kind}{packed}#0", f"rows.{kind}{packed}#1"]


def test_lists_folders_and_patterns(tmp_path):
    a, b = dump(tmp_path / "a.jsonl"), dump(tmp_path / "b.json.gz")
    (tmp_path / "notes.md").write_text("x")
    for path in ([str(a), str(b)], str(tmp_path), f"{tmp_path}/*.json*"):
        assert [key for key, _ in rows_of(path)[0]] == ["a.jsonl#0", "a.jsonl#1", "b.json.gz#0", "b.json.gz#1"]


def test_json_in_other_wrappings(tmp_path):
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"version": 1, "data": ROWS}))
    assert [r for _, r in rows_of(file)[0]] == ROWS
    file.write_text("\n".join(map(json.dumps, ROWS)))
    assert [r for _, r in rows_of(file)[0]] == ROWS
    file.write_text(json.dumps(ROWS[0]))
    assert [r for _, r in rows_of(file)[0]] == ROWS[:1]


def test_only_the_last_line_may_be_torn(tmp_path):
    file = tmp_path / "x.jsonl"
    lines = [json.dumps(r) for r in ROWS]
    file.write_text("\n".join(lines) + '\n{"prompt": "c", "cho')
    found, counts = rows_of(file)
    assert len(found) == 2 and counts.dropped == {"torn_last_line": 1} and counts.rows_in == 1
    file.write_text(lines[0] + '\n{"prompt": "c", "cho\n' + lines[1] + "\n")
    with pytest.raises(PrefineError, match=r"x\.jsonl, line 2: not valid JSON"):
        rows_of(file)
    # A line torn within a letter of two bytes.
    file.write_bytes(lines[0].encode() + b'\n{"prompt": "\xc3')
    assert rows_of(file)[1].dropped == {"torn_last_line": 1}
    file.write_bytes(b'{"prompt": "\xff"}\n' + lines[0].encode())
    with pytest.raises(PrefineError, match=r"line 1"):
        rows_of(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b'[{"a": 1},\n {"a": }]', r"x\.json, line 2: not valid JSON"),
        ("x.json", b"3", r"a list of objects is expected, not a int"),
        ("x.jsonl", b'{"a": 1}\n[1]\n', r"x\.jsonl: row 1 is a list"),
        ("x.jsonl", b"[" * 200_000 + b"\n{}\n", r"line 1: not valid JSON"),
        ("x.csv", b"a,b\n1,2\n1,2,3\n", r"x\.csv, line 3: 3 cells where the header has 2"),
        ("x.csv", b"a,b\n1\n", r"line 2: 1 cells where the header has 2"),
        ("x.csv", b'a,b\n"1,2\n', r"x\.csv, after line 1: unexpected end of data"),
        ("x.csv", b"a,b\n1,\xff\n", r"not UTF-8"),
        ("x.parquet", b"PAR1 and nothing", r"x\.parquet: not a readable Parquet file"),
        (
            "x.jsonl.gz",
            gzip.compress(b'{"a": 1}\n' * 5000, mtime=0)[:40],
            r"x\.jsonl\.gz: the compressed file is damaged or ends",
        ),
        ("x.json.gz", b"no gzip", r"x\.json\.gz: the compressed file is damaged"),
        ("x.txt", b"a", r"files of this kind are not read; known: .json"),
    ],
)
def test_what_is_wrong_is_told_by_file_and_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PrefineError, match=message):
        rows_of(tmp_path / name)


def test_byte_order_marks_are_no_letters(tmp_path):
    for name, text in [("x.jsonl", '{"a": "b"}\n'), ("x.json", '[{"a": "b"}]'), ("x.csv", "a\nb\n")]:
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert rows_of(tmp_path / name)[0] == [(f"{name}#0", {"a": "b"})]


def test_a_missing_file_gets_the_nearest_name(tmp_path, monkeypatch):
    dump(tmp_path / "pairs.jsonl")
    with pytest.raises(PrefineError, match=r"pair\.jsonl: no such file; did you mean '.*pairs\.jsonl'"):
        rows_of(tmp_path / "pair.jsonl")
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(PrefineError, match=r"no such file; did you mean '.*pairs\.jsonl'"):
        rows_of(f"{tmp_path.name}/pairs")
    with pytest.raises(PrefineError, match=r"there is no folder .*nowhere"):
        rows_of(tmp_path / "nowhere" / "x.jsonl")


def test_csv_text_that_looks_like_json_stays_text(tmp_path):
    (tmp_path / "x.csv").write_text('prompt\n"{""x"": 1}"\n"[see below]"\n')
    assert [r["prompt"] for _, r in rows_of(tmp_path / "x.csv")[0]] == ['{"x": 1}', "[see below]"]


def test_datasets_folders(tmp_path):
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_list(ROWS)
    part.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": part, "prefs": part.select([1])}).save_to_disk(str(tmp_path / "many"))
    assert [r for _, r in rows_of(tmp_path / "one")[0]] == ROWS
    assert [r for _, r in rows_of(tmp_path / "many")[0]] == ROWS
    assert [r for _, r in rows_of(tmp_path / "many", split="prefs")[0]] == ROWS[1:]
    with pytest.raises(PrefineError, match=r"no split 'pref'; did you mean 'prefs'"):
        rows_of(tmp_path / "many", split="pref")


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_rows.py").write_text(
        "from prefine.schema import make_group\n"
        "def rows(n, prefix='p'):\n    return ({'prompt': f'{prefix}{i}'} for i in range(n))\n"
        "def groups(n):\n    return [make_group([{'role': 'user', 'content': str(i)}], ['a']) for i in range(n)]\n"
        "def wrong():\n    return ['text']\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_functions_give_rows_or_groups(module):
    assert [r["prompt"] for _, r in rows_of("my_rows:rows", arguments={"n": 2, "prefix": "x"})[0]] == ["x0", "x1"]
    (key, group), *_ = rows_of("my_rows:groups", arguments={"n": 1})[0]
    assert key == "my_rows:groups#0" and group == make_group([{"role": "user", "content": "0"}], ["a"])


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("my_rowz:rows", {}, r"there is no module 'my_rowz'"),
        ("my_rows:row", {}, r"no function 'row' in my_rows; did you mean 'rows'"),
        (
            "my_rows:rows",
            {"m": 3},
            r"data\.arguments do not fit my_rows:rows\(n, prefix='p'\).*did you mean 'n'|valid names",
        ),
        ("my_rows:wrong", {}, r"item 0 is a str"),
    ],
)
def test_mistakes_with_functions(module, path, arguments, message):
    with pytest.raises(PrefineError, match=message):
        rows_of(path, arguments=arguments)
