"""A model folder: finds it, checks what a variant is made of, and says where that is. Nothing of it runs here.

Everything in a folder is data from somewhere else. What `fuseline.json` says is held to the step contract, and every
file that the variant in use reads to its size and hash, before a graph or a tokenizer is opened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from ..errors import FolderError, InputError, shown
from ..files.graph_file import GraphFacts
from ..files.reading import DESCRIPTION, Stamp, inside, parsed, read_small, reading, some, stamp_of
from ..packaged import is_installed
from ..tokens.tokenizer import TokenizerFile, read_tokenizer
from .confidence import Confidence
from .description import (
    CONFIGS,
    FUSED,
    TASKS,
    TOKENIZER_CONFIG,
    Description,
    Json,
    Variant,
    main_source,
    read_description,
)
from .processor_file import PLAIN
from .tensors import TEXT, DecoderSizes, Signature, Source
from .variant_files import Listed, check_hash, check_listed, check_size, check_variant

TOKENIZER = "tokenizer.json"
TARGET_TOKENIZER = "target_tokenizer.json"  # where what is read and what is said have vocabularies of their own
_OF_NO_VARIANT = (*CONFIGS, TOKENIZER, TARGET_TOKENIZER)
LARGEST_TOKENIZER = 64 << 20  # that of 256,000 words has 33 MB


@dataclass(frozen=True)
class Folder:
    """A folder that has been checked as far as the variant in use needs it. hashes: sha256 by file.

    task: what the model is for, by its name among transformers' pipelines; sources: what its decoder reads, by name,
    none of a language model; fusion: how it reads several, None of fewer.
    max_loss: the share of quality that a variant may lose to fp32 to be chosen by itself; None where it is not said.
    license: under which terms the model may be used, "id" and "terms"; empty where the folder does not say.
    facts: what is known of the graphs in use, by their paths. stamps: those of the files that were checked.
    """

    path: Path
    variant: str
    default_variant: str
    variants: Mapping[str, Variant]
    decoder: DecoderSizes
    encoder_signatures: Mapping[str, Signature]
    decoder_signature: Signature
    sizes: Mapping[str, int]
    hashes: Mapping[str, str]
    made_by: Json
    quality: Mapping[str, Json]
    agreement: Mapping[str, Json]
    max_loss: float | None
    license: Json
    config: Json
    generation_config: Json
    preprocessor_config: Json
    tokenizer_config: Json
    facts: Mapping[str, GraphFacts]
    stamps: Mapping[str, Stamp]
    task: str
    sources: Mapping[str, Source]
    fusion: str | None
    preprocessor_file: str = PLAIN  # where preprocessor_config was found, for messages
    tokenizer_file: str = TOKENIZER  # that of what is read
    source_configs: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    """of several sources: what lies in the folder of each, by file"""
    confidence: Confidence | None = None
    """how sure the model is of a text; None where the folder does not say"""
    layout: str = FUSED
    """that of the graphs in use, see fuseline.folders.description"""
    foreign: ClassVar[bool] = False
    """whether it is of another tool, a ForeignFolder"""

    @property
    def source(self) -> Source:
        """The source of a model that has one; of several the first that reads what the model's task is about.

        Raises InputError for a model without sources.
        """
        if not self.sources:
            raise InputError(
                f"{self.path}: this model is a decoder without sources, which reads no photos, texts or speech; "
                "fuseline.ensemble puts it beside a model that does, and Model.generate goes on from decoder_input_ids"
            )
        return main_source(self.task, self.sources)

    @property
    def reads(self) -> str | None:
        """What the model's task is about, as Source.reads has it; None without sources."""
        return TASKS[self.task]

    @property
    def reads_text_alone(self) -> bool:
        """Whether tokens are all that it reads."""
        return len(self.sources) == 1 and self.source.reads_text

    def of_source(self, name: str) -> Folder:
        """The folder as one of a model with that source alone, as far as making its inputs goes."""
        if len(self.sources) == 1:
            return self
        configs = self.source_configs[name]
        tokenizer = f"{name}/{TOKENIZER}"
        return replace(
            self,
            sources={name: self.sources[name]},
            fusion=None,
            preprocessor_config=configs.get(PLAIN, {}),
            tokenizer_config=configs.get(TOKENIZER_CONFIG, {}),
            preprocessor_file=f"{name}/{PLAIN}",
            tokenizer_file=tokenizer if tokenizer in self.stamps else self.tokenizer_file,
        )

    @property
    def encoder_signature(self) -> Signature:
        """The tensors of the encoder graph of a model with one source."""
        (signature,) = self.encoder_signatures.values()
        return signature

    @property
    def encoder_path(self) -> Path:
        """The encoder graph of the variant in use, of a model with one source."""
        return self.path / self._in_use.encoder

    @property
    def encoder_paths(self) -> Mapping[str, Path]:
        """The encoder graphs of the variant in use, by source."""
        return {name: self.path / graph for name, graph in self._in_use.encoders.items()}

    @property
    def decoder_path(self) -> Path:
        """The decoder graph of the variant in use."""
        return self.path / self._in_use.decoder

    @property
    def _in_use(self) -> Variant:
        return in_layout(self.variants[self.variant], self.layout, self)

    def read_tokenizer(self) -> TokenizerFile:
        """The contents of the tokenizers file, of what is read where there are two. Raises FolderError."""
        return read_tokenizer(self.path / self.tokenizer_file)

    def read_target_tokenizer(self) -> TokenizerFile | None:
        """The contents of the tokenizers file of what is said, None where it is the other one. Raises FolderError."""
        return read_tokenizer(self.path / TARGET_TOKENIZER) if TARGET_TOKENIZER in self.stamps else None

    def bytes_of(self, graph: str) -> int:
        """A graph with the weights that lie beside it."""
        return sum(size for name, size in self.sizes.items() if name.removesuffix("_data") == graph)

    def facts_of(self, path: Path) -> GraphFacts:
        """What is known of a graph in use, by its path as encoder_path and decoder_path give it."""
        return self.facts[path.relative_to(self.path).as_posix()]

    def has(self, variant: str) -> bool:
        """Whether the graphs of a variant are there: of a folder that was downloaded in part some are not."""
        return all((self.path / graph).is_file() for graph in self.variants[variant].graphs)

    def using(self, variant: str, layout: str = FUSED) -> Folder:
        """The same folder with another of its variants in use, or another layout of one.

        Raises FolderError as open does, and for a layout that the variant does not have.
        """
        if (variant, layout) == (self.variant, self.layout):
            return self
        found = replace(self, variant=variant)
        graphs = in_layout(chosen(self.variants, variant, self.path), layout, found).graphs
        listing = {name: Listed(size, self.hashes[name]) for name, size in self.sizes.items()}
        checked = check_variant(self.path, graphs, listing)
        stamps = self._kept() | dict(checked.stamps)
        return replace(found, layout=layout, facts=checked.facts, stamps=stamps)

    @property
    def files_in_use(self) -> Mapping[Path, Stamp]:
        """The graphs of the variant in use and the weights beside them, each with the stamp of what was checked."""
        return {self.path / name: stamp for name, stamp in self.stamps.items() if not _of_no_variant(name)}

    def _kept(self) -> dict[str, Stamp]:
        """The stamps of the files that belong to no variant."""
        return {name: stamp for name, stamp in self.stamps.items() if _of_no_variant(name)}


def open_own_folder(root: Path, variant: str | None = None, *, whole: bool = False) -> Folder:
    """Check the resolved folder root, which has a fuseline.json. See fuseline.folders.open.open_folder."""
    description = read_description(root)
    name = description.default_variant if variant is None else variant
    listing = {file: Listed(size, description.hashes[file]) for file, size in description.sizes.items()}
    if TASKS[description.task] == TEXT:
        _refuse_unlisted(root, listing)
    configs, stamps = _small_files(root, listing)
    of_sources: dict[str, Mapping[str, Json]] = {}
    for source in description.sources if len(description.sources) > 1 else ():
        of_sources[source], found = _source_files(root, source, listing)
        stamps |= found
    checked = check_variant(root, chosen(description.variants, name, root).graphs, listing)
    stamps |= checked.stamps
    folder = replace(_made(root, name, description, configs, checked.facts, stamps), source_configs=of_sources)
    if whole:
        check_whole(folder)
    return folder


def check_whole(folder: Folder, anew: Collection[tuple[str, str]] = ()) -> None:
    """Check every listed file of a folder that is open. anew: variants and layouts that will be written anew: what
    they alone use need not be there. Raises FolderError."""
    kept, replaced = set[str](), set[str]()
    for variant, its in folder.variants.items():
        for layout in (FUSED, *its.layouts):
            graphs = in_layout(its, layout, folder).graphs
            if (variant, layout) in anew:
                replaced.update(graphs)
            else:
                kept.update(graphs)
                folder.using(variant, layout)
    for file in folder.sizes.keys() - folder.stamps.keys():
        if file.removesuffix("_data") not in replaced - kept:
            check_listed(folder.path, file, Listed(folder.sizes[file], folder.hashes[file]))


def _refuse_unlisted(root: Path, listing: Mapping[str, Listed]) -> None:
    """Raises FolderError for a file that would count if it were listed: without it texts would be others."""
    for name in (*CONFIGS, TOKENIZER, TARGET_TOKENIZER):
        if name != PLAIN and name not in listing and os.path.lexists(root / name):
            raise FolderError(
                f"{root} has {name}, which {DESCRIPTION} does not list under files; export the model again"
            )


def _made(
    root: Path,
    variant: str,
    description: Description,
    configs: Mapping[str, Json],
    facts: Mapping[str, GraphFacts],
    stamps: Mapping[str, Stamp],
) -> Folder:
    return Folder(
        path=root,
        variant=variant,
        **vars(description),
        config=configs["config.json"],
        generation_config=configs.get("generation_config.json", {}),
        preprocessor_config=configs.get(PLAIN, {}),
        tokenizer_config=configs.get(TOKENIZER_CONFIG, {}),
        facts=facts,
        stamps=stamps,
    )


def _small_files(root: Path, listing: Mapping[str, Listed]) -> tuple[dict[str, Json], dict[str, Stamp]]:
    """The configurations, of the very bytes that were hashed; the tokenizer, which is read later, is hashed alone."""
    configs: dict[str, Json] = {}
    stamps: dict[str, Stamp] = {}
    for name in (name for name in CONFIGS if name in listing):
        configs[name], stamps[name] = _small_file(root, name, listing[name])
    for name in (TOKENIZER, *([TARGET_TOKENIZER] if TARGET_TOKENIZER in listing else [])):
        check_tokenizer(root, name)
        stamps[name] = check_listed(root, name, listing[name])
    return configs, stamps


def _source_files(root: Path, source: str, listing: Mapping[str, Listed]) -> tuple[dict[str, Json], dict[str, Stamp]]:
    """As _small_files, of what lies in the folder of one of several sources."""
    configs: dict[str, Json] = {}
    stamps: dict[str, Stamp] = {}
    for name in (PLAIN, TOKENIZER_CONFIG):
        path = f"{source}/{name}"
        if path in listing:
            configs[name], stamps[path] = _small_file(root, path, listing[path])
    tokenizer = f"{source}/{TOKENIZER}"
    if tokenizer in listing:
        check_tokenizer(root, tokenizer)
        stamps[tokenizer] = check_listed(root, tokenizer, listing[tokenizer])
    return configs, stamps


def _small_file(root: Path, name: str, listed: Listed) -> tuple[Json, Stamp]:
    content, stamp = read_small(root, name)
    check_size(root / name, len(content), listed.size)
    check_hash(root / name, hashlib.sha256(content).hexdigest(), listed.sha256)
    return parsed(content, root / name), stamp


def _of_no_variant(name: str) -> bool:
    """Whether a file is one of those that all variants have in common, of a source's folder too."""
    return PurePosixPath(name).name in _OF_NO_VARIANT


def check_tokenizer(root: Path, name: str = TOKENIZER) -> Stamp:
    """The tokenizers file is there and of a size that can be. Raises FolderError."""
    file = inside(root, name)
    with reading(root / name):
        stamp = stamp_of(file)
    if stamp.size > LARGEST_TOKENIZER:
        raise FolderError(f"{root / name} has {stamp.size} bytes and may have {LARGEST_TOKENIZER}")
    return stamp


def chosen(variants: Mapping[str, Variant], name: str, root: Path) -> Variant:
    """The variant of that name. Raises FolderError with those that are there."""
    if name not in variants:
        has = f"has no variant {shown(name)!r}; it has {some(sorted(variants)) or 'none'}"
        raise FolderError(f"{root} {has}")
    return variants[name]


def in_layout(variant: Variant, layout: str, folder: Folder) -> Variant:
    """The graphs of the folder's variant in a layout. Raises FolderError, with what makes it, where there are none."""
    if layout == FUSED:
        return variant
    if layout not in variant.layouts:
        raise FolderError(
            f"{folder.path} has no {shown(layout, 40)} layout of its variant {shown(folder.variant)}; "
            f"{_makes(folder, shown(layout, 40))}"
        )
    return variant.layouts[layout]


def _makes(folder: Folder, layout: str) -> str:
    """The command that makes a layout, of a copy where the folder itself is not to be changed."""
    of = "" if folder.variant == folder.default_variant else f" --variants {shown(folder.variant)}"
    path = folder.path
    if is_installed(path) or path.parent.name == "snapshots" or not os.access(path, os.W_OK | os.X_OK):
        return f"`fuseline layouts {path} {layout}{of} -o COPY` writes a copy that has it"
    return f"`fuseline layouts {path} {layout}{of}` makes it"
