"""Sentences of the command name options as they are typed, and no arguments of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fuseline.cli import _parser, main
from fuseline.cli.naming import as_typed
from fuseline.cli.terminal import Terminal

PHOTO = Path(__file__).parents[2] / "examples" / "cat.jpg"
CAPTION: dict[str, Any] = dict.fromkeys(
    ("num_beams", "max_length", "threads", "device", "variant", "source_weights", "allow_downloads", "photos", "hint")
)
TEXT: dict[str, Any] = dict.fromkeys(("num_beams", "max_length", "truncate", "batch", "source", "target", "files"))
SENTENCES = [
    (CAPTION, "num_beams must be a whole number, not 0", "--num-beams must be a whole number, not 0"),
    (CAPTION, "too much (num_beams=9, x)", "too much (--num-beams 9, x)"),
    (CAPTION, "lower max_length or max_new_tokens", "lower --max-length"),
    (CAPTION, "threads must be from 1 to 1024, or None, not 0", "--threads must be from 1 to 1024, not 0"),
    (CAPTION, "device must be a name, or None", "--device must be a name"),
    (CAPTION, "variant='x' is none; leave variant out", "--variant x is none; leave --variant out"),
    (CAPTION, "photo 1: give it with allow_downloads=True, or not", "photo 1: give it with --allow-downloads, or not"),
    (TEXT, "too long; let truncation=True cut it", "too long; let --truncate cut it"),
    (TEXT, "it cannot be cut; leave truncation out", "it cannot be cut; leave --truncate out"),
    (TEXT, "batch_size must be 1; src_lang too", "--batch must be 1; --from too"),
    # What is a part of a path or another word, and options that the command has not.
    (CAPTION, "a/num_beams.jpg: there is no such file", "a/num_beams.jpg: there is no such file"),
    (CAPTION, "num_beams/a.jpg: there is no such file", "num_beams/a.jpg: there is no such file"),
    (CAPTION, "has 'num_beams' in it", "has 'num_beams' in it"),
    (CAPTION, "my_num_beams and num_beams_2", "my_num_beams and num_beams_2"),
    (CAPTION, "two threads must be there", "two threads must be there"),
    (CAPTION, "batch_size must be 1", "batch_size must be 1"),
    ({}, "num_beams must be 1, or None", "num_beams must be 1, or None"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "sentence", "typed"), SENTENCES)
def test_arguments_are_options(options: dict[str, Any], sentence: str, typed: str) -> None:
    assert as_typed(sentence, options) == typed


def test_every_option_is_called_as_it_is_typed() -> None:
    """Of every command, those whose names cannot be words of English."""
    parser = _parser(Terminal(), ())
    (commands,) = [each.choices for each in parser._actions if isinstance(each.choices, dict)]
    assert "caption" in commands
    for command in commands.values():
        options = {action.dest: action.option_strings for action in command._actions}
        for name in (each for each in options if "_" in each):
            assert as_typed(f"{name} must be right, or {name}=3", options) in (
                f"{typed} must be right, or {typed} 3" for typed in options[name]
            )


# What is typed, and how its sentence begins or what it has.
TYPED = [
    (["--num-beams", "0"], "fuseline: --num-beams must be a whole number of at least 1, not 0"),
    (["--max-length", "-3"], "fuseline: --max-length must be a whole number of at least 1, not -3"),
    (["--max-length", "1"], "so --max-length must be more than that, not 1"),
    (["--max-length", "99999999"], "lower --max-length\n"),
    (["--num-beams", "10000000"], "(--num-beams 10000000) of up to"),
    (["--threads", "0"], "fuseline: --threads must be a whole number from 1 to 1024, not 0"),
    (["--source-weights", "hint=-1"], "fuseline: --source-weights of hint must be"),
    (["--variant", "foo"], "has no variant 'foo'"),
]


@pytest.mark.parametrize(("given", "fragment"), TYPED)
def test_the_command_says_what_was_typed(given: list[str], fragment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", *given, str(PHOTO)]) == 2
    said = capsys.readouterr().err
    assert fragment in said and said.count("\n") == 1
    assert "num_" not in said and "max_" not in said and "None" not in said


def test_a_url_is_answered_with_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", "https://example.org/a.jpg"]) == 2
    said = capsys.readouterr().err
    assert "as a text with --allow-downloads, or download the photo" in said and "allow_downloads" not in said
