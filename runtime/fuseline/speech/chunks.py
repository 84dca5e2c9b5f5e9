"""A long sound in chunks that overlap, and what a model says of them as one text.

The other way to transcribe what is longer than a window: chunks are decoded one without the other, so many at once, and
joined where their tokens agree. As transformers' pipeline does it: `chunk_iter` and `_find_longest_common_sequence` of
automatic_speech_recognition, `_decode_asr` of tokenization_whisper, with the same results, also where these are odd.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arrays import Float32, Int64
from ..errors import InputError
from .alignment import PRECISION, Decode, split_into_words
from .languages import NAMES

if TYPE_CHECKING:
    from .vocabulary import Vocabulary

Timestamps: TypeAlias = bool | Literal["word"]
Span: TypeAlias = tuple[float, float]  # when a token begins and ends
_POSITIONS = 1500  # of a window


class Stride(NamedTuple):
    """How long a chunk is and how much of it overlaps with the chunks beside it; samples, or seconds."""

    length: float
    left: float
    right: float

    def seconds(self, sampling_rate: int) -> Stride:
        """The same in seconds, of samples."""
        return Stride(*(each / sampling_rate for each in self))


def chunks_of(blocks: Iterable[Float32], length: int, left: int, right: int) -> Iterator[tuple[Float32, Stride]]:
    """The chunks of a sound that comes in blocks, float32[n] each: `length` samples, of which the first `left` and the
    last `right` are also in the chunk beside; with the stride that each has, 0 at the ends of the sound.

    No more than a chunk and a block is in memory. Raises InputError where no chunk would go on from the one before.
    """
    step = length - left - right
    if step < 1 or left < 0 or right < 0:
        raise InputError(
            f"a chunk of {length} samples with strides of {left} and {right} never goes on; stride_length_s must be at "
            "least 0, and together less than chunk_length_s"
        )
    held = np.zeros(0, np.float32)
    first = True
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > length:
            yield held[:length], Stride(length, 0 if first else left, right)
            held, first = held[step:], False
    if len(held) > (0 if first else left):
        yield held, Stride(len(held), 0 if first else left, 0)


@dataclass(frozen=True)
class Marks:
    """The tokens of Whisper's vocabulary that are no text."""

    special: frozenset[int]
    """all but the timestamps"""
    languages: Mapping[int, str]
    """of those of languages, the language's name, "english" """
    timestamps: int
    """the first timestamp; all tokens from here on are timestamps"""
    prompt: int
    """before a prompt"""
    start: int
    """before what is said"""

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Marks:
        """Those of a model's files."""
        return cls(
            special=frozenset(range(vocabulary.first_special, min(vocabulary.first_timestamp, vocabulary.size))),
            languages={token: NAMES[code] for code, token in vocabulary.languages.items() if code in NAMES},
            timestamps=vocabulary.first_timestamp,
            prompt=-1 if vocabulary.previous is None else vocabulary.previous,
            start=vocabulary.start,
        )

    def without_prompt(self, tokens: Sequence[int]) -> Sequence[int]:
        """The tokens after the prompt, where they begin with one."""
        if not tokens or tokens[0] != self.prompt:
            return tokens
        return tokens[list(tokens).index(self.start) :] if self.start in tokens else []


@dataclass(frozen=True)
class Output:
    """What a model says of one chunk, or of a whole sound."""

    tokens: Sequence[int]
    stride: Stride | None = None
    """in seconds; None of a whole sound"""
    times: Sequence[float] | None = None
    """by when each token was said, seconds from the beginning of the chunk; needed for words"""


def merged(
    outputs: Iterable[Output],
    marks: Marks,
    decode: Decode,
    return_timestamps: Timestamps = False,
    return_language: bool = False,
    precision: float = PRECISION,
) -> dict[str, Any]:
    """The text of successive outputs, and its chunks where timestamps or languages are asked for.

    decode: the text of tokens, special ones included. precision: seconds between two timestamps.
    {"text": ..., "chunks": [{"text": ..., "timestamp": (start, end), "language": ...}]}, times in seconds. An end, or
    both, is None where the model gave no timestamp; see `bounded`. In words' chunks times are rounded to 10 ms.
    """
    merger = Merger(marks, decode, return_timestamps, return_language, precision)
    for output in outputs:
        merger.take(output)
    return merger.result()


def bounded(chunks: Iterable[Mapping[str, Any]], duration: float) -> list[dict[str, Any]]:
    """The same chunks, none of which ends after the sound, `duration` seconds, or at None as transformers' may."""
    found = []
    last = 0.0
    for chunk in chunks:
        told = dict(chunk)
        if "timestamp" in told:
            start, end = told["timestamp"]
            start = min(last if start is None else start, duration)
            last = max(start, min(duration if end is None else end, duration))
            told["timestamp"] = (start, last)
        found.append(told)
    return found


@dataclass
class Chunk:
    """A stretch of text between two timestamps."""

    language: str | None
    start: float | None = None
    end: float | None = None
    text: str = ""
    words: list[dict[str, Any]] = field(default_factory=list)


class _Tokens(NamedTuple):
    """Tokens of text, and for words when each begins and ends; else no spans."""

    ids: list[int]
    spans: list[Span]


class Merger:
    """See `merged`. Tokens of text are kept until a timestamp ends them outside the overlap of two outputs.

    chunks: those that are whole; offset: seconds of the sound up to which outputs with strides have come.
    """

    def __init__(
        self,
        marks: Marks,
        decode: Decode,
        timestamps: Timestamps,
        return_language: bool,
        precision: float = PRECISION,
    ) -> None:
        self.chunks: list[Chunk] = []
        self.offset = 0.0
        self._marks, self._decode, self._precision = marks, decode, precision
        self._timestamps, self._return_language = timestamps, return_language
        self._language: str | None = None  # the last that was named
        self._skips = False  # whether the next timestamp is the second of a pair whose first was passed over
        self._begin()

    def _begin(self) -> None:
        self._chunk = Chunk(self._language)
        self._earlier: list[_Tokens] = []  # of outputs before this one, not yet ended
        self._now = _Tokens([], [])

    def take(self, output: Output) -> None:
        """Go on with the next output."""
        tokens = self._marks.without_prompt(output.tokens)
        times = None if output.times is None else np.asarray(output.times, np.float32).tolist()  # as in transformers
        clock = _Clock(self._marks.timestamps, self._precision)
        first, last = self._ends(tokens, output.stride)
        if output.stride is not None:
            self.offset -= output.stride.left
        self._now = _Tokens([], [])
        for at, token in enumerate(tokens):
            if token in self._marks.special:
                self._take_special(token)
            elif token >= self._marks.timestamps:
                passed = clock.passed(tokens, at)
                seconds = (token - self._marks.timestamps) * self._precision + self.offset + passed
                self._take_timestamp(token, round(seconds, 2), first, last)
            else:
                self._now.ids.append(token)
                if self._timestamps == "word" and times is not None:
                    begin = 0.0 if at == 0 else times[at - 1]
                    self._now.spans.append((round(begin + self.offset, 2), round(times[at] + self.offset, 2)))
        if output.stride is not None:
            self.offset += output.stride.length - output.stride.right
        if self._now.ids:
            self._earlier.append(self._now)
        elif not self._earlier:
            self._begin()

    def finish(self) -> None:
        """After the last output: what no timestamp has ended."""
        if self._earlier:
            self._close()

    def result(self) -> dict[str, Any]:
        """The text and the chunks, see `merged`, once all outputs are there."""
        self.finish()
        text = "".join(chunk.text for chunk in self.chunks)
        if not self._timestamps and not self._return_language:
            return {"text": text}
        if self._timestamps == "word":
            return {"text": text, "chunks": [word for chunk in self.chunks for word in chunk.words]}
        found = []
        for chunk in self.chunks:
            told: dict[str, Any] = {"language": chunk.language} if self._return_language else {}
            if self._timestamps:
                told["timestamp"] = (chunk.start, chunk.end)
            found.append(told | {"text": chunk.text})
        return {"text": text, "chunks": found}

    def _ends(self, tokens: Sequence[int], stride: Stride | None) -> tuple[float, int | None]:
        """The first timestamp after the overlap on the left, and the first of those in the overlap on the right.

        What is said in an overlap is in two outputs, so none of its timestamps ends a chunk. Of the right overlap the
        last timestamp of all counts, wherever it is.
        """
        begin = self._marks.timestamps
        first, last = float(begin), None
        if stride is not None and stride.left:
            first += stride.left / self._precision
        if stride is not None and stride.right:
            for token in reversed(tokens):
                if token >= begin:
                    if last is not None and (token - begin) * self._precision < stride.length - stride.right:
                        break
                    last = token
        return first, last

    def _take_special(self, token: int) -> None:
        language = self._marks.languages.get(token)
        if language is None:
            return
        if self._language and language != self._language and not self._timestamps:
            self._earlier.append(self._now)
            self._close()
        self._chunk.language = self._language = language

    def _take_timestamp(self, token: int, time: float, first: float, last: int | None) -> None:
        if last is not None and token >= last:
            self._skips = True
        elif self._skips or (self._earlier and token < first):
            self._skips = False
        elif self._chunk.start is None:
            self._chunk.start = time
        elif time != self._chunk.start:  # of two that are the same, the second begins as well
            self._chunk.end = time
            self._earlier.append(self._now)
            self._close()

    def _close(self) -> None:
        """The chunk is whole; another one begins."""
        tokens = _joined(self._earlier)
        self._chunk.text = self._decode(tokens.ids)
        if self._timestamps == "word":
            self._chunk.words = self._words(tokens)
        self.chunks.append(self._chunk)
        self._begin()

    def _words(self, tokens: _Tokens) -> list[dict[str, Any]]:
        language = {"language": self._language} if self._return_language else {}
        return [
            {"text": text, "timestamp": (tokens.spans[own[0]][0], tokens.spans[own[-1]][1])} | language
            for text, own in split_into_words(tokens.ids, self._decode, self._language)
        ]


class _Clock:
    """How far the timestamps of one output have come: windows of a long sound, each of which counts from its own
    beginning, lie one after the other in it."""

    def __init__(self, first: int, precision: float) -> None:
        self._first, self._precision = first, precision
        self._latest = self._before = self._passed = 0.0

    def passed(self, tokens: Sequence[int], at: int) -> float:
        """The seconds of the windows before the one that the timestamp at this place belongs to."""
        time = (tokens[at] - self._first) * self._precision
        if time < self._latest:  # another window has begun
            pair = at < 2 or all(token >= self._first for token in tokens[at - 2 : at])
            if pair:  # it begins where the last segment of the one before did
                self._latest = self._before
                self._passed += self._before
            else:
                self._passed += self._precision * _POSITIONS
        self._before, self._latest = self._latest, time
        return self._passed


def _joined(sequences: Sequence[_Tokens]) -> _Tokens:
    """Sequences that overlap as one: of each overlap the left half is of the left one, the right half of the right."""
    left = sequences[0]
    whole = _Tokens([], [])
    for right in sequences[1:]:
        size, other = len(left.ids), len(right.ids)
        overlap = _best(_agreements(left, right))
        if overlap:
            left_middle = (max(0, size - overlap) + min(size, size + other - overlap)) // 2
            right_middle = (max(0, overlap - size) + min(other, overlap)) // 2
        else:
            left_middle, right_middle = size, 0
        whole.ids.extend(left.ids[:left_middle])
        whole.spans.extend(left.spans[:left_middle])
        left = _Tokens(right.ids[right_middle:], right.spans[right_middle:])
    whole.ids.extend(left.ids)
    whole.spans.extend(left.spans)
    return whole


def joined(sequences: Iterable[Sequence[int]], special: frozenset[int]) -> list[int]:
    """What models without timestamps say of successive chunks, as one sequence without special tokens."""
    whole: list[int] = []
    for sequence in sequences:
        new = [token for token in sequence if token not in special]
        agreements = _agreements(_Tokens(whole, []), _Tokens(new, []))
        whole += new[_best(agreements[: min(len(whole), len(new)) + 1]) :]
    return whole


def _agreements(left: _Tokens, right: _Tokens) -> Int64:
    """How many tokens agree where the right sequence begins i tokens before the end of the left one, int64[n + m].

    For i beyond the left one's length its beginning lies within the right one. With spans a token agrees only where it
    is not said later on the left.
    """
    size, other = len(left.ids), len(right.ids)
    same = np.array(left.ids, np.int64)[:, None] == np.array(right.ids, np.int64)[None, :]
    if left.spans and right.spans:
        starts, ends = (np.array(each) for each in zip(*left.spans, strict=True))
        later_starts, later_ends = (np.array(each) for each in zip(*right.spans, strict=True))
        before = starts[:, None] < later_starts
        same &= before | ((starts[:, None] == later_starts) & (ends[:, None] <= later_ends))
    places, others = np.nonzero(same)
    return np.bincount(size - places + others, minlength=size + other)


def _best(agreements: Int64) -> int:
    """The overlap in which the largest share of tokens agrees, longer ones preferred a little; 0 for none of two."""
    overlaps = np.arange(1, len(agreements))
    shares = agreements[1:] / overlaps + overlaps / 10000.0
    shares[agreements[1:] < 2] = 0
    return int(shares.argmax()) + 1 if shares.any() else 0
