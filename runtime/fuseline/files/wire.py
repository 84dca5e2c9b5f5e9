"""Protobuf's wire format, read field by field without copying: enough to walk an ONNX file whose weights stay on disk.

A parser takes fields in any order, unknown ones between them, numbers longer than they need be, and a message in
several pieces, which it puts together. So does this one. Groups, which ONNX never had, are refused.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Sequence
from mmap import mmap

Buffer = bytes | mmap
Span = tuple[int, int]  # where a field's content begins and ends
# By their numbers, in their order. A number has one of the marks in the place of its end, and before it its value, or
# where it begins.
Fields = dict[int, list[Span]]
VARINT, FIXED = -1, -2

_MOST_FIELDS = 2_000_000  # two seconds of reading; a decoder of 24 layers has 100,000
_GROUPS = (3, 4)


class Malformed(Exception):
    """What is wrong, as the end of a sentence that begins with the file's name."""


class Wire:
    """The messages in a buffer. Reads tags and lengths, and nothing of what lies between."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self._left = _MOST_FIELDS

    def fields(self, spans: Sequence[Span]) -> Fields:
        """The fields of a message, which lies in one piece or several. Raises Malformed."""
        found: Fields = {}
        for start, end in spans:
            self._append(found, start, end)
        return found

    def text(self, span: Span) -> bytes:
        """The content of a field."""
        return self.buffer[span[0] : span[1]]

    def varints(self, fields: Fields, number: int) -> list[int]:
        """The numbers of a repeated field, each in a field of its own or packed. int64, two's complement."""
        values = []
        for at, end in fields.get(number, ()):
            if end == VARINT:
                values.append(_signed(at))
                continue
            if end == FIXED:
                raise Malformed(f"has a number of another kind in field {number} than ONNX has there")
            while at < end:
                value, at = self._varint(at, end)
                values.append(_signed(value))
                self._count(1)
        return values

    def _append(self, found: Fields, at: int, end: int) -> None:
        """Not taken apart, since most of the time goes here: a number in one byte is read without a call."""
        buffer, count = self.buffer, 0
        while at < end:
            count += 1
            tag = buffer[at]
            at += 1
            if tag > 0x7F:
                tag, at = self._varint(at - 1, end)
            kind, number = tag & 7, tag >> 3
            if not 0 < number < 1 << 29:
                raise Malformed(f"has a field of number {number} before byte {at}")
            if kind == 2:
                if at < end and (size := buffer[at]) < 0x80:
                    at += 1
                else:
                    size, at = self._varint(at, end)
                content = at, at + size
                at += size
            elif kind == 0:
                value, at = self._varint(at, end)
                content = value, VARINT
            elif kind in (1, 5):
                content = at, FIXED
                at += 8 if kind == 1 else 4
            else:
                what = "a group, which ONNX does not have," if kind in _GROUPS else f"a field of unknown kind {kind}"
                raise Malformed(f"has {what} before byte {at}")
            if at > end:
                raise Malformed(f"has a field that ends at byte {at}, where its message ends at byte {end}")
            if number in found:
                found[number].append(content)
            else:
                found[number] = [content]
            if count > self._left:
                break
        self._count(count)

    def _count(self, fields: int) -> None:
        self._left -= fields
        if self._left < 0:
            raise Malformed(f"has more than {_MOST_FIELDS} fields")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """The number that begins at `at`, uint64, and where it ends."""
        if at < end and self.buffer[at] < 0x80:
            return self.buffer[at], at + 1
        value = 0
        for index in range(10):
            if at + index >= end:
                raise Malformed(f"ends within a number at byte {at}")
            byte = self.buffer[at + index]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if value >= 1 << 64:
                    break
                return value, at + index + 1
        raise Malformed(f"has a number of more than 64 bits at byte {at}")


def of(fields: Fields, number: int) -> Sequence[Span]:
    """The spans of the fields of that number, which hold a text or a message. Raises Malformed for other content."""
    spans = fields.get(number, ())
    for _, end in spans:
        if end < 0:
            raise Malformed(f"has a number in the place of field {number}, at which ONNX has a text or a message")
    return spans


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
