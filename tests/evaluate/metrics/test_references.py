import json

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.metrics.references import language_code, languages_of, references_of, require
from prefine.schema import make_group

from .rows import group


def test_one_reference_several_by_number_or_a_list():
    several = group("a", reference_10="d", reference_2="c", reference_x="no", references=json.dumps(["e", " ", "f"]))
    assert references_of(several, "reference") == ["a", "c", "d", "e", "f"]
    assert references_of(group(" "), "reference") == []
    assert references_of(group(summary="s"), "summary") == ["s"]


def test_responses_of_the_data_can_be_references():
    asked = make_group([{"role": "user", "content": "p"}], ["x", " ", "y"])
    assert references_of(asked, "responses") == ["x", "y"]


def test_a_list_that_is_none_is_refused():
    for text in ("not json", '"text"', "[1]"):
        with pytest.raises(PrefineError, match="'references' must be a JSON list"):
            references_of(group(references=text), "reference")


def test_no_reference_at_all_names_what_there_is():
    require("bleu", [group("a"), group()], "reference")
    require("bleu", [], "reference")
    with pytest.raises(PrefineError, match=r"none of the 1 prompts .* did you mean 'reference'"):
        require("bleu", [group("a")], "refrence")
    with pytest.raises(PrefineError, match="their task_meta is empty"):
        require("bleu", [group()], "reference")
    with pytest.raises(PrefineError, match="came with a response"):
        require("bleu", [group("a")], "responses")


def test_languages_by_code_region_and_name():
    assert [language_code(n) for n in ("de", "zh_CN", "pt-BR", "Chinese", " Korean ", "")] == [
        "de",
        "zh",
        "pt",
        "zh",
        "ko",
        "",
    ]
    assert languages_of(group(src_lang="English", tgt_lang="ja_JP")) == ("en", "ja")
    assert languages_of(group()) == ("", "")
