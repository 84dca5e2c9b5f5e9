"""fuseline.json: read field by field, and held to the step contract. What it lists is not looked at here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import FolderError, shown
from ..files.reading import DESCRIPTION, check_name, parsed, read_small, some
from .confidence import FEATURES, Confidence
from .processor_file import PLAIN
from .tensors import (
    FORMATS,
    FUSIONS,
    INPUT_FEATURES,
    MOST,
    PHOTO,
    PHOTOGRAPH,
    PIXEL_VALUES,
    READS,
    REFUSE,
    SKIP,
    SPEECH,
    TEXT,
    ZEROS,
    DecoderSizes,
    Free,
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
# What models are for, and what they read for it: a decoder alone reads nothing.
TASKS: Mapping[str, str | None] = {
    PHOTO_TASK: PHOTOGRAPH,
    "text2text-generation": TEXT,
    "automatic-speech-recognition": SPEECH,
    "text-generation": None,
}

# How a variant's graphs are written: with fuseline's operators, plain for devices that know none of them, plain with
# every size fixed, or with the operators that onnxruntime contributes. docs/layouts.md has what each means.
FUSED, STANDARD, STATIC, CONTRIB = LAYOUTS = ("fused", "standard", "static", "contrib")

Json = Mapping[str, Any]

MOST_SOURCES = 16  # of one model
_WEIGHTS = (0.001, 1000.0)  # of a source, where a call does not say how much it counts
_MOST_WEIGHT = 1e9  # of a confidence, so that no sum is infinite
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


@dataclass(frozen=True)
class Variant:
    """The graphs of one variant, as paths relative to the folder. encoders: by source, none of a decoder alone; two may
    share a graph; layouts: the same in other layouts than fused, by their names."""

    encoders: Mapping[str, str]
    decoder: str
    layouts: Mapping[str, Variant] = field(default_factory=dict, kw_only=True)

    @property
    def encoder(self) -> str:
        """Of a model with one source."""
        (path,) = self.encoders.values()
        return path

    @property
    def graphs(self) -> tuple[str, ...]:
        """The paths of its graphs in the fused layout, each once."""
        return tuple(dict.fromkeys([*self.encoders.values(), self.decoder]))

    @property
    def all_graphs(self) -> tuple[str, ...]:
        """The paths of its graphs in every layout, each once."""
        others = (path for each in self.layouts.values() for path in each.graphs)
        return tuple(dict.fromkeys([*self.graphs, *others]))


@dataclass(frozen=True)
class Description:
    """What fuseline.json says. sizes in bytes and hashes, sha256 in hexadecimal, by file."""

    default_variant: str
    variants: Mapping[str, Variant]
    sizes: Mapping[str, int]
    hashes: Mapping[str, str]
    decoder: DecoderSizes
    encoder_signatures: Mapping[str, Signature]
    decoder_signature: Signature
    made_by: Json
    quality: Mapping[str, Json]
    agreement: Mapping[str, Json]
    max_loss: float | None
    license: Json
    task: str
    sources: Mapping[str, Source]
    fusion: str | None
    confidence: Confidence | None


def read_description(root: Path) -> Description:
    """fuseline.json of the folder. Raises FolderError for what is missing, malformed, or not the step contract."""
    where = root / DESCRIPTION
    fields = Fields(parsed(read_small(root, DESCRIPTION)[0], where), where)
    task, sources, fusion = _task(fields, _format(fields))
    variants = {name: _variant(graphs, sources) for name, graphs in fields.children("variants").items()}
    listed = fields.children("files")
    needed = [f"{prefix(name, sources)}{PLAIN}" for name, each in sources.items() if not each.reads_text]
    _check_names(where, variants, listed, [*NEEDED, *needed])
    tensors = fields.child("tensors")
    description = Description(
        default_variant=fields.text("default_variant"),
        variants=variants,
        sizes={name: file.size("bytes", least=0) for name, file in listed.items()},
        hashes={name: file.text("sha256").lower() for name, file in listed.items()},
        decoder=_decoder(fields.child("decoder")),
        encoder_signatures={each: _signature(found.child(key)) for each, found, key in _by_source(tensors, sources)},
        decoder_signature=_signature(tensors.child("decoder")),
        made_by=_texts(fields.child("made_by", optional=True)),
        quality=_said(fields.child("quality", optional=True)),
        agreement=_said(fields.child("agreement", optional=True)),
        max_loss=_max_loss(fields),
        license=_texts(fields.child("license", optional=True)),
        task=task,
        sources=sources,
        fusion=fusion,
        confidence=confidence_in(fields),
    )
    _check_contract(description, where)
    return description


def _variant(graphs: Fields, sources: Mapping[str, Source]) -> Variant:
    """The graphs of a variant, and those of its other layouts."""

    def read(fields: Fields) -> tuple[dict[str, str], str]:
        encoders = {each: found.text(key) for each, found, key in _by_source(fields, sources)}
        return encoders, fields.text("decoder")

    others = graphs.children("layouts") if "layouts" in graphs.values else {}
    if unknown := [name for name in others if name not in LAYOUTS[1:]]:
        known = f"{', '.join(LAYOUTS[1:-1])} and {LAYOUTS[-1]}"
        raise graphs.wrong("layouts", f"an object of {known}, without {shown(unknown[0], 40)!r}; update fuseline")
    return Variant(*read(graphs), layouts={name: Variant(*read(each)) for name, each in others.items()})


def prefix(source: str, sources: Mapping[str, Source]) -> str:
    """Where the files lie that say how inputs of a source are made: of several sources each has a folder of its own."""
    return "" if len(sources) == 1 else f"{source}/"


def main_source(task: str, sources: Mapping[str, Source]) -> Source:
    """The first source that reads what the task is about: the only one of most models. There must be one."""
    if len(sources) == 1:
        return next(iter(sources.values()))
    return next(each for each in sources.values() if each.reads == TASKS[task])


def _format(fields: Fields) -> int:
    found = fields.integer("format")
    if found not in FORMATS:
        known = " and ".join(map(str, FORMATS))
        advice = "update fuseline" if found > max(FORMATS) else "export the model again"
        raise FolderError(f"{fields.where} is of format {found} and this fuseline reads format {known}; {advice}")
    return found


def _task(fields: Fields, written_as: int) -> tuple[str, Mapping[str, Source], str | None]:
    """The task, the sources by name, and how several are fused. Format 1 is of models that read one photo."""
    if written_as == 1:
        return PHOTO_TASK, {PHOTO.name: PHOTO}, None
    task = fields.text("task")
    if task not in TASKS:
        raise fields.wrong("task", f"one of {', '.join(TASKS)}; update fuseline for others")
    found, fusion = fields.children("sources"), fields.values.get("fusion")
    if fusion is None:
        if TASKS[task] is None and not found:
            return task, {}, None
        if list(found) != [PHOTO.name]:
            raise fields.wrong("sources", f"one, called {PHOTO.name}, where there is no fusion")
        source = _source(PHOTO.name, found[PHOTO.name], (REFUSE,))
        if source.reads != TASKS[task]:
            raise fields.wrong("task", f"that of a model which reads {', '.join(source.inputs)}")
        return task, {source.name: source}, None
    if fusion not in FUSIONS:
        raise fields.wrong("fusion", f"one of {', '.join(FUSIONS)}, or null; update fuseline for others")
    if not 1 < len(found) <= MOST_SOURCES or not all(_NAME.fullmatch(name) for name in found):
        right = f"2 to {MOST_SOURCES}, with names of letters, digits and underscores, where there is fusion"
        raise fields.wrong("sources", right)
    order = fields.get("order", list)  # that of an object's keys may change as files are written anew
    if sorted(map(str, order)) != sorted(found):
        raise fields.wrong("order", f"a list of the sources, {', '.join(found)}, as the decoder reads them")
    sources = {name: _source(name, found[name], (SKIP, ZEROS, REFUSE)) for name in order}
    if TASKS[task] not in {each.reads for each in sources.values()}:
        raise fields.wrong("task", "that of a model which reads what one of the sources reads")
    return task, sources, str(fusion)


def _by_source(fields: Fields, sources: Mapping[str, Source]) -> Iterator[tuple[str, Fields, str]]:
    """Each source, and in which field of what its encoder stands: "encoder", of several "encoders" by source."""
    if len(sources) < 2:
        yield from ((name, fields, "encoder") for name in sources)
        return
    several = fields.child("encoders")
    if set(several.values) != set(sources):
        raise fields.wrong("encoders", f"an object with {', '.join(sources)}")
    yield from ((name, several, name) for name in sources)


def _source(name: str, fields: Fields, absent: tuple[str, ...]) -> Source:
    inputs = fields.get("inputs", list)
    if not all(isinstance(each, str) for each in inputs) or tuple(inputs) not in READS:
        known = " or ".join(f"[{', '.join(each)}]" for each in READS)
        raise fields.wrong("inputs", f"{known}; update fuseline for others")
    reads_text = READS[tuple(inputs)] == TEXT
    allowed = [each for each in absent if not (reads_text and each == ZEROS)]
    if fields.text("absent") not in allowed:
        raise fields.wrong("absent", f"{' or '.join(map(repr, allowed))} for this source")
    return Source(
        name,
        tuple(inputs),
        longest=_bound(fields, "longest", MOST["max_positions"]),
        absent=fields.text("absent"),
        vocab_size=_bound(fields, "vocab_size", MOST["vocab_size"]),
        samples_a_position=_bound(fields, "samples_a_position", MOST["max_positions"]),
        weight=fields.number("weight", *_WEIGHTS) if "weight" in fields.values else 1.0,
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
        for graph in variant.all_graphs:
            if not graph.endswith(".onnx"):
                raise FolderError(
                    f"{where}: variants: {name}: {shown(graph)!r} must be a file whose name ends in .onnx"
                )
    needed = [*needed, *(graph for variant in variants.values() for graph in variant.all_graphs)]
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


def confidence_in(fields: Fields) -> Confidence | None:
    """What the field "confidence" says; None where there is none. Raises FolderError."""
    if fields.values.get("confidence") is None:
        return None
    found = fields.child("confidence")
    weights = found.child("weights")
    if unknown := [name for name in weights.values if name not in FEATURES]:
        known = ", ".join(FEATURES)
        raise found.wrong(
            "weights", f"numbers by {known}, without {shown(unknown[0], 40)!r}; update fuseline for others"
        )
    if not weights.values:
        raise found.wrong("weights", "at least one number, since how sure a text is hangs on the text")
    return Confidence(
        found.number("intercept", -_MOST_WEIGHT, _MOST_WEIGHT),
        {name: weights.number(name, -_MOST_WEIGHT, _MOST_WEIGHT) for name in weights.values},
        found.number("unsure_below", 0, 1),
    )


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
    found = description.encoder_signatures
    free = {name: _own_sizes(signature) for name, signature in found.items()}
    encoders, decoder = contract(description.decoder, description.sources, free)
    problems = mismatches("decoder", decoder, description.decoder_signature, halves=False)
    for name, encoder in encoders.items():
        graph = "encoder" if len(encoders) == 1 else f"encoder {name}"
        problems = mismatches(graph, encoder, found[name], halves=False) + problems
    if problems:
        raise FolderError(f"{where}: the tensors are not those of the step contract: {'; '.join(problems)}")


def _own_sizes(encoder: Signature) -> Free | None:
    """A photo's height and width, or bands and frames of speech, where the graph has such an input."""
    dimensions = {PIXEL_VALUES: 4, INPUT_FEATURES: 3}
    own = [each for each in encoder.inputs if len(each.shape) == dimensions.get(each.name)]
    return own[0].shape[-2:] if own else None


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

    def number(self, key: str, least: float, most: float) -> float:
        """A number from least to most, so that it is finite."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise self.wrong(key, f"a number from {least:g} to {most:g}")
        return float(value)

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
