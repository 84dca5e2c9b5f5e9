"""What a checkpoint's encoder reads, photos, texts, speech or nothing: how it is tried out, asked, and made a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import onnx

from fuseline.errors import ExportError
from fuseline.folders.tensors import ATTENTION_MASK, CROSS, INPUT_IDS, PIXEL_VALUES
from fuseline.inputs.audio import LogMel, RawSamples
from fuseline.tokens.hf import TOKENIZER

from .adapters import ModelAdapter, Parts
from .checkpoints.checkpoint import Checkpoint
from .checkpoints.dry_run import try_out, try_out_texts
from .checkpoints.extractor import WHISPER_FEATURES, read_extractor
from .checkpoints.generated import generated_clips, generated_text_inputs
from .checkpoints.photo_size import Size, arriving_size, generated_pixels
from .checkpoints.processor import Processor, read_processor
from .checkpoints.speech_tokenizer import speech_tokenizer_json
from .checkpoints.tokenizer import text_tokenizer_files, tokenizer_json
from .encoders.speech_encoder import SpeechEncoder
from .encoders.traced import HIDDEN_STATES, always_interpolate, traced_encoder, with_scheme
from .encoders.vision import write_vision
from .encoders.written import WrittenEncoder
from .graphs.weights import Array, Scheme
from .graphs.weights_file import WeightsFile

WriteEncoder = Callable[[Scheme, WeightsFile], onnx.ModelProto]
PHOTOS = CLIPS = 4  # that a check asks about


class Source(Protocol):
    """What the encoder reads, of a checkpoint whose small files are read."""

    @property
    def reads_text(self) -> bool:
        """Whether it reads tokens."""
        ...

    @property
    def padded(self) -> bool:
        """Whether inputs of one batch may differ in length."""
        ...

    def try_out(self, checkpoint: Checkpoint, adapter: ModelAdapter) -> None:
        """Raises ExportError where transformers cannot make the model, as far as that shows without weights."""
        ...

    def files(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What writing.folder.write_to is told of it, but for the graphs."""
        ...

    def loaded(self, encoder: Any) -> None:
        """Prepare the torch module of the encoder."""
        ...

    def generated(self, parts: Parts, ends: Sequence[int]) -> Mapping[str, Array]:
        """Inputs to compare models on, by their names, always the same ones. ends: what ends texts."""
        ...

    def encoder(self, parts: Parts, weights: Mapping[str, Array], *, once: bool) -> WriteEncoder | None:
        """What makes the encoder's graph by scheme, cross-attention K/V with it; None where there is none. once:
        whether it is asked once."""
        ...

    def described(self, parts: Parts) -> dict[str, Any] | None:
        """The task and the sources of fuseline.json; None for a model of photos, whose file says nothing of it."""
        ...


@dataclass(frozen=True)
class Photos:
    """One photo, in the size that the image processor gives."""

    processor: Processor
    size: Size
    interpolate: bool
    reads_text = padded = False

    def try_out(self, checkpoint: Checkpoint, adapter: ModelAdapter) -> None:
        try_out(checkpoint, adapter, self.size, interpolate=self.interpolate)

    def files(self, checkpoint: Checkpoint) -> dict[str, Any]:
        return {"preprocessor_config": self.processor.config, "tokenizer_json": tokenizer_json(checkpoint)}

    def loaded(self, encoder: Any) -> None:
        if self.interpolate:
            always_interpolate(encoder)

    def generated(self, parts: Parts, ends: Sequence[int]) -> Mapping[str, Array]:
        return {PIXEL_VALUES: generated_pixels(self.processor.prepare, PHOTOS, self.size)}

    def encoder(self, parts: Parts, weights: Mapping[str, Array], *, once: bool) -> WriteEncoder:
        traced: list[onnx.ModelProto] = []  # kept for the next variant
        module, adapter, config = parts.encoder, parts.decoder, parts.decoder_config
        assert module is not None

        def write(scheme: Scheme, outside: WeightsFile) -> onnx.ModelProto:
            body = None if self.interpolate else write_vision(module, self.size, HIDDEN_STATES, scheme, outside)
            nobody_elses = True
            if body is None:
                if not traced:
                    traced.append(traced_encoder(module, self.size))
                body = with_scheme(traced[0], scheme)
                nobody_elses = once or body is not traced[0]
            return adapter.append_cross_kv(body, weights, config, HIDDEN_STATES, scheme, in_place=nobody_elses)

        return write

    def described(self, parts: Parts) -> dict[str, Any] | None:
        return None


@dataclass(frozen=True)
class Texts:
    """Tokens of a text, of any length up to the encoder's positions."""

    reads_text = padded = True

    def try_out(self, checkpoint: Checkpoint, adapter: ModelAdapter) -> None:
        try_out_texts(checkpoint, adapter)

    def files(self, checkpoint: Checkpoint) -> dict[str, Any]:
        files = text_tokenizer_files(checkpoint)
        return {"tokenizer_json": files.pop(TOKENIZER), "tokenizer_files": files}

    def loaded(self, encoder: Any) -> None:
        """It is as it must be."""

    def generated(self, parts: Parts, ends: Sequence[int]) -> Mapping[str, Array]:
        encoder, config = _encoder(parts)
        end, pad = ends[0] if ends else None, config.get("pad_token_id") or 0
        return generated_text_inputs(int(config["vocab_size"]), encoder.longest(config), end, pad=pad)

    def encoder(self, parts: Parts, weights: Mapping[str, Array], *, once: bool) -> WriteEncoder:
        return _written(parts, weights)

    def described(self, parts: Parts) -> dict[str, Any] | None:
        encoder, config = _encoder(parts)
        source = {
            "inputs": [INPUT_IDS, ATTENTION_MASK],
            "longest": encoder.longest(config),
            "absent": "refuse",
            "vocab_size": int(config["vocab_size"]),
        }
        return {"task": "text2text-generation", "sources": {CROSS: source}}


@dataclass(frozen=True)
class Speech:
    """Clips of speech, as mel bands of 30 seconds or as samples of any length. extractor: preprocessor_config.json."""

    extractor: Mapping[str, Any]
    padded: bool
    reads_text = False

    def try_out(self, checkpoint: Checkpoint, adapter: ModelAdapter) -> None:
        try_out_texts(checkpoint, adapter)

    def files(self, checkpoint: Checkpoint) -> dict[str, Any]:
        return {"preprocessor_config": self.extractor, "tokenizer_json": speech_tokenizer_json(checkpoint)}

    def loaded(self, encoder: Any) -> None:
        """It is as it must be."""

    def generated(self, parts: Parts, ends: Sequence[int]) -> Mapping[str, Array]:
        return self._features()(generated_clips(CLIPS))

    def encoder(self, parts: Parts, weights: Mapping[str, Array], *, once: bool) -> WriteEncoder:
        return _written(parts, weights)

    def described(self, parts: Parts) -> dict[str, Any] | None:
        encoder, config = _encoder(parts)
        assert issubclass(encoder, SpeechEncoder)
        source = {
            "inputs": list(encoder.inputs),
            "longest": encoder.longest(config),
            "absent": "refuse",
            "samples_a_position": encoder.samples_a_position(config),
        }
        return {"task": "automatic-speech-recognition", "sources": {CROSS: source}}

    def _features(self) -> LogMel | RawSamples:
        kind = RawSamples if self.padded else LogMel
        return kind.from_config(self.extractor, "preprocessor_config.json")


@dataclass(frozen=True)
class Nothing:
    """Of a decoder alone."""

    reads_text = padded = False

    def try_out(self, checkpoint: Checkpoint, adapter: ModelAdapter) -> None:
        try_out_texts(checkpoint, adapter)

    def files(self, checkpoint: Checkpoint) -> dict[str, Any]:
        return {"tokenizer_json": tokenizer_json(checkpoint)}

    def loaded(self, encoder: Any) -> None:
        """There is none."""

    def generated(self, parts: Parts, ends: Sequence[int]) -> Mapping[str, Array]:
        return {}

    def encoder(self, parts: Parts, weights: Mapping[str, Array], *, once: bool) -> WriteEncoder | None:
        return None

    def described(self, parts: Parts) -> dict[str, Any] | None:
        return {"task": "text-generation", "sources": {}}


def source_of(
    checkpoint: Checkpoint, adapter: ModelAdapter, given: str | Path, *, interpolate: bool = False
) -> Photos | Texts | Speech | Nothing:
    """What the encoder of a checkpoint reads. given: what its files are named by in messages.

    Raises ExportError for an image processor that is missing or not known, and for interpolate without photos.
    """
    if adapter.task != "image-to-text" and interpolate:
        raise ExportError(f"{adapter.loader} reads no photos, so it interpolates no positions of them")
    if adapter.task == "text2text-generation":
        return Texts()
    if adapter.task == "text-generation":
        return Nothing()
    if adapter.task == "automatic-speech-recognition":
        extractor = read_extractor(checkpoint, given)
        return Speech(extractor, padded=extractor["feature_extractor_type"] != WHISPER_FEATURES)
    processor = read_processor(checkpoint, given)
    size = arriving_size(processor.prepare, adapter.encoder_config(checkpoint.config))
    return Photos(processor, size, interpolate)


def _encoder(parts: Parts) -> tuple[type[WrittenEncoder], Mapping[str, Any]]:
    assert parts.written is not None
    return parts.written


def _written(parts: Parts, weights: Mapping[str, Array]) -> WriteEncoder:
    """What makes the graph of an encoder that is written here."""
    encoder, config = _encoder(parts)
    adapter, decoder_config = parts.decoder, parts.decoder_config

    def write(scheme: Scheme, outside: WeightsFile) -> onnx.ModelProto:
        body = encoder.build_encoder(weights, config, HIDDEN_STATES, scheme, outside)
        return adapter.append_cross_kv(body, weights, decoder_config, HIDDEN_STATES, scheme, in_place=True)

    return write
