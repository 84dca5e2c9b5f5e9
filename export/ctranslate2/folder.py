"""A CTranslate2 folder as it lies on a disk, and what a fuseline folder says in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError

from ..checkpoints.checkpoint import Checkpoint
from .reader import Binary, read_binary
from .spec import Transformer, transformer
from .tokenizers import tokenizer_files
from .vocabularies import Vocabularies, check_vocabulary, number_of, read_vocabularies

MODEL = "model.bin"
# Weights of a Hugging Face checkpoint, in whose folder a model.bin would mean something else.
_OTHERS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_BEAMS, _NEW_TOKENS = 2, 256  # beam_size and max_decoding_length of CTranslate2's Translator where a call says nothing


def is_ctranslate2(folder: str | Path) -> bool:
    """Whether a folder is one of CTranslate2."""
    path = Path(folder)
    return (path / MODEL).is_file() and not any((path / name).exists() for name in _OTHERS)


@dataclass(frozen=True)
class Source:
    """What a folder holds."""

    path: Path
    model: Transformer
    vocabularies: Vocabularies
    start: int
    """the number of the token that texts begin with, and of the one that ends them"""
    end: int

    @property
    def before(self) -> list[str]:
        """The tokens before a source text, and after it."""
        return [str(self.model.options["bos_token"])] if self.model.options["add_source_bos"] else []

    @property
    def after(self) -> list[str]:
        return [str(self.model.options["eos_token"])] if self.model.options["add_source_eos"] else []

    def numbers(self, tokens: Sequence[str]) -> list[int]:
        """What the encoder reads of a text's tokens."""
        ids = {token: number for number, token in enumerate(self.vocabularies.source)}
        unknown = ids[self.model.options["unk_token"]]
        return [ids.get(token, unknown) for token in (*self.before, *tokens, *self.after)]


def read_binary_of(folder: str | Path) -> Binary:
    """The model.bin of a folder. Raises ExportError where there is none, or it is damaged."""
    binary = Checkpoint(Path(folder), {}).file(MODEL)
    if binary is None:
        raise ExportError(f"{folder} has no {MODEL}; give the folder of a CTranslate2 model")
    return read_binary(binary)


def read_source(folder: str | Path, binary: Binary | None = None) -> Source:
    """Of a model of texts. binary: its model.bin, where it was read before.

    Raises ExportError for a folder that is damaged, or of a model that cannot be exported.
    """
    path, checkpoint = Path(folder), Checkpoint(Path(folder), {})
    model = transformer(binary or read_binary_of(path), _config(checkpoint))
    options = model.options
    for name in ("unk_token", "bos_token", "eos_token"):
        if not isinstance(options[name], str):
            raise ExportError(f"{name} in {path / 'config.json'} must be a text")
    vocabularies = read_vocabularies(checkpoint, options["unk_token"])
    source, target = vocabularies.source, vocabularies.target
    check_vocabulary(path, "source", source, model.encoder["vocab_size"])
    check_vocabulary(path, "target", target, model.decoder["vocab_size"])
    if options["decoder_start_token"] is None:
        raise ExportError(
            f"the model in {path} leaves the token that texts begin with to its user (decoder_start_token is null); "
            "name one in config.json"
        )
    for name in ("bos", "eos"):
        if options[f"add_source_{name}"]:
            number_of(source, options[f"{name}_token"], f"{name}_token")
    start = number_of(target, options["decoder_start_token"], "decoder_start_token")
    return Source(path, model, vocabularies, start, number_of(target, options["eos_token"], "eos_token"))


def files_of(source: Source, max_positions: int) -> tuple[dict[str, Any], str]:
    """What writing.folder.write_to is told of a folder, but for the graphs, and what is to be known of its texts.

    max_positions: of the decoder.
    """
    options, target = source.model.options, source.vocabularies.target
    special = sorted({target[source.start], target[source.end]})
    tokenizers, remark = tokenizer_files(
        Checkpoint(source.path, {}), source.vocabularies, options["unk_token"], special, source.before, source.after
    )
    ids = {"decoder_start_token_id": source.start, "eos_token_id": source.end, "pad_token_id": source.end}
    files = {
        "config": {"model_type": "ctranslate2", "is_encoder_decoder": True, "vocab_size": len(target), **ids},
        "generation_config": {
            **ids,
            # CTranslate2's search: it ends with num_beams ended texts, of which none is empty, and probabilities are
            # those among the tokens that may follow.
            "num_beams": _BEAMS,
            "early_stopping": True,
            "length_penalty": 1.0,
            "min_new_tokens": 1,
            "renormalize_logits": True,
            "max_new_tokens": min(_NEW_TOKENS, max_positions),
        },
        **tokenizers,
    }
    return files, remark


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    """config.json, which older folders do not have."""
    found = checkpoint.json("config.json") or {}
    epsilon = found.get("layer_norm_epsilon")
    number = isinstance(epsilon, int | float) and not isinstance(epsilon, bool)
    if epsilon is not None and not (number and isfinite(epsilon) and epsilon > 0):
        raise ExportError(f"layer_norm_epsilon in {checkpoint.path / 'config.json'} must be a positive number")
    return found
