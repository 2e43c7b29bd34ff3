"""The command line. `prefine.cli:main` is the installed command."""

from __future__ import annotations


def main() -> None:
    """Run the command in `sys.argv` and exit with its code."""
    from prefine.cli.app import run_command

    run_command()
