"""Models may be compared token by token where their tokenizers map the same strings to the same ids."""

import pytest

from prefine.errors import PrefineError
from prefine.models.vocabulary import DifferentVocabularies, shared_vocabulary


def tokenizer_of(vocabulary, added=()):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    out = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?")
    out.add_tokens(list(added))
    return out


WORDS = {"?": 0, "a": 1, "b": 2}


def test_equal_tokenizers_share_all_their_tokens(tokenizer):
    from tests.conftest import make_tokenizer

    assert shared_vocabulary(tokenizer, make_tokenizer()) == len(tokenizer) == 259


def test_added_tokens_count():
    assert shared_vocabulary(tokenizer_of(WORDS, ["<end>"]), tokenizer_of({**WORDS, "<end>": 3})) == 4


def test_ids_may_have_holes():
    """The size is that of the logits, not the number of tokens."""
    holes = {**WORDS, "far": 9}
    assert shared_vocabulary(tokenizer_of(holes), tokenizer_of(dict(holes))) == 10


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"?": 0, "b": 1, "a": 2}, "'a' has id 1 for the student and has id 2 for the teacher"),
        ({"?": 0, "a": 1, "c": 2, "b": 3}, "'b' has id 2 for the student and has id 3 for the teacher"),
        ({"?": 0, "a": 1, "c": 2}, "'b' has id 2 for the student and is unknown to the teacher"),
        ({**WORDS, "c": 3}, "'c' is unknown to the student and has id 3 for the teacher"),
    ],
)
def test_other_tokenizers_are_refused_by_their_first_difference(theirs, message):
    with pytest.raises(DifferentVocabularies, match=message) as error:
        shared_vocabulary(tokenizer_of(WORDS), tokenizer_of(theirs))
    assert isinstance(error.value, PrefineError)
    assert "across tokenizers is not supported" in str(error.value)
