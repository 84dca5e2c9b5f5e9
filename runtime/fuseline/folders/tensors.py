"""What the graphs of a folder take and give: names, types and shapes of all tensors, and where two sets of them differ.

The one place for it: the exporter writes by these names, the runtime binds by them. Dimensions: `B` inputs of a call,
`R` rows, `T` tokens of this step, `C` cache capacity, `S` encoder positions, `N` = R x T.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from ..errors import shown

# fuseline.json: 1 is of models that read one photo, 2 says which task and which sources.
FORMATS = (1, 2)

PIXEL_VALUES, INPUT_IDS, ATTENTION_MASK = "pixel_values", "input_ids", "attention_mask"  # what encoders read
INPUT_FEATURES, INPUT_VALUES = "input_features", "input_values"  # of speech: mel bands, or samples
POSITION, BEAM_TABLE = "position", "beam_table"  # what a decoder reads beside the tokens, which are input_ids too
LENGTHS = (
    "lengths"  # int64[B, M], of a decoder whose inputs differ in length: how many positions of each source each has
)
STARTS, WEIGHTS = "starts", "weights"  # of a decoder with several sources: where each begins, and how much it counts
# Of a static decoder, which reads a mask in the place of the table: what is added to scores, float32[R, C x R] by the
# line of the cache and float32[1, S] by the encoder's position.
MASK, SOURCE_MASK = "mask", "source_mask"
SOURCE_STARTS = "fuseline.starts"  # in the metadata of one with several sources: where each begins, and S, as "0,64,96"
LOGITS = "logits"
# The largest logits, the tokens that they are of, and the logarithm of the sum of all exponentials: outputs of a graph
# whose logits stay on its device.
BEST = BEST_LOGITS, BEST_TOKENS, LOG_SUM = "best_logits", "best_tokens", "log_sum"
MOST_BEST = 32  # enough for 16 beams, or for 10 with two end tokens
QUERY = "cross_attention_query.{}"  # a layer's cross-attention query, an output of the decoder graph
SHARE = "source_share.{}"  # how much of what a layer reads each source gives, an output of a graph with several
PAST, PRESENT = "past_key_values", "present"
IN_HALVES = PAST, PRESENT, QUERY.format("")  # what begins so is of float16 in a plain graph of halves
SELF, CROSS = "decoder", "encoder"  # whose keys and values: of the tokens so far, of what was encoded
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
    """what each layer's cross_attention_query and key are multiplied by; empty where the decoder gives no queries, as
    without sources"""

    @property
    def width(self) -> int:
        """E = H x D."""
        return self.heads * self.head_size

    @property
    def watched_layers(self) -> int:
        """How many layers give their queries."""
        return len(self.cross_attention_scales)


# Far above every model there is; what is larger would be work or memory without end. L, H, D, V and positions.
MOST = {"layers": 1_000, "heads": 4_096, "head_size": 65_536, "vocab_size": 10_000_000, "max_positions": 10_000_000}


PHOTOGRAPH, TEXT, SPEECH = "photo", "text", "speech"
# What a source reads, by the names of its inputs: all kinds there are.
READS: Mapping[tuple[str, ...], str] = {
    (PIXEL_VALUES,): PHOTOGRAPH,
    (INPUT_IDS, ATTENTION_MASK): TEXT,
    (INPUT_FEATURES,): SPEECH,
    (INPUT_VALUES, ATTENTION_MASK): SPEECH,
}


# How a decoder reads several sources (docs/fusion.md has the formulas). The first four have one query a layer for all
# of them, so that attention weights can be told; the others have one a source.
FLAT, MIX, PARALLEL, HIERARCHICAL, SERIAL, GATED = "flat", "mix", "parallel", "hierarchical", "serial", "gated"
FUSIONS = (FLAT, MIX, PARALLEL, HIERARCHICAL, SERIAL, GATED)
# What happens to an input without a source: its part is left out, zeros go through its encoder, or it may not be.
SKIP, ZEROS, REFUSE = "skip", "zeros", "refuse"


@dataclass(frozen=True)
class Source:
    """Where keys and values of cross-attention come from: one encoder graph.

    inputs: names, those of Hugging Face, of what a call gives; longest: the most positions of one input, None without a
    bound; absent: what happens to a call without it, REFUSE for a model's only source; vocab_size: of its tokens,
    None where it reads none or the folder does not say; samples_a_position: where it reads samples of speech, how many
    of them an encoder position stands for; weight: how much it counts beside others where a call does not say.
    """

    name: str
    inputs: tuple[str, ...]
    longest: int | None = None
    absent: str = REFUSE
    vocab_size: int | None = None
    samples_a_position: int | None = None
    weight: float = 1.0

    @property
    def reads(self) -> str:
        """What it reads: "photo", "text" or "speech"."""
        return READS[self.inputs]

    @property
    def reads_text(self) -> bool:
        """Whether it reads tokens."""
        return self.reads == TEXT

    @property
    def padded(self) -> bool:
        """Whether inputs of one batch may differ in length, which the decoder is then told."""
        return ATTENTION_MASK in self.inputs


# The source of every model that reads one photo.
PHOTO = Source(CROSS, (PIXEL_VALUES,))
# That of Moonshine, whose three convolutions make one position of so many samples. 4,096 positions are 98 seconds.
MOONSHINE_STRIDE, MOONSHINE_LONGEST = 64 * 3 * 2, 4096
MOONSHINE = Source(
    CROSS, (INPUT_VALUES, ATTENTION_MASK), longest=MOONSHINE_LONGEST, samples_a_position=MOONSHINE_STRIDE
)


def kv_names(time: str, layer: int, owner: str) -> tuple[str, str]:
    """The names of a layer's key and value. time: PAST or PRESENT; owner: SELF or CROSS."""
    return f"{time}.{layer}.{owner}.key", f"{time}.{layer}.{owner}.value"


def is_cross_attention(name: str) -> bool:
    """Whether a cache is that of cross-attention, which does not change from step to step."""
    return f".{CROSS}." in name


def width_of(shape: Iterable[int | str]) -> int:
    """How many numbers a photo's key or value has for a position: [B, S, H x D] and [B, H, S, D] have as many."""
    return prod(size for size in shape if isinstance(size, int))


Free = tuple[int | str, ...]


def contract(
    sizes: DecoderSizes, sources: Mapping[str, Source], free: Mapping[str, Free | None]
) -> tuple[dict[str, Signature], Signature]:
    """The tensors of the encoder graphs, by source, and of the decoder graph, as docs/design.md has them.

    free: the sizes of each encoder's input that are the model's own: a photo's height and width, or bands and frames.
    """

    def caches(time: str, owner: str, shape: Free) -> tuple[Tensor, ...]:
        names = [name for layer in range(sizes.layers) for name in kv_names(time, layer, owner)]
        return tuple(Tensor(name, "float32", shape) for name in names)

    cross, cache = ("B", "S", sizes.width), ("C", "R", sizes.width)
    cross_key_values = caches(PAST, CROSS, cross) if sources else ()
    steering = (
        Tensor(INPUT_IDS, "int64", ("R", "T")),
        Tensor(POSITION, "int64", (1,)),
        Tensor(BEAM_TABLE, "int64", ("R", "C")),
        *_which_positions(sources),
    )
    queries = (Tensor(QUERY.format(layer), "float32", ("N", sizes.width)) for layer in range(sizes.watched_layers))
    shares = (
        Tensor(SHARE.format(layer), "float32", ("N", sizes.heads, len(sources)))
        for layer in range(sizes.layers if len(sources) > 1 else 0)
    )
    return (
        {name: Signature(_encoder_inputs(each, free.get(name)), cross_key_values) for name, each in sources.items()},
        Signature(
            (*steering, *caches(PAST, SELF, cache), *cross_key_values),
            (Tensor(LOGITS, "float32", ("R", sizes.vocab_size)), *caches(PRESENT, SELF, cache), *queries, *shares),
        ),
    )


def _which_positions(sources: Mapping[str, Source]) -> tuple[Tensor, ...]:
    """What a decoder is told of the positions that it reads; nothing where all inputs have all of one source's."""
    count = len(sources)
    if count > 1:
        return (
            Tensor(LENGTHS, "int64", ("B", count)),
            Tensor(STARTS, "int64", (count + 1,)),
            Tensor(WEIGHTS, "float32", ("B", count)),
        )
    return (Tensor(LENGTHS, "int64", ("B", 1)),) if any(each.padded for each in sources.values()) else ()


def _encoder_inputs(source: Source, free: Free | None) -> tuple[Tensor, ...]:
    if source.reads_text:
        return tuple(Tensor(name, "int64", ("B", "S")) for name in source.inputs)
    name = source.inputs[0]
    if name == INPUT_VALUES:  # of one clip at a time, so its graph needs no mask
        return (Tensor(name, "float32", ("B", "samples")),)
    shape = (3, *(free or ("height", "width"))) if name == PIXEL_VALUES else free or ("bands", "frames")
    return (Tensor(name, "float32", ("B", *shape)),)


def best_of(vocab_size: int) -> int:
    """K: how many of the next tokens such a graph tells."""
    return min(MOST_BEST, vocab_size)


def one_token(signature: Signature) -> Signature:
    """The same of a graph that takes one token a step, and tells the best of the next ones."""
    inputs = (
        replace(each, shape=tuple(1 if size == "T" else size for size in each.shape)) for each in signature.inputs
    )
    best: list[Tensor] = []
    for logits in (each for each in signature.outputs if each.name == LOGITS):
        count = best_of(int(logits.shape[-1]))
        best += [Tensor(BEST_LOGITS, "float32", ("R", count)), Tensor(BEST_TOKENS, "int64", ("R", count))]
        best.append(Tensor(LOG_SUM, "float32", ("R",)))
    return Signature(tuple(inputs), (*signature.outputs, *best))


def mismatches(graph: str, expected: Signature, found: Signature, *, halves: bool = True) -> list[str]:
    """The differences between two signatures, one phrase each; of many the first, and how many more there are.

    What `found` leaves free fits any number. halves: whether keys, values, caches and queries may be those of a plain
    graph of halves.
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
            elif (kind == "input" and _kept(tensor, other)) or (halves and _halved(tensor, other)):
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
    if not is_cross_attention(one.name) or by_type.keys() != {"float32", "float16"}:
        return False
    floats, halves = by_type["float32"], by_type["float16"]
    return (len(floats), len(halves)) == (3, 4) and width_of(floats) == width_of(halves)


def _halved(one: Tensor, other: Tensor) -> bool:
    """Whether both are keys or values, a cache of them, or queries, of one shape, one of floats and one of halves: so
    plain graphs of halves have them."""
    return (
        one.name.startswith(IN_HALVES)
        and one.type == "float32"
        and other.type == "float16"
        and (_fits(one.shape, other.shape))
    )


def _fits(expected: tuple[int | str, ...], found: tuple[int | str, ...]) -> bool:
    """A number must be that number or be left open by the graph; a free dimension must be free.

    Except S, which follows from the size of the photo: a graph that fixes one may know the other.
    """
    return len(expected) == len(found) and all(
        isinstance(b, str) or a in (b, "S") for a, b in zip(expected, found, strict=True)
    )


def _written(shape: tuple[int | str, ...]) -> str:
    return f"[{shown(', '.join(map(str, shape[:16])))}]"
