"""The local server of an arena: one page, its data and the votes, for one browser on this machine.

It listens on 127.0.0.1 only. Every request must carry the random token in its path and this server's own name in its
Host header (so that no other site's name can be made to point here), and a page of another origin cannot vote.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prefine.errors import PrefineError
from prefine.evaluate.arena.duels import Duel
from prefine.evaluate.arena.votes import CHOICES, Ballot, row_of

HERE = Path(__file__).parent
HOST = "127.0.0.1"
LONGEST_BODY = 4096
LONGEST_TIME = 24 * 3600.0
"""Seconds; a longer pause is no time that anyone took for a vote."""


class Refused(Exception):
    """A request that cannot be met as things stand; the page shows why and what is next."""


@dataclass
class Arena:
    """What is voted on and how far it is. Thread-safe: a page may be open twice.

    `result` gives what is shown, names included, once all is done and the voter asks for it; from then on the votes
    stand.
    """

    duels: list[Duel]
    ballot: Ballot
    result: Callable[[], dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    """What every vote's line also says, such as the seed."""
    revealed: bool = False
    recalled: list[str] = field(default_factory=list)
    """Duels whose votes were taken back, to be shown before all others, the last one first."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def by_id(self) -> dict[str, Duel]:
        return {d.id: d for d in self.duels}

    def _said(self) -> dict[str, str]:
        """The outcome by duel, of the duels of this arena, in the order of the votes."""
        return {v.duel: v.outcome for v in self.ballot.votes if v.duel in self.by_id}

    def _next(self) -> Duel | None:
        said = self._said()
        waiting = [self.by_id[d] for d in reversed(self.recalled) if d not in said]
        return next(iter(waiting), None) or next((d for d in self.duels if d.id not in said), None)

    def close(self) -> None:
        """Wait for a vote that is being stored, and take no more."""
        self.lock.acquire()

    def state(self) -> dict[str, Any]:
        """What the page shows: progress and the next duel, without a word about who wrote what."""
        with self.lock:
            return self._state()

    def _state(self) -> dict[str, Any]:
        said, duel = self._said(), self._next()
        out: dict[str, Any] = {
            "total": len(self.duels),
            "done": len(said),
            "skipped": sum(o == "invalid" for o in said.values()),
            "can_undo": bool(said) and not self.revealed,
            "voter": self.ballot.voter,
            "duel": None,
            "result": None,
        }
        if duel is not None:
            sides = [{"text": c.text, "cut": c.finish_reason == "length"} for c in duel.sides]
            out["duel"] = {"id": duel.id, "messages": duel.group.messages, "left": sides[0], "right": sides[1]}
        elif self.revealed:
            out["result"] = self.result()
        return out

    def vote(self, body: dict[str, Any]) -> dict[str, Any]:
        """Store a vote and give the next state. A second vote on the same duel is refused, whoever sends it."""
        duel, choice = self.by_id.get(str(body.get("duel"))), body.get("choice")
        if duel is None or choice not in CHOICES:
            raise ValueError("no such duel or choice")
        with self.lock:
            if duel.id in self._said():
                raise Refused("This pair has a vote already; here is the next one.")
            self.ballot.cast(row_of(duel, str(choice), self.ballot.voter, _seconds(body.get("seconds")), **self.facts))
            self.recalled = [d for d in self.recalled if d != duel.id]
            return self._state()

    def undo(self, _: dict[str, Any]) -> dict[str, Any]:
        """Take the last vote back and show its duel again."""
        with self.lock:
            said = list(self._said())
            if self.revealed:
                raise Refused("The names have been shown, so the votes stand.")
            if not said:
                raise Refused("There is no vote to take back.")
            self.recalled += self.ballot.take_back(said[-1:])
            return self._state()

    def again(self, _: dict[str, Any]) -> dict[str, Any]:
        """Show the skipped duels again, in their order."""
        with self.lock:
            if self.revealed:
                raise Refused("The names have been shown, so the votes stand.")
            self.ballot.take_back([d for d, outcome in self._said().items() if outcome == "invalid"])
            return self._state()

    def reveal(self, _: dict[str, Any]) -> dict[str, Any]:
        """Show the result and the names; only after the last duel."""
        with self.lock:
            if self._next() is not None:
                raise Refused("There are pairs left to vote on.")
            self.revealed = True
            return self._state()


def _seconds(value: Any) -> float | None:
    """A time as the page measured it; None for what is none."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LONGEST_TIME
    return float(value) if known else None


@dataclass(frozen=True)
class Page:
    """The page's text and the policy under which a browser may show it: its own style and script, and nothing else."""

    html: bytes
    policy: str


def page() -> Page:
    """The page with its style and script inside."""
    style, script = ((HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    html = (HERE / "page.html").read_text(encoding="utf-8").replace("/*style*/", style).replace("/*script*/", script)
    allowed = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    policy = (
        f"default-src 'none'; style-src 'sha256-{allowed[0]}'; script-src 'sha256-{allowed[1]}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
    return Page(html.encode(), policy)


class Server(ThreadingHTTPServer):
    """Serves one arena at `url` until it is shut down. Raises `PrefineError` where the port is taken."""

    daemon_threads = True

    def __init__(self, arena: Arena, port: int = 0, token: str | None = None) -> None:
        self.arena, self.token, self.page = arena, token or secrets.token_urlsafe(24), page()
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise PrefineError(f"--port {port}: {error.strerror}; leave it out to take a free one") from error
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no news."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    timeout = 60
    server_version, sys_version = "prefine", ""

    def do_GET(self) -> None:
        if (path := self._path()) is None:
            return
        if path == "":
            self._send(HTTPStatus.OK, self.server.page.html, "text/html; charset=utf-8")
        elif path == "state":
            self._json(HTTPStatus.OK, self.server.arena.state())
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": "not found"})

    def do_POST(self) -> None:
        if (path := self._path()) is None:
            return
        arena = self.server.arena
        act = {"vote": arena.vote, "undo": arena.undo, "again": arena.again, "reveal": arena.reveal}.get(path)
        origin = self.headers.get("Origin")
        if act is None:
            self._json(HTTPStatus.NOT_FOUND, {"error": "not found"})
        elif origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            self._json(HTTPStatus.FORBIDDEN, {"error": "another origin"})
        elif self.headers.get_content_type() != "application/json":
            self._json(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"error": "not JSON"})
        else:
            self._act(act)

    def _act(self, act: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        try:
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 <= length <= LONGEST_BODY:
                raise ValueError("too long")
            body = json.loads(self.rfile.read(length) or b"{}")
            if not isinstance(body, dict):
                raise ValueError("no object")
            answer = act(body)
        except Refused as why:
            self._json(HTTPStatus.CONFLICT, {"error": str(why), "state": self.server.arena.state()})
        except (ValueError, RecursionError):
            self._json(HTTPStatus.BAD_REQUEST, {"error": "this request cannot be read"})
        except OSError as error:
            message = f"The vote could not be stored: {error.strerror}. Nothing was lost; mend it and vote again."
            self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": message})
        else:
            self._json(HTTPStatus.OK, answer)

    def _path(self) -> str | None:
        """What comes after the token; None, and the request is refused, for a wrong host or token."""
        token, slash, rest = self.path.removeprefix("/").partition("/")
        if self.headers.get("Host", "") not in self.server.hosts:
            self._json(HTTPStatus.FORBIDDEN, {"error": "wrong host"})
        elif not slash or not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            self._json(HTTPStatus.FORBIDDEN, {"error": "wrong token"})
        else:
            return rest
        return None

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, json.dumps(value, ensure_ascii=True, allow_nan=False).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", self.server.page.policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the token would be in every line."""
