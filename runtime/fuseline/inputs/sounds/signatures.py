"""What a file is by its first bytes, as far as a message needs it."""

from __future__ import annotations

_FIRST = {
    b"fLaC": "FLAC",
    b"OggS": "OGG",
    b"ID3": "MP3",
    b"RF64": "WAV of 64 bits",
    b"riff": "WAV of 64 bits",
    b".snd": "AU",
    b"caff": "CAF",
}
_ELSEWHERE = {
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"0&\xb2u": "Windows Media",
    b"#!AMR": "AMR",
    b"wvpk": "WavPack",
    b"FLV": "Flash video",
    b"\0\0\x01\xba": "MPEG video",
}


def by_soundfile(head: bytes) -> str | None:
    """The name of a format that the package soundfile reads; None for others."""
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return "AIFF"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:  # the mark of a frame, of layer 3
        return "MP3"
    return _first(head, _FIRST)


def by_ffmpeg(head: bytes) -> str | None:
    """The name of a format that only ffmpeg reads; None for others."""
    if head[4:8] == b"ftyp":
        return "MP4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "AVI"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "AAC"
    return _first(head, _ELSEWHERE)


def _first(head: bytes, names: dict[bytes, str]) -> str | None:
    return next((name for mark, name in names.items() if head.startswith(mark)), None)
