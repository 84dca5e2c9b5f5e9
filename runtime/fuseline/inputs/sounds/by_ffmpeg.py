"""Sounds through the program ffmpeg, where there is one: what else people have, and the sound of videos.

ffmpeg is given the open file and nothing else: it may read no other file and ask no network, whatever a file names, and
formats that only list other files are switched off. It writes floats at the file's own rate, with the header of a WAV
file before them, into a pipe.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import deque
from collections.abc import Iterator
from threading import Event, Thread
from typing import IO

from fuseline.arrays import Float32
from fuseline.errors import shown
from fuseline.warning import warn

from . import wav
from .recording import NotReadable
from .source import Encoded

# What holds its sound itself. Without hls, dash, concat, sdp, image2 and the like, which open what a file names.
_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,gsm,iff,loas,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,"
    "mpeg,mpegts,mxf,nut,ogg,rm,shn,spdif,swf,tak,tta,voc,w64,wav,wv,xwma"
)
_INPUT = "file:/dev/fd/0"

_LINE = re.compile(r"^(?:\[[^\]]* @ [^\]]*\] )?\[(error|fatal|info)\] (.*)$")
_DURATION = re.compile(r"^\s*Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_TRACK = re.compile(r"^\s*Stream #0:\d+.*?: (?:Audio|Video|Subtitle|Data): ")
_COVER = "(attached pic)"  # a picture that has no time
_OF_OUTPUT = "Stream mapping:"  # what comes before it is about the input
_PATIENCE = 5.0  # seconds, for what is on its way already
_LINES = 64  # of what ffmpeg says, the first and last so many are kept

_MISSING, _SLACK = 0.02, 0.5  # share and seconds of what a file names that may be missing without a word


class FfmpegFile:
    """A file that ffmpeg reads. See fuseline.inputs.sounds.recording."""

    def __init__(self, program: str, encoded: Encoded, quiet: bool = False) -> None:
        """quiet: whether somebody else says that the file is damaged. Raises NotReadable, and InputError for rates and
        numbers of channels that cannot be."""
        self._program, self._encoded = program, encoded
        self._warned = quiet
        with _Run(program, encoded) as run:
            self.name = encoded.name
            self.sampling_rate = run.header.sampling_rate
            seconds = run.duration()
        self.frames = None if seconds is None else round(seconds * self.sampling_rate)

    def blocks(self, start: int) -> Iterator[Float32]:
        """float32[n, channels] from frame `start` on; what is before is read too. Warns where the file is damaged."""
        with _Run(self._program, self._encoded) as run:
            at = 0
            for block in wav.samples(run.output, run.header):
                if at + len(block) > start:
                    yield block[max(0, start - at) :]
                at += len(block)
            self._check_end(at, run)

    def _check_end(self, at: int, run: _Run) -> None:
        failed = run.status() != 0
        missing = 0 if self.frames is None else self.frames - at
        # Of a file of several tracks the length is that of the longest, which may be the picture's.
        cut = missing > max(_MISSING * at, _SLACK * self.sampling_rate) and (run.alone() or run.met_damage())
        if (failed or cut) and not self._warned:
            self._warned = True
            own = f"its header says {(at + missing) / self.sampling_rate:.1f} s"
            why = run.reason() if failed or not run.alone() else own
            has = f"{at / self.sampling_rate:.1f} s"
            warn(f"{self.name}: the file is damaged or cut off ({why}); {has} are there and used")


def program() -> str | None:
    """The path of ffmpeg; None where there is none."""
    return shutil.which("ffmpeg")


class _Run:
    """One run of ffmpeg, which ends with the `with` statement, whatever was read of it."""

    def __init__(self, program: str, encoded: Encoded) -> None:
        """Raises NotReadable where no sound comes."""
        with encoded.open_file() as file:
            try:
                self._process = subprocess.Popen(
                    _command(program), stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
            except OSError as error:
                reason = shown(error.strerror or "it cannot be started")
                raise NotReadable(encoded.name, "ffmpeg", reason) from error
        assert self._process.stdout is not None and self._process.stderr is not None
        self.output = self._process.stdout
        self._said = _Said(self._process.stderr)
        try:
            self.header = self._read_header(encoded.name)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def status(self) -> int:
        """How it ended, once its output has."""
        return self._process.wait()

    def reason(self) -> str:
        """Why it failed, once it has ended."""
        return self._said.reason()

    def duration(self) -> float | None:
        """Seconds that the file is said to have."""
        return self._said.duration()

    def alone(self) -> bool:
        """Whether the sound is all that the file has, so that its length is the file's, once it has ended."""
        return self._said.tracks() == 1

    def met_damage(self) -> bool:
        """Whether something could not be read, once it has ended."""
        return self._said.errors()

    def _read_header(self, name: str) -> wav.Header:
        if not wav.is_wav(self.output.peek(12)):  # type: ignore[attr-defined]  # Popen's pipes are buffered readers
            raise NotReadable(name, "ffmpeg", self.reason())
        header = wav.read_header(self.output, name)
        if header is None:
            raise NotReadable(name, "ffmpeg", "it writes samples that are not those asked for")
        return header

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self.output.close()
        self._said.close()


class _Said:
    """What ffmpeg writes to standard error, read while it runs: it would wait if nobody did."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._duration: float | None = None
        self._described = Event()  # the input, which comes before the first sample but through another pipe
        self._pipe = pipe
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=_LINES)
        self._tracks, self._of_input = 0, True
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def duration(self) -> float | None:
        """Seconds that the file is said to have."""
        self._described.wait(_PATIENCE)
        return self._duration

    def tracks(self) -> int:
        """How many tracks of the file have a length."""
        self._thread.join()
        return self._tracks

    def errors(self) -> bool:
        """Whether there was any."""
        self._thread.join()
        return bool(self._first)

    def reason(self) -> str:
        """The first error, without what only repeats which file it is."""
        self._thread.join()
        lines = [*self._first, *self._last]
        if any("matches no streams" in line or "does not contain any stream" in line for line in lines):
            return "it has no sound track"
        said = next((line for line in lines if line), "it says nothing of why")
        return shown(said.replace(f"{_INPUT}: ", "").strip().rstrip("."))

    def close(self) -> None:
        self._thread.join()
        self._pipe.close()

    def _read(self) -> None:
        for line in self._pipe:
            match = _LINE.match(line.decode(errors="replace").rstrip())
            if match is None:
                continue
            level, text = match.groups()
            if level != "info":
                (self._first if len(self._first) < _LINES else self._last).append(text)
            elif self._of_input and text.startswith(_OF_OUTPUT):
                self._of_input = False
            elif self._of_input and _TRACK.match(text):
                self._tracks += _COVER not in text
            elif text.lstrip().startswith("Duration: ") and not self._described.is_set():
                if found := _DURATION.match(text):
                    hours, minutes, seconds = found.groups()
                    self._duration = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
                self._described.set()
        self._described.set()


def _command(program: str) -> list[str]:
    reading = ["-protocol_whitelist", "file", "-format_whitelist", _FORMATS, "-i", _INPUT]
    writing = ["-map", "0:a:0", "-c:a", "pcm_f32le", "-fflags", "+bitexact", "-f", "wav", "pipe:1"]
    return [program, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", *reading, *writing]
