"""WAV files, read without any package: integers of 8 to 32 bits and floats; and their header where a pipe begins so.

Sizes in a header are believed only as far as the file goes: programs that write into a pipe do not know them, and files
that were cut off have less than they say. Layout: RFC 2361 and Microsoft's multimedia data standards (1994), and
`WAVEFORMATEXTENSIBLE` for what has more channels or bits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from fuseline.arrays import Float32
from fuseline.errors import InputError
from fuseline.warning import warn

from .recording import BLOCK, check_format
from .source import Encoded

_INTEGERS, _FLOATS, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # behind the two bytes that say integers or floats
_BITS = {_INTEGERS: (1, 32), _FLOATS: (32, 64)}

# What follows a chunk of an odd length: one byte of padding, which some programs leave out.
_CHUNKS = {b"fmt ", b"data", b"fact", b"LIST", b"bext", b"cue ", b"smpl", b"JUNK", b"PEAK", b"id3 "}

_MOST_CHUNKS = 1_000
_LONGEST_FORMAT = 4_096
_UNKNOWN = 0x7FFF_0000  # sizes from here on are those of programs that did not know them when they wrote them
_AT_ONCE = 2**16
_SLACK = 0.05  # seconds that may be missing without a word


@dataclass(frozen=True)
class Header:
    """What the header of a WAV file says."""

    sampling_rate: int
    channels: int
    floats: bool
    width: int
    """bytes a sample"""
    begin: int
    """where the samples begin, in bytes"""
    size: int | None
    """bytes of samples; None where whoever wrote the header did not know"""

    @property
    def frame(self) -> int:
        """Bytes a frame."""
        return self.channels * self.width


class WavFile:
    """A WAV file. See fuseline.inputs.sounds.recording."""

    def __init__(self, encoded: Encoded, header: Header) -> None:
        """Warns where the file ends before the end that its header names."""
        there = max(0, encoded.size - header.begin)
        size = there if header.size is None else min(header.size, there)
        self.name = encoded.name
        self.sampling_rate = header.sampling_rate
        self.frames: int = size // header.frame
        self._encoded, self._header = encoded, header
        said = 0 if header.size is None else header.size // header.frame
        if self.frames and said - self.frames > _SLACK * self.sampling_rate:
            has, should = f"{self.frames / self.sampling_rate:.1f} s", f"{said / self.sampling_rate:.1f} s"
            warn(f"{self.name}: the file is cut off: {has} are there and used, its header says {should}")

    def blocks(self, start: int) -> Iterator[Float32]:
        """float32[n, channels] from frame `start` on."""
        header = self._header
        with self._encoded.open() as file:
            file.seek(header.begin + start * header.frame)
            yield from samples(file, header, self.frames - start)


def is_wav(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WAVE"


def open_wav(encoded: Encoded) -> WavFile | None:
    """A file that begins as WAV; None where its samples are stored in a way that this does not read (A-law, ADPCM).

    Raises InputError for a damaged header, for rates and numbers of channels that cannot be, and for a file without
    samples.
    """
    with encoded.open() as file:
        header = read_header(file, encoded.name)
    if header is None:
        return None
    wav = WavFile(encoded, header)
    if wav.frames < 1:
        raise InputError(f"{encoded.name}: there is no sound in it (0 samples); give a file that holds some")
    return wav


def samples(file: IO[bytes], header: Header, frames: int | None = None) -> Iterator[Float32]:
    """float32[n, channels] of what stands there, at most so many frames; half a frame at the end is left out."""
    while frames is None or frames > 0:
        wanted = BLOCK if frames is None else min(BLOCK, frames)
        data = file.read(wanted * header.frame)
        found = len(data) // header.frame
        if found == 0:
            return
        yield _as_floats(data[: found * header.frame], header).reshape(found, header.channels)
        frames = None if frames is None else frames - found


def read_header(file: IO[bytes], name: str) -> Header | None:
    """Reads up to the first sample, without going back; None as `open_wav` has it. Raises InputError."""
    reader = _Reader(file, name)
    riff_end = 8 + struct.unpack_from("<I", reader.take(12), 4)[0]
    form: tuple[int, int, int, int] | None = None
    for _ in range(_MOST_CHUNKS):
        chunk, size = struct.unpack("<4sI", reader.take(8))
        if chunk == b"data":
            if form is None:
                raise reader.damaged("its samples begin before it says what they are")
            return _header(form, reader.at, size, riff_end, name)
        if chunk == b"fmt ":
            body = reader.take(min(size, _LONGEST_FORMAT))
            reader.skip(size - len(body))
            form = _format(body)
            if form is None:
                if len(body) < 16:
                    raise reader.damaged("the part that says what its samples are is too short")
                return None
        else:
            reader.skip(size)
        if size % 2:
            reader.skip_padding()
    raise reader.damaged(f"{_MOST_CHUNKS:,} parts come before its samples")


def _format(body: bytes) -> tuple[int, int, int, int] | None:
    """(kind, channels, rate, bytes a sample); None for a kind that is not read here."""
    if len(body) < 16:
        return None
    kind, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", body)
    if kind == _EXTENSIBLE and len(body) >= 40 and body[26:40] == _GUID_TAIL:
        (kind,) = struct.unpack_from("<H", body, 24)
    least, most = _BITS.get(kind, (1, 0))
    if not least <= bits <= most:
        return None
    width = -(-bits // 8)
    if kind == _INTEGERS and channels and frame % channels == 0 and width < frame // channels <= 4:
        width = frame // channels  # such as 24 bits in 4 bytes: the highest bits are those that count
    return (kind, channels, rate, width) if kind == _INTEGERS or width in (4, 8) else None


def _header(form: tuple[int, int, int, int], begin: int, size: int, riff_end: int, name: str) -> Header:
    kind, channels, rate, width = form
    check_format(name, rate, channels)
    # A size of 0 was never filled in where the whole ends there too, or ends nowhere.
    unknown = size >= _UNKNOWN or (size == 0 and (riff_end <= begin or riff_end >= _UNKNOWN))
    return Header(rate, channels, kind == _FLOATS, width, begin, None if unknown else size)


def _as_floats(data: bytes, header: Header) -> Float32:
    """float32[n]; integers over the largest of their size, so that they lie in [-1, 1)."""
    if header.floats:
        floats: npt.NDArray[np.floating] = np.frombuffer(data, f"<f{header.width}")
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number is said by who reads it
            return floats.astype(np.float32, copy=False)
    if header.width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if header.width == 3:
        return _of_24_bits(data).astype(np.float32) / np.float32(2**31)
    integers: npt.NDArray[np.signedinteger] = np.frombuffer(data, f"<i{header.width}")
    return integers.astype(np.float32) / np.float32(2 ** (8 * header.width - 1))


def _of_24_bits(data: bytes) -> npt.NDArray[np.int32]:
    """As the highest bits of int32[n]."""
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0]


class _Reader:
    """Takes parts of a header from a file or a pipe, forwards only."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.at = 0
        self._file, self._name = file, name
        self._back = b""  # what was looked at and not taken

    def take(self, count: int) -> bytes:
        found = self._back[:count]
        self._back = self._back[count:]
        while len(found) < count:
            piece = self._file.read(count - len(found))
            if not piece:
                raise self.damaged("it ends before its samples begin")
            found += piece
        self.at += count
        return found

    def skip(self, count: int) -> None:
        while count > 0:
            count -= len(self.take(min(count, _AT_ONCE)))

    def skip_padding(self) -> None:
        """One byte, if what follows is not the next part already."""
        ahead = self.take(4)
        self.at -= 4
        self._back = ahead + self._back
        if ahead not in _CHUNKS:
            self.take(1)

    def damaged(self, why: str) -> InputError:
        return InputError(f"{self._name}: the WAV file is damaged or cut off ({why}); give one that is whole")
