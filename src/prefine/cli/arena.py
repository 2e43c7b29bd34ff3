"""`prefine arena`: people vote, blind, on the responses of runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from prefine.evaluate.arena.server import Server


def arena(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN[:VARIANT]...",
            help="Evaluated runs, two or more; a variant of a run or its `start`; or one run for all of its models.",
        ),
    ],
    voter: Annotated[str, typer.Option(help="Who votes; each voter has a file of votes.")] = "me",
    mode: Annotated[
        Literal["greedy", "sample"], typer.Option(help="Which responses: greedy ones, or each prompt's first sample.")
    ] = "greedy",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Vote on this many pairs, the first by a seeded hash.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the order of the pairs and the sides.")] = 0,
    votes: Annotated[
        Path | None, typer.Option(help="Keep the votes in this file; by default RUN/arena/votes-VOTER.jsonl.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="No voting: print what all votes say, and how judges agree with them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Vote on responses side by side, without knowing whose they are, on a page of this machine.

    Votes are stored one by one as comparisons that `prefine data import` reads. Ctrl-C stops and prints the result.
    """
    from prefine.evaluate.arena.duels import draw, meet
    from prefine.evaluate.arena.entrants import read_entrants
    from prefine.evaluate.arena.results import findings, habits, win_rates
    from prefine.evaluate.arena.votes import Ballot, votes_file

    entrants = read_entrants(targets, mode)
    file = votes or votes_file(entrants[0].run.path, voter)
    if agreement:
        _print(findings(entrants, [votes] if votes else None), as_json)
        return

    meetings = meet(entrants)
    duels = draw(meetings, seed=seed, limit=limit)
    drawn = {d.id for d in duels}
    if not duels:
        from prefine.errors import PrefineError

        reasons = "; ".join(f"{why}: {n}" for m in meetings for why, n in m.left_out.items())
        raise PrefineError(f"there is nothing to vote on: {reasons or 'no prompts'}")
    with Ballot(file, voter) as ballot:

        def result() -> dict[str, Any]:
            cast = [v for v in ballot.votes if v.duel in drawn]
            return {"pairs": win_rates(meetings, cast), "habits": habits(cast), "file": str(file)}

        _say_before(meetings, len(duels), sum(v.duel in drawn for v in ballot.votes), ballot.torn)
        _serve(duels, ballot, result, seed, port, not no_browser)
        _print(result(), as_json)


def _serve(duels: list[Any], ballot: Any, result: Any, seed: int, port: int, browser: bool) -> None:
    from prefine import __version__
    from prefine.evaluate.arena.server import Arena, Server

    made = Arena(duels, ballot, result, {"seed": seed, "prefine": __version__})
    with Server(made, port) as server:
        typer.echo(f"{server.url}\nopen this page to vote; Ctrl-C stops", err=True)
        if browser and _has_display():
            _open(server)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            typer.echo("", err=True)
    made.close()


def _has_display() -> bool:
    """False on a machine without a screen, where a browser in text mode would take over the terminal."""
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _open(server: Server) -> None:
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()


def _say_before(meetings: list[Any], duels: int, voted: int, torn: bool) -> None:
    """What will be voted on and what not, on standard error."""
    for m in meetings:
        left_out = "".join(f"; {why}: {n}" for why, n in sorted(m.left_out.items()))
        typer.echo(f"two models, prompts to compare them on: {len(m.prompts)}{left_out}", err=True)
    typer.echo(f"pairs: {duels}" + (f", {voted} of them voted on" if voted else ""), err=True)
    if torn:
        typer.echo("the last line of the votes was cut off by a crash and was removed", err=True)


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
        return
    for p in found["pairs"]:
        share = f"{_percent(p)}; {p['wins']} won, {p['ties']} tied, {p['losses']} lost" if p["n"] else "no votes yet"
        of = f"{p['n']} of {p['prompts']} prompts voted on"
        typer.echo(f"{p['first']} against {p['second']}: {share} ({of})")
        for why, n in p["left_out"].items():
            typer.echo(f"  left out, {why}: {n}")
    habits = found["habits"]
    if habits["votes"]:
        took = habits["median_seconds"]
        typer.echo(
            f"votes: {habits['votes']}, skipped: {habits['skipped']}; the left side won {_percent(habits['left_wins'])}"
            + (f"; {took:.1f} s a vote (median)" if took is not None else "")
        )
    for j in found.get("judges", ()):
        typer.echo(f"{j['judge']} and {j['against']}: {_kappa(j)} over {j['pairs']} pairs")
    if "judges" in found and not found["judges"]:
        typer.echo("no judge has judged the pairs that people voted on")
    for file in found.get("files", [found.get("file")]):
        typer.echo(f"votes in {file}")


def _percent(share: dict[str, Any]) -> str:
    if share["value"] is None:
        return "-"
    interval = "" if share["low"] is None else f" [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"
    return f"{100 * share['value']:.1f} %{interval}"


def _kappa(judge: dict[str, Any]) -> str:
    def shown(value: float | None, interval: list[float] | None, form: str, by: float) -> str:
        if value is None:
            return "-"
        return format(by * value, form) + (
            f" [{by * interval[0]:{form}}, {by * interval[1]:{form}}]" if interval else ""
        )

    kappa = shown(judge["kappa"], judge["kappa_interval"], ".2f", 1)
    accuracy = shown(judge["accuracy"], judge["accuracy_interval"], ".1f", 100)
    return f"kappa {kappa}, right where they decided {accuracy} %"
