"""The command line: `fuseline caption`, `fuseline export`, `fuseline quantize`, `fuseline evaluate`,
`fuseline info`, `fuseline --version`. Each command has a file of its own, cli_*.py.

What only one command needs is imported there, since the time until the first caption is part of the product; and what
all need is imported by `main`, since Ctrl-C may come while it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import interrupts

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from .terminal import Terminal

PIPE_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit status: 0, 2 if something could not be done, 130 on Ctrl-C, 141 if the reader has gone.

    arguments: None for those of this process, which then is the command's alone: signals are taken too, and SIGTERM
    gives 143, SIGHUP 129.
    """
    whole_process = arguments is None
    try:
        if whole_process:
            interrupts.take()
            _occupy_closed_streams()
        return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return interrupts.status()
    finally:
        if whole_process:
            interrupts.leave()


def _run(arguments: Sequence[str]) -> int:
    from .streams import Unwritable
    from .terminal import FAILED, Terminal

    terminal = Terminal(as_json="--json" in arguments)
    try:
        return _command(terminal, arguments)
    except KeyboardInterrupt:
        terminal.interrupted(interrupts.by_key())
        raise
    except Unwritable as error:
        if error.broken_pipe:
            return PIPE_CLOSED
        terminal.say(error)
        return FAILED


def _command(terminal: Terminal, arguments: Sequence[str]) -> int:
    """Run what the arguments say. Raises Unwritable; any other exception has been said."""
    from .errors import InputError
    from .streams import Unwritable
    from .terminal import FAILED

    try:
        with terminal.noting_warnings():
            if sys.stdout is None:
                raise InputError("standard output is closed, so there is nowhere to write to; leave it open")
            options = _parser(terminal).parse_args(arguments)
            terminal.as_json = options.json
            status: int = options.command(options, terminal)
            return status
    except Unwritable:
        raise
    except Exception as error:
        interrupts.check()
        try:
            terminal.fail(error)
        except Unwritable:  # no object then
            terminal.say(error)
        return FAILED


def _parser(terminal: Terminal) -> ArgumentParser:
    import argparse

    from . import __version__, cli_caption, cli_evaluate, cli_export, cli_info, cli_quantize
    from .errors import InputError

    class Parser(argparse.ArgumentParser):
        """One that writes as everything else does."""

        def error(self, message: str) -> None:  # type: ignore[override]
            raise InputError(f"{message}; see {self.prog} --help")

        def _print_message(self, message: str, file: object = None) -> None:
            terminal.out.write(message)

    parser = Parser(
        prog="fuseline",
        description="Say what is on a photo, offline.",
        epilog="""\
example: fuseline caption cat.jpg

exit status: 0; 2 if something could not be done, which is said on standard error; 130 after Ctrl-C
environment: FUSELINE_DEBUG=1 shows where an unforeseen failure comes from""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fuseline {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for each in (cli_caption, cli_export, cli_quantize, cli_evaluate, cli_info):
        each.add_to(commands)
    return parser


def _occupy_closed_streams() -> None:
    """The numbers of closed standard streams get /dev/null: the next file that is opened would get them otherwise, and
    what a library prints would be written into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
