"""When each token and each word was said: dynamic time warping over the cross-attention of a model's alignment heads.

As Whisper has it (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022) and transformers
computes it (`WhisperGenerationMixin._extract_token_timestamps`; `_combine_tokens_into_words` of tokenization_whisper).
The weights of the heads that follow the speech get mean 0 and deviation 1 over the tokens, are smoothed in time by a
median and averaged. The cheapest path through them that never goes back gives every token its position.

Dimensions: `T` generated tokens of one sequence, `L` layers, `H` heads, `S` encoder positions of 20 ms, `A` alignment
heads, `N` tokens that are aligned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..arrays import Float32, Int64
from ..errors import InputError
from .segments import Word

Float64 = npt.NDArray[np.float64]
Heads = Sequence[tuple[int, int]]
Decode = Callable[[Sequence[int]], str]

PRECISION = 0.02  # seconds of an encoder position
_FRAMES = 2  # of 10 ms in an encoder position
_MEDIAN_WIDTH = 7
# Languages that put no spaces between words, by code and by name.
_UNSPACED = {"zh", "ja", "th", "lo", "my", "yue", "chinese", "japanese", "thai", "lao", "myanmar", "cantonese"}
_MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_OPENING = "\"'“¡¿([{-"  # of these, one with a space before it belongs to the word that follows
_CLOSING = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - of these, one without a space before it belongs to the word that it follows
_UNFINISHED = "\ufffd"  # what the bytes of a character decode to before the last of them is there


def word_times(
    tokens: Sequence[int],
    cross_attentions: Float32,
    heads: Heads,
    frames: int | None,
    decode: Decode,
    language: str | None,
    text_tokens: int,
    token_logprobs: Sequence[float] | None = None,
) -> tuple[Word, ...]:
    """The words of one window's tokens, in seconds from the window's beginning: token_times, then words; see there."""
    times = token_times(tokens, cross_attentions, heads, frames)
    return words(tokens, times.tolist(), decode, language, text_tokens, token_logprobs)


def token_times(tokens: Sequence[int], cross_attentions: Float32, heads: Heads, frames: int | None) -> Float64:
    """By when each generated token of a sequence was said: float64[T], seconds from the window's beginning.

    tokens: the T generated tokens, without prompt and padding; the end token is the last of them where there is one.
    cross_attentions: float32[T, L, H, S], as Generation has it: the weights of the step that gave each token. A token's
    place is where the step looks that reads it, which is the next one; so the first step counts for nothing, and the
    last token, which no step reads, has the time of the one before. heads: layer and head of each alignment head.
    frames: how many frames of 10 ms the audio has from the window's beginning on; None for a whole window. Raises
    InputError for arrays that do not belong together and heads that the model does not have.
    """
    _check(tokens, cross_attentions, heads)
    steps, positions = len(tokens), cross_attentions.shape[3]
    if frames is not None:
        positions = min(max(frames // _FRAMES, 0), positions)
    if steps < 2 or not positions:
        return np.zeros(steps)
    weights = np.stack([cross_attentions[1:steps, layer, head, :positions] for layer, head in heads])
    found = places(-_smoothed(weights))
    return np.append(found, found[-1]) * PRECISION


def places(cost: Float32) -> Int64:
    """The first position of every token on the cheapest path that begins and ends in the corners and never goes back.

    cost: float32[N, S], of a token at a position -> int64[N], which never falls. The sums are rounded and ties are
    broken as transformers does it (`_dynamic_time_warping`).
    """
    tokens, positions = cost.shape
    steps = _steps(np.where(np.isnan(cost), np.float32(0), cost))
    found = np.zeros(tokens, np.int64)
    token, position = tokens, positions  # both counted from 1
    while token and position:
        found[token - 1] = position - 1
        step = steps[(token + position - 2) * tokens + token - 1]
        token -= step != _STAYS
        position -= step != _SAME_TIME
    return found


# How a path came to a token's position.
_BOTH, _SAME_TIME, _STAYS = 0, 1, 2  # from the token before and the position before, or one of them alone


def _steps(cost: Float32) -> bytes:
    """The last step of the cheapest path to every cell of cost, float32[N, S].

    Cells of one diagonal, token + position, need only the two diagonals before it, so each diagonal is computed at
    once. The result has N entries a diagonal: that of token n at position s is entry (n + s) N + n.
    """
    tokens, positions = cost.shape
    diagonals = tokens + positions - 1
    # Row after row moved right by one more: a row is laid one entry too wide, then read at the right width.
    wide = np.zeros((tokens, diagonals + 1), np.float32)
    wide[:, :positions] = cost
    skewed = np.ascontiguousarray(wide.reshape(-1)[: tokens * diagonals].reshape(tokens, diagonals).T)
    both, same_time = np.zeros((2, diagonals, tokens), bool)
    # Sums on the diagonals before the last, the last and this one: entry n is of token n - 1, entry 0 of no token.
    before, last, now = np.full((3, tokens + 1), np.inf, np.float32)
    before[0] = 0
    least = np.empty(tokens, np.float32)
    for diagonal in range(diagonals):
        low, high = max(0, diagonal - positions + 1), min(tokens, diagonal + 1)
        from_both, from_token, from_position = before[low:high], last[low:high], last[low + 1 : high + 1]
        is_both, is_same = both[diagonal, low:high], same_time[diagonal, low:high]
        other = np.minimum(from_token, from_position, out=least[low:high])
        np.less(from_both, other, out=is_both)
        other = np.minimum(from_both, from_position, out=other)
        np.less(from_token, other, out=is_same)
        sums = now[low + 1 : high + 1]
        sums[...] = from_position  # of equal sums too
        np.copyto(sums, from_token, where=is_same)
        np.copyto(sums, from_both, where=is_both)
        sums += skewed[diagonal, low:high]
        before, last, now = last, now, before
        now[0] = np.inf
    steps: npt.NDArray[np.uint8] = np.full(both.shape, _STAYS, np.uint8)
    steps[same_time], steps[both] = _SAME_TIME, _BOTH
    return steps.tobytes()


def _check(tokens: Sequence[int], cross_attentions: Float32, heads: Heads) -> None:
    """Raise InputError for what token_times cannot use."""
    shape = cross_attentions.shape
    if len(shape) != 4 or shape[0] < len(tokens):
        raise InputError(
            f"the cross-attention of {len(tokens)} tokens must have the shape [{len(tokens)}, layers, heads, "
            f"positions], not {list(shape)}"
        )
    _, layers, count, _ = shape
    if not heads:
        raise InputError("words need alignment heads, and there are none; ask for segments: return_timestamps=True")
    for layer, head in heads:
        if not (0 <= layer < layers and 0 <= head < count):
            raise InputError(
                f"alignment head {[layer, head]} is not one of the decoder's {layers} layers of {count} heads; correct "
                "alignment_heads in generation_config.json"
            )


def _smoothed(weights: Float32) -> Float32:
    """The mean of the heads' weights, float32[A, N, S], normalized and smoothed -> float32[N, S]."""
    total = np.zeros(weights.shape[1:], np.float32)
    for head in weights:  # one after the other, so that a head stays in the processor's cache
        centred = head - head.mean(axis=0, dtype=np.float64).astype(np.float32)
        deviation = np.sqrt(np.square(centred, dtype=np.float64).mean(axis=0)).astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 where a position has one weight for all tokens
            total += _median(centred / deviation)
    return total / np.float32(len(weights))


def _median(values: Float32) -> Float32:
    """The median of _MEDIAN_WIDTH neighbours in the last dimension, which is mirrored at its ends; NaN is the largest.

    The extremes of more than half of the neighbours cannot be the median of all: they go, the next neighbour comes.
    """
    aside = _MEDIAN_WIDTH // 2
    count = values.shape[-1]
    if count <= aside:
        return values
    padded = np.pad(values, [(0, 0), (aside, aside)], mode="reflect")
    neighbours = [padded[:, first : first + count] for first in range(_MEDIAN_WIDTH)]
    held, coming = neighbours[: aside + 2], neighbours[aside + 2 :]
    while len(held) > 1:
        for at in range(len(held) - 1):  # the largest to the end
            held[at], held[at + 1] = _in_order(held[at], held[at + 1])
        for at in range(len(held) - 2, 0, -1):  # the least to the beginning
            held[at - 1], held[at] = _in_order(held[at - 1], held[at])
        held = held[1:-1] + coming[:1]
        coming = coming[1:]
    return held[0]


def _in_order(left: Float32, right: Float32) -> tuple[Float32, Float32]:
    """The smaller and the larger of each pair; NaN is larger than all."""
    return np.fmin(left, right), np.maximum(left, right)


def words(
    tokens: Sequence[int],
    times: Sequence[float],
    decode: Decode,
    language: str | None,
    text_tokens: int,
    token_logprobs: Sequence[float] | None = None,
    start: float = 0.0,
) -> tuple[Word, ...]:
    """The words of tokens, each with when it begins and ends, rounded to 10 ms as transformers has them.

    times: by when each token was said, seconds. decode: the text of tokens, special ones included. language: by code or
    name, None for English; some put no spaces between words. text_tokens: tokens from this one on are special, and
    belong to no word. token_logprobs: of each token; a word's probability is the mean of its tokens', 1 where they are
    not given. start: when the first token began.
    """
    kept = [at for at, token in enumerate(tokens) if token < text_tokens]
    begins = [start, *times[:-1]]
    found = []
    for text, indices in split_into_words([tokens[at] for at in kept], decode, language):
        own = [kept[index] for index in indices]
        probability = 1.0 if token_logprobs is None else sum(math.exp(token_logprobs[at]) for at in own) / len(own)
        found.append(Word(text, round(begins[own[0]], 2), round(times[own[-1]], 2), probability))
    return tuple(found)


def split_into_words(tokens: Sequence[int], decode: Decode, language: str | None) -> list[tuple[str, list[int]]]:
    """The words of text tokens, and which of the tokens each is made of.

    As `tokenization_whisper._combine_tokens_into_words`: words begin at spaces, in languages without them at every
    character, and marks go with the word that they touch. Bytes at the end that are no character belong to no word.
    """
    found = _characters(tokens, decode)
    if language not in _UNSPACED:
        found = _joined_at_spaces(found)
    _join_opening(found)
    _join_closing(found)
    return [(text, indices) for text, indices in found if text]


_Pieces = list[tuple[str, list[int]]]


def _characters(tokens: Sequence[int], decode: Decode) -> _Pieces:
    """The shortest runs of tokens that are whole characters."""
    whole = decode(tokens)
    found: _Pieces = []
    begin = 0  # of the run, in the whole text
    run: list[int] = []
    for index, _ in enumerate(tokens):
        run.append(index)
        text = decode([tokens[each] for each in run])
        broken = text.find(_UNFINISHED)
        # What is broken in the whole text as well stays so.
        if broken < 0 or whole[begin + broken : begin + broken + 1] == _UNFINISHED:
            found.append((text, run))
            run = []
            begin += len(text)
    return found


def _joined_at_spaces(pieces: _Pieces) -> _Pieces:
    """A piece that begins with no space and is no mark goes with the one before it."""
    found: _Pieces = []
    for text, indices in pieces:
        if not found or text.startswith(" ") or text.strip() in _MARKS:
            found.append((text, indices))
        else:
            found[-1] = (found[-1][0] + text, found[-1][1] + indices)
    return found


def _join_opening(pieces: _Pieces) -> None:
    """Put opening marks before the word that follows; what is left of them is an empty piece."""
    following = len(pieces) - 1
    for at in range(len(pieces) - 2, -1, -1):
        text, indices = pieces[at]
        if text.startswith(" ") and text.strip() in _OPENING:
            pieces[following] = (text + pieces[following][0], indices + pieces[following][1])
            pieces[at] = ("", [])
        else:
            following = at


def _join_closing(pieces: _Pieces) -> None:
    """Put closing marks after the word before them; what is left of them is an empty piece."""
    word = 0
    for at in range(1, len(pieces)):
        text, indices = pieces[at]
        if not pieces[word][0].endswith(" ") and text in _CLOSING:
            pieces[word] = (pieces[word][0] + text, pieces[word][1] + indices)
            pieces[at] = ("", [])
        else:
            word = at
