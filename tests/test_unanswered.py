"""What is kept of requests without an answer, and which of them may be asked again."""

from prefine.ledger import Ledger, Result
from prefine.unanswered import note, to_ask_again, unanswered, watching


def test_what_failed_here_stays_and_what_failed_before_may_be_answered(tmp_path):
    note({"a": "failed_retryable"})
    with watching(tmp_path):
        note({"a": "failed_retryable", "b": "ok", "c": "failed_permanent"})
        note({"a": "ok"})
    # The rows of this process were made without the reply, whoever got it later.
    assert unanswered(tmp_path) == {"a": "failed_retryable", "c": "failed_permanent"}
    with watching(tmp_path):
        note({"a": "ok"})
    assert unanswered(tmp_path) == {"c": "failed_permanent"}


def test_which_may_be_asked_again(tmp_path):
    states = ["pending", "failed_retryable", "failed_permanent", "ok", "parse_error"]
    ledger = tmp_path / "ledger.sqlite"
    with Ledger(ledger) as file:
        file.take({s: {"purpose": "t"} for s in states}, "e", {"model": "m"})
        for s in states[1:]:
            file.record(s, Result(s, raw="{}"))
    with watching(tmp_path):
        note(dict.fromkeys([*states[:4], "unknown"], "failed_retryable") | {"parse_error": "parse_error"})
    assert set(to_ask_again(tmp_path, ledger)) == {"pending", "failed_retryable", "ok", "unknown"}
    assert set(to_ask_again(tmp_path, ledger, only_wished=True)) == {"pending", "unknown"}
    assert to_ask_again(tmp_path, tmp_path / "none.sqlite") == to_ask_again(tmp_path / "other", ledger) == []
