"""Which reader a sound file gets: our own for WAV, else the package soundfile, else the program ffmpeg."""

from __future__ import annotations

from fuseline.errors import InputError

from . import by_ffmpeg, by_soundfile, signatures
from .recording import NotReadable, Recording
from .source import Encoded
from .wav import is_wav, open_wav

_PACKAGE = 'pip install "fuseline[audio]"'


def open_file(encoded: Encoded) -> Recording:
    """A sound file as its first bytes say, whatever it is called.

    Raises InputError where it is damaged, holds no sound, or nothing that is installed reads it.
    """
    head = encoded.head()
    if is_wav(head) and (wav := open_wav(encoded)) is not None:
        return wav
    reasons = []
    if (library := by_soundfile.library()) is not None:
        try:
            return by_soundfile.SoundFile(library, encoded)
        except NotReadable as error:
            reasons.append(error.reason)
    if (program := by_ffmpeg.program()) is not None:
        try:
            return by_ffmpeg.FfmpegFile(program, encoded)
        except NotReadable as error:
            reasons.append(error.reason)
    raise InputError(f"{encoded.name}: {_refusal(head, reasons, library is not None, program is not None)}")


def _refusal(head: bytes, reasons: list[str], has_library: bool, has_program: bool) -> str:
    """Why a file is not read, and what would read it."""
    said = f" ({'; '.join(reasons)})" if reasons else ""
    name = "WAV that is not plain PCM" if is_wav(head) else signatures.by_soundfile(head)
    if name is not None and not has_library and not has_program:
        return f"this is {name}, which takes the package soundfile ({_PACKAGE}) or the program ffmpeg"
    elsewhere = signatures.by_ffmpeg(head)
    if elsewhere is not None and not has_program:
        return f"this is {elsewhere}, which takes the program ffmpeg; install it, or convert the sound to WAV"
    known = name or elsewhere
    if known is not None:
        return f"this is {known} that cannot be read{said}; give a file that is whole and holds a sound"
    if not has_library and not has_program:
        right = (
            f"give WAV, or install the package soundfile ({_PACKAGE}) or, for m4a and videos too, the program ffmpeg"
        )
        return f"this is no sound file that is known; {right}"
    if has_program:
        return f"this is no sound file{said}; give WAV, FLAC, OGG, Opus, MP3, m4a or a video"
    right = "give WAV, FLAC, OGG, Opus or MP3, or install the program ffmpeg for m4a and videos"
    return f"this is no sound file{said}; {right}"
