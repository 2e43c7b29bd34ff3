"""The application: its commands, and what the user sees when one of them fails."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from prefine.cli import arena, cleaning, comet, components, demo, doctor, evaluate, judge, ledger, report, show, stages
from prefine.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USER_ERROR, PrefineError

EPILOG = (
    "Exit codes: 0 done; 1 a mistake to mend, or an unexpected error; 73 the run's directory is in use by another "
    "process; 75 interrupted, everything is saved and the same command goes on."
)

_KEYBOARD_INTERRUPT = 130
"""What typer makes of an interrupt from the keyboard."""

app = typer.Typer(
    name="prefine",
    help="Align small language models with preferences, from prompts to an evaluated model and a report.",
    epilog=EPILOG,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(stages.run)
for _command in stages.COMMANDS:
    app.command(_command.__name__)(_command)
app.command("report")(report.report)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(comet.app, name="comet")
app.command("list")(components.list_components)
app.command("show")(show.show)
app.add_typer(cleaning.app, name="data")
app.add_typer(ledger.app, name="ledger")
app.add_typer(judge.app, name="judge")
app.command("arena")(arena.arena)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def _version(wanted: bool) -> None:
    if wanted:
        from prefine import __version__

        typer.echo(f"prefine {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Align small language models with preferences, from prompts to an evaluated model and a report."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run_command() -> NoReturn:
    """Run the command in `sys.argv` and exit: one readable message for every error, a traceback with `--debug`."""
    signal.signal(signal.SIGTERM, _terminate)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.path.append(os.getcwd())
    arguments = complete_resume(sys.argv[1:])
    sys.exit(guarded(lambda: app(arguments, standalone_mode=False), debug="--debug" in arguments))


def complete_resume(arguments: list[str]) -> list[str]:
    """`--resume` alone means `--resume always`; the parser knows options with a value or without, not both."""
    modes = ("auto", "always", "never")
    following = [*arguments[1:], ""]
    return [
        "--resume=always" if a == "--resume" and next_one not in modes else a
        for a, next_one in zip(arguments, following, strict=True)
    ]


def guarded(command: Callable[[], object], *, debug: bool = False) -> int:
    """The exit code of `command`, after its error, if any, is on standard error."""
    try:
        code = command()
    except PrefineError as error:
        many = len(getattr(error, "problems", ()))
        _say(f"{many} mistakes\n{error}" if many > 1 else str(error), debug)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = _KEYBOARD_INTERRUPT
    except typer.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:  # the last place that can turn it into one line; the whole of it goes to the log
        _say(_usage(error) if hasattr(error, "format_message") else _unexpected(error), debug)
        return EXIT_USER_ERROR
    if code == _KEYBOARD_INTERRUPT:
        _say("interrupted; what is finished is saved, and the same command goes on from there", debug=False)
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else EXIT_OK


def _terminate(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _say(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)


def _usage(error: Any) -> str:
    """The message of a mistake on the command line; typer's class for these is private, its interface is not."""
    message = error.format_message().rstrip(".")
    option = getattr(error, "option_name", "")
    if "." in option:
        message += f"; settings are written without dashes: {option.lstrip('-')}=..."
    command = error.ctx.command_path if getattr(error, "ctx", None) else "prefine"
    return f"{message[:1].lower()}{message[1:]} (see {command} --help)"


def _unexpected(error: Exception) -> str:
    """One line for an error that nobody foresaw, with the fix where the kind of error tells it."""
    text = next(iter(str(error).strip().splitlines()), "")
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return (
            "the memory is not enough; lower train.max_tokens, or generate.generator.batch_size, or use a LoRA (lora_r)"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full{f' ({error.filename})' if error.filename else ''}; make room, then repeat the command"
    return f"{type(error).__name__}: {text}\nThis was not foreseen. Details are in {_log()}; --debug shows them here"


def _log() -> str:
    """The file with the whole traceback."""
    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (stages.current_run(), Path(tempfile.gettempdir())):
        if folder is not None and folder.is_dir():
            with contextlib.suppress(OSError):
                (folder / name).write_text(traceback.format_exc())
                return str(folder / name)
    return "no file, since none could be written"
