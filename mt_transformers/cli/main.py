"""Entry point of `mt-transformers`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..errors import InputError
from ..version import __version__
from . import affinity, baselines, demo, evaluate, export, plan, predict, search, serve, train
from .exit_status import exit_status

__all__ = ["main", "run"]

_COMMANDS = (demo, plan, train, baselines, affinity, search, evaluate, predict, export, serve)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        argv (`Sequence[str]`, *optional*): The arguments. Defaults to those of the process.

    Returns:
        `int`: Exit status: 0, or 2 for input that cannot be used, which one message on standard error explains.
    """
    parser = argparse.ArgumentParser(
        prog="mt-transformers", description="Train and use models with one backbone and many heads."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for each in _COMMANDS:
        each.add_parser(commands)
    arguments, overrides = parser.parse_known_args(argv)

    def command() -> None:
        if overrides and not arguments.takes_overrides:
            raise InputError(f"unknown argument(s): {' '.join(overrides)}.")
        arguments.run(arguments, overrides)

    return exit_status("mt-transformers", command)


def run() -> None:
    """Run the command of this process and leave with its exit status."""
    sys.exit(main())


if __name__ == "__main__":
    run()
