"""CTranslate2's TransformerSpec, both parts, as fuseline.export.ctranslate2.spec reads it.

Source: src/layers/transformer.cc and attention.cc of CTranslate2 4.8 for the arithmetic. Query, key and value lie in
one tensor, and so do the key and value of cross-attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ..encoders.text_encoder import EncoderLayer, SourceTexts, TextEncoder
from ..graphs.architecture import UNBOUNDED, Architecture, Pen, place
from ..graphs.graph import Array, Table, embedding
from ..graphs.tensors import Tensors
from .layer_pen import Inputs, LayerPen
from .text_decoder import TextDecoder


class Part(Architecture):
    """Layers normalized before or after every part, with positions that are stored, sinusoidal or of T5's kind."""

    title = "CTranslate2"
    fields: ClassVar = {
        each: each for each in ("layers", "heads", "head_size", "width", "inner", "activation", "epsilon")
    }
    attentions: ClassVar[Mapping[str, int]]
    """of a layer, in their order, with how many linear layers each has"""

    def count_positions(self) -> int:
        return int(self.of["positions"] or UNBOUNDED)

    def tensors(self) -> Tensors:
        width, mixed, inner = self.sizes.width, self.sizes.attention, self.sizes.inner
        wanted, gate = Tensors(), ["ffn.linear_0_noact"] if self.of["gated"] else []
        linears = {"ffn.linear_0": (width, inner), "ffn.linear_1": (inner, width)}
        linears |= dict.fromkeys(gate, (width, inner))
        for name, count in self.attentions.items():
            into = ((width, 3 * mixed),) if count == 2 else ((width, mixed), (self.cross_width(), 2 * mixed))
            linears |= {f"{name}.linear_{at}": shape for at, shape in enumerate((*into, (mixed, width)))}
        norms = [f"{self.part}.{name}" for name in ("layer_norm", "layernorm_embedding") if self.of[name]]
        for at in map(self._at, range(self.sizes.layers)):
            wanted.matrices.update({f"{at}.{name}": shape for name, shape in linears.items()})
            norms += [f"{at}.{name}.layer_norm" for name in (*self.attentions, "ffn")]
            if self.of["relative"]:
                wanted.others[f"{at}.self_attention.distance_bias"] = (self.sizes.heads, self.of["distances"])
        wanted.perhaps.update({f"{name}.bias": shape[1:] for name, shape in wanted.matrices.items()})
        wanted.perhaps[f"{self.part}.projection.bias"] = (self.sizes.vocab_size,)  # which no encoder has
        wanted.others.update({f"{name}.weight": (width,) for name in norms})
        wanted.others.update({f"{name}.bias": (width,) for name in norms if not self.of["rms_norm"]})
        if not self.of["relative"]:
            wanted.others[f"{self.part}.position_encodings.encodings"] = (self.sizes.positions, width)
        return wanted

    def cross_width(self) -> int:
        return int(self.of["cross_width"])

    def embedded(self, pen: Pen, ids: str, rows: str, tokens: Table, positions: int) -> str:
        """Tokens embedded, scaled and placed. rows: int64[T], the position of each."""
        embedded, g, scale = embedding(pen.g, ids, tokens), pen.g, float(self.of["embedding_scale"])
        if self.of.get("start_from_zero_embedding"):  # one table says where the scale is 0
            scales_P1 = np.where(np.arange(positions) > 0, np.float32(scale), np.float32(0))[:, None]
            embedded = g.op("Mul", embedded, g.op("Gather", g.weight(f"{self.part}.embedding_scales", scales_P1), rows))
        elif scale != 1:
            embedded = g.op("Mul", embedded, g.scalar(scale, np.float32))
        if not self.of["relative"]:
            name = f"{self.part}.position_encodings.encodings"
            embedded = place(pen, embedded, rows, pen.weights[name][:positions], name)
        return self.norm(pen, embedded, f"{self.part}.layernorm_embedding", self.of["layernorm_embedding"])

    def norm(self, pen: Pen, x: str, name: str, there: bool = True) -> str:
        """The norm of that name, if it is there."""
        return x if not there else pen.rms_norm(x, name) if self.of["rms_norm"] else pen.norm(x, name)

    def normed(self, pen: Pen, x: str, at: str, *, before: bool) -> str:
        """What a part reads, or gives: its norm is at one of its ends."""
        return self.norm(pen, x, f"{at}.layer_norm", self.of["pre_norm"] == before)

    def attended(self, pen: EncoderLayer | LayerPen, x: str) -> str:
        """A layer's self-attention, added to its input."""
        at = f"{self._at(pen.index)}.self_attention"
        qkv = pen.linear(self.normed(pen, x, at, before=True), f"{at}.linear_0")
        mixed = pen.self_attention(qkv, self.of["queries_scale"], self.distances(pen) if self.of["relative"] else "")
        return self.normed(pen, pen.linear(mixed, f"{at}.linear_1", residual=x), at, before=False)

    def distances(self, pen: EncoderLayer | LayerPen) -> str:
        """The name of what distances add to the scores of a layer; layers that add the same share it."""
        names = [f"{self._at(layer)}.self_attention.distance_bias" for layer in range(pen.index + 1)]
        first = next(name for name in names if np.array_equal(pen.weights[name], pen.weights[names[-1]]))
        return pen.g.weight(first, pen.weights[first]) if first == names[-1] else first

    def fed(self, pen: EncoderLayer | LayerPen, x: str) -> str:
        """A layer's last part, added to its input."""
        at = f"{self._at(pen.index)}.ffn"
        read = self.normed(pen, x, at, before=True)
        inner = pen.linear(read, f"{at}.linear_0", activation=self.sizes.activation)
        if self.of["gated"]:
            inner = pen.linear(read, f"{at}.linear_0_noact", factor=inner)
        return self.normed(pen, pen.linear(inner, f"{at}.linear_1", residual=x), at, before=False)

    def finish(self, pen: Pen, x: str) -> str:
        return self.norm(pen, x, f"{self.part}.layer_norm", self.of["layer_norm"])

    def _at(self, layer: int) -> str:
        return f"{self.part}.layer_{layer}"


class CTranslate2Encoder(Part, TextEncoder):
    """All positions see each other."""

    tokens = "encoder.embeddings"
    attentions: ClassVar = {"self_attention": 2}

    def embed(self, pen: Pen, texts: SourceTexts, tokens: Table) -> str:
        return self.embedded(pen, texts.ids_BS, texts.positions_S, tokens, self.sizes.positions)

    def layer(self, pen: EncoderLayer, hidden_BSE: str) -> str:
        return self.fed(pen, self.attended(pen, hidden_BSE))


class CTranslate2Decoder(Part, TextDecoder):
    """Its head may have a bias, and what it reads may be scaled."""

    tokens, head = "decoder.embeddings", "decoder.projection"
    attentions: ClassVar = {"self_attention": 2, "attention": 3}

    def embed(self, pen: Pen, inputs: Inputs, tokens: Table, positions: int) -> str:
        return self.embedded(pen, inputs.ids_RT, inputs.step.positions_T, tokens, positions)

    def layer(self, pen: LayerPen, hidden_NE: str) -> str:
        hidden_NE, at = self.attended(pen, hidden_NE), f"{self._at(pen.index)}.attention"
        query_NE = pen.linear(self.normed(pen, hidden_NE, at, before=True), f"{at}.linear_0")
        mixed_NE = pen.cross_attention(query_NE, self.of["queries_scale"])
        added_NE = pen.linear(mixed_NE, f"{at}.linear_2", residual=hidden_NE)
        return self.fed(pen, self.normed(pen, added_NE, at, before=False))

    def finish(self, pen: Pen, hidden_RE: str) -> str:
        hidden_RE, scale = super().finish(pen, hidden_RE), float(self.of["scale_outputs"])
        return hidden_RE if scale == 1 else pen.g.op("Mul", hidden_RE, pen.g.scalar(scale, np.float32))

    def head_bias(self, weights: Mapping[str, Array]) -> Array | None:
        return weights.get("decoder.projection.bias")

    def cross_kv(self, weights: Mapping[str, Array], layer: int) -> dict[str, tuple[str, Array, Array]]:
        at, mixed = f"{self._at(layer)}.attention.linear_1", self.sizes.attention
        weight_I2E, bias_2E = weights[f"{at}.weight"], weights.get(f"{at}.bias", np.zeros(2 * mixed, np.float32))
        halves = {"key": slice(mixed), "value": slice(mixed, None)}
        return {part: (f"{at}.{part}", weight_I2E[:, half], bias_2E[half]) for part, half in halves.items()}
