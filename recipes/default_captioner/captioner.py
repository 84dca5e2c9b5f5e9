"""The default captioner in torch: EfficientNet-Lite0, a transformer bridge, a GPT-2 decoder with cross-attention.

Dimensions: B photos, K captions of each photo, R = B x K rows, T tokens, S encoder positions, E width, H heads, D head
size, V words, N tokens that are not padding. Parameter names below `transformer.` are those of transformers'
GPT2LMHeadModel (add_cross_attention=True), whose arithmetic the decoder follows: pre-norm, learned positions, tanh
GELU, tied head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .efficientnet import HEAD_CHANNELS, EfficientNetLite0

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


@dataclass(frozen=True)
class Shape:
    """Sizes of the captioner; the defaults are those of the model that ships."""

    vocab_size: int
    image_size: int = 256
    width: int = 256
    heads: int = 8
    bridge_layers: int = 2
    layers: int = 4
    max_positions: int = 32

    @property
    def encoder_positions(self) -> int:
        return (self.image_size // 32) ** 2


@dataclass
class Noise:
    """What training drops: shares of residual activations, of input words and of encoder positions."""

    residual: float = 0.0
    words: float = 0.0
    positions: float = 0.0


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[..., T, E] -> [..., H, T, D]."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def merge_heads(x: Tensor) -> Tensor:
    """[..., H, T, D] -> [..., T, E]."""
    return x.transpose(-2, -3).flatten(-2)


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)


class CrossAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_attn = nn.Linear(width, width)
        self.c_attn = nn.Linear(width, 2 * width)
        self.c_proj = nn.Linear(width, width)


class BridgeLayer(nn.Module):
    """A pre-norm transformer encoder layer over the S positions of a photo."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.ln_1, self.ln_2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.attn, self.mlp = SelfAttention(shape.width), Mlp(shape.width)

    def forward(self, x: Tensor, drop: float) -> Tensor:
        q, k, v = (split_heads(y, self.heads) for y in self.attn.c_attn(self.ln_1(x)).chunk(3, -1))
        y = self.attn.c_proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))
        x = x + F.dropout(y, drop, self.training)
        return x + F.dropout(self.mlp(self.ln_2(x)), drop, self.training)


class DecoderLayer(nn.Module):
    """A GPT-2 block with cross-attention; names as in transformers' GPT2Block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.ln_1, self.ln_2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.ln_cross_attn = nn.LayerNorm(shape.width)
        self.attn, self.crossattention = SelfAttention(shape.width), CrossAttention(shape.width)
        self.mlp = Mlp(shape.width)


@dataclass
class Memory:
    """Keys and values a layer: cross-attention [B, H, S, D], and self-attention [R, H, t, D] or None."""

    cross: list[tuple[Tensor, Tensor]]
    past: list[tuple[Tensor, Tensor] | None]

    def reorder(self, rows: Tensor) -> None:
        """Continue the given rows int64[R']."""
        self.past = [None if kv is None else (kv[0][rows], kv[1][rows]) for kv in self.past]


class Decoder(nn.Module):
    """GPT2Model with cross-attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.vocab_size, shape.width)
        self.wpe = nn.Embedding(shape.max_positions, shape.width)
        self.h = nn.ModuleList([DecoderLayer(shape) for _ in range(shape.layers)])
        self.ln_f = nn.LayerNorm(shape.width)

    def memory(self, encoded: Tensor) -> Memory:
        """Cross-attention keys and values of encoder_hidden_states float32[B, S, E]."""
        cross = []
        for layer in self.h:
            k, v = layer.crossattention.c_attn(encoded).chunk(2, -1)
            cross.append((split_heads(k, self.shape.heads), split_heads(v, self.shape.heads)))
        return Memory(cross, [None] * len(self.h))

    def cross(self, layer: DecoderLayer, x: Tensor, key_value: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-attention of x [R, T, E]: all rows of a photo ask its one K/V together."""
        rows, steps, width = x.shape
        photos = key_value[0].shape[0]
        q = split_heads(x.reshape(photos, rows // photos * steps, width), self.shape.heads)
        return merge_heads(F.scaled_dot_product_attention(q, *key_value)).reshape(rows, steps, width)

    def forward(self, tokens: Tensor, keep: Tensor, cross: list[tuple[Tensor, Tensor]], noise: Noise) -> Tensor:
        """Teacher forcing. tokens int64[R, T], keep bool[R, T] (not padding) -> float32[N, E] of the kept ones.

        Everything but attention runs on the kept tokens alone: captions are short, padding would cost a third.
        """
        rows, steps = tokens.shape
        index = keep.flatten().nonzero().squeeze(1)
        drop = noise.residual if self.training else 0.0
        x = self.wte(tokens.flatten()[index]) + self.wpe(index % steps)
        x = F.dropout(x, drop, self.training)

        def pad(y: Tensor) -> Tensor:
            return y.new_zeros(rows * steps, y.shape[-1]).index_copy(0, index, y).view(rows, steps, -1)

        for layer, key_value in zip(self.h, cross, strict=True):
            q, k, v = (split_heads(y, self.shape.heads) for y in pad(layer.attn.c_attn(layer.ln_1(x))).chunk(3, -1))
            y = merge_heads(F.scaled_dot_product_attention(q, k, v, is_causal=True)).flatten(0, 1)[index]
            x = x + F.dropout(layer.attn.c_proj(y), drop, self.training)
            y = pad(layer.crossattention.q_attn(layer.ln_cross_attn(x)))
            y = self.cross(layer, y, key_value).flatten(0, 1)[index]
            x = x + F.dropout(layer.crossattention.c_proj(y), drop, self.training)
            x = x + F.dropout(layer.mlp(layer.ln_2(x)), drop, self.training)
        return self.ln_f(x)

    def step(self, tokens: Tensor, position: int, memory: Memory) -> Tensor:
        """One token a row: int64[R] at `position` -> float32[R, E]; the memory grows by one position."""
        x = (self.wte(tokens) + self.wpe.weight[position]).unsqueeze(1)
        for i, layer in enumerate(self.h):
            q, k, v = (split_heads(y, self.shape.heads) for y in layer.attn.c_attn(layer.ln_1(x)).chunk(3, -1))
            past = memory.past[i]
            if past is not None:
                k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
            memory.past[i] = (k, v)
            x = x + layer.attn.c_proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))
            q = layer.crossattention.q_attn(layer.ln_cross_attn(x))
            x = x + layer.crossattention.c_proj(self.cross(layer, q, memory.cross[i]))
            x = x + layer.mlp(layer.ln_2(x))
        return self.ln_f(x).squeeze(1)


class Captioner(nn.Module):
    """Photo to words. `cnn.front` is frozen and its output cached; the rest trains."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.cnn = EfficientNetLite0()
        self.project = nn.Linear(HEAD_CHANNELS, shape.width)
        self.positions = nn.Parameter(torch.zeros(shape.encoder_positions, shape.width))
        self.bridge = nn.ModuleList([BridgeLayer(shape) for _ in range(shape.bridge_layers)])
        self.ln_bridge = nn.LayerNorm(shape.width)
        self.transformer = Decoder(shape)
        self.apply(self._init)
        for name, weight in self.named_parameters():  # GPT-2: residual projections start smaller with depth
            if name.endswith("c_proj.weight"):
                nn.init.normal_(weight, std=0.02 / (2 * shape.layers) ** 0.5)
        self.cnn.front.requires_grad_(False)

    @staticmethod
    def _init(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def features(self, front: Tensor) -> Tensor:
        """front float32[B, 112, h, w] -> the encoder's features float32[B, S, 1280]."""
        features: Tensor = self.cnn.tail(front.contiguous(memory_format=torch.channels_last))
        return features.flatten(2).transpose(1, 2)

    def encode(self, features: Tensor, noise: Noise) -> Tensor:
        """float32[B, S, 1280] -> encoder_hidden_states float32[B, S, E]."""
        x = self.project(features) + self.positions
        if self.training and noise.positions:
            x = x * (torch.rand(*x.shape[:2], 1) >= noise.positions)
        for layer in self.bridge:
            x = layer(x, noise.residual)
        return self.ln_bridge(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.transformer.wte.weight)

    def forward(self, features: Tensor, tokens: Tensor, noise: Noise) -> Tensor:
        """features [B, S, 1280], tokens int64[B, K, T + 1] from <s> to </s> -> logits [N, V] of those after <s>."""
        inputs = tokens[..., :-1].flatten(0, 1)
        keep = tokens[..., 1:].flatten(0, 1) != PAD
        if self.training and noise.words:  # a word hidden now and then makes the decoder look at the photo
            hide = (torch.rand(inputs.shape) < noise.words) & (inputs > UNK)
            inputs = inputs.masked_fill(hide, UNK)
        cross = self.transformer.memory(self.encode(features, noise)).cross
        return self.logits(self.transformer(inputs, keep, cross, noise))


def gpt2_state_dict(model: Captioner) -> dict[str, np.ndarray]:
    """The decoder under the names and layouts of transformers' GPT2LMHeadModel (whose Conv1D holds [in, out])."""
    state = {}
    for name, value in model.transformer.state_dict().items():
        is_conv1d = name.endswith(".weight") and name.split(".")[-2] in {"c_attn", "q_attn", "c_proj", "c_fc"}
        state[f"transformer.{name}"] = np.ascontiguousarray((value.T if is_conv1d else value).numpy())
    state["lm_head.weight"] = state["transformer.wte.weight"]
    return state
