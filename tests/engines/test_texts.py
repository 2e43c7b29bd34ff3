"""Texts with slots, and draws that follow from names."""

from collections import Counter

import pytest

from prefine.engines.base import Request, Sampling
from prefine.engines.chance import integer, sample, unit, weighted
from prefine.engines.texts import Text, load_lines, load_text, transcript
from prefine.engines.tries import attempted
from prefine.errors import PrefineError


def test_slots_are_filled_once_and_json_stays():
    text = Text('do {task} as {"a": 1}, {count} times', "t", ["task"], ["count"])
    assert text.fill(task="{count}", count="3") == 'do {count} as {"a": 1}, 3 times'


def test_a_line_that_is_an_empty_slot_goes_with_the_gap_before_it():
    text = Text("a\n\n{topic}\n\nb {topic}.", "t", [], ["topic"])
    assert text.fill(topic="") == "a\n\nb ."
    assert text.fill(topic="x") == "a\n\nx\n\nb x."


def test_wrong_and_missing_slots_are_named():
    with pytest.raises(PrefineError, match=r"file.txt: there is no slot {tasc}; did you mean 'task'"):
        Text("{tasc}", "file.txt", ["task"])
    with pytest.raises(PrefineError, match=r"file.txt: the slot {task} is missing"):
        Text("nothing", "file.txt", ["task"])


def test_files(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("mine {task}\n")
    assert load_text(str(path), tmp_path / "other.txt", ["task"]).fill(task="x") == "mine x"
    with pytest.raises(PrefineError, match=r"absent.txt cannot be read"):
        load_text(str(tmp_path / "absent.txt"), path, [])
    path.write_text("a\n\n b \n")
    assert load_lines(str(path)) == ["a", "b"]
    assert load_lines(None) == []
    path.write_text("\n")
    with pytest.raises(PrefineError, match="no lines"):
        load_lines(str(path))


def test_a_prompt_as_text():
    user = {"role": "user", "content": "hi"}
    assert transcript([user]) == "hi"
    assert transcript([user, {"role": "assistant", "content": "ho"}, user]) == "User: hi\n\nAssistant: ho\n\nUser: hi"


def test_draws_follow_from_names_alone():
    # sha256("a\0" "1"), its first eight bytes over 2^64, and the first four without the last bit.
    import hashlib

    first = hashlib.sha256(b"a\x001").digest()
    assert unit("a", 1) == int.from_bytes(first[:8], "big") / 2**64
    assert integer("a", 1) == int.from_bytes(first[:4], "big") // 2
    assert sample("abcde", 3, "x") == sample("abcde", 5, "x")[:3]
    assert sorted(sample("abc", 9, "x")) == ["a", "b", "c"]


def test_draws_are_as_often_as_their_weights():
    seen = Counter(weighted("abc", [1, 0, 3], i) for i in range(4000))
    assert seen["b"] == 0
    # 3/4 of 4000, four standard deviations of sqrt(4000 * 3/16) = 27.4.
    assert abs(seen["c"] - 3000) < 110
    first = Counter(sample("abcd", 1, i)[0] for i in range(4000))
    assert all(abs(n - 1000) < 110 for n in first.values())


def test_a_second_try_has_another_seed_and_tag_and_is_never_greedy():
    request = Request(({"role": "user", "content": "x"},), Sampling(temperature=0, seed=5), "p", "t")
    assert attempted(request, 0) == request
    again = attempted(request, 2)
    assert (again.tag, again.sampling.temperature, again.sampling.seed) == ("t#2", 0.5, 5 + 2 * 1_000_003)
    warm = Request(request.messages, Sampling(temperature=0.9), "p")
    assert attempted(warm, 1).sampling.temperature == 0.9
