"""`prefine ledger`: what it prints and changes."""

import json

import pytest

from prefine.cli.app import app, guarded
from prefine.engines.session import Session
from prefine.ledger import Ledger
from tests.engines.asking import failing, requests
from tests.engines.scripted import Scripted


@pytest.fixture
def prefine(capsys):
    """Runs a command in this process; gives its exit code and what it printed, on either stream."""

    def run(*arguments):
        capsys.readouterr()
        code = guarded(lambda: app(["ledger", *arguments], standalone_mode=False))
        return code, "".join(capsys.readouterr())

    return run


@pytest.fixture
def run_folder(tmp_path):
    """A run with six answered requests, two of them without sense, and two failed ones."""

    def answer(request):
        last = request.messages[0]["content"][-1]
        return {"6": failing("timeout"), "7": failing("content_filter", "failed_permanent")}.get(last, "text")

    session = Session(Named(answer), Ledger(tmp_path / "run" / "ledger.sqlite"), max_tries=2)
    session.ask(requests(8))
    for request in requests(2):
        session.unparsed(request, "no number")
    session.close()
    return tmp_path / "run"


class Named(Scripted):
    """The scripted engine, under an import path of its own."""


def statuses(folder):
    with Ledger(folder / "ledger.sqlite") as ledger:
        return sorted(row.result.status for row in ledger.rows())


def test_stats(prefine, run_folder):
    code, text = prefine("stats", str(run_folder))
    assert code == 0 and text.splitlines()[0] == "test (model: scripted)"
    lines = {" ".join(line.split()[:3]) for line in text.splitlines()[1:]}
    assert lines == {
        "1 failed_permanent content_filter:",
        "1 failed_retryable timeout:",
        "4 ok: 4",
        "2 parse_error no",
    }
    code, text = prefine("stats", str(run_folder / "ledger.sqlite"), "--json")
    assert code == 0 and sum(row["requests"] for row in json.loads(text)) == 8


def test_failures_are_asked_again_by_the_next_run(prefine, run_folder):
    code, text = prefine("retry-failed", str(run_folder))
    assert code == 0 and text.startswith("2 requests are asked again")
    assert statuses(run_folder) == ["ok"] * 4 + ["parse_error"] * 2 + ["pending"] * 2
    assert prefine("retry-failed", str(run_folder), "--unparsed")[1].startswith("2 requests")
    again = Session(Scripted(lambda r: "new"), Ledger(run_folder / "ledger.sqlite"))
    assert [r.text for r in again.ask(requests(8))] == ["new"] * 2 + ["text"] * 4 + ["new"] * 2
    again.close()


def test_replies_are_read_anew(prefine, run_folder):
    code, text = prefine("reparse", str(run_folder))
    assert code == 0 and text == "6 replies read: 2 parse_error -> ok\n"
    assert statuses(run_folder) == ["failed_permanent", "failed_retryable"] + ["ok"] * 6
    code, text = prefine("reparse", str(run_folder), "--json")
    assert json.loads(text) == {"read": 6, "changed": {}}


def test_a_folder_without_a_ledger_is_named_and_nothing_is_made(prefine, tmp_path, run_folder):
    code, text = prefine("stats", str(tmp_path))
    assert code == 1 and "there is no ledger" in text and not (tmp_path / "ledger.sqlite").exists()
    code, text = prefine("stats", str(tmp_path / "rum"))
    assert code == 1 and "did you mean 'run'?" in text
