"""The sources of a checkpoint of FusionEncoderDecoder, as they are exported: what each reads, its files, its graph.

Beside the model's own files a checkpoint has a folder for each source, of that name, with what its processor or
tokenizer wrote (save_pretrained). A source of texts that has none is read by the tokenizer of the texts that are said.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from fuseline.errors import ExportError
from fuseline.folders.tensors import ATTENTION_MASK, INPUT_FEATURES, INPUT_IDS, PIXEL_VALUES
from fuseline.inputs.audio import LogMel

from ..adapters import DecoderAdapter
from ..adapters.bart import BartEncoder
from ..adapters.bart_relatives import MarianEncoder, PegasusEncoder
from ..adapters.m2m_100 import M2M100Encoder
from ..adapters.mbart import MBartEncoder
from ..adapters.t5 import T5Encoder
from ..adapters.whisper import WhisperEncoder
from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.extractor import read_extractor
from ..checkpoints.generated import generated_clips, generated_text_inputs
from ..checkpoints.photo_size import Size, arriving_size, generated_pixels
from ..checkpoints.processor import Processor, read_processor
from ..checkpoints.tokenizer import text_tokenizer_files
from ..encoders.bert_like import BertEncoder
from ..encoders.traced import ENCODERS, HIDDEN_STATES, export_encoder
from ..encoders.written import WrittenEncoder
from ..graphs.weights import Array, Scheme
from ..graphs.weights_file import WeightsFile

COUNT = 4  # inputs that a check asks about
# Encoders of texts and speech that are written here, and where their tensors lie in a whole model.
WRITTEN: Mapping[str, tuple[type[WrittenEncoder], str]] = {
    "BertModel": (BertEncoder, "encoder."),
    "BartEncoder": (BartEncoder, "model.encoder."),
    "MBartEncoder": (MBartEncoder, "model.encoder."),
    "MarianEncoder": (MarianEncoder, "model.encoder."),
    "PegasusEncoder": (PegasusEncoder, "model.encoder."),
    "M2M100Encoder": (M2M100Encoder, "model.encoder."),
    "T5EncoderModel": (T5Encoder, ""),
    "WhisperEncoder": (WhisperEncoder, "model.encoder."),
}


class SourcePart:
    """One source. name: its own; weights: the decoder's state dict as the source has it, see families.named, with its
    enc_to_dec_proj; absent: what happens without it."""

    inputs: tuple[str, ...]

    def __init__(self, name: str, weights: Mapping[str, Array], absent: str) -> None:
        self.name, self.weights, self.absent = name, weights, absent

    def files(self) -> dict[str, Any]:
        """What the folder gets of it, by name in the folder of the source."""
        raise NotImplementedError

    def described(self) -> dict[str, Any]:
        """As fuseline.json has it."""
        return {"inputs": list(self.inputs), "longest": None, "absent": self.absent}

    def generated(self) -> dict[str, Array]:
        """Inputs to compare models on, always the same ones."""
        raise NotImplementedError

    def graph(
        self, adapter: DecoderAdapter, config: Mapping[str, Any], scheme: Scheme, outside: WeightsFile
    ) -> onnx.ModelProto:
        """The encoder graph with every decoder layer's keys and values of this source."""
        raise NotImplementedError


class PhotoPart(SourcePart):
    """A photo. encoder: the module; processor: how photos are prepared."""

    inputs = (PIXEL_VALUES,)

    def __init__(self, encoder: Any, processor: Processor, size: Size, **common: Any) -> None:
        super().__init__(**common)
        self.encoder, self.processor, self.size = encoder, processor, size

    def files(self) -> dict[str, Any]:
        return {"preprocessor_config.json": self.processor.config}

    def generated(self) -> dict[str, Array]:
        return {PIXEL_VALUES: generated_pixels(self.processor.prepare, COUNT, self.size)}

    def graph(
        self, adapter: DecoderAdapter, config: Mapping[str, Any], scheme: Scheme, outside: WeightsFile
    ) -> onnx.ModelProto:
        body = export_encoder(self.encoder, self.size, scheme, outside)
        return adapter.append_cross_kv(body, self.weights, config, HIDDEN_STATES, scheme, in_place=True)


class WrittenPart(SourcePart):
    """A source whose encoder is written here. of: its class, its section of config.json and its state dict."""

    def __init__(
        self, of: tuple[type[WrittenEncoder], Mapping[str, Any], Mapping[str, Array]], path: Path, **common: Any
    ) -> None:
        super().__init__(**common)
        self.of, self.path = of, path

    def graph(
        self, adapter: DecoderAdapter, config: Mapping[str, Any], scheme: Scheme, outside: WeightsFile
    ) -> onnx.ModelProto:
        encoder, section, state = self.of
        body = encoder.build_encoder(state, section, HIDDEN_STATES, scheme, outside)
        return adapter.append_cross_kv(body, self.weights, config, HIDDEN_STATES, scheme, in_place=True)


class TextPart(WrittenPart):
    """A text."""

    inputs = (INPUT_IDS, ATTENTION_MASK)

    def files(self) -> dict[str, Any]:
        if not self.path.is_dir():
            return {}
        return dict(text_tokenizer_files(Checkpoint(self.path, self.of[1])))

    def described(self) -> dict[str, Any]:
        encoder, section, _ = self.of
        sizes = {"longest": encoder.longest(section), "vocab_size": int(section["vocab_size"])}
        return super().described() | sizes

    def generated(self) -> dict[str, Array]:
        encoder, section, _ = self.of
        return dict(generated_text_inputs(int(section["vocab_size"]), encoder.longest(section), None, COUNT))


class SpeechPart(WrittenPart):
    """A clip of speech, as mel bands of 30 seconds."""

    inputs = (INPUT_FEATURES,)

    def files(self) -> dict[str, Any]:
        return {"preprocessor_config.json": self._extractor()}

    def described(self) -> dict[str, Any]:
        encoder, section, _ = self.of
        return super().described() | {"longest": encoder.longest(section)}

    def generated(self) -> dict[str, Array]:
        features = LogMel.from_config(self._extractor(), "preprocessor_config.json")
        return dict(features(generated_clips(COUNT)))

    def _extractor(self) -> Mapping[str, Any]:
        return read_extractor(Checkpoint(self.path, self.of[1]), self.path)


def parts_of(model: Any, folder: Path) -> list[SourcePart]:
    """The sources of a model, in order. folder: of its checkpoint. Raises ExportError, FolderError."""
    return [_part(model, folder / name, name, common) for name, common in _common(model).items()]


def _common(model: Any) -> dict[str, dict[str, Any]]:
    """What every source has: its name, the decoder's weights as it has them, what happens without it."""
    decoder = {name: tensor.numpy() for name, tensor in model.decoder.state_dict().items()}
    found = {}
    for name in model.config.sources:
        own: dict[str, Array] = {}
        for number, sublayer in enumerate(model.fusion):
            modules = _modules(sublayer, name)
            own |= {key: t.numpy() for key, t in model.family.named(number, modules).items()} if modules else {}
        if name in model.enc_to_dec_proj:
            projection = model.enc_to_dec_proj[name].state_dict()
            own |= {f"enc_to_dec_proj.{key}": tensor.numpy() for key, tensor in projection.items()}
        found[name] = {"name": name, "weights": decoder | own, "absent": model.config.absent[name]}
    return found


def _modules(sublayer: Any, name: str) -> dict[str, Any]:
    """The norm, q, k, v and o that a source has in a layer; empty where they are the decoder's own."""
    if not hasattr(sublayer, "sources"):
        return {}
    own, over = sublayer.sources[name], getattr(sublayer, "over", None)
    places = [own, sublayer, *([] if over is None else [over])]
    found = {
        each: next((getattr(place, each) for place in places if hasattr(place, each)), None)
        for each in ("norm", "q", "k", "v", "o")
    }
    if found["norm"] is None:  # a gated source that nothing is normed behind; the decoder's names have one
        from torch import nn

        found["norm"] = nn.LayerNorm(found["o"].weight.shape[0])  # type: ignore[union-attr]
    return found


def _part(model: Any, path: Path, name: str, common: Mapping[str, Any]) -> SourcePart:
    encoder = model.encoder_of(name)
    kind, section = type(encoder).__name__, encoder.config.to_dict()
    if kind in WRITTEN:
        written, prefix = WRITTEN[kind]
        state = {f"{prefix}{key}": tensor.numpy() for key, tensor in encoder.state_dict().items()}
        part = SpeechPart if written is WhisperEncoder else TextPart
        return part((written, section, state), path, **common)
    if section.get("model_type") in ENCODERS:
        if not path.is_dir():
            raise ExportError(f"{path} is not there; save the image processor of source {name} in that folder")
        processor = read_processor(Checkpoint(path, section), path)
        return PhotoPart(encoder, processor, arriving_size(processor.prepare, section), **common)
    known = ", ".join([*WRITTEN, *ENCODERS])
    raise ExportError(f"the encoder of source {name}, {kind}, cannot be exported; known are {known}")
