"""What the decoder's linear layers see of training photos, by which their 4 bits are rounded so that errors cancel.

Rounding to the nearest takes back nearly all that the last phase changes, which is less than a step of 4 bits.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from fuseline.export.graphs.recode import float_matrices, recode
from fuseline.export.graphs.weights import Array
from fuseline.export.quantizing.calibration import products

from .batches import Corpus
from .captioner import PAD, Captioner, Inputs, Noise
from .words import hint_ids, some_words

PHOTOS, CAPTIONS_EACH = 96, 2
SEED = 5
NOT_OF_DECODER = ("crossattention.c_attn", "crossattention.hint_attn")  # the encoders have those


def decoder_in_4_bits(decoder: onnx.ModelProto, captioner: Captioner, corpus: Corpus) -> onnx.ModelProto:
    """The float decoder with its layers in 4 bits, and its table of words in 8."""
    seen = moments(captioner, corpus)
    layers = [matrix for matrix in float_matrices(decoder) if not matrix.table]
    return recode(decoder, "int4", {matrix.x: seen[matrix.name.removesuffix(".weight")] for matrix in layers})


@torch.no_grad()
def moments(captioner: Captioner, corpus: Corpus) -> dict[str, Array]:
    """By linear layer of the decoder, float64[I, I]: the mean of x x' over what it is given, half of it with hints."""
    photos, rng = corpus.sets[0], random.Random(SEED)
    hints = [some_words(photo.captions[-1], rng) if rng.random() < 0.5 else [] for photo in photos.photos[:PHOTOS]]
    ids, there = (torch.from_numpy(each) for each in hint_ids(corpus.tokenizer, hints))
    captioner.eval()
    features = captioner.features(torch.from_numpy(photos.seen(slice(PHOTOS), 0)))
    inputs = Inputs(features, *captioner.labels(captioner.class_logits(features)), ids, there)
    tokens = torch.from_numpy(photos.ids[:PHOTOS, :CAPTIONS_EACH])
    sums: dict[str, Array] = {}
    rows = int((tokens[..., 1:] != PAD).sum())
    hooks = [
        layer.register_forward_pre_hook(_adding_to(sums, name))
        for name, layer in captioner.transformer.named_modules()
        if isinstance(layer, nn.Linear) and not name.endswith(NOT_OF_DECODER)
    ]
    captioner(inputs, tokens, Noise())
    for hook in hooks:
        hook.remove()
    return {name: total / rows for name, total in sums.items()}


def _adding_to(sums: dict[str, Array], name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], Any]:
    """A hook that adds what its layer is given."""

    def add(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        sums[name] = sums.get(name, 0.0) + products(given[0].flatten(0, -2).numpy())

    return add
