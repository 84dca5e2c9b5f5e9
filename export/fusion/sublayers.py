"""The modes of fusion, one class each: what stands in the place of a decoder layer's cross-attention.

Each has the parameters that FusionEncoderDecoder's docstring lists. `x` is the residual stream, float[B, T, X].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import attend, forced, joined, shares, split
from .families import Family
from .sources import EncodedSources

KeysValues = Callable[[Tensor], tuple[Tensor, Tensor]]


class Sublayer(nn.Module):
    """A mode of fusion in one layer. names: the sources in order; layer: whose cross-attention it starts from."""

    def __init__(self, family: Family, layer: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        own, self.family = family.own(layer), family
        self.norm_first, self.heads, self.scale = family.norm_first, own.heads, own.scale
        self.attention_dropout, self.dropout = own.attention_dropout, own.dropout

    @property
    def norm_after(self) -> bool:
        """Whether the stream is normed when a part was added."""
        return not self.norm_first

    def forward(self, x: Tensor, layer: Any, sources: EncodedSources) -> tuple[Tensor, Tensor]:
        """layer: the decoder's. Returns the stream and the shares, float[B, H or 1, T, M]."""
        raise NotImplementedError

    def read(self, query: Tensor, states: Tensor, lengths: Tensor, keys_values: KeysValues) -> tuple[Tensor, Tensor]:
        """One source: c_m float[B, H, T, D] and L_m float[B, H, T]. query: float[B, T, E]; states: float[B, S, C]."""
        asked = split(query, self.heads)
        if states.shape[1] == 0:  # no input of the batch has it
            return torch.zeros_like(asked), asked.new_full(asked.shape[:3], float("-inf"))
        key, value = (split(each, self.heads) for each in keys_values(states))
        return attend(asked, key, value, lengths, self.scale, self.attention_dropout if self.training else 0.0)

    def read_all(self, query: Tensor, sources: EncodedSources, own: Sequence[KeysValues]) -> tuple[Tensor, Tensor]:
        """Every source alone: float[B, H, T, M, D] and float[B, H, T, M]. own: what makes keys and values of each."""
        read = [self.read(query, *sources.of(m), keys_values) for m, keys_values in enumerate(own)]
        parts, log_sums = zip(*read, strict=True)
        return torch.stack(parts, dim=-2), torch.stack(log_sums, dim=-1)

    def added(self, x: Tensor, y: Tensor, norm: Any) -> Tensor:
        """The stream with y, and normed where the norm comes after."""
        x = x + functional.dropout(y, self.dropout, self.training)
        return norm(x) if self.norm_after else x


class Flat(Sublayer):
    """The decoder's own cross-attention over all sources; log w~ is added to the scores. It has no parameters."""

    def forward(self, x: Tensor, layer: Any, sources: EncodedSources) -> tuple[Tensor, Tensor]:
        own = self.family.own(layer)
        query = own.query(own.norm(x) if self.norm_first else x)
        parts, log_sums = self.read_all(query, sources, [own.keys_values] * sources.count)
        share = self.share(log_sums, sources.weights)
        mixed = (parts * share[..., None]).sum(dim=-2)
        return self.added(x, own.output(joined(mixed, x.dtype)), own.norm), share

    def share(self, log_sums: Tensor, weights: Tensor) -> Tensor:
        """float[B, H, T, M]. log_sums: of the same shape; weights: float32[B, M]."""
        return shares(log_sums, weights)


class Mix(Flat):
    """The decoder's own cross-attention over each source alone, and the weighted mean of what they give."""

    def share(self, log_sums: Tensor, weights: Tensor) -> Tensor:
        return forced(weights).to(log_sums.dtype)[:, None, None].expand(log_sums.shape)


class Source(nn.Module):
    """What one source has of its own. gate: of a gated source, a scalar."""

    def __init__(self, modules: dict[str, nn.Module], gate: Tensor | None = None) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        if gate is not None:
            self.gate = nn.Parameter(gate)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        return self.get_submodule("k")(states), self.get_submodule("v")(states)


class Separate(Sublayer):
    """What parallel and hierarchical share: one norm and one query, and what `parts` names of each source's own."""

    parts: tuple[str, ...]

    def __init__(self, family: Family, layer: nn.Module, names: Sequence[str]) -> None:
        super().__init__(family, layer, names)
        copies = family.copies(layer)
        self.norm, self.q = copies["norm"], copies["q"]
        self.sources = nn.ModuleDict({name: Source(_some(family, layer, self.parts)) for name in names})

    def read_separately(self, x: Tensor, sources: EncodedSources) -> tuple[Tensor, Tensor, Tensor]:
        """The normed stream, and read_all."""
        normed = self.norm(x) if self.norm_first else x
        own: list[Any] = list(self.sources.values())
        return normed, *self.read_all(self.q(normed), sources, [each.keys_values for each in own])


class Parallel(Separate):
    """y = sum w~_m (W_m c_m + b_m)."""

    parts = ("k", "v", "o")

    def forward(self, x: Tensor, layer: Any, sources: EncodedSources) -> tuple[Tensor, Tensor]:
        _, parts, log_sums = self.read_separately(x, sources)
        y, own = torch.zeros_like(x), list[Any](self.sources.values())
        for m, source in enumerate(own):
            if sources.read(m):
                y = y + sources.weight(m).to(x.dtype) * source.o(joined(parts[..., m, :], x.dtype))
        return self.added(x, y, self.norm), shares(log_sums, sources.weights)


class Hierarchical(Separate):
    """An attention over what each source gave, `over`: its q' of the normed stream, k', v', o' of E to E."""

    parts = ("k", "v")

    def __init__(self, family: Family, layer: nn.Module, names: Sequence[str]) -> None:
        super().__init__(family, layer, names)
        copies: Any = family.copies(layer)
        stream, width = copies["q"].in_features, copies["q"].out_features
        like = {"dtype": copies["q"].weight.dtype, "device": copies["q"].weight.device}
        sizes = {"q": (stream, width), "k": (width, width), "v": (width, width), "o": (width, stream)}
        self.over: Any = nn.ModuleDict({name: nn.Linear(*size, **like) for name, size in sizes.items()})

    def forward(self, x: Tensor, layer: Any, sources: EncodedSources) -> tuple[Tensor, Tensor]:
        normed, parts, _ = self.read_separately(x, sources)
        query = split(self.over.q(normed), self.heads)
        flat = [joined(parts[..., m, :], x.dtype) for m in range(sources.count)]
        key, value = (torch.stack([split(w(c), self.heads) for c in flat], dim=-2) for w in (self.over.k, self.over.v))
        share = shares((query[..., None, :] * key).sum(dim=-1) * self.scale, sources.weights)
        mixed = (value * share[..., None]).sum(dim=-2)
        return self.added(x, self.over.o(joined(mixed, x.dtype)), self.norm), share


class Serial(Sublayer):
    """A whole sublayer for each source, one after the other: x += w~_m (W_m c_m + b_m)."""

    gated = False

    def __init__(self, family: Family, layer: nn.Module, names: Sequence[str], gate: float = 0.0) -> None:
        super().__init__(family, layer, names)
        like: Any = family.copies(layer)["q"].weight
        gates = [like.new_full((), gate).detach() if self.gated else None for _ in names]
        parts = ("norm", "q", "k", "v", "o") if self.norm_first or self.norm_after else ("q", "k", "v", "o")
        self.sources = nn.ModuleDict(
            {name: Source(_some(family, layer, parts), a) for name, a in zip(names, gates, strict=True)}
        )

    def forward(self, x: Tensor, layer: Any, sources: EncodedSources) -> tuple[Tensor, Tensor]:
        sizes, own = [], list[Any](self.sources.values())
        for m, source in enumerate(own):
            if not sources.read(m):
                sizes.append(x.new_zeros(x.shape[:2]))
                continue
            states, lengths = sources.of(m)
            part, _ = self.read(source.q(source.norm(x) if self.norm_first else x), states, lengths, source.keys_values)
            weight = sources.weight(m).to(x.dtype)
            y = (weight * source.gate.tanh() if self.gated else weight) * source.o(joined(part, x.dtype))
            # Where the source is absent nothing happens to the stream, not even a norm.
            x = torch.where(weight > 0, self.added(x, y, getattr(source, "norm", None)), x)
            sizes.append(y.detach().norm(dim=-1))
        share = torch.stack(sizes, dim=-1)
        share = share / share.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
        return x, share[:, None]


class Gated(Serial):
    """As serial with x += w~_m tanh(a_m) (W_m c_m + b_m), `gate` a_m (Alayrac et al., arXiv 2204.14198).

    The stream is never normed, so that a gate of 0 leaves it as it was, also where the decoder norms after its parts.
    """

    gated, norm_after = True, False


KINDS: dict[str, type[Sublayer]] = {
    "flat": Flat,
    "mix": Mix,
    "parallel": Parallel,
    "serial": Serial,
    "gated": Gated,
    "hierarchical": Hierarchical,
}
"""by the name of the mode"""


def sublayers(mode: str, family: Family, decoder: Any, names: Sequence[str], gate: float) -> nn.ModuleList:
    """A sublayer of that mode for each of the decoder's layers, made of their own cross-attention.

    Where the mode does not use that, it is taken out of the decoder, so that no weight is kept for nothing. gate: a_m
    of gated sources at the start. What has no counterpart in the decoder is as its own initializer makes it.
    """
    kind, more = KINDS[mode], {"gate": gate} if mode == "gated" else {}
    layers = family.layers(decoder)
    made = [kind(family, layer, names, **more) for layer in layers]
    for sublayer, layer in zip(made, layers, strict=True):
        if not isinstance(sublayer, Flat):
            family.remove(layer)
        if isinstance(sublayer, Hierarchical):
            sublayer.over.apply(decoder._init_weights)
    return nn.ModuleList(made)


def _some(family: Family, layer: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    copies = family.copies(layer)
    return {name: copies[name] for name in names}
