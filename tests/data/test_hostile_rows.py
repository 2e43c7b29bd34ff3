"""Rows of any shape are used, dropped with a reason, or refused with a readable error; nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefine.data.load import load
from prefine.data.messages import MAX_CHARACTERS
from prefine.errors import PrefineError
from prefine.recipe import Data
from prefine.rundir import to_table
from tests.data.formats.test_formats import BY_NAME_ONLY, SIGNATURES

TEXT = st.one_of(st.text(max_size=8), st.sampled_from(["", " ", "\x00", "\ud800", "\u202e", "\n\nHuman:", "5e-7"]))
ROWS = {
    **SIGNATURES,
    "canonical": {
        "messages": [{"role": "user", "content": "Hi"}],
        "candidates": [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}],
        "comparisons": [{"a": "1", "b": "2", "outcome": "a"}],
        "task_meta": {},
        "source": {},
        "task": "chat",
    },
    "alpaca": {"instruction": "Hi", "input": "", "output": "a", "system": "s", "history": [["a", "b"]]},
    "ultrafeedback_raw": {
        "source": "flan",
        "instruction": "Hi",
        "models": ["m"],
        "completions": [
            {"model": "m", "response": "a", "annotations": {"honesty": {"Rating": "5"}}, "overall_score": 10},
        ],
    },
    "pku_safe_rlhf": {
        **SIGNATURES["pku_safe_rlhf"],
        "response_0_source": "m",
        "response_0_harm_category": {"x": True},
        "response_1_severity_level": 1,
    },
    "shp": {**SIGNATURES["shp"], "c_root_id_A": "x", "c_root_id_B": "y", "score_A": 1, "score_B": 2},
    "stackexchange_raw": {**SIGNATURES["stackexchange_raw"], "metadata": ["https://example.org"]},
    "tldr_comparisons": {**SIGNATURES["tldr_comparisons"], "worker": "w", "extra": {"confidence": 3}},
    "alma_triplets": {
        "translation": {**SIGNATURES["alma_triplets"]["translation"], "alma_en_kiwi": 0.5, "required_directions": ""}
    },
    "maple": {**SIGNATURES["maple"], "score_annotator_a": 1, "src_lang": "de", "tgt_lang": "en", "language_pair": "x"},
    "mt_pref": BY_NAME_ONLY["mt_pref"],
    "clair": {**SIGNATURES["clair"], "chosen_id": "1", "rejected_id": "2"},
    "nemo_dpo": {**SIGNATURES["nemo_dpo"], "chosen_reward": 1, "rejected_reward": 2},
    "alpacaeval_annotations": {**SIGNATURES["alpacaeval_annotations"], "generator_1": "m", "annotator": "j"},
    "listwise": {
        "prompt": "Hi",
        "responses": ["a"],
        "scores": [1],
        "models": ["m"],
        "response_ids": ["1"],
        "scores_x": [2],
        "task_meta": {"k": "v"},
    },
    "trl_preference": {"prompt": "Hi", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 1},
}
LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT)
CANDIDATE = ["id", "text", "completion", "scores", "labels", "generator", "finish_reason", "n_tokens", "a", "outcome"]
MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "from", "value", "tool_calls", *CANDIDATE]),
    st.one_of(LEAF, st.sampled_from(["user", "assistant", "system", "gpt", "1", "a"])),
    max_size=4,
)
VALUE = st.recursive(
    st.one_of(LEAF, MESSAGE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", list(ROWS))
@given(changes=st.lists(st.tuples(st.integers(0, 9), VALUE), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_odd_values_are_counted(name, changes, tmp_path):
    good = ROWS[name]
    rows = [good] * 4
    for column, value in changes:
        rows.append({**good, list(good)[column % len(good)]: value})
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    loaded = load(Data(path=str(file), format=name, max_drop_fraction=1.0))
    counts = loaded.counts.as_dict()
    assert counts["rows_in"] == len(rows) and counts["rows_out"] >= 4
    # Whatever was kept can be stored.
    assert to_table(loaded.groups).num_rows == len(loaded.groups)


def test_a_huge_text_is_dropped_by_its_length(tmp_path):
    rows = [{"prompt": "Hi", "completion": "a"}] * 3 + [{"prompt": "x" * (MAX_CHARACTERS + 1), "completion": "a"}]
    rows.append({"prompt": [{"role": "user", "content": "a"}] * 20_000, "completion": "a"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert load(Data(path=str(tmp_path / "rows.jsonl"))).counts.dropped == {"too_long": 2}


def test_a_table_of_nonsense_is_a_readable_error(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": 1}\n{"prompt": {"a": [1]}}\n{}\n')
    with pytest.raises(PrefineError, match=r"no known format has these columns: prompt"):
        load(Data(path=str(tmp_path / "rows.jsonl")))
