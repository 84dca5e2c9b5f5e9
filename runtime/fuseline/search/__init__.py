"""From the logits of a decoder's steps to sequences of tokens: greedy search, beam search and sampling.

A search sees the step contract of fuseline.graphs.contract and no graph. Dimensions: `B` inputs of a call, `R` rows =
B x num_beams (rows of one input together), `T` tokens of this step, `V` vocabulary, `K` candidates of one input, `N`
sequences returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..arrays import Float32
from ..errors import Cancelled, InputError, written
from ..folders.confidence import Confidence
from ..generation.config import GenerationConfig
from ..generation.result import Generation, Timings
from ..graphs.running import CancelToken, Limit, RunEnded
from ..memory import check_memory
from .beam import BeamSearch
from .endings import Endings
from .greedy import GreedySearch
from .groups import GroupSearch
from .model_logprobs import Float64, ModelLogprobs
from .steps import Hypothesis, Log, Prefix, Steps, Task, needed_bytes

if TYPE_CHECKING:
    from ..folders.tensors import DecoderSizes
    from ..graphs.contract import Decoder, Encoded

__all__ = ["CancelToken", "Prefix", "Search", "search"]


_NOT_SAID = (
    'output_sequences_confidences needs a model whose fuseline.json has "confidence", and this one does not say how '
    "sure it is; output_model_logprobs has what the model finds of each token"
)


class _Strategy(Protocol):
    """How a search goes on, a step at a time: one that is broken off has changed nothing of what the others tell.

    scores: float32[R, V] of every step as they were chosen from, where they are kept; shifts: float32[R] of
    every step, see steps.shifts; model_logprobs: see there; count: steps so far.
    """

    scores: Log
    shifts: Log
    model_logprobs: ModelLogprobs

    @property
    def count(self) -> int: ...

    def advance(self) -> bool: ...

    def prefix(self, photo: int) -> Prefix: ...

    def found(self, reason: str) -> list[Hypothesis]: ...


class Search:
    """One search in progress: steps while there is something to do, then its result."""

    def __init__(
        self,
        decoder: Decoder,
        encoded: Encoded,
        prompt: npt.NDArray[np.int64],
        config: GenerationConfig,
        *,
        max_positions: int | None = None,
        sizes: DecoderSizes | None = None,
        encoder_ms: float = 0.0,
        text_of: Callable[[int], str] | None = None,
        cancel: CancelToken | None = None,
        partial: bool = False,
        variant: str = "",
        inputs: Sequence[npt.NDArray[np.int64]] = (),
        confidence: Confidence | None = None,
    ) -> None:
        """See `search`. variant: that of the decoder, for the Generation; inputs: tokens of each input, int64[S];
        confidence: how sure the model is of a text, if that is known."""
        self._encoder_ms, self._ms = encoder_ms, 0.0
        self._cancel, self._partial, self._stopped = cancel, partial, ""
        self._config, self._prompt, self._variant = config, prompt, variant
        self._confidence = confidence
        limited = config.max_time is not None or cancel is not None
        self._limit = Limit(config.max_time, cancel) if limited else nullcontext()  # of each step
        self._found: list[Hypothesis] | None = None  # once it is over
        if cancel is not None and not callable(getattr(cancel, "is_set", None)):
            raise InputError(f"cancel must have is_set(), as a threading.Event has, not {written(cancel)}")
        if not isinstance(partial, bool):
            raise InputError(f"partial must be True or False, not {written(partial)}")
        if prompt.ndim != 2 or 0 in prompt.shape or prompt.dtype != np.int64:
            raise InputError(
                f"the decoder's prompt must be int64 of shape [photos, tokens], "
                f"not {prompt.dtype} of shape {list(prompt.shape)}"
            )
        if config.output_sequences_confidences and confidence is None:
            raise InputError(_NOT_SAID)
        with self._timed():
            longest = config.total_length(prompt.shape[1], max_positions)
            # More sequences than beams only where they are sampled.
            each = max(config.num_beams, config.num_return_sequences)
            _check_memory(config, encoded, prompt, each, longest, sizes)
            self._steps = Steps(decoder, encoded, len(prompt), each, longest, config)
            task = Task(self._steps, prompt, config, longest, Endings(config, longest, text_of), inputs)
            beams = GroupSearch if config.num_beam_groups > 1 else BeamSearch
            self._strategy: _Strategy = (GreedySearch if config.num_beams == 1 else beams)(task)

    def step(self) -> bool:
        """One token more; False once there is nothing left to do.

        Raises Cancelled where the cancel token is set and KeyboardInterrupt as it comes; with `partial` neither, and
        the search ends here. Whatever a step raises, what was found before it stands, and `generation` returns it.
        """
        try:
            if self._cancel is not None and self._cancel.is_set():
                return self._stop("cancelled")
            with self._timed(), self._limit:
                return self._strategy.advance()
        except RunEnded as ended:  # what was there before the step is the result
            return self._stop(ended.reason)
        except KeyboardInterrupt:
            if not self._partial:
                raise
            return self._stop("interrupted")

    def prefixes(self) -> list[Prefix]:
        """What is known of the first sequence of each photo."""
        if self._found is not None:
            first = self._found[:: self._config.num_return_sequences]
            return [Prefix(each.tokens, each.tokens[:0], each.reason) for each in first]
        return [self._strategy.prefix(photo) for photo in range(len(self._prompt))]

    def generation(self) -> Generation:
        """The result, once step has returned False."""
        with self._timed():
            self._found = self._strategy.found(self._stopped)
            arrays = _arrays(self._found, self._prompt.shape[1], self._config)
        steps, count = self._steps, self._strategy.count
        total = self._encoder_ms + self._ms
        attentions, shares = steps.attentions.of(count), steps.shares.of(count)
        logprobs = self._strategy.model_logprobs.of(self._found)
        return Generation(
            **arrays,
            timings=Timings(self._encoder_ms, steps.milliseconds, self._ms - steps.milliseconds, total, count),
            num_return_sequences=self._config.num_return_sequences,
            variant=self._variant,
            confidences=_confidences(
                self._found, arrays["token_logprobs"], self._strategy.shifts.of(count), self._config
            ),
            model_logprobs=logprobs,
            sequences_confidences=self._sequences_confidences(logprobs),
            scores=self._strategy.scores.of(count),
            logits=steps.logits.of(count),
            cross_attentions=_attentions(self._found, attentions) if attentions else None,
            source_attention=_of_tokens(self._found, shares) if shares else None,
            sources=steps.sources if shares else (),
            source_starts=steps.starts if shares else (),
        )

    def _sequences_confidences(self, logprobs: tuple[Float64, ...] | None) -> Float32 | None:
        """float32[N], see Generation. logprobs: those of each sequence, if they are kept."""
        if logprobs is None or self._confidence is None or not self._config.output_sequences_confidences:
            return None
        return np.array([self._confidence.of(each) for each in logprobs], np.float32)

    def _stop(self, reason: str) -> bool:
        self._stopped = reason
        if reason == "cancelled" and not self._partial:
            raise Cancelled("the search was cancelled; with partial=True it returns what it has")
        return False

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = perf_counter()
        yield
        self._ms += (perf_counter() - began) * 1000


def search(
    decoder: Decoder, encoded: Encoded, prompt: npt.NDArray[np.int64], config: GenerationConfig, **more: Any
) -> Generation:
    """The best sequences for every photo, as transformers' generate gives them for the same options.

    prompt: int64[B, T], one row a photo, T >= 1 (config.prompt(B) is the usual one). more, by name: max_positions, how
    many positions the decoder can tell apart, if known; sizes, of the decoder, by which what cannot fit into memory is
    refused; encoder_ms, milliseconds that the encoder took, to be reported;
    text_of, the text of a token inside a text, which stop_strings needs; cancel, a CancelToken; partial, whether a
    search that is cancelled or interrupted returns what it has.
    Raises InputError for a prompt of another form, and where it leaves no room for a token; Cancelled.
    """
    running = Search(decoder, encoded, prompt, config, **more)
    while running.step():
        pass
    return running.generation()


def _check_memory(
    config: GenerationConfig,
    encoded: Encoded,
    prompt: npt.NDArray[np.int64],
    each: int,
    longest: int,
    sizes: DecoderSizes | None,
) -> None:
    """Raise InputError for a search that cannot fit into memory. each: rows a photo; longest: as in needed_bytes."""
    photos, start = prompt.shape
    steps = longest - start
    positions = (
        steps * int(next(iter(encoded.values.values())).shape()[1])
        if config.output_attentions and encoded.values
        else 0
    )
    returned = f", num_return_sequences={config.num_return_sequences}" if config.num_return_sequences > 1 else ""
    check_memory(
        needed_bytes(
            photos * each, longest, sizes, steps * (config.output_scores + bool(config.output_logits)), positions
        ),
        f"{photos} x {each} sequences (num_beams={config.num_beams}{returned}) of up to {longest} tokens",
        "ask for fewer of them, or lower max_length or max_new_tokens",
    )


def _attentions(found: list[Hypothesis], steps: tuple[Float32, ...]) -> Float32:
    """float32[N, T, L, H, S] of the rows that the sequences' tokens continued. steps: float32[L, R, H, S] of each."""
    layers, _, heads, positions = steps[0].shape
    longest = max(len(each.rows) for each in found)
    attentions = np.zeros((len(found), longest, layers, heads, positions), np.float32)
    for index, each in enumerate(found):
        for place, row in enumerate(each.rows):
            attentions[index, place] = steps[place][:, row]
    return attentions


def _of_tokens(found: list[Hypothesis], steps: tuple[Float32, ...]) -> Float32:
    """float32[N, T, M] of the rows that the sequences' tokens continued. steps: float32[R, M] of each."""
    values = np.zeros((len(found), max(len(each.rows) for each in found), steps[0].shape[1]), np.float32)
    for index, each in enumerate(found):
        for place, row in enumerate(each.rows):
            values[index, place] = steps[place][row]
    return values


def _confidences(
    found: list[Hypothesis], logprobs: Float32, shifts: tuple[Float32, ...] | None, config: GenerationConfig
) -> Float32 | None:
    """float32[N, T - prompt], see Generation. logprobs: of the same shape; shifts: float32[R] of each step, if kept."""
    if shifts is None:
        return None
    confidences = logprobs * np.float32(config.temperature if config.do_sample else 1)
    for index, each in enumerate(found):
        for place, row in enumerate(each.rows):
            confidences[index, place] += shifts[place][row]
    return confidences


def _arrays(found: list[Hypothesis], start: int, config: GenerationConfig) -> dict[str, Any]:
    """The fields of a Generation that are made of the sequences, padded to the longest of them."""
    longest = max(len(each.tokens) for each in found)
    # With beams transformers takes a pad token of 0 for none and pads with the first end token instead; not with
    # groups. Without end tokens all sequences have the same length.
    zero_is_none = config.num_beams > 1 and config.num_beam_groups == 1
    pad = config.pad if not zero_is_none else (config.pad or config.ends[0]) if config.ends else None
    sequences = np.full((len(found), longest), -1 if pad is None else pad, np.int64)
    logprobs = np.zeros((len(found), longest - start), np.float32)
    rows = np.full((len(found), longest - start), -1, np.int64)
    for index, each in enumerate(found):
        sequences[index, : len(each.tokens)] = each.tokens
        logprobs[index, : len(each.logprobs)] = each.logprobs
        rows[index, : len(each.rows)] = each.rows
    return {
        "sequences": sequences,
        "sequences_scores": np.array([each.score for each in found], np.float32),
        "token_logprobs": logprobs,
        "beam_indices": None if config.num_beams == 1 else rows,
        "finish_reasons": tuple(each.reason for each in found),
    }
