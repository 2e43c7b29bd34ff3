"""Translations with metrics, ratings or preferences. The rows are synthetic."""

from __future__ import annotations

import json

import pytest

from prefine.data.load import load
from prefine.data.messages import Dropped
from prefine.data.split import split_key
from prefine.recipe import Data
from tests.data.formats.test_formats import convert, convert_all, judged, texts

TRIPLE = {
    "de": "Der Hund schläft.",
    "en": "The dog sleeps.",
    "alma_de": "Der Hund schlaeft.",
    "gpt4_de": "Ein Hund schläft.",
    "alma_de_kiwi": 0.5,
    "alma_de_xcomet": 0.7,
    "alma_de_kiwi_xcomet": 0.6,
    "gpt4_de_kiwi": 0.8,
    "gpt4_de_xcomet": 0.9,
    "ref_de_kiwi": 0.9,
    "ref_de_xcomet": 0.9,
    "alma_en": "The dog is asleep.",
    "gpt4_en": "A dog sleeps.",
    "alma_en_kiwi": 0.4,
    "Delta": 0.1,
    "language_pair": "en-de",
    "required_directions": "",
}


def test_three_translations_per_direction_with_their_metrics():
    _, groups, _ = convert_all({"translation": TRIPLE})
    back, there = groups
    assert texts(there) == ["Der Hund schläft.", "Der Hund schlaeft.", "Ein Hund schläft."]
    assert [c.score("quality") for c in there.candidates] == pytest.approx([0.9, 0.6, 0.85])
    assert there.candidates[1].score("quality", "kiwi") == 0.5
    # A metric that is missing leaves no mean of the other one alone.
    assert back.candidates[1].score("quality") is None and back.candidates[1].score("quality", "kiwi") == 0.4
    assert there.messages[0]["content"].endswith("\n\nThe dog sleeps.")
    assert "from English to German" in there.messages[0]["content"]
    assert there.task_meta["reference"] == "Der Hund schläft." and there.task_meta["src_lang"] == "en"
    assert [c.generator for c in there.candidates] == [{"role": "reference"}, {"model": "alma"}, {"model": "gpt4"}]
    assert split_key(back) == split_key(there) == "translation:der hund schläft."


def test_required_directions_are_honored():
    _, groups, _ = convert_all({"translation": {**TRIPLE, "required_directions": "de-en"}})
    assert [g.task_meta["tgt_lang"] for g in groups] == ["en"]
    one_way = {k: v for k, v in TRIPLE.items() if k not in ("alma_en", "gpt4_en")}
    assert [g.task_meta["tgt_lang"] for g in convert_all({"translation": one_way})[1]] == ["de"]


def test_parallel_text_goes_from_the_first_language_to_the_second():
    row = {"translation": {"de": "Ja.", "en": "Yes."}}
    _, groups, _ = convert_all(row)
    assert len(groups) == 1 and texts(groups[0]) == ["Yes."] and groups[0].task == "translation"
    _, both, _ = convert_all(row, "alma_parallel", given={"both_directions": True})
    assert [texts(g) for g in both] == [["Yes."], ["Ja."]] and both[0].id == groups[0].id
    assert split_key(both[0]) == split_key(both[1])
    _, (plain,), _ = convert_all(row, plain_text=True)
    assert plain.messages[0]["content"] == "German: Ja.\nEnglish:"
    with pytest.raises(Dropped, match="not_two_languages"):
        convert_all({"translation": {"de": "Ja."}}, "alma_parallel")


def test_ratings_of_systems_are_grouped_by_source(tmp_path):
    rows = [
        {"source": "Ja.", "translation": t, "system": s, "score": v, "score_annotator_a": v, "score_annotator_b": 1}
        for t, s, v in [("Yes.", "one", 5.0), ("Yeah.", "two", 3.0), ("Yes.", "three", "4")]
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (group,) = load(Data(path=str(tmp_path / "rows.jsonl"))).groups
    assert [(c.generator["model"], c.score("quality")) for c in group.candidates] == [
        ("one", 5.0),
        ("two", 3.0),
        ("three", 4.0),
    ]
    assert group.candidates[0].score("quality", "annotator_b") == 1
    assert group.source["license"] == "cc-by-nc-4.0" and group.task_meta["source_text"] == "Ja."
    _, named, _ = convert({**rows[0], "language_pair": "de-en"})
    assert "from German to English" in named.messages[0]["content"]


PROMPT = "Translate the following text from German to English.\nGerman: Ja: nein.\nEnglish:"


def test_languages_and_text_are_read_off_a_ready_made_prompt():
    row = {"prompt": PROMPT, "chosen": "Yes: no.", "rejected": "No."}
    assert convert(row)[0] == "trl_preference"
    name, group, source = convert(row, "mt_pref")
    assert name == "mt_pref" and judged(group) == [("Yes: no.", "No.")] and not source.notes
    assert group.task_meta == {
        "src_lang": "German",
        "tgt_lang": "English",
        "source_text": "Ja: nein.",
        "split_key": "translation:ja: nein.",
    }
    # The same text from another source is the same prompt.
    assert group.id == convert({"translation": {"de": "Ja: nein.", "en": "x"}}, "alma_parallel")[1].id


@pytest.mark.parametrize(
    "prompt", ["Say yes in English", "Note: this\nEnglish:", "Put it from A to B.\nC: text\nEnglish:"]
)
def test_other_prompts_stay_as_they_are(prompt):
    row = {"prompt": prompt, "chosen": "a", "rejected": "b"}
    _, group, source = convert(row, "mt_pref")
    kept = group.messages[0]["content"] == prompt and source.notes["prompts_kept_as_they_are"] == 1
    # "Note: this / English:" has no instruction before it, and reads as languages do.
    assert kept == (not prompt.startswith("Note"))
    _, plain, _ = convert({**row, "prompt": PROMPT}, "mt_pref", plain_text=True)
    assert plain.messages[0]["content"] == PROMPT and plain.task_meta["src_lang"] == "German"
