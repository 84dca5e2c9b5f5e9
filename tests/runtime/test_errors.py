"""A message is one printable line, whatever it was made of."""

from __future__ import annotations

import pickle

import pytest

from fuseline import FolderError, InputError
from fuseline.errors import LONGEST, shown


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("two dogs", "two dogs"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("half \ud800", "half \\ud800"),
        ("line\u2028end \u202ebackwards", "line\\u2028end \\u202ebackwards"),
        ("größer 犬 🐕", "größer 犬 🐕"),
        (b"bytes", "b'bytes'"),
    ],
)
def test_what_is_shown(given: object, right: str) -> None:
    assert shown(given) == right
    assert str(InputError(given)) == right


@pytest.mark.parametrize("letter", ["x", "\n", "\ud800", "犬", "\U000e0001"])
@pytest.mark.parametrize("length", [LONGEST - 1, LONGEST, LONGEST + 1, 10 * LONGEST, 1_000_000])
def test_no_message_is_endless(letter: str, length: int) -> None:
    message = str(InputError("begins" + letter * length + "ends"))
    assert message.isprintable()
    assert message.startswith("begins") and message.endswith("ends")
    assert len(message) <= LONGEST
    assert (" ... " in message) == (len("begins" + letter * length + "ends") > LONGEST or not letter.isprintable())


def test_an_error_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(FolderError("a sentence\n")))
    assert type(error) is FolderError
    assert str(error) == "a sentence\\n"
