"""The command line: `fuseline caption`, `fuseline text`, `fuseline transcribe`, `fuseline export`, `fuseline quantize`,
`fuseline layouts`, `fuseline evaluate`, `fuseline get`, `fuseline info`, `fuseline --version`. Each command has a file
of its own.

What only one command needs is imported there, since the time until the first caption is part of the product; and what
all need is imported by `main`, since Ctrl-C may come while it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from . import interrupts

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from .terminal import Terminal

PIPE_CLOSED = 141
# In the order of --help; each is the name of its file.
_COMMANDS = ("caption", "text", "transcribe", "export", "quantize", "layouts", "evaluate", "get", "devices", "info")
_SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".mp4", ".mkv", ".webm", ".mov")  # and videos
_LONGEST_OPTION = 100  # characters of what may be a misspelt option
_LONGEST_MESSAGE = 600  # characters of what argparse says, so that there is room for what would be right


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
    from ..errors import InputError
    from .streams import Unwritable
    from .terminal import FAILED

    try:
        with terminal.noting_warnings():
            if sys.stdout is None:
                raise InputError("standard output is closed, so there is nowhere to write to; leave it open")
            options = _parser(terminal, arguments).parse_args(arguments)
            terminal.as_json, terminal.options = options.json, vars(options)
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


def _parser(terminal: Terminal, arguments: Sequence[str]) -> ArgumentParser:
    """What knows the command that is asked for; where that is none, as in --help, all of them."""
    import argparse
    from importlib import import_module

    from ..errors import InputError, shown
    from ..version import __version__
    from .naming import in_numbers

    class Parser(argparse.ArgumentParser):
        """One that writes as everything else does. What a command does not know, its own parser refuses."""

        given: Sequence[str] = ()

        def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
            self.given = sys.argv[1:] if args is None else list(args)
            found, unknown = super().parse_known_args(self.given, namespace)
            if unknown:
                self.error(f"{'argument' if len(unknown) == 1 else 'arguments'} not known: {_some(unknown)}")
            return found, unknown

        def error(self, message: str) -> NoReturn:
            hints = "".join(f"; {hint}" for hint in _hints(self, self.given))
            raise InputError(f"{shown(in_numbers(message), _LONGEST_MESSAGE)}{hints}; see {self.prog} --help")

        def _print_message(self, message: str, file: object = None) -> None:
            terminal.out.write(message)

    parser = Parser(
        prog="fuseline",
        description="Say what is on photos, write down what is said in sounds, or make texts of texts, offline.",
        epilog="""\
example: fuseline caption cat.jpg
         fuseline transcribe talk.mp3
         fuseline text --model FOLDER letter.txt

exit status: 0; 2 if something could not be done, which is said on standard error; 130 after Ctrl-C
environment: FUSELINE_DEBUG=1 shows where an unforeseen failure comes from""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fuseline {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in arguments[:1] if arguments and arguments[0] in _COMMANDS else _COMMANDS:
        import_module(f".{name}", __package__).add_to(commands)
    return parser


def _some(names: Sequence[str]) -> str:
    from ..errors import shown

    return " ".join(map(shown, names[:3])) + (" ..." if len(names) > 3 else "")


def _hints(parser: ArgumentParser, given: Sequence[str]) -> Iterator[str]:
    """What may have been meant by arguments that a parser refuses, a sentence each."""
    from difflib import get_close_matches

    from ..errors import shown

    known = parser._option_string_actions
    metavars = {str(action.metavar) for action in parser._actions if not action.option_strings}
    if metavars == {"COMMAND"}:
        if given and os.path.isfile(given[0]):
            sound = os.path.splitext(given[0])[1].lower() in _SOUNDS
            does = "transcribe", "writes down what is said in it"
            command, what = does if sound else ("caption", "says what is on it")
            yield f"fuseline {command} {shown(given[0])} {what}"
        return
    before = given[: given.index("--")] if "--" in given else given
    for argument in before:
        name = argument.partition("=")[0]
        if not argument.startswith("-") or argument == "-" or name in known or len(name) > _LONGEST_OPTION:
            continue
        if os.path.lexists(argument) or ("." in name and not name.startswith("--")):
            yield f"a file whose name begins with - is written as ./{shown(argument)}"
        elif name[2:].upper() in metavars:
            yield f"{name[2:].upper()} stands by itself, without {name}"
        elif not any(option.startswith(name) for option in known) and (near := get_close_matches(name, known, 1)):
            yield f"did you mean {near[0]} instead of {name}"


def _occupy_closed_streams() -> None:
    """The numbers of closed standard streams get /dev/null: the next file that is opened would get them otherwise, and
    what a library prints would be written into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
