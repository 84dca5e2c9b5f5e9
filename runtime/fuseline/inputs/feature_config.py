"""Checked values of a `preprocessor_config.json` of speech; absent, they are what the feature extractor takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import FolderError, written

SAMPLING_RATE = 16_000


@dataclass(frozen=True)
class FeatureConfig:
    """Takes values out of the file of a feature extractor. Keys that it does not know change nothing, as there."""

    config: Mapping[str, object]
    where: str
    """the file, for messages"""

    def check_kind(self, kind: str) -> None:
        """Raises FolderError for another feature extractor than transformers' of that name."""
        found = self.config.get("feature_extractor_type", kind)
        if found != kind:
            raise self.wrong("feature_extractor_type", found, kind)

    def fixed(self, key: str, default: object) -> None:
        """Raises FolderError for a value that is not the one of all published models."""
        found = self.config.get(key, default)
        if isinstance(found, bool) != isinstance(default, bool) or found != default:
            raise self.wrong(key, found, written(default))

    def number(self, key: str, default: int, least: int, most: int) -> int:
        found = self.config.get(key, default)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise self.wrong(key, found, f"a whole number from {least:,} to {most:,}")
        return found

    def switch(self, key: str, default: bool) -> bool:
        found = self.config.get(key, default)
        if not isinstance(found, bool):
            raise self.wrong(key, found, "true or false")
        return found

    def wrong(self, key: str, value: object, right: str) -> FolderError:
        return FolderError(f"{self.where}: {key} is {written(value)}; it must be {right}")
