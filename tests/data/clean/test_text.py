"""How texts are compared."""

from prefine.data.clean.text import ngrams, normal, shingles, words


def test_what_reads_the_same_is_equal():
    assert normal("  \uff26\uff55\uff4c\uff4c\twidth\n \ufb01ne ") == "full width fine"
    assert normal("STRASSE") == normal("straße")
    assert normal("A b", casefold=False) == "A b"


def test_words_are_without_punctuation_and_signs_of_scripts_without_spaces_are_words():
    assert words("It's 3+4, isn't it?") == ["it", "s", "3", "4", "isn", "t", "it"]
    assert words("日本go語") == ["日", "本", "go", "語"]


def test_shingles_are_5_grams_of_words_from_8_words_on():
    assert shingles("a b c d e f g h") == {"a b c d e", "b c d e f", "c d e f g", "d e f g h"}


def test_arithmetic_signs_tell_questions_apart():
    a, b = (shingles(f"please tell me now what is the sum 3 {sign} 4") for sign in "+*")
    assert len(a & b) / len(a | b) < 0.8


def test_shorter_texts_have_shingles_of_characters_and_the_shortest_only_themselves():
    assert shingles("ab cd ef gh ij") == {"ab cd ef gh ij"[i : i + 5] for i in range(10)}
    assert shingles("What is it?") == {"what is it?"}
    assert shingles("") == {""}
    assert len(shingles("日本語の文章です")) == 4


def test_ngrams():
    assert ngrams("abcd", 3) == [("a", "b", "c"), ("b", "c", "d")]
    assert ngrams("ab", 3) == []
