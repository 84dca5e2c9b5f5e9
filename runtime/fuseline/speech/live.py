"""Speech as it is spoken: text that is committed, and never changes any more, and what may still follow it.

Every second the sound since the last pause is recognised anew, with the text that is committed as its beginning. What
two hypotheses in a row agree on is committed (local agreement: Liu, Spanakis and Niehues, "Low-Latency
Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection", Interspeech 2020), and at a
pause all that was said before it. Then both are forgotten: a model that is given a finished sentence as the beginning
of its text may take all that it hears for said, and no call costs more than a window does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..arrays import Float32, as_array
from ..errors import Cancelled, InputError, written
from ..inputs.sounds.arrays import check_rate
from ..inputs.sounds.recording import check_format
from ..inputs.sounds.sound import LARGEST
from ..inputs.sounds.streamed import Streamed
from .voice import Ear, quietest

if TYPE_CHECKING:
    from ..graphs.running import CancelToken
    from ..model import Model
    from .options import SpeechOptions

RATE = 16_000

# All in samples.
_TICK = RATE // 4  # after so many it is looked whether somebody still speaks
_STEP = RATE  # new ones that are worth a hypothesis; where more come at once, so many are
_FAR_BEHIND = 4 * RATE  # new ones that are worth one however many come at once
_PAUSE = RATE * 6 // 10  # without a voice: what was being said has ended
_SILENCE = 2 * RATE  # without a voice: so much of the window is not kept
_BEFORE = RATE * 3 // 4  # kept of a silence before what may be a voice, which begins quietly
_LONGEST = 26 * RATE  # of a window, where the listener can hear so much

_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Heard:
    """What is new. All texts joined are the text so far."""

    text: str
    """what is committed with this; it begins with a space where one belongs there"""
    tentative: str
    """what follows it in the last hypothesis, and may be replaced; "" at a pause"""
    seconds: float
    """how much of the stream had been looked at"""
    pause: bool = False
    """whether what was being said has ended"""


class Listener(Protocol):
    """What recognises a stretch of sound."""

    longest: int
    """samples that it hears at once"""

    def hear(self, samples: Float32, begun: Sequence[int], cancel: CancelToken | None) -> Sequence[int]:
        """float32[N] at 16 kHz, of whose text the tokens `begun` are known -> the tokens after them, without an end
        token. Raises Cancelled."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        ...


class Resampler(Protocol):
    """A stream at one rate into one at 16 kHz."""

    rate: int

    def feed(self, samples: Float32) -> Float32: ...

    def finish(self) -> Float32: ...


def live(
    model: Model, rate: int | None = None, options: SpeechOptions | None = None, cancel: CancelToken | None = None
) -> Live:
    """A stream that a model of speech hears.

    rate: samples a second of what is fed, None for 16,000; cancel: see Live. Raises InputError for a model that reads
    no speech, for options that it or a stream does not know, and for an impossible rate.
    """
    from .listening import listener_of
    from .options import SpeechOptions

    listener = listener_of(model, SpeechOptions() if options is None else options)
    if rate is None or rate == RATE:
        return Live(listener, None, cancel)
    check_format("the stream", check_rate(rate, "the stream"), 1)
    return Live(listener, Streamed(rate), cancel)


class Live:
    """One stream of speech. Not to be shared between threads.

    What is heard does not hang on how the stream is cut into pieces, unless one has more than a second: then hypotheses
    are as far apart as the piece is long, so that a machine that falls behind makes fewer of them.
    """

    def __init__(
        self, listener: Listener, resampler: Resampler | None = None, cancel: CancelToken | None = None
    ) -> None:
        """resampler: from the stream's rate, None for one of 16 kHz. cancel: looked at before every hypothesis and
        every step of it."""
        self._listener, self._resampler, self._cancel = listener, resampler, cancel
        self._longest = min(_LONGEST, listener.longest - _TICK)
        self._waiting = _NOTHING  # samples that are not looked at yet
        self._ear = Ear()
        self._window = _NOTHING  # what is recognised: the last samples that were looked at
        self._said = _Said(listener)
        self._guessed: list[int] = []  # the last hypothesis, after what is committed
        self._heard = 0  # samples of the stream that it is of
        self._worth = _STEP  # new samples that are worth a hypothesis
        self._since = 0  # the sample of the stream up to which all that was said is committed
        self._speaking = False  # whether something was said since then
        self._finished = False

    @property
    def text(self) -> str:
        """All that was committed."""
        return self._said.text

    @property
    def seconds(self) -> float:
        """How much of the stream was looked at."""
        return self._ear.at / RATE

    def feed(self, pcm: bytes | bytearray | memoryview | npt.ArrayLike) -> list[Heard]:
        """Take what has come, and say what is new in it, in order; nothing where nothing is.

        pcm: float32[N] in [-1, 1], int16[N], or bytes of little-endian int16; one channel. Raises InputError for
        another kind of samples or after finish, Cancelled.
        """
        if self._finished:
            raise InputError("this stream has finished; begin another one for more sound")
        samples = samples_of(pcm)
        rate = RATE if self._resampler is None else self._resampler.rate
        self._worth = min(max(_STEP, len(samples) * RATE // rate), _FAR_BEHIND)
        return self._take(samples if self._resampler is None else self._resampler.feed(samples))

    def finish(self) -> list[Heard]:
        """Say what is left: the stream has ended. Raises Cancelled."""
        if self._finished:
            return []
        told = self._take(_NOTHING if self._resampler is None else self._resampler.finish())
        self._finished = True
        self._grow(len(self._waiting))
        if self._ear.voice_since(self._since) is not None or self._speaking:
            told += self._close(self._ear.at)
        return told

    def _take(self, samples: Float32) -> list[Heard]:
        self._waiting = np.concatenate([self._waiting, samples])
        told: list[Heard] = []
        while len(self._waiting) >= _TICK:
            self._grow(_TICK)
            told += self._look()
        return told

    def _grow(self, count: int) -> None:
        coming, self._waiting = self._waiting[:count], self._waiting[count:]
        self._window = np.concatenate([self._window, coming])
        self._ear.listen(coming)

    def _look(self) -> list[Heard]:
        """What is new now that the window has grown."""
        at, voice = self._ear.at, self._ear.voice_since(self._since)
        if voice is None:
            if at - self._since > _SILENCE:
                self._let_go(self._ear.undecided - _BEFORE)
            return []
        self._speaking = True
        if at - voice >= _PAUSE:
            return self._close(min(at, voice + _PAUSE // 2))
        if len(self._window) >= self._longest:
            return self._close(at - len(self._window) + quietest(self._window))
        return self._guess() if at - self._heard >= self._worth else []

    def _guess(self) -> list[Heard]:
        """Recognise the window, and commit what this and the last hypothesis agree on."""
        found = self._hear(len(self._window))
        agreed = self._said.whole_words(found, _same(self._guessed, found))
        self._guessed, self._heard = found[agreed:], self._ear.at
        text = self._said.commit(found[:agreed])
        return [Heard(text, self._said.tentative(self._guessed), self.seconds)]

    def _close(self, at: int) -> list[Heard]:
        """Commit all that was said up to a sample of the stream."""
        found = self._hear(at - self._ear.at + len(self._window))
        text = self._said.commit(found)
        self._guessed, self._heard, self._speaking = [], self._ear.at, False
        self._let_go(at)
        return [Heard(text, "", self.seconds, pause=True)]

    def _hear(self, end: int) -> list[int]:
        """The tokens of the window's first samples, after those that are committed."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("the stream was given up because its cancel token was set")
        return list(self._listener.hear(self._window[:end], self._said.tokens, self._cancel))

    def _let_go(self, at: int) -> None:
        """Forget what came before a sample of the stream, and the tokens that were committed."""
        self._window = self._window[max(0, at - self._ear.at + len(self._window)) :]
        self._said.let_go()
        self._since = max(at, self._since)


class _Said:
    """The text that is committed. tokens: those of the window."""

    def __init__(self, listener: Listener) -> None:
        self._text_of = listener.text
        self.text = ""
        self.tokens: list[int] = []
        self._given = ""  # the text of these tokens

    def commit(self, tokens: Sequence[int]) -> str:
        """Append them to the text. What they add to it."""
        before = self._given
        self.tokens += tokens
        self._given = self._text_of(self.tokens)
        piece = self._after(before, self._given)
        self.text += piece
        return piece

    def tentative(self, tokens: Sequence[int]) -> str:
        """What they would add."""
        return self._after(self._given, self._text_of([*self.tokens, *tokens]))

    def let_go(self) -> None:
        """Forget the tokens, but not their text."""
        self.tokens, self._given = [], ""

    def whole_words(self, tokens: Sequence[int], agreed: int) -> int:
        """How many of the first `agreed` tokens are words that no further token changes."""
        texts = [self._text_of([*self.tokens, *tokens[: count + 1]]) for count in range(min(agreed + 1, len(tokens)))]
        for count in range(min(agreed, len(texts) - 1), 0, -1):
            before, after = texts[count - 1], texts[count]
            begins = after[len(before) :][:1] if after.startswith(before) else ""
            if before and begins and (begins.isspace() or _stands_alone(before[-1])):
                return count
        return 0

    def _after(self, before: str, whole: str) -> str:
        piece = whole[len(before) :] if whole.startswith(before) else ""
        if before or not self.text:
            return piece if before else piece.lstrip()
        joins = not piece or piece[0].isspace() or _stands_alone(piece[0])
        return piece if joins else f" {piece}"


def _stands_alone(letter: str) -> bool:
    """Whether a letter is of a script that puts no spaces between words."""
    return unicodedata.category(letter) == "Lo"


def _same(before: Sequence[int], after: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return next(
        (at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]),
        min(len(before), len(after)),
    )


def samples_of(pcm: Any) -> Float32:
    """float32[N] in [-1, 1] of what a caller feeds. Raises InputError."""
    if isinstance(pcm, bytes | bytearray | memoryview):
        if len(pcm) % 2:
            raise InputError(f"pcm has {len(pcm):,} bytes, and a sample of int16 has two; give whole samples")
        return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(2**15)
    samples = as_array(pcm)
    if samples.ndim == 2 and 1 in samples.shape:
        samples = samples.reshape(-1)
    if samples.ndim != 1 or samples.dtype not in (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int16)):
        what = f"{samples.dtype}{list(samples.shape)}" if samples.dtype != object else written(pcm)
        raise InputError(f"pcm must be samples of one channel, float32[N], int16[N] or bytes of int16, not {what}")
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(2**15)
    possible = np.abs(samples) <= LARGEST  # said this way round, NaN is refused too
    if not possible.all():
        first = int(np.argmin(possible))
        raise InputError(
            f"the stream: sample {first:,} of this piece is {samples[first]:g}; samples are numbers from -1 to 1"
        )
    return samples.astype(np.float32)
