"""fuseline.json: read field by field, and held to the step contract. What it lists is not looked at here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import FolderError, shown
from ..files.reading import DESCRIPTION, check_name, parsed, read_small, some
from .processor_file import PLAIN
from .tensors import (
    FORMATS,
    INPUT_FEATURES,
    MOST,
    PHOTO,
    PHOTOGRAPH,
    PIXEL_VALUES,
    READS,
    SPEECH,
    TEXT,
    DecoderSizes,
    Signature,
    Source,
    Tensor,
    contract,
    mismatches,
)

TOKENIZER_CONFIG = "tokenizer_config.json"  # how source texts are made tokens, of a model that reads texts
CONFIGS = ("config.json", "generation_config.json", "preprocessor_config.json", TOKENIZER_CONFIG)
NEEDED = ("config.json", "tokenizer.json")  # of every folder; one that reads photos or speech needs PLAIN too
PHOTO_TASK = "image-to-text"
# What models are for, and what they read for it.
TASKS = {PHOTO_TASK: PHOTOGRAPH, "text2text-generation": TEXT, "automatic-speech-recognition": SPEECH}

Json = Mapping[str, Any]


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
class Description:
    """What fuseline.json says. sizes in bytes and hashes, sha256 in hexadecimal, by file."""

    default_variant: str
    variants: Mapping[str, Variant]
    sizes: Mapping[str, int]
    hashes: Mapping[str, str]
    decoder: DecoderSizes
    encoder_signature: Signature
    decoder_signature: Signature
    made_by: Json
    quality: Mapping[str, Json]
    agreement: Mapping[str, Json]
    max_loss: float | None
    license: Json
    task: str
    sources: Mapping[str, Source]


def read_description(root: Path) -> Description:
    """fuseline.json of the folder. Raises FolderError for what is missing, malformed, or not the step contract."""
    where = root / DESCRIPTION
    fields = Fields(parsed(read_small(root, DESCRIPTION)[0], where), where)
    task, sources = _task(fields, _format(fields))
    variants = {
        name: Variant(graphs.text("encoder"), graphs.text("decoder"))
        for name, graphs in fields.children("variants").items()
    }
    listed = fields.children("files")
    _check_names(where, variants, listed, [*NEEDED, *([] if only(sources).reads_text else [PLAIN])])
    tensors = fields.child("tensors")
    description = Description(
        default_variant=fields.text("default_variant"),
        variants=variants,
        sizes={name: file.size("bytes", least=0) for name, file in listed.items()},
        hashes={name: file.text("sha256").lower() for name, file in listed.items()},
        decoder=_decoder(fields.child("decoder")),
        encoder_signature=_signature(tensors.child("encoder")),
        decoder_signature=_signature(tensors.child("decoder")),
        made_by=_texts(fields.child("made_by", optional=True)),
        quality=_said(fields.child("quality", optional=True)),
        agreement=_said(fields.child("agreement", optional=True)),
        max_loss=_max_loss(fields),
        license=_texts(fields.child("license", optional=True)),
        task=task,
        sources=sources,
    )
    _check_contract(description, where)
    return description


def only(sources: Mapping[str, Source]) -> Source:
    """The one source that a model has."""
    (source,) = sources.values()
    return source


def _format(fields: Fields) -> int:
    found = fields.integer("format")
    if found not in FORMATS:
        known = " and ".join(map(str, FORMATS))
        advice = "update fuseline" if found > max(FORMATS) else "export the model again"
        raise FolderError(f"{fields.where} is of format {found} and this fuseline reads format {known}; {advice}")
    return found


def _task(fields: Fields, written_as: int) -> tuple[str, Mapping[str, Source]]:
    """The task, and the sources by name. Format 1 has neither: it is of models that read one photo."""
    if written_as == 1:
        return PHOTO_TASK, {PHOTO.name: PHOTO}
    task = fields.text("task")
    if task not in TASKS:
        raise fields.wrong("task", f"one of {', '.join(TASKS)}; update fuseline for others")
    found = fields.children("sources")
    if list(found) != [PHOTO.name] or fields.values.get("fusion") is not None:
        raise fields.wrong("sources", f"one, called {PHOTO.name}, without fusion; update fuseline for others")
    source = _source(PHOTO.name, found[PHOTO.name])
    if source.reads != TASKS[task]:
        raise fields.wrong("task", f"that of a model which reads {', '.join(source.inputs)}")
    return task, {source.name: source}


def _source(name: str, fields: Fields) -> Source:
    inputs = fields.get("inputs", list)
    if not all(isinstance(each, str) for each in inputs) or tuple(inputs) not in READS:
        known = " or ".join(f"[{', '.join(each)}]" for each in READS)
        raise fields.wrong("inputs", f"{known}; update fuseline for others")
    if fields.text("absent") != "refuse":
        raise fields.wrong("absent", "'refuse' for a model's only source")
    return Source(
        name,
        tuple(inputs),
        longest=_bound(fields, "longest", MOST["max_positions"]),
        vocab_size=_bound(fields, "vocab_size", MOST["vocab_size"]),
        samples_a_position=_bound(fields, "samples_a_position", MOST["max_positions"]),
    )


def _bound(fields: Fields, key: str, most: int) -> int | None:
    return None if fields.values.get(key) is None else fields.size(key, most=most)


def _check_names(
    where: Path, variants: Mapping[str, Variant], listed: Mapping[str, object], needed: Sequence[str]
) -> None:
    """Variants and files have names that can be shown and that lie inside, and what is needed is listed."""
    for name in listed:
        check_name(name, where)
        if str(PurePosixPath(name)) != name:
            raise FolderError(f"{where} lists {shown(name)!r}; it must be written as {str(PurePosixPath(name))!r}")
    for name, variant in variants.items():
        if not name or not name.isprintable() or len(name) > 100:
            raise FolderError(f"{where}: variants: {shown(name)!r} is no name; it must be printable and not long")
        for graph in variant.graphs:
            if not graph.endswith(".onnx"):
                raise FolderError(
                    f"{where}: variants: {name}: {shown(graph)!r} must be a file whose name ends in .onnx"
                )
    needed = [*needed, *(graph for variant in variants.values() for graph in variant.graphs)]
    if missing := [name for name in dict.fromkeys(needed) if name not in listed]:
        raise FolderError(f"{where} does not list {some(missing)} under files, so it cannot be checked")


def _decoder(fields: Fields) -> DecoderSizes:
    sizes = {name: fields.size(name, most=most) for name, most in MOST.items()}
    scales = fields.values.get("cross_attention_scales", [])
    good = isinstance(scales, list) and len(scales) in (0, sizes["layers"])
    if not good or not all(type(scale) is float and isfinite(scale) for scale in scales):
        raise fields.wrong("cross_attention_scales", "a number for each layer")
    return DecoderSizes(**sizes, cross_attention_scales=tuple(scales))


def _max_loss(fields: Fields) -> float | None:
    value = fields.values.get("max_loss")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise fields.wrong("max_loss", "a share from 0 to below 1")
    return float(value)


def _texts(fields: Fields) -> Json:
    """An object of texts."""
    return {key: fields.text(key) for key in fields.values}


def _said(fields: Fields) -> Mapping[str, Json]:
    """Objects by variant, whose numbers are finite and whose texts can be written."""
    entries = {name: fields.child(name) for name in fields.values}
    for entry in entries.values():
        for key, value in entry.values.items():
            if not _plain(value):
                raise entry.wrong(key, "text, finite numbers, or lists or objects of them")
    return {name: entry.values for name, entry in entries.items()}


def _plain(value: object, depth: int = 0) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, str):
        return not any("\ud800" <= each <= "\udfff" for each in value)
    if isinstance(value, dict):
        return depth < 8 and all(_plain(key) and _plain(each, depth + 1) for key, each in value.items())
    return not isinstance(value, list) or (depth < 8 and all(_plain(each, depth + 1) for each in value))


def _check_contract(description: Description, where: Path) -> None:
    """The listed tensors are those of the step contract; the differences in one FolderError."""
    dimensions = {PIXEL_VALUES: 4, INPUT_FEATURES: 3}
    own = [each for each in description.encoder_signature.inputs if len(each.shape) == dimensions.get(each.name)]
    encoder, decoder = contract(description.decoder, only(description.sources), own[0].shape[-2:] if own else None)
    problems = mismatches("encoder", encoder, description.encoder_signature)
    problems += mismatches("decoder", decoder, description.decoder_signature)
    if problems:
        raise FolderError(f"{where}: the tensors are not those of the step contract: {'; '.join(problems)}")


def _signature(graph: Fields) -> Signature:
    return Signature(_tensors(graph, "inputs"), _tensors(graph, "outputs"))


def _tensors(graph: Fields, key: str) -> tuple[Tensor, ...]:
    tensors = []
    for entry in graph.items(key):
        shape = entry.get("shape", list)
        if not all(isinstance(size, str) or (type(size) is int and size >= 0) for size in shape):
            raise entry.wrong("shape", "a list of sizes and names")
        tensors.append(Tensor(entry.text("name"), entry.text("type"), tuple(shape)))
    return tuple(tensors)


@dataclass(frozen=True)
class Fields:
    """A JSON object read field by field; `where` names it in errors."""

    values: Json
    where: object

    def get(self, key: str, kind: type) -> Any:
        """The value of a field, of that type. Raises FolderError."""
        value = self.values.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            names = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}
            raise self.wrong(key, names[kind])
        return value

    def wrong(self, key: str, right: str) -> FolderError:
        """The error that says what a field must be."""
        state = "is missing" if key not in self.values else "is wrong"
        return FolderError(f"{self.where}: {shown(key)!r} {state}; it must be {right}")

    def text(self, key: str) -> str:
        """A text that can be written: no half of a surrogate pair."""
        value: str = self.get(key, str)
        if not _plain(value):
            raise self.wrong(key, "a text without halves of surrogate pairs")
        return value

    def integer(self, key: str) -> int:
        """A whole number of at most 64 bits."""
        value: int = self.get(key, int)
        return value

    def size(self, key: str, least: int = 1, most: int | None = None) -> int:
        """A whole number from least to most."""
        value = self.integer(key)
        if value < least or (most is not None and value > most):
            raise self.wrong(key, f"at least {least}" if most is None else f"at least {least} and at most {most}")
        return value

    def child(self, key: str, optional: bool = False) -> Fields:
        """The object in a field; where it is optional and missing, an empty one."""
        missing = optional and key not in self.values
        return Fields({} if missing else self.get(key, dict), f"{self.where}: {shown(key)}")

    def children(self, key: str) -> dict[str, Fields]:
        """The objects in the fields of an object, by their names."""
        child = self.child(key)
        return {name: child.child(name) for name in child.values}

    def items(self, key: str) -> list[Fields]:
        """The objects in a list."""
        entries = self.get(key, list)
        named = [(entry, f"{self.where}: {key}[{index}]") for index, entry in enumerate(entries)]
        return [Fields({"entry": entry}, where).child("entry") for entry, where in named]
