"""What every reader of sounds offers: samples as they were recorded, in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fuseline.arrays import Float32
from fuseline.errors import InputError

BLOCK = 2**16  # frames that readers give at a time: some seconds, a quarter of a megabyte a channel

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; telephones have 8,000, studios 192,000, bat detectors 384,000
MAX_CHANNELS = 64


class Recording(Protocol):
    """A sound that can be read several times. A frame is one sample of every channel."""

    name: str
    """for messages"""
    sampling_rate: int
    """frames a second, within MIN_RATE and MAX_RATE"""
    frames: int | None
    """how many there are; None where the file does not say"""

    def blocks(self, start: int) -> Iterator[Float32]:
        """float32[n, channels] from frame `start` on, in [-1, 1] where integers were stored. Raises InputError."""
        ...


class NotReadable(InputError):
    """A reader does not read a file. `reason`: which, and why, in plain words."""

    def __init__(self, name: str, reader: str, reason: str) -> None:
        self.reason = f"{reader}: {reason}"
        super().__init__(f"{name}: {reader} cannot read it ({reason}); give a sound file that is whole")


def check_format(name: str, sampling_rate: int, channels: int) -> None:
    """Raises InputError for a rate or a number of channels that no sound has."""
    if not MIN_RATE <= sampling_rate <= MAX_RATE:
        right = f"from {MIN_RATE:,} to {MAX_RATE:,} can be read"
        raise InputError(f"{name}: its rate is {sampling_rate:,} samples a second; {right}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise InputError(f"{name}: it has {channels:,} channels; from 1 to {MAX_CHANNELS} can be read")
