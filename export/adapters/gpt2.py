"""Hugging Face GPT2LMHeadModel, with cross-attention or alone, from its state dict to graphs.

Source: transformers' modeling_gpt2.py for the arithmetic (its eager form) and the tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..graphs.architecture import Pen, place
from ..graphs.graph import Array, Table, embedding
from ..graphs.tensors import Tensors
from .language_model import LanguageModel
from .layer_pen import Inputs, LayerPen
from .registry import register, register_model
from .text_decoder import TextDecoder


@register("GPT2LMHeadModel", "gpt2")
class Gpt2(TextDecoder):
    """Every part behind a norm; learned positions; linear layers as Conv1D, [in, out]."""

    title = "GPT-2"
    fields: ClassVar = {
        "layers": "n_layer",
        "heads": "n_head",
        "width": "n_embd",
        "inner": "n_inner",
        "positions": "n_positions",
        "activation": "activation_function",
        "epsilon": "layer_norm_epsilon",
    }
    defaults: ClassVar = {
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_inner": None,
        "n_positions": 1024,
        "vocab_size": 50257,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }
    # VisionEncoderDecoderModel, GPT2LMHeadModel, GPT2Model inside either, GPT2Model.
    prefixes = ("decoder.transformer.", "transformer.", "decoder.", "")
    tokens = "wte"
    head = "lm_head"
    out_in = False

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        if self.reads and not self.of["add_cross_attention"]:
            raise self.refuse("has no cross-attention: its config must say add_cross_attention = true")
        if not self.reads and self.of["add_cross_attention"]:
            raise self.refuse("has cross-attention and nothing to read; export the model that it is the decoder of")
        # reorder_and_upcast_attn only changes the order of operations in half precision, so it changes nothing here.

    def source(self, name: str, prefix: str) -> str:
        return (prefix.removesuffix("transformer.") if name.startswith(self.head) else prefix) + name

    def tensors(self) -> Tensors:
        width, inner = self.sizes.width, self.sizes.inner
        wanted = Tensors(norms={"ln_f": width}, others={"wpe.weight": (self.sizes.positions, width)})
        linears = {
            "attn.c_attn": (width, 3 * width),
            "attn.c_proj": (width, width),
            "mlp.c_fc": (width, inner),
            "mlp.c_proj": (inner, width),
        }
        norms = ["ln_1", "ln_2"]
        if self.reads:
            linears |= {
                "crossattention.q_attn": (width, width),
                "crossattention.c_attn": (width, 2 * width),
                "crossattention.c_proj": (width, width),
            }
            norms.append("ln_cross_attn")
        for layer in range(self.sizes.layers):
            wanted.linears.update({f"h.{layer}.{name}": dims for name, dims in linears.items()})
            wanted.norms.update({f"h.{layer}.{name}": width for name in norms})
        return wanted

    def embed(self, pen: Pen, inputs: Inputs, tokens: Table, positions: int) -> str:
        embedded_RTE = embedding(pen.g, inputs.ids_RT, tokens)
        return place(pen, embedded_RTE, inputs.step.positions_T, pen.weights["wpe.weight"][:positions], "wpe.weight")

    def layer(self, pen: LayerPen, hidden_NE: str) -> str:
        h, scale = f"h.{pen.index}", self._scale(pen.index)
        qkv_N3E = pen.linear(pen.norm(hidden_NE, f"{h}.ln_1"), f"{h}.attn.c_attn")
        mixed_NE = pen.self_attention(qkv_N3E, scale)
        hidden_NE = pen.linear(mixed_NE, f"{h}.attn.c_proj", residual=hidden_NE)
        if self.reads:
            hidden_NE = pen.cross_attention_layers(hidden_NE, self.cross_layer)
        normed_NE = pen.norm(hidden_NE, f"{h}.ln_2")
        inner_NI = pen.linear(normed_NE, f"{h}.mlp.c_fc", activation=self.sizes.activation)
        return pen.linear(inner_NI, f"{h}.mlp.c_proj", residual=hidden_NE)

    def cross_layer(self, pen: LayerPen, hidden_NE: str) -> str:
        """float32[N, E] -> the same: its cross-attention."""
        at = f"h.{pen.index}.crossattention"
        query_NE = pen.cross_query(pen.norm(hidden_NE, f"h.{pen.index}.ln_cross_attn"), f"{at}.q_attn")
        mixed_NE = pen.cross_attention(query_NE, self._scale(pen.index))
        return pen.cross_output(mixed_NE, f"{at}.c_proj", hidden_NE)

    def finish(self, pen: Pen, hidden_RE: str) -> str:
        return pen.norm(hidden_RE, "ln_f")

    def cross_kv(self, weights: Mapping[str, Array], layer: int) -> dict[str, tuple[str, Array, Array]]:
        h, width = f"h.{layer}.crossattention", self.sizes.width  # side by side in the checkpoint: [E, 2E]
        weight_E2E, bias_2E = weights[f"{h}.c_attn.weight"], weights[f"{h}.c_attn.bias"]
        return {
            "key": (f"{h}.key", weight_E2E[:, :width], bias_2E[:width]),
            "value": (f"{h}.value", weight_E2E[:, width:], bias_2E[width:]),
        }

    def _scale(self, layer: int) -> float:
        """What attention scores of a layer are multiplied by."""
        scale = float(self.sizes.head_size**-0.5) if self.of["scale_attn_weights"] else 1.0
        return scale / (layer + 1) if self.of["scale_attn_by_inverse_layer_idx"] else scale


class Gpt2Alone(Gpt2):
    """Without cross-attention, as most are."""

    reads = False


@register_model("GPT2LMHeadModel", "gpt2")
class Gpt2LanguageModel(LanguageModel):
    """GPT-2 as it is on the hub."""

    loader, decoder = "GPT2LMHeadModel", Gpt2Alone


build_decoder, append_cross_kv, decoder_info = Gpt2.build_decoder, Gpt2.append_cross_kv, Gpt2.decoder_info
