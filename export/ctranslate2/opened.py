"""A CTranslate2 folder of any specification that is known, as what is written of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..adapters import Parts
from ..adapters.ctranslate2 import CTranslate2Decoder, CTranslate2Encoder
from ..adapters.whisper import WhisperDecoder, WhisperEncoder
from ..checkpoints.checkpoint import Checkpoint
from ..sources import Speech, Texts
from .compare import Reference
from .folder import files_of, read_binary_of, read_source
from .whisper import SPECIFICATION, whisper
from .whisper_files import configs, tokenizer_of

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Opened:
    """A model and its files."""

    parts: Parts
    weights: Mapping[str, Array]
    reads: Texts | Speech
    files: Callable[[int], tuple[dict[str, Any], str]]
    """of the decoder's positions: what writing.folder.write_to is told, but for the graphs, and what is to be known"""
    reference: Callable[[], Reference] | None
    """what the written folder is compared with; None where nothing is"""


def opened(folder: str | Path) -> Opened:
    """Raises ExportError for a folder that is damaged, or of a model that cannot be exported."""
    path, binary = Path(folder), read_binary_of(folder)
    if binary.specification == SPECIFICATION:
        made = whisper(binary)
        return _whisper(Checkpoint(path, {}), made.weights, made.config)
    source = read_source(path, binary)
    model = source.model
    parts = Parts(None, CTranslate2Decoder, model.decoder, (CTranslate2Encoder, model.encoder))
    return Opened(parts, model.weights, Texts(), partial(files_of, source), partial(Reference, source))


def _whisper(checkpoint: Checkpoint, weights: Mapping[str, Array], config: Mapping[str, Any]) -> Opened:
    most = int(config["max_target_positions"])
    tokenizer, remark = tokenizer_of(checkpoint, int(config["vocab_size"]))

    def files(max_positions: int) -> tuple[dict[str, Any], str]:
        made = configs(checkpoint, config, tokenizer, min(max_positions + 1, most))
        return {**made, "tokenizer_json": tokenizer.raw.decode()}, remark

    extractor = configs(checkpoint, config, tokenizer, most)["preprocessor_config"]
    parts = Parts(None, WhisperDecoder, config, (WhisperEncoder, config))
    return Opened(parts, weights, Speech(extractor, padded=False), files, None)
