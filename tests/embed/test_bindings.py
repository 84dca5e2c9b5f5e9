"""The examples that declare fuseline.h's structures anew declare them as it does: no compiler would tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADER = (ROOT / "embed" / "include" / "fuseline.h").read_text()
STRUCTURES = ("settings", "input", "options")
# Where each language has a structure, by its name, and what in it is a field.
BINDINGS = {
    "rust/src/fuseline.rs": (lambda name: rf"pub struct {name.title()} {{(.*?)\n    }}", r"pub (\w+):"),
    "java/Fuseline.java": (
        lambda name: rf"StructLayout {name.upper()} = MemoryLayout.structLayout\((.*?);",
        r'withName\("(\w+)"\)',
    ),
    "csharp/Fuseline.cs": (lambda name: rf"struct {name.title()}\s+{{(.*?)\n    }}", r"(\w+)(?=[,;])"),
}


def declared(structure: str) -> list[str]:
    """The fields of a structure of the header."""
    (body,) = re.findall(rf"typedef struct fuseline_{structure} {{(.*?)}} fuseline_{structure};", HEADER, re.S)
    return re.findall(r"(\w+)(?=[,;])", re.sub(r"/\*.*?\*/", "", body, flags=re.S))


@pytest.mark.parametrize("file", BINDINGS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_fields_are_those_of_the_header_in_its_order(file: str, structure: str) -> None:
    place, field = BINDINGS[file]
    (body,) = re.findall(place(structure), (ROOT / "examples" / file).read_text(), re.S)
    expected = declared(structure)
    assert len(expected) > 2
    assert re.findall(field, body) == expected
