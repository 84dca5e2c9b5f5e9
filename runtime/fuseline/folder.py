"""A model folder: finds it, checks it whole, and says which files a variant is made of. Nothing of it runs here.

Everything in a folder is data from somewhere else. What `fuseline.json` says is checked against the step contract, and
every file it lists against its size and hash, before a graph or a tokenizer is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import isfinite, prod
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import FolderError
from .files import external_locations, inside, read_json, sha256_of
from .hub import downloaded, is_hub_id

FORMAT = 1
DESCRIPTION = "fuseline.json"
QUERY = "cross_attention_query.{}"  # a layer's cross-attention query, an output of the decoder graph
AUTO = "auto"  # in the place of a variant: what fuseline.auto chooses
DEFAULT_MODEL = "flickr8k-lite0"

Json = Mapping[str, Any]


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
class Variant:
    """The two graphs of one variant, as paths relative to the folder."""

    encoder: str
    decoder: str

    @property
    def graphs(self) -> tuple[str, ...]:
        """The paths of all its graphs."""
        return (self.encoder, self.decoder)


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


@dataclass(frozen=True)
class Folder:
    """A folder that has been checked. `variant` is the one in use; hashes: sha256 by file.

    max_loss: the share of quality that a variant may lose to fp32 to be chosen by itself; None where it is not said.
    """

    path: Path
    variant: str
    default_variant: str
    variants: Mapping[str, Variant]
    decoder: DecoderSizes
    encoder_signature: Signature
    decoder_signature: Signature
    sizes: Mapping[str, int]
    hashes: Mapping[str, str]
    made_by: Json
    quality: Mapping[str, Json]
    agreement: Mapping[str, Json]
    max_loss: float | None
    config: Json
    generation_config: Json
    preprocessor_config: Json

    @property
    def encoder_path(self) -> Path:
        """The encoder graph of the variant in use."""
        return self.path / self.variants[self.variant].encoder

    @property
    def decoder_path(self) -> Path:
        """The decoder graph of the variant in use."""
        return self.path / self.variants[self.variant].decoder

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizers file."""
        return self.path / "tokenizer.json"

    def bytes_of(self, graph: str) -> int:
        """A graph with the weights that lie beside it."""
        return sum(size for name, size in self.sizes.items() if name.removesuffix("_data") == graph)

    def using(self, encoder: str, decoder: str | None = None) -> Folder:
        """The same folder with the encoder of one variant and the decoder of another in use, checked as open does."""
        decoder = decoder or encoder
        graphs = Variant(self.variants[encoder].encoder, self.variants[decoder].decoder)
        _check_external_data(self.path, graphs, self.sizes)
        whole = [name for name in (encoder, decoder, *self.variants) if self.variants[name] == graphs]
        name = whole[0] if whole else f"{encoder} encoder, {decoder} decoder"
        return replace(self, variant=name, variants={**self.variants, name: graphs})

    @classmethod
    def open(cls, path: str | Path | None = None, variant: str | None = None, *, whole: bool = False) -> Folder:
        """Check the folder at path whole. None: the captioner that ships; variant None: the folder's default.

        A name such as "org/name" that is no folder here is looked for on the hub. A folder without fuseline.json is
        opened by the conventions of other tools, see fuseline.foreign.
        Raises FolderError naming the file and the reason: missing, truncated, edited, outside the folder, malformed.
        """
        root = find(path, variant)
        if not (root / DESCRIPTION).exists():
            from .foreign import open_folder

            return open_folder(root, variant)
        description = _Fields(read_json(root, DESCRIPTION), root / DESCRIPTION)
        _check_format(description)
        variants = {
            name: Variant(graphs.text("encoder"), graphs.text("decoder"))
            for name, graphs in description.children("variants").items()
        }
        default = description.text("default_variant")
        chosen = default if variant is None else variant
        if chosen not in variants:
            raise FolderError(f"{root} has no variant {chosen!r}; it has {', '.join(sorted(variants)) or 'none'}")
        sizes = _check_files(root, description, variants)
        _check_external_data(root, variants[chosen], sizes)
        tensors = description.child("tensors")
        folder = cls(
            path=root,
            variant=chosen,
            default_variant=default,
            variants=variants,
            decoder=_decoder(description.child("decoder")),
            encoder_signature=_signature(tensors.child("encoder")),
            decoder_signature=_signature(tensors.child("decoder")),
            sizes=sizes,
            hashes={name: listed.text("sha256") for name, listed in description.children("files").items()},
            made_by=description.child("made_by", optional=True).values,
            quality={name: of.values for name, of in description.children("quality", optional=True).items()},
            agreement={name: of.values for name, of in description.children("agreement", optional=True).items()},
            max_loss=_max_loss(description),
            config=read_json(root, "config.json"),
            generation_config=read_json(root, "generation_config.json") if "generation_config.json" in sizes else {},
            preprocessor_config=read_json(root, "preprocessor_config.json"),
        )
        _check_contract(folder)
        return folder


def find(path: str | Path | None, variant: str | None = None) -> Path:
    """The resolved folder at path; a bare name that is no folder here may be that of a model that ships.

    "org/name" that is no folder here is downloaded from the hub, as much of it as the variant needs.
    Raises FolderError if there is no folder.
    """
    if path is None or (not Path(path).exists() and str(path) == PurePosixPath(path).name):
        from importlib import resources

        shipped = Path(str(resources.files("fuseline").joinpath("models", str(path or DEFAULT_MODEL))))
        if path is None or (shipped / DESCRIPTION).exists():
            path = shipped
    root = Path(path)
    if not root.exists() and is_hub_id(str(path)):
        root = downloaded(str(path), variant)
    if not root.exists():
        raise FolderError(f"there is no model folder {root}")
    if not root.is_dir():
        raise FolderError(f"{root} is a file; a model is a folder with a {DESCRIPTION}, or of ONNX graphs by optimum")
    return root.resolve()


def crossing(name: str) -> bool:
    """Whether a cache is that of cross-attention, which does not change from step to step."""
    return ".encoder." in name


def width_of(shape: Iterable[int | str]) -> int:
    """How many numbers a photo's key or value has for a position: [B, S, H x D] and [B, H, S, D] have as many."""
    return prod(size for size in shape if isinstance(size, int))


def mismatches(graph: str, expected: Signature, found: Signature) -> list[str]:
    """Every difference between two signatures, one phrase each. What `found` leaves free fits any number."""
    problems: list[str] = []
    for kind, wanted, present in (
        ("input", expected.inputs, found.inputs),
        ("output", expected.outputs, found.outputs),
    ):
        by_name = {tensor.name: tensor for tensor in present}
        for tensor in wanted:
            other = by_name.pop(tensor.name, None)
            if other is None:
                problems.append(f"{graph} {kind} {tensor.name} is missing")
            elif kind == "input" and _kept(tensor, other):
                continue
            elif tensor.type != other.type:
                problems.append(f"{graph} {kind} {tensor.name} is {other.type} and must be {tensor.type}")
            elif not _fits(tensor.shape, other.shape):
                shapes = f"{_written(other.shape)} and must be {_written(tensor.shape)}"
                problems.append(f"{graph} {kind} {tensor.name} is {shapes}")
        problems.extend(f"{graph} {kind} {name} is not expected" for name in by_name)
    return problems


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
    return f"[{', '.join(map(str, shape))}]"


def _check_format(description: _Fields) -> None:
    found = description.integer("format")
    if found != FORMAT:
        advice = "update fuseline" if found > FORMAT else "export the model again"
        raise FolderError(f"{description.where} is of format {found} and this fuseline reads format {FORMAT}; {advice}")


def _decoder(sizes: _Fields) -> DecoderSizes:
    scales = sizes.values.get("cross_attention_scales", [])
    layers = sizes.size("layers")
    good = isinstance(scales, list) and len(scales) in (0, layers)
    if not good or not all(type(scale) is float and isfinite(scale) for scale in scales):
        raise sizes.wrong("cross_attention_scales", "a number for each layer")
    return DecoderSizes(
        layers,
        heads=sizes.size("heads"),
        head_size=sizes.size("head_size"),
        vocab_size=sizes.size("vocab_size"),
        max_positions=sizes.size("max_positions"),
        cross_attention_scales=tuple(scales),
    )


def _max_loss(description: _Fields) -> float | None:
    value = description.values.get("max_loss")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise description.wrong("max_loss", "a share from 0 to below 1")
    return float(value)


def _check_contract(folder: Folder) -> None:
    """The listed tensors are those of the step contract; every difference in one FolderError."""
    pixels = [tensor.shape for tensor in folder.encoder_signature.inputs if len(tensor.shape) == 4]
    encoder, decoder = _contract(folder.decoder, pixels[0][2:] if pixels else ("height", "width"))
    problems = mismatches("encoder", encoder, folder.encoder_signature)
    problems += mismatches("decoder", decoder, folder.decoder_signature)
    if problems:
        where = folder.path / DESCRIPTION
        raise FolderError(f"{where}: the tensors are not those of the step contract: {'; '.join(problems)}")


def _contract(sizes: DecoderSizes, photo: tuple[int | str, ...]) -> tuple[Signature, Signature]:
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


def _signature(graph: _Fields) -> Signature:
    return Signature(_tensors(graph, "inputs"), _tensors(graph, "outputs"))


def _tensors(graph: _Fields, key: str) -> tuple[Tensor, ...]:
    tensors = []
    for entry in graph.items(key):
        shape = entry.get("shape", list)
        if not all(isinstance(size, str) or (isinstance(size, int) and size >= 0) for size in shape):
            raise entry.wrong("shape", "a list of sizes and names")
        tensors.append(Tensor(entry.text("name"), entry.text("type"), tuple(shape)))
    return tuple(tensors)


def _check_files(root: Path, description: _Fields, variants: Mapping[str, Variant]) -> dict[str, int]:
    """Every listed file is there, inside, and what it was when listed. Returns their sizes in bytes."""
    listed = description.children("files")
    needed = ["config.json", "preprocessor_config.json", "tokenizer.json"]
    needed += [graph for variant in variants.values() for graph in (variant.encoder, variant.decoder)]
    for name in needed:
        if name not in listed:
            raise FolderError(f"{description.where} does not list {name} under files, so it cannot be checked")
    sizes = {name: was.size("bytes", least=0) for name, was in listed.items()}

    def check(name: str) -> None:
        _check_file(inside(root, name, root / DESCRIPTION), root / name, sizes[name], listed[name].text("sha256"))

    with ThreadPoolExecutor(2) as pool:  # the weights of encoder and decoder side by side
        list(pool.map(check, listed))
    return sizes


def _check_file(file: Path, shown: Path, size: int, sha256: str) -> None:
    found = file.stat().st_size
    if found < size:
        raise FolderError(f"{shown} is truncated: {found} of {size} bytes; copy or export it again")
    if found > size:
        raise FolderError(f"{shown} was edited: it has {found} bytes and must have {size}; copy or export it again")
    try:
        digest = sha256_of(file)
    except OSError as error:
        raise FolderError(f"{shown} cannot be read: {error.strerror}") from error
    if digest != sha256.lower():
        was = f"its sha256 is {digest[:12]}... and must be {sha256[:12]}..."
        raise FolderError(f"{shown} was edited: {was}; copy or export it again")


def _check_external_data(root: Path, variant: Variant, sizes: Mapping[str, int]) -> None:
    """Weight files that the graphs point to are listed, hence checked."""
    for graph in dict.fromkeys((variant.encoder, variant.decoder)):
        for location in sorted(external_locations(root / graph)):
            name = str(PurePosixPath(graph).parent / location)
            if name not in sizes:
                raise FolderError(f"{root / graph} reads its weights from {name}, which {DESCRIPTION} does not list")


@dataclass(frozen=True)
class _Fields:
    """A JSON object read field by field; `where` names it in errors."""

    values: Json
    where: object

    def get(self, key: str, kind: type) -> Any:
        value = self.values.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            names = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}
            raise self.wrong(key, names[kind])
        return value

    def wrong(self, key: str, right: str) -> FolderError:
        state = "is missing" if key not in self.values else "is wrong"
        return FolderError(f"{self.where}: {key!r} {state}; it must be {right}")

    def text(self, key: str) -> str:
        value: str = self.get(key, str)
        return value

    def integer(self, key: str) -> int:
        value: int = self.get(key, int)
        return value

    def size(self, key: str, least: int = 1) -> int:
        value = self.integer(key)
        if value < least:
            raise self.wrong(key, f"at least {least}")
        return value

    def child(self, key: str, optional: bool = False) -> _Fields:
        return _Fields({} if optional and key not in self.values else self.get(key, dict), f"{self.where}: {key}")

    def children(self, key: str, optional: bool = False) -> dict[str, _Fields]:
        child = self.child(key, optional)
        return {name: child.child(name) for name in child.values}

    def items(self, key: str) -> list[_Fields]:
        entries = self.get(key, list)
        named = [(entry, f"{self.where}: {key}[{index}]") for index, entry in enumerate(entries)]
        return [_Fields({"entry": entry}, where).child("entry") for entry, where in named]
