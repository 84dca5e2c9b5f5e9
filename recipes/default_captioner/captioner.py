"""The default captioner in torch: EfficientNet-Lite, a transformer bridge, a GPT-2 decoder with cross-attention.

Cross-attention reads the photo's positions, those of what the photo's classifier is sure of ("labels": everyday words
with their probabilities, which go through the bridge with the photo), and those of a hint that somebody typed.

Dimensions: B photos, K captions of each photo, R = B x K rows, T tokens, P positions of a photo, L labels, J tokens of
a hint, S = P + L + J, E width, H heads, D head size, V words, N tokens that are not padding. Parameter names below
`transformer.` are those of transformers' GPT2LMHeadModel (add_cross_attention=True), whose arithmetic the decoder
follows: pre-norm, learned positions, tanh GELU, tied head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .efficientnet import HEAD_CHANNELS, LITE1, EfficientNetLite, Variant

PAD, BOS, EOS, UNK = 0, 1, 2, 3
COPIED = 0.05  # how much of a word that is attended to reaches the residual stream at the start
HINT_COUNTS = 3  # in training: as so many hints it is read, so that it is learned that it is worth reading
FAINT = 0.002  # classes below this probability are noise, which would add up where many have the same word (dogs: 118)
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


@dataclass(frozen=True)
class Shape:
    """Sizes of the captioner; the defaults are those of the model that ships."""

    vocab_size: int
    encoder: Variant = LITE1
    image_size: int = LITE1.image_size
    width: int = 256
    heads: int = 8
    bridge_layers: int = 2
    bridge_inner: int = 512
    layers: int = 3
    labels: int = 6
    max_positions: int = 32
    hint_positions: int = 32

    @property
    def photo_positions(self) -> int:
        return math.ceil(self.image_size / 32) ** 2


@dataclass
class Noise:
    """What training drops: shares of residual activations, of input words and of encoder positions; and how far photos
    are made unfamiliar, see unfamiliar.py: shares of photos into which another is mixed, of each photo's channels that
    are left out, and of photos that are covered for the most part."""

    residual: float = 0.0
    words: float = 0.0
    positions: float = 0.0
    mixed: float = 0.0
    channels: float = 0.0
    covered: float = 0.0


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[..., T, E] -> [..., H, T, D]."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def merge_heads(x: Tensor) -> Tensor:
    """[..., H, T, D] -> [..., T, E]."""
    return x.transpose(-2, -3).flatten(-2)


def attend(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None = None) -> Tensor:
    """[..., H, T, D] of queries to keys and values [..., H, S, D]; seen: bool, which of these each may look at.

    Written out, since the backward pass of torch's own takes five times as long in bfloat16.
    """
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if seen is not None:
        scores = scores.masked_fill(~seen, -1e4)
    return scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value


class Mlp(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, inner)
        self.c_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)


class CrossAttention(nn.Module):
    """As transformers' GPT2Attention has it, and `hint_attn`: what makes keys and values of a hint, as c_attn does of
    what is seen."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_attn = nn.Linear(width, width)
        self.c_attn = nn.Linear(width, 2 * width)
        self.hint_attn = nn.Linear(width, 2 * width)
        self.c_proj = nn.Linear(width, width)


class BridgeLayer(nn.Module):
    """A pre-norm transformer encoder layer over the positions of a photo and its labels."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.ln_1, self.ln_2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.attn, self.mlp = SelfAttention(shape.width), Mlp(shape.width, shape.bridge_inner)

    def forward(self, x: Tensor, there: Tensor | None, drop: float) -> Tensor:
        q, k, v = (split_heads(y, self.heads) for y in self.attn.c_attn(self.ln_1(x)).chunk(3, -1))
        mask = None if there is None else there[:, None, None]
        y = self.attn.c_proj(merge_heads(attend(q, k, v, mask)))
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
        self.mlp = Mlp(shape.width, 4 * shape.width)


class Encoded(NamedTuple):
    """What cross-attention reads: float32[B, S, E], and which of it is there, bool[B, S] (None: all); hints: how many
    of the positions, the last ones, are of a hint."""

    hidden: Tensor
    there: Tensor | None = None
    hints: int = 0


@dataclass
class Memory:
    """Keys and values a layer: cross-attention [B, H, S, D], and self-attention [R, H, t, D] or None; `there` bool."""

    cross: list[tuple[Tensor, Tensor]]
    there: Tensor | None
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

    def memory(self, encoded: Encoded) -> Memory:
        """Cross-attention keys and values."""
        cross = []
        seen, hint = encoded.hidden.tensor_split([encoded.hidden.shape[1] - encoded.hints], 1)
        for layer in self.h:
            both = layer.crossattention.c_attn(seen), layer.crossattention.hint_attn(hint)
            k, v = torch.cat(both, 1).chunk(2, -1)
            cross.append((split_heads(k, self.shape.heads), split_heads(v, self.shape.heads)))
        there = None if encoded.there is None else encoded.there[:, None, None]
        return Memory(cross, there, [None] * len(self.h))

    def cross(self, x: Tensor, memory: Memory, layer: int) -> Tensor:
        """Cross-attention of x [R, T, E]: all rows of a photo ask its one K/V together."""
        rows, steps, width = x.shape
        key, value = memory.cross[layer]
        photos = key.shape[0]
        q = split_heads(x.reshape(photos, rows // photos * steps, width), self.shape.heads)
        mixed = attend(q, key, value, memory.there)
        return merge_heads(mixed).reshape(rows, steps, width)

    def forward(self, tokens: Tensor, keep: Tensor, memory: Memory, noise: Noise) -> Tensor:
        """Teacher forcing. tokens int64[R, T], keep bool[R, T] (not padding) -> float32[N, E] of the kept ones.

        Everything but attention runs on the kept tokens alone: captions are short, padding would cost a third.
        """
        rows, steps = tokens.shape
        index = keep.flatten().nonzero().squeeze(1)
        drop = noise.residual if self.training else 0.0
        x = self.wte(tokens.flatten()[index]) + self.wpe(index % steps)
        x = F.dropout(x, drop, self.training)
        earlier = torch.ones(steps, steps, dtype=torch.bool).tril()

        def pad(y: Tensor) -> Tensor:
            return y.new_zeros(rows * steps, y.shape[-1]).index_copy(0, index, y).view(rows, steps, -1)

        for i, layer in enumerate(self.h):
            q, k, v = (split_heads(y, self.shape.heads) for y in pad(layer.attn.c_attn(layer.ln_1(x))).chunk(3, -1))
            y = merge_heads(attend(q, k, v, earlier)).flatten(0, 1)[index]
            x = x + F.dropout(layer.attn.c_proj(y), drop, self.training)
            y = pad(layer.crossattention.q_attn(layer.ln_cross_attn(x)))
            y = self.cross(y, memory, i).flatten(0, 1)[index]
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
            x = x + layer.attn.c_proj(merge_heads(attend(q, k, v)))
            q = layer.crossattention.q_attn(layer.ln_cross_attn(x))
            x = x + layer.crossattention.c_proj(self.cross(q, memory, i))
            x = x + layer.mlp(layer.ln_2(x))
        return self.ln_f(x).squeeze(1)


@dataclass
class Inputs:
    """What a batch of captions is written from. Any of the three may be absent for some photos, but not all of them.

    features: float32[B, P, 1280] of the photos, None where no photo has any; labels: which classes' everyday words
    int64[B, L], and their probabilities float32[B, L]; hints: token ids int64[B, J]; photo_there: bool[B, P];
    labels_there: bool[B]; hints_there: bool[B, J].
    """

    features: Tensor | None
    labels: Tensor
    probabilities: Tensor
    hints: Tensor | None = None
    hints_there: Tensor | None = None
    photo_there: Tensor | None = None
    labels_there: Tensor | None = None


class Captioner(nn.Module):
    """Photo to words. `cnn.front` is frozen and its output cached; the rest trains."""

    of_class: Tensor
    class_tokens: Tensor

    def __init__(self, shape: Shape, of_class: NDArray[np.int64], class_tokens: NDArray[np.int64]) -> None:
        """of_class: int64[1000], which everyday words each of ImageNet's classes has; class_tokens: int64[words, T],
        the tokens of each of these, padded."""
        super().__init__()
        self.shape = shape
        self.register_buffer("of_class", torch.from_numpy(of_class))
        self.register_buffer("class_tokens", torch.from_numpy(class_tokens))
        self.cnn = EfficientNetLite(shape.encoder, shape.image_size)
        self.project = nn.Linear(HEAD_CHANNELS, shape.width)
        self.positions = nn.Parameter(torch.zeros(shape.photo_positions, shape.width))
        self.ln_word, self.word = nn.LayerNorm(shape.width), nn.Linear(shape.width, shape.width)
        self.probability = nn.Linear(2, shape.width)
        self.hint_positions = nn.Parameter(torch.zeros(shape.hint_positions, shape.width))
        self.bridge = nn.ModuleList([BridgeLayer(shape) for _ in range(shape.bridge_layers)])
        self.ln_bridge, self.ln_hint = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.transformer = Decoder(shape)
        self.apply(self._init)
        for name, weight in self.named_parameters():  # GPT-2: residual projections start smaller with depth
            if name.endswith("c_proj.weight"):
                nn.init.normal_(weight, std=0.02 / (2 * shape.layers) ** 0.5)
        nn.init.normal_(self.probability.weight, std=0.2)
        self._open_way_of_words()
        self.cnn.front.requires_grad_(False)

    @torch.no_grad()
    def _open_way_of_words(self) -> None:
        """At the start a word that is attended to is made likelier: what reads words, the values and the output of
        cross-attention pass a vector on as it is, and the head is tied. When to say it is left to be learned; the way
        itself took longer than the training has."""
        identity = torch.eye(self.shape.width)
        self.word.weight.copy_(identity)
        for layer in self.transformer.h:
            for read in (layer.crossattention.c_attn, layer.crossattention.hint_attn):
                read.weight[self.shape.width :] += identity
            layer.crossattention.c_proj.weight += COPIED * identity

    @staticmethod
    def _init(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def features(self, seen: Tensor) -> Tensor:
        """The encoder's features float32[B, P, 1280], of its front float32[B, 112, h, w] or as they are."""
        if seen.ndim == 3:
            return seen
        features: Tensor = self.cnn.tail(seen.contiguous(memory_format=torch.channels_last))
        return features.flatten(2).transpose(1, 2)

    def class_logits(self, features: Tensor) -> Tensor:
        """float32[B, P, 1280] -> float32[B, 1000]."""
        logits: Tensor = self.cnn.classifier(features.mean(1))
        return logits

    def labels(self, class_logits: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest everyday words int64[B, L], and their probabilities float32[B, L]: sums over their classes."""
        every = torch.zeros(len(class_logits), len(self.class_tokens))
        every = every.index_add(1, self.of_class, (class_logits.float().softmax(-1) - FAINT).relu())
        probabilities, labels = every.topk(self.shape.labels)
        return labels, probabilities

    def class_words(self) -> Tensor:
        """float32[words, E]: what each class's everyday words are to the bridge: the mean of their tokens, read."""
        there = (self.class_tokens != PAD).unsqueeze(-1)
        mean = (self.transformer.wte(self.class_tokens) * there).sum(1) / there.sum(1)
        return self.read_words(mean)

    def read_words(self, words: Tensor) -> Tensor:
        """Embeddings of tokens [..., E] as labels and hints have them."""
        read: Tensor = self.word(self.ln_word(words))
        return read

    def sureness(self, probabilities: Tensor) -> Tensor:
        """float32[B, L] -> float32[B, L, E]."""
        told = torch.stack([probabilities, (probabilities + 1e-4).log() / 4], -1)
        vectors: Tensor = self.probability(told)
        return vectors

    def encode(self, inputs: Inputs, noise: Noise) -> Encoded:
        """Photos and labels through the bridge, and the hints beside them."""
        return self.with_hints(self.encode_photos(inputs, noise), inputs)

    def encode_photos(self, inputs: Inputs, noise: Noise) -> Encoded:
        """Photos and labels through the bridge."""
        x = self.class_words()[inputs.labels] + self.sureness(inputs.probabilities)
        there = _there(inputs.labels_there, x)
        if inputs.features is not None:
            photo = self.project(inputs.features) + self.positions
            if self.training and noise.positions:
                photo = photo * (torch.rand(*photo.shape[:2], 1) >= noise.positions)
            x, there = torch.cat([photo, x], 1), _joined(inputs.photo_there, there, photo, x)
        for layer in self.bridge:
            x = layer(x, there, noise.residual)
        return Encoded(self.ln_bridge(x), there)

    def with_hints(self, seen: Encoded, inputs: Inputs) -> Encoded:
        """The hints beside what is seen; to stand there HINT_COUNTS times is to be read so often."""
        if inputs.hints is None or inputs.hints_there is None:
            return seen
        x, hint = seen.hidden, self.encode_hint(inputs.hints).repeat(1, HINT_COUNTS, 1)
        there = _joined(seen.there, inputs.hints_there.repeat(1, HINT_COUNTS), x, hint)
        return Encoded(torch.cat([x, hint], 1), there, hint.shape[1])

    def encode_hint(self, hints: Tensor) -> Tensor:
        """int64[B, J] -> float32[B, J, E]."""
        x = self.read_words(self.transformer.wte(hints)) + self.hint_positions[: hints.shape[1]]
        normed: Tensor = self.ln_hint(x)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.transformer.wte.weight)

    def forward(self, inputs: Inputs, tokens: Tensor, noise: Noise) -> Tensor:
        """tokens int64[B, K, T + 1] from <s> to </s> -> logits [N, V] of those after <s>; padding is no caption."""
        given = tokens[..., :-1].flatten(0, 1)
        keep = tokens[..., 1:].flatten(0, 1) != PAD
        if self.training and noise.words:  # a word hidden now and then makes the decoder look at the photo
            hide = (torch.rand(given.shape) < noise.words) & (given > UNK)
            given = given.masked_fill(hide, UNK)
        memory = self.transformer.memory(self.encode(inputs, noise))
        return self.logits(self.transformer(given, keep, memory, noise))


def _there(which: Tensor | None, x: Tensor) -> Tensor | None:
    """bool[B] -> bool[B, positions of x]."""
    return None if which is None else which[:, None].expand(x.shape[:2])


def _joined(one: Tensor | None, other: Tensor | None, x: Tensor, y: Tensor) -> Tensor | None:
    """Of positions of x and then of y, which are there; None is all of them."""
    if one is None and other is None:
        return None
    every = [z.new_ones(z.shape[:2], dtype=torch.bool) if w is None else w for w, z in ((one, x), (other, y))]
    return torch.cat(every, 1)


def gpt2_state_dict(model: Captioner, hint: bool = False) -> dict[str, np.ndarray]:
    """The decoder under the names and layouts of transformers' GPT2LMHeadModel (whose Conv1D holds [in, out]).

    hint: with what makes keys and values of a hint, instead of those of what is seen.
    """
    state = {}
    for name, value in model.transformer.state_dict().items():
        if (".crossattention.c_attn." if hint else ".crossattention.hint_attn.") in name:
            continue
        name = name.replace(".hint_attn.", ".c_attn.")
        is_conv1d = name.endswith(".weight") and name.split(".")[-2] in {"c_attn", "q_attn", "c_proj", "c_fc"}
        state[f"transformer.{name}"] = np.ascontiguousarray((value.T if is_conv1d else value).numpy())
    state["lm_head.weight"] = state["transformer.wte.weight"]
    return state
