"""What the graphs of a folder take and give: tensors by name, those of the step contract, and where two sets differ.

Dimensions: `B` photos, `R` rows, `T` tokens of this step, `C` cache capacity, `S` encoder positions, `N` = R x T.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from ..errors import shown

QUERY = "cross_attention_query.{}"  # a layer's cross-attention query, an output of the decoder graph
_MOST_SAID = 12  # differences in one message


@dataclass(frozen=True)
class Tensor:
    """One input or output of a graph. A dimension is a number, or a name where it is free."""

    name: str
    type: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of one graph."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class DecoderSizes:
    """L layers, H heads of size D, V tokens, and the most positions that the decoder can tell apart."""

    layers: int
    heads: int
    head_size: int
    vocab_size: int
    max_positions: int
    cross_attention_scales: tuple[float, ...] = ()
    """what each layer's cross_attention_query and key are multiplied by; empty where the decoder gives no queries"""

    @property
    def width(self) -> int:
        """E = H x D."""
        return self.heads * self.head_size


# Far above every model there is; what is larger would be work or memory without end. L, H, D, V and positions.
MOST = {"layers": 1_000, "heads": 4_096, "head_size": 65_536, "vocab_size": 10_000_000, "max_positions": 10_000_000}


def crossing(name: str) -> bool:
    """Whether a cache is that of cross-attention, which does not change from step to step."""
    return ".encoder." in name


def width_of(shape: Iterable[int | str]) -> int:
    """How many numbers a photo's key or value has for a position: [B, S, H x D] and [B, H, S, D] have as many."""
    return prod(size for size in shape if isinstance(size, int))


def contract(sizes: DecoderSizes, photo: tuple[int | str, ...]) -> tuple[Signature, Signature]:
    """The tensors of the encoder and the decoder graph, as docs/design.md has them. photo: its height and width."""

    def caches(name: str, shape: tuple[int | str, ...]) -> tuple[Tensor, ...]:
        pairs = [(layer, part) for layer in range(sizes.layers) for part in ("key", "value")]
        return tuple(Tensor(name.format(layer, part), "float32", shape) for layer, part in pairs)

    crossing = caches("past_key_values.{}.encoder.{}", ("B", "S", sizes.width))
    past = caches("past_key_values.{}.decoder.{}", ("C", "R", sizes.width))
    present = caches("present.{}.decoder.{}", ("C", "R", sizes.width))
    steering = (
        Tensor("input_ids", "int64", ("R", "T")),
        Tensor("position", "int64", (1,)),
        Tensor("beam_table", "int64", ("R", "C")),
    )
    logits = Tensor("logits", "float32", ("R", sizes.vocab_size))
    queries = tuple(
        Tensor(QUERY.format(layer), "float32", ("N", sizes.width)) for layer in range(len(sizes.cross_attention_scales))
    )
    encoder = Signature((Tensor("pixel_values", "float32", ("B", 3, *photo)),), crossing)
    return encoder, Signature((*steering, *past, *crossing), (logits, *present, *queries))


def mismatches(graph: str, expected: Signature, found: Signature) -> list[str]:
    """The differences between two signatures, one phrase each; of many the first, and how many more there are.

    What `found` leaves free fits any number.
    """
    problems: list[str] = []
    for kind, wanted, present in (
        ("input", expected.inputs, found.inputs),
        ("output", expected.outputs, found.outputs),
    ):
        by_name = {tensor.name: tensor for tensor in present}
        problems.extend(
            f"{graph} {kind} {shown(tensor.name)} is there twice"
            for tensor in present
            if by_name[tensor.name] is not tensor
        )
        for tensor in wanted:
            other, name = by_name.pop(tensor.name, None), f"{graph} {kind} {shown(tensor.name)}"
            if other is None:
                problems.append(f"{name} is missing")
            elif kind == "input" and _kept(tensor, other):
                continue
            elif tensor.type != other.type:
                problems.append(f"{name} is {shown(other.type)} and must be {shown(tensor.type)}")
            elif not _fits(tensor.shape, other.shape):
                problems.append(f"{name} is {_written(other.shape)} and must be {_written(tensor.shape)}")
        problems.extend(f"{graph} {kind} {shown(name)} is not expected" for name in by_name)
    more = len(problems) - _MOST_SAID
    return problems if more <= 0 else [*problems[:_MOST_SAID], f"and {more} more differences"]


def _kept(one: Tensor, other: Tensor) -> bool:
    """Whether both are a photo's keys or values, one as floats [B, S, H x D], the other as halves [B, H, S, D].

    Each variant's decoder reads them as its own weights suggest.
    """
    by_type = {tensor.type: tensor.shape for tensor in (one, other)}
    if not crossing(one.name) or by_type.keys() != {"float32", "float16"}:
        return False
    floats, halves = by_type["float32"], by_type["float16"]
    return (len(floats), len(halves)) == (3, 4) and width_of(floats) == width_of(halves)


def _fits(expected: tuple[int | str, ...], found: tuple[int | str, ...]) -> bool:
    """A number must be that number or be left open by the graph; a free dimension must be free.

    Except S, which follows from the size of the photo: a graph that fixes one may know the other.
    """
    return len(expected) == len(found) and all(
        isinstance(b, str) or a in (b, "S") for a, b in zip(expected, found, strict=True)
    )


def _written(shape: tuple[int | str, ...]) -> str:
    return f"[{shown(', '.join(map(str, shape[:16])))}]"
