"""The systems under test: one file each, found by being here. What a file must hold is said in benchmarks/README.md.

Only the standard library is imported at the top of these files, so that the list of systems can be read in any
environment; what a system needs it imports in its `imports`, whose time is part of what is measured.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

CHECKPOINT = "checkpoint"
# Bytes of a weight, as a step has to read them.
WEIGHT_BYTES: Mapping[str, float] = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "int4": 0.5}


class System(Protocol):
    """An opened model. Its constructor takes (folder: Path, threads: int, **settings).

    A system that knows how many steps its last caption took says so in an attribute `steps`; otherwise a caption is
    taken to have max_length tokens. One that can tell how much of a caption passes outside encoder and decoder has a
    method `search_share`, with the arguments of `generate`, that returns it.
    """

    def pixels(self, photos: Sequence[Path]) -> Any:
        """The photos as the model reads them, prepared by the system's own means."""
        ...

    def encode(self, pixels: Any) -> object:
        """Run the encoder alone."""
        ...

    def generate(self, pixels: Any, num_beams: int, max_length: int) -> list[list[int]]:
        """The best sequence of each photo, start token included; ends are the model's own."""
        ...


@dataclass(frozen=True)
class Spec:
    """One row of the tables: a system and how it is set.

    precision: of the weights; fp32 must give the very tokens of the reference. reads: "checkpoint", or a key of some
    file's EXPORTS. settings: go to the constructor. variables: go to the environment of the process. quick: part of
    `--quick`. scaling: part of the passes over batches, beams, lengths and threads.
    """

    name: str
    precision: str = "fp32"
    reads: str = CHECKPOINT
    settings: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    quick: bool = True
    scaling: bool = False
    module: str = ""  # filled in by specs()

    @property
    def exact(self) -> bool:
        """Whether another token than the reference's is an error."""
        return self.precision == "fp32"


@dataclass(frozen=True)
class Export:
    """How a folder is made. source: "checkpoint" or the name of another export; function: its name in the file."""

    source: str
    function: str
    module: str = ""  # filled in by exports()


@cache
def specs() -> dict[str, Spec]:
    """All systems by name, in the order of their files."""
    found: dict[str, Spec] = {}
    for entry in sorted(pkgutil.iter_modules(__path__), key=lambda entry: entry.name):
        for spec in module(entry.name).SPECS:
            found[spec.name] = Spec(**{**vars(spec), "module": entry.name})
    return found


def module(name: str) -> ModuleType:
    """The file of a system: SPECS, imports, System; and EXPORTS, REQUIREMENTS where it has them."""
    return importlib.import_module(f"{__name__}.{name}")


def requirements(file: str) -> Path | None:
    """The pinned requirements beside a system's file; None for one that runs where fuseline is installed."""
    name = getattr(module(file), "REQUIREMENTS", None)
    return Path(__file__).parent / f"{name}.txt" if name else None


@cache
def exports() -> dict[str, Export]:
    """Every folder that a system's file knows how to make, by the name that others read it under."""
    found: dict[str, Export] = {}
    for file in dict.fromkeys(spec.module for spec in specs().values()):
        for name, export in getattr(module(file), "EXPORTS", {}).items():
            found[name] = Export(export.source, export.function, file)
    return found
