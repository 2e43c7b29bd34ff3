import gzip
import json

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.reading import files_of, read_file, read_rows, stem

ROWS = [{"a": 1}, {"a": 2.5, "b": "x"}]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("form", ["array", "lines"])
def test_arrays_and_lines_plain_and_zipped(tmp_path, form, zipped):
    text = json.dumps(ROWS, indent=1) if form == "array" else "\n".join(map(json.dumps, ROWS)) + "\n\n"
    file = tmp_path / "rows.json"
    file.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    assert [r.values for r in read_file(file)] == ROWS
    assert [r.number for r in read_file(file)] == [1, 2]


def test_a_folder_gives_its_files_by_name_and_annotations_alone(tmp_path):
    for name in ("b.jsonl", "a.jsonl.gz", "c.csv", "sub/d.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"a": 1}\n')
    assert [stem(f) for f in files_of(tmp_path)] == ["a", "b", "d"]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "annotations.json").write_text('[{"a": 7}]')
    assert files_of(tmp_path) == [tmp_path / "model" / "annotations.json"]
    assert stem(files_of(tmp_path)[0]) == "model"
    assert [r.values for r in read_rows(files_of(tmp_path))] == [{"a": 7}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": \n', "rows.jsonl: row 2: not JSON"),
        ("[1, 2]", "rows.jsonl: row 1: an object with keys is wanted, not int"),
        ("[{}, \n", "rows.jsonl: line"),
        ("\n\n", "there is no row in it"),
    ],
)
def test_bad_files_are_named_with_the_row(tmp_path, text, message):
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    with pytest.raises(PrefineError, match=message):
        read_file(file)


def test_bad_bytes_and_missing_files(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(PrefineError, match="not UTF-8"):
        read_file(tmp_path / "rows.jsonl")
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"[]" * 500)[:20])
    with pytest.raises(PrefineError, match="cannot be read"):
        read_file(tmp_path / "cut.json.gz")
    with pytest.raises(PrefineError, match=r"did you mean 'rows.jsonl'"):
        files_of(tmp_path / "row.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PrefineError, match="no file in this folder"):
        files_of(tmp_path / "empty")


def test_keys_are_checked_where_they_are_read(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prefernce": 1, "n": "3", "m": 2.5, "k": NaN, "t": true}\n')
    row = read_file(file)[0]
    with pytest.raises(PrefineError, match=r"rows.jsonl: row 1: no key 'preference'; did you mean 'prefernce'"):
        row.need("preference")
    with pytest.raises(PrefineError, match='n: "3" is not a number'):
        row.number_at("n")
    with pytest.raises(PrefineError, match="t: true is not a number"):
        row.number_at("t")
    with pytest.raises(PrefineError, match=r"m: 2.5 is not a whole number"):
        row.whole_at("m")
    assert row.number_at("k") is None and row.number_at("none") is None and row.number_at("m") == 2.5
