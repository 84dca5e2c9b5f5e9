"""The terms of a model that somebody else has made, as a folder holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class Terms:
    """license: as fuseline.json has it; card: the text of MODEL_CARD.md."""

    license: Mapping[str, str]
    card: str

    def add_card(self, folder: Path) -> None:
        """Write the card into a folder that is being made. It is not listed there, since evaluate writes into it."""
        (folder / CARD).write_text(self.card, encoding="utf-8")
