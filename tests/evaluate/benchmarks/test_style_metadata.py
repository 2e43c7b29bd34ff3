from pathlib import Path

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.benchmarks.style_metadata import markdown_counts, of, read

ANSWER = """# Title
## Part
text with **bold** and __more__ and **two
lines**
- one
* two
+ three
  1. four
2. five
#not a header
```python
# a comment, no header
- no item, **no bold**
```
"""


def test_markdown_is_counted_outside_fenced_code():
    assert markdown_counts(ANSWER) == {"header_count": 2, "list_count": 5, "bold_count": 2}
    assert markdown_counts("") == {"header_count": 0, "list_count": 0, "bold_count": 0}


def test_stored_metadata_of_both_versions(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"question_id": 1, "model_id": "a", "conv_metadata": {"token_len": 9, "header_count": {"h1": 1, "h2": 2},'
        ' "list_count": {"ordered": 0, "unordered": 4}, "bold_count": {"**": 5, "__": 1}}}\n'
    )
    (tmp_path / "b.jsonl").write_text(
        '{"uid": "x", "model": "lab/b", "metadata": {"token_len": 8, "header_count": 1, "list_count": 2,'
        ' "bold_count": 3}}\n'
    )
    styles = read(tmp_path)
    assert styles == {"a": {"1": (9, 3, 4, 6)}, "b": {"x": (8, 1, 2, 3)}}
    assert of(styles, "a", "1", tmp_path) == (9, 3, 4, 6)
    with pytest.raises(PrefineError, match="no answers of 'c'"):
        of(styles, "c", "1", tmp_path)
    with pytest.raises(PrefineError, match="no answer of 'a' to prompt 2"):
        of(styles, "a", "2", tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"question_id": 1, "conv_metadata": {"token_len": 9}}', "metadata: 'header_count' is wanted"),
        ('{"question_id": 1, "conv_metadata": {"token_len": "9"}}', "metadata: 'token_len' is wanted"),
        ('{"question_id": 1}', "no style metadata .* and no answer's text"),
        ('{"question_id": 1, "choices": []}', "no style metadata .* and no answer's text"),
    ],
)
def test_bad_metadata_is_named(tmp_path: Path, row, message):
    (tmp_path / "a.jsonl").write_text(row + "\n")
    with pytest.raises(PrefineError, match=f"a.jsonl: row 1: {message}"):
        read(tmp_path / "a.jsonl")


def test_without_metadata_tokens_are_counted_by_tiktoken(tmp_path: Path, monkeypatch):
    import sys
    import types

    (tmp_path / "a.jsonl").write_text(
        '{"question_id": 1, "choices": [{"turns": [{"content": "# one two"}]}]}\n'
        '{"uid": 2, "messages": [{"content": "p"}, {"content": {"answer": "- one"}}]}\n'
    )
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(PrefineError, match="counting tokens needs tiktoken"):
        read(tmp_path / "a.jsonl")

    class Words:
        def encode(self, text, disallowed_special):
            return text.split()

    fake = types.SimpleNamespace(encoding_for_model=lambda name: {"gpt-4o": Words()}[name])
    monkeypatch.setitem(sys.modules, "tiktoken", fake)
    assert read(tmp_path / "a.jsonl") == {"a": {"1": (3, 1, 0, 0), "2": (2, 0, 1, 0)}}
