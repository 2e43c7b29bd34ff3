"""The server by itself: who may ask, what it says, and that it says nothing of names before the end."""

import http.client
import json

import pytest

from prefine.errors import PrefineError
from prefine.evaluate.arena.server import Server


def ask(one, method="GET", path="state", body=None, token=None, **headers):
    server = one.server
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    headers = {k.replace("_", "-"): v for k, v in headers.items()}
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
        body = body if isinstance(body, (str, bytes)) else json.dumps(body)
    try:
        connection.request(method, f"/{token or server.token}/{path}", body, headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def post(one, path, body=None, **headers):
    status, answer, _ = ask(one, "POST", path, body if body is not None else {}, **headers)
    return status, json.loads(answer)


@pytest.fixture
def one(opened, runs):
    return opened(runs / "a", runs / "b")


def test_it_listens_on_this_machine_only(one):
    assert one.server.server_address[0] == "127.0.0.1" and one.server.url.startswith("http://127.0.0.1:")
    assert len(one.server.token) >= 32


def test_tokens_differ(opened, runs):
    tokens = {opened(runs / "a", runs / "b", voter=f"v{i}").server.token for i in range(3)}
    assert len(tokens) == 3


@pytest.mark.parametrize("token", ["wrong", "%00", "x" * 5000])
def test_without_the_token_nothing(one, token):
    for method, path in (("GET", ""), ("GET", "state"), ("POST", "vote")):
        status, body, _ = ask(one, method, path, {} if method == "POST" else None, token=token)
        assert status == 403 and json.loads(body) == {"error": "wrong token"}


def test_without_a_token_at_all(one):
    connection = http.client.HTTPConnection("127.0.0.1", one.server.server_port, timeout=10)
    for path in ("/", "/favicon.ico", f"/{one.server.token}"):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 403 and b"duel" not in answer.read()
    connection.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1"])
def test_another_host_is_refused(one, host):
    status, body, _ = ask(one, Host=host)
    assert status == 403 and json.loads(body) == {"error": "wrong host"}


def test_another_origin_cannot_vote(one):
    vote = {"duel": one.duels[0].id, "choice": "left"}
    for origin in ("http://evil.example", "null", "https://127.0.0.1:1"):
        assert post(one, "vote", vote, Origin=origin)[0] == 403
    assert post(one, "vote", vote, Content_Type="text/plain")[0] == 415
    assert one.ballot.votes == []
    assert post(one, "vote", vote, Origin=f"http://127.0.0.1:{one.server.server_port}")[0] == 200


def test_headers(one):
    for path in ("", "state"):
        _, _, headers = ask(one, path=path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "body",
    [
        {"duel": "unknown", "choice": "left"},
        {"duel": ["x"], "choice": "left"},
        {"choice": "left"},
        {"choice": ["left"]},
        "[]",
        "not json",
        b"\xff\xfe",
        "[" * 4000,
        json.dumps({"choice": "x" * 5000}),
    ],
)
def test_what_is_no_vote_is_refused(one, body):
    if isinstance(body, dict) and "duel" not in body and body["choice"] == ["left"]:
        body["duel"] = one.duels[0].id
    status, answer = post(one, "vote", body)
    assert status == 400 and "error" in answer and one.ballot.votes == []
    assert ask(one)[0] == 200


@pytest.mark.parametrize(("path", "method"), [("other", "GET"), ("other", "POST"), ("vote", "GET"), ("../", "GET")])
def test_there_is_nothing_else(one, path, method):
    assert ask(one, method, path, {} if method == "POST" else None)[0] == 404


def test_voting_to_the_end(one):
    order = []
    for n in range(6):
        state = json.loads(ask(one)[1])
        assert (state["done"], state["total"], state["result"]) == (n, 6, None)
        assert state["can_undo"] == (n > 0)
        order.append(state["duel"]["id"])
        assert post(one, "vote", {"duel": order[-1], "choice": "tie", "seconds": 1.5})[0] == 200
    assert order == [d.id for d in one.duels]
    state = json.loads(ask(one)[1])
    assert state["duel"] is None and state["result"] is None
    status, state = post(one, "reveal")
    (pair,) = state["result"]["pairs"]
    assert status == 200 and (pair["first"], pair["second"], pair["ties"]) == ("a", "b", 6)
    assert [v.seconds for v in one.ballot.votes] == [1.5] * 6


@pytest.mark.parametrize("seconds", [None, "1", True, -1, 1e9, "NaN"])
def test_a_time_that_is_none_is_left_out(one, seconds):
    body = json.dumps({"duel": one.duels[0].id, "choice": "left", "seconds": seconds}).replace('"NaN"', "NaN")
    assert post(one, "vote", body)[0] == 200
    assert one.ballot.votes[0].seconds is None


def test_names_are_hidden_until_the_end(one):
    body = ask(one)[1].decode() + ask(one, path="")[1].decode()
    for hidden in ("dpo", "sft", "checkpoint", '"run"', "generator", str(one.ballot.path)):
        assert hidden not in body
    status, answer = post(one, "reveal")
    assert status == 409 and answer["state"]["result"] is None and not one.arena.revealed


def test_a_pair_is_voted_on_once(one):
    vote = {"duel": one.duels[0].id, "choice": "left"}
    post(one, "vote", vote)
    status, answer = post(one, "vote", {**vote, "choice": "right"})
    assert status == 409 and answer["state"]["duel"]["id"] == one.duels[1].id
    assert [v.duel for v in one.ballot.votes] == [one.duels[0].id]


def test_undo_goes_back_vote_by_vote(one):
    for duel in one.duels[:3]:
        post(one, "vote", {"duel": duel.id, "choice": "left"})
    assert post(one, "undo")[1]["duel"]["id"] == one.duels[2].id
    state = post(one, "undo")[1]
    assert state["duel"]["id"] == one.duels[1].id and state["done"] == 1
    state = post(one, "vote", {"duel": one.duels[1].id, "choice": "tie"})[1]
    assert state["duel"]["id"] == one.duels[2].id
    post(one, "undo")
    post(one, "undo")
    status, answer = post(one, "undo")
    assert status == 409 and "no vote" in answer["error"] and one.ballot.votes == []


def test_undo_of_another_order_shows_that_pair(opened, runs):
    first = opened(runs / "a", runs / "b")
    for duel in first.duels[:2]:
        post(first, "vote", {"duel": duel.id, "choice": "left"})
    first.stop()
    second = opened(runs / "a", runs / "b", seed=5)
    assert [d.id for d in second.duels] != [d.id for d in first.duels]
    assert post(second, "undo")[1]["duel"]["id"] == first.duels[1].id


def test_skipped_pairs_come_again_when_asked_for(one):
    for i, duel in enumerate(one.duels):
        post(one, "vote", {"duel": duel.id, "choice": "skip" if i in (1, 4) else "left"})
    state = json.loads(ask(one)[1])
    assert state["duel"] is None and state["skipped"] == 2
    state = post(one, "again")[1]
    assert state["duel"]["id"] == one.duels[1].id and state["done"] == 4 and state["skipped"] == 0


def test_after_the_names_the_votes_stand(one):
    for duel in one.duels:
        post(one, "vote", {"duel": duel.id, "choice": "left"})
    post(one, "reveal")
    for path in ("undo", "again"):
        status, answer = post(one, path)
        assert status == 409 and "names have been shown" in answer["error"]
    assert len(one.ballot.votes) == 6


def test_a_restart_goes_on_where_it_stopped(opened, runs):
    first = opened(runs / "a", runs / "b")
    post(first, "vote", {"duel": first.duels[0].id, "choice": "right"})
    first.stop()
    second = opened(runs / "a", runs / "b")
    state = json.loads(ask(second)[1])
    assert state["done"] == 1 and state["duel"]["id"] == second.duels[1].id
    assert json.loads(ask(opened(runs / "a", runs / "b", voter="eva"))[1])["done"] == 0


def test_a_disk_that_is_full_is_said(one, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    status, answer = post(one, "vote", {"duel": one.duels[0].id, "choice": "left"})
    assert status == 500 and "No space left on device" in answer["error"] and one.ballot.votes == []


def test_a_taken_port_is_named(one):
    with pytest.raises(PrefineError, match=rf"--port {one.server.server_port}: .*; leave it out"):
        Server(one.arena, one.server.server_port)
