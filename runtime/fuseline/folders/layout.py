"""Which files make up which variant, by the names that optimum and transformers.js give them.

optimum (exporters/onnx/constants.py) writes encoder_model.onnx and decoder_model_merged.onnx, or decoder_model.onnx
with decoder_with_past_model.onnx, or decoder_model.onnx alone, into the folder itself; transformers.js
(src/utils/dtypes.js) reads the same names below onnx/, with a suffix that says how the weights are stored.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from ..errors import FolderError, shown
from ..files.reading import some
from .description import Variant
from .tensors import CROSS

PLACES = ("", "onnx/")
_WEIGHTS = re.compile(r"(.*\.onnx)[._]data.*", re.DOTALL)
# Variants by suffix; the first is the default where it is there. optimum's own tools add "_quantized" and "_optimized".
SUFFIXES = {
    "fp32": "",
    "fp16": "_fp16",
    "int8": "_int8",
    "uint8": "_uint8",
    "quantized": "_quantized",
    "q4": "_q4",
    "q4f16": "_q4f16",
    "bnb4": "_bnb4",
    "optimized": "_optimized",
}
_ENCODER, _MERGED, _DECODER, _WITH_PAST = (
    "encoder_model",
    "decoder_model_merged",
    "decoder_model",
    "decoder_with_past_model",
)


@dataclass(frozen=True)
class ForeignVariant(Variant):
    """The graphs of one variant, as paths relative to the folder.

    decoder: the graph of the first step, or of every step where there is no other. with_past: that of the later steps
    (the same path for a merged graph); None where there is none, so that every step computes all positions again.
    """

    with_past: str | None

    @property
    def graphs(self) -> tuple[str, ...]:
        """The paths of all its graphs, each once."""
        return tuple(dict.fromkeys(path for path in (self.encoder, self.decoder, self.with_past) if path is not None))


def variants_of(names: Collection[str]) -> dict[str, ForeignVariant]:
    """The variants among the paths of a folder's files, the default one first; empty where there is none.

    A decoder with a suffix goes with the encoder of that suffix, or else with the one without: tools quantize either.
    """
    for place in PLACES:
        found = {}
        for variant, suffix in SUFFIXES.items():
            encoders = [f"{place}{_ENCODER}{end}.onnx" for end in (suffix, "")]
            encoder = next((path for path in encoders if path in names), None)
            decoders = _decoders(names, place, suffix)
            if encoder is not None and decoders is not None:
                found[variant] = ForeignVariant({CROSS: encoder}, *decoders)
        if found:
            return found
    return {}


def chosen(variants: dict[str, ForeignVariant], variant: str | None, where: object) -> tuple[str, ForeignVariant]:
    """The name and the files of a variant; None: the default. Raises FolderError if `where` has no such variant."""
    if not variants:
        raise FolderError(
            f"{where} has no fuseline.json, and no encoder_model.onnx with decoder_model_merged.onnx or "
            "decoder_model.onnx, there or in onnx/; export the checkpoint with fuseline export"
        )
    name = next(iter(variants)) if variant is None else variant
    if name not in variants:
        raise FolderError(f"{where} has no variant {shown(name)!r}; it has {some(sorted(variants))}")
    return name, variants[name]


def graph_of(name: str) -> str:
    """The path of the graph that a file is, or that its weights belong to by convention.

    They are called like the graph with more behind it: .onnx_data, .onnx_data_1, .onnx.data.
    """
    return _WEIGHTS.sub(r"\1", name)


def _decoders(names: Collection[str], place: str, suffix: str) -> tuple[str, str | None] | None:
    """The graphs of the first and of the later steps. A merged graph is both, and goes before a pair, as in optimum."""
    merged, first, later = (f"{place}{name}{suffix}.onnx" for name in (_MERGED, _DECODER, _WITH_PAST))
    if merged in names:
        return merged, merged
    if first in names:
        return first, later if later in names else None
    return None
