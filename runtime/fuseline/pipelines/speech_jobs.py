"""What a call of the speech pipeline does with sounds: one job for Whisper's models, one for those without timestamps.

Dimensions: `B` sounds that are recognized in one go, `N` samples at 16,000 a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..arrays import Float32
from ..errors import InputError, written
from ..folders.tensors import INPUT_FEATURES
from ..generation.config import PIPELINE_NEW_TOKENS, GenerationConfig
from ..generation.options import CHECKS
from ..inputs.audio import SAMPLING_RATE, LogMel, RawSamples, Sound, open_sound
from ..migrating.whisper_names import hint
from ..speech.chunks import Marks, Merger, Output, Stride, Timestamps, bounded, chunks_of, joined
from ..speech.options import SpeechOptions
from ..speech.reading import beginning
from ..speech.together import Said, Together, can_go_together
from ..speech.transcriber import Transcriber, Transcribing
from ..speech.vocabulary import Vocabulary
from .speech_reading import SpeechReading

if TYPE_CHECKING:
    from ..generation.result import Generation
    from ..model import Model

Result = dict[str, Any]
_NUM_BEAMS = 5  # of transformers' pipeline for this task, whatever the model's own number is
_BEGINNING = 8  # positions that are left for what a text begins with where nobody says how long it may be


class Job(Protocol):
    """What a call asks for, ready to be done for any sound."""

    def recognize(self, sounds: Sequence[Sound], batch_size: int) -> list[Result]:
        """The results of B sounds. batch_size: sounds, or chunks of them, that go through the model together."""
        ...

    def pieces(self, sound: Sound, batch_size: int) -> Iterator[str]:
        """The text of one sound as it becomes certain."""
        ...


class Piece(NamedTuple):
    """A chunk of one of several sounds. sound: its place among them; stride: in seconds, None of a whole sound."""

    sound: int
    samples: Float32
    stride: Stride | None


def chunks(sounds: Sequence[Sound], reading: SpeechReading, most: int | None) -> Iterator[Piece]:
    """The chunks of sounds, one sound after the other. most: samples of a chunk that the model can read."""
    length, left, right = reading.samples(SAMPLING_RATE) or (0, 0, 0)
    if most is not None and length > most:
        seconds = most / SAMPLING_RATE
        raise InputError(
            f"chunk_length_s={reading.chunk:g} is more than the {seconds:g} s that this model reads at once"
        )
    for at, sound in enumerate(sounds):
        for samples, stride in chunks_of(sound.blocks(), length, left, right):
            yield Piece(at, samples, stride.seconds(SAMPLING_RATE))


def in_batches(pieces: Iterable[Piece], size: int) -> Iterator[list[Piece]]:
    """So many at once."""
    coming = iter(pieces)
    while batch := list(islice(coming, size)):
        yield batch


class WhisperJob:
    """Of models whose tokens say when, and in which language, something is said."""

    def __init__(self, model: Model, fields: Mapping[str, Any], reading: SpeechReading) -> None:
        """fields: options of SpeechOptions, generation's among them. Raises InputError."""
        by_model = model.folder.generation_config.get("return_timestamps") is True
        self._timestamps: Timestamps = reading.timestamps or by_model  # of results
        self._options = speech_options(model, fields, reading)
        self._model, self._reading = model, reading
        self._transcriber = Transcriber(model)
        features = model.inputs.features  # type: ignore[union-attr]  # check_task has seen that it reads speech
        assert isinstance(features, LogMel)
        self._samples = features.samples  # of a window
        vocabulary = Vocabulary.of(model)
        self._marks, self._languages = Marks.of(vocabulary), vocabulary.languages
        self._together = (
            Together(model, features, self._options, bool(self._options.return_timestamps or by_model))
            if can_go_together(self._options)
            else None
        )

    def recognize(self, sounds: Sequence[Sound], batch_size: int) -> list[Result]:
        if not self._reading.chunk:
            return self._whole(sounds)
        mergers = [self._merger() for _ in sounds]
        for batch in in_batches(chunks(sounds, self._reading, self._samples), batch_size):
            for piece, output in zip(batch, self._outputs(batch), strict=True):
                mergers[piece.sound].take(output)
        return [self._result(merger, merger.offset) for merger in mergers]

    def pieces(self, sound: Sound, batch_size: int) -> Iterator[str]:
        if not self._reading.chunk:
            for segment in self._transcriber.transcribe(sound, self._options):
                if segment.dropped is None and segment.text:
                    yield segment.text
            return
        merger = self._merger()
        told = 0
        for batch in in_batches(chunks([sound], self._reading, self._samples), batch_size):
            for output in self._outputs(batch):
                merger.take(output)
            yield from (chunk.text for chunk in merger.chunks[told:] if chunk.text)
            told = len(merger.chunks)
        merger.finish()
        yield from (chunk.text for chunk in merger.chunks[told:] if chunk.text)

    def _whole(self, sounds: Sequence[Sound]) -> list[Result]:
        """Without chunks: those that fit into a window together, the others window after window."""
        begun = [beginning(sound, self._samples + 1) for sound in sounds] if self._together else []
        short = [at for at, samples in enumerate(begun) if len(samples) <= self._samples]
        outputs: dict[int, tuple[Output, float]] = {}
        if self._together and short:
            said = self._together.decode([begun[at] for at in short])
            outputs = {
                at: (self._output(each, None), len(begun[at]) / SAMPLING_RATE)
                for at, each in zip(short, said, strict=True)
            }
        results = []
        for at, sound in enumerate(sounds):
            output, duration = outputs[at] if at in outputs else self._alone(sound, None)
            merger = self._merger()
            merger.take(output)
            results.append(self._result(merger, duration))
        return results

    def _outputs(self, batch: Sequence[Piece]) -> list[Output]:
        if self._together is None:
            return [self._alone(open_sound(piece.samples), piece.stride)[0] for piece in batch]
        said = self._together.decode([piece.samples for piece in batch])
        return [self._output(each, piece.stride) for each, piece in zip(said, batch, strict=True)]

    def _alone(self, sound: Sound, stride: Stride | None) -> tuple[Output, float]:
        """What is said in one sound, and its seconds."""
        running: Transcribing = self._transcriber.transcribe(sound, self._options)
        said = Said(None, ())
        times: list[float] = []
        for segment in running:
            if segment.dropped is None:
                said.tokens += segment.tokens
                times += segment.times
        said.language = running.language
        return self._output(said, stride, times if self._options.words else None), running.duration

    def _output(self, said: Said, stride: Stride | None, times: list[float] | None = None) -> Output:
        """With the token of the language before it where results name it or depend on it.

        transformers 4.57 takes it away and so knows of no language: there it is None, and words are always split at
        spaces.
        """
        tokens = said.tokens
        if said.language is not None and (self._reading.language or self._options.words):
            tokens = [self._languages[said.language], *tokens]
            times = None if times is None else [0.0, *times]
        return Output(tokens, stride, times)

    def _merger(self) -> Merger:
        return Merger(self._marks, self._text, self._timestamps, bool(self._reading.language))

    def _text(self, tokens: Sequence[int]) -> str:
        return self._model.decode([list(tokens)], skip_special_tokens=False)[0] if tokens else ""

    def _result(self, merger: Merger, duration: float) -> Result:
        result = merger.result()
        if "chunks" in result:
            result["chunks"] = bounded(result["chunks"], duration)
        return result


class PlainJob:
    """Of models that say a text and nothing else, such as Moonshine."""

    def __init__(self, model: Model, fields: Mapping[str, Any], reading: SpeechReading) -> None:
        """fields: of GenerationConfig. Raises InputError."""
        for name, value in (
            ("return_timestamps", reading.timestamps),
            ("return_timestamps", fields.get("return_timestamps")),
            ("return_language", reading.language),
        ):
            if value:
                raise InputError(
                    f"{name}={written(value)} needs a model of Whisper; this one says neither times nor languages"
                )
        options = {name: value for name, value in fields.items() if name != "return_timestamps"}
        given = options.pop("generation_config", None)
        if unknown := [name for name in options if name not in CHECKS]:
            if meant := hint(unknown[0]):
                raise InputError(f"{unknown[0]} is no option of speech{meant}")
            GenerationConfig(**{unknown[0]: options[unknown[0]]})  # which says what is wrong with it
        self.config = plain_config(model, given).override(**options)
        self._model, self._reading = model, reading
        features = model.inputs.features  # type: ignore[union-attr]  # check_task has seen that it reads speech
        assert isinstance(features, RawSamples)
        self._inputs = features
        source = model.folder.source
        self._most = None if source.longest is None else source.longest * (source.samples_a_position or 1)
        self._special = frozenset(
            token for token, added in model.tokenizer.get_added_tokens_decoder().items() if added.special
        )

    def recognize(self, sounds: Sequence[Sound], batch_size: int) -> list[Result]:
        sequences: list[list[list[int]]] = [[] for _ in sounds]
        for batch in in_batches(self._pieces(sounds), batch_size):
            made = self.generate(batch)
            for piece, tokens in zip(batch, made.sequences[:: made.num_return_sequences].tolist(), strict=True):
                sequences[piece.sound].append(tokens)
        return [{"text": self._model.decode([self._one(each)])[0]} for each in sequences]

    def generate(self, batch: Sequence[Piece]) -> Generation:
        return self._model.generate(self._inputs([piece.samples for piece in batch]), generation_config=self.config)

    def pieces(self, sound: Sound, batch_size: int) -> Iterator[str]:
        if self._reading.chunk:
            (result,) = self.recognize([sound], batch_size)
            yield result["text"]
            return
        (piece,) = self._pieces([sound])
        for event in self._model.stream(self._inputs([piece.samples]), generation_config=self.config):
            if event.text:
                yield event.text

    def _pieces(self, sounds: Sequence[Sound]) -> Iterator[Piece]:
        if self._reading.chunk:
            return chunks(sounds, self._reading, self._most)
        most = None if self._most is None else self._most + 1  # the graph refuses what is too long
        return (Piece(at, beginning(sound, most), None) for at, sound in enumerate(sounds))

    def _one(self, sequences: Sequence[Sequence[int]]) -> list[int]:
        """The sequences of a sound's chunks as one.

        transformers 4.57 has a function that joins those that overlap, and never comes to it: what is said in an
        overlap stands there twice.
        """
        _, left, right = self._reading.samples(SAMPLING_RATE) or (0, 0, 0)
        if left or right:
            return joined(sequences, self._special)
        return [token for sequence in sequences for token in sequence]


def job_of(model: Model, fields: Mapping[str, Any], reading: SpeechReading) -> Job:
    """What a call with these options does. Raises InputError."""
    kind = WhisperJob if INPUT_FEATURES in model.folder.source.inputs else PlainJob
    return kind(model, fields, reading)


def plain_config(model: Model, given: object = None) -> GenerationConfig:
    """The options of calls that give none: transformers' for this task, under the model's length.

    given: a generation_config of a call's, which stands in their place.
    """
    if given is not None:
        return model._configured(given)
    own = model.generation_config
    if own.length_is_default:
        own = own.with_default_length(PIPELINE_NEW_TOKENS)
    return own.with_defaults(num_beams=_NUM_BEAMS)


def speech_options(model: Model, fields: Mapping[str, Any], reading: SpeechReading) -> SpeechOptions:
    """The options of a call to a model of Whisper. Raises InputError."""
    options = dict(fields)
    asked = options.pop("return_timestamps", None)
    return SpeechOptions(**_with_defaults(model, options), return_timestamps=reading.timestamps or asked)


def _with_defaults(model: Model, options: dict[str, Any]) -> dict[str, Any]:
    """The same for options of speech, which are over the model's own."""
    own = model.generation_config
    given = options.pop("generation_config", None)
    if given is not None:
        made = model._configured(given)
        differing = {name: getattr(made, name) for name in CHECKS if getattr(made, name) != getattr(own, name)}
        return differing | options
    defaults: dict[str, Any] = {"num_beams": _NUM_BEAMS}
    if own.length_is_default and not {"max_length", "max_new_tokens"} & options.keys():
        defaults["max_new_tokens"] = min(PIPELINE_NEW_TOKENS, model.folder.decoder.max_positions - _BEGINNING)
    return defaults | options
