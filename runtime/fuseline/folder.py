"""A model folder: finds it, checks what a variant is made of, and says where that is. Nothing of it runs here.

Everything in a folder is data from somewhere else. What `fuseline.json` says is held to the step contract, and every
file that the variant in use reads to its size and hash, before a graph or a tokenizer is opened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from .description import CONFIGS, DESCRIPTION, Description, Json, Variant, read_description
from .errors import FolderError, InputError, shown
from .files import Stamp, inside, parsed, read_small, reading, some, stamp_of
from .graph_file import GraphFacts
from .hub import downloaded, has_form, is_hub_id
from .options import written
from .packaged import on_disk
from .processor_file import PLAIN
from .tensors import QUERY, DecoderSizes, Signature, Tensor, crossing, mismatches, width_of
from .tokenizer import TokenizerFile, read_tokenizer
from .variant_files import Listed, check_hash, check_listed, check_size, check_variant

__all__ = [
    "AUTO",
    "DEFAULT_MODEL",
    "DESCRIPTION",
    "LARGEST_TOKENIZER",
    "QUERY",
    "DecoderSizes",
    "Folder",
    "Json",
    "Signature",
    "Tensor",
    "Variant",
    "crossing",
    "find",
    "mismatches",
    "width_of",
]

AUTO = "auto"  # in the place of a variant: what fuseline.auto chooses
DEFAULT_MODEL = "flickr8k-lite0"
TOKENIZER = "tokenizer.json"
_RIGHT = "name a folder that `fuseline export` or optimum wrote, or a model on the hub as org/name"
LARGEST_TOKENIZER = 64 << 20  # that of 256,000 words has 33 MB


@dataclass(frozen=True)
class Folder:
    """A folder that has been checked as far as the variant in use needs it. hashes: sha256 by file.

    max_loss: the share of quality that a variant may lose to fp32 to be chosen by itself; None where it is not said.
    license: under which terms the model may be used, "id" and "terms"; empty where the folder does not say.
    facts: what is known of the graphs in use, by their paths. stamps: those of the files that were checked.
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
    license: Json
    config: Json
    generation_config: Json
    preprocessor_config: Json
    facts: Mapping[str, GraphFacts]
    stamps: Mapping[str, Stamp]
    preprocessor_file: str = PLAIN  # where preprocessor_config was found, for messages

    @property
    def encoder_path(self) -> Path:
        """The encoder graph of the variant in use."""
        return self.path / self.variants[self.variant].encoder

    @property
    def decoder_path(self) -> Path:
        """The decoder graph of the variant in use."""
        return self.path / self.variants[self.variant].decoder

    def read_tokenizer(self) -> TokenizerFile:
        """The contents of the tokenizers file. Raises FolderError."""
        return read_tokenizer(self.path / TOKENIZER)

    def bytes_of(self, graph: str) -> int:
        """A graph with the weights that lie beside it."""
        return sum(size for name, size in self.sizes.items() if name.removesuffix("_data") == graph)

    def facts_of(self, path: Path) -> GraphFacts:
        """What is known of a graph in use, by its path as encoder_path and decoder_path give it."""
        return self.facts[path.relative_to(self.path).as_posix()]

    def has(self, variant: str) -> bool:
        """Whether the graphs of a variant are there: of a folder that was downloaded in part some are not."""
        return all((self.path / graph).is_file() for graph in self.variants[variant].graphs)

    def using(self, variant: str) -> Folder:
        """The same folder with another of its variants in use. Raises FolderError as open does."""
        if variant == self.variant:
            return self
        graphs = chosen(self.variants, variant, self.path).graphs
        listing = {name: Listed(size, self.hashes[name]) for name, size in self.sizes.items()}
        checked = check_variant(self.path, graphs, listing)
        return replace(self, variant=variant, facts=checked.facts, stamps=self._kept() | dict(checked.stamps))

    @property
    def files_in_use(self) -> Mapping[Path, Stamp]:
        """The graphs of the variant in use and the weights beside them, each with the stamp of what was checked."""
        return {self.path / name: stamp for name, stamp in self.stamps.items() if name not in (*CONFIGS, TOKENIZER)}

    def _kept(self) -> dict[str, Stamp]:
        """The stamps of the files that belong to no variant."""
        return {name: stamp for name, stamp in self.stamps.items() if name in (*CONFIGS, TOKENIZER)}

    @classmethod
    def open(cls, path: str | Path | None = None, variant: str | None = None, *, whole: bool = False) -> Folder:
        """Check the folder at path: what every variant reads, and the files of the one that is asked for.

        path None: the captioner that ships; variant None: the folder's default. whole: check every listed file.
        Files of other variants may be missing. A name such as "org/name" that is no folder here is looked for on the
        hub. A folder without fuseline.json is opened by the conventions of other tools, see fuseline.foreign.
        Raises FolderError naming the file and the reason: missing, truncated, edited, outside the folder, malformed.
        """
        root = find(path, variant)
        if not os.path.lexists(root / DESCRIPTION):
            from .foreign import open_folder

            return open_folder(root, variant)
        description = read_description(root)
        name = description.default_variant if variant is None else variant
        listing = {file: Listed(size, description.hashes[file]) for file, size in description.sizes.items()}
        configs, stamps = _small_files(root, listing)
        checked = check_variant(root, chosen(description.variants, name, root).graphs, listing)
        stamps |= checked.stamps
        folder = _made(root, name, description, configs, checked.facts, stamps)
        if whole:
            for other in description.variants:
                folder.using(other)
            for file in listing.keys() - stamps.keys():
                check_listed(root, file, listing[file])
        return folder


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
        preprocessor_config=configs["preprocessor_config.json"],
        facts=facts,
        stamps=stamps,
    )


def _small_files(root: Path, listing: Mapping[str, Listed]) -> tuple[dict[str, Json], dict[str, Stamp]]:
    """The configurations, of the very bytes that were hashed; the tokenizer, which is read later, is hashed alone."""
    configs: dict[str, Json] = {}
    stamps: dict[str, Stamp] = {}
    for name in (name for name in CONFIGS if name in listing):
        content, stamps[name] = read_small(root, name)
        check_size(root / name, len(content), listing[name].size)
        check_hash(root / name, hashlib.sha256(content).hexdigest(), listing[name].sha256)
        configs[name] = parsed(content, root / name)
    check_tokenizer(root)
    stamps[TOKENIZER] = check_listed(root, TOKENIZER, listing[TOKENIZER])
    return configs, stamps


def check_tokenizer(root: Path) -> Stamp:
    """The tokenizers file is there and of a size that can be. Raises FolderError."""
    file = inside(root, TOKENIZER)
    with reading(root / TOKENIZER):
        stamp = stamp_of(file)
    if stamp.size > LARGEST_TOKENIZER:
        raise FolderError(f"{root / TOKENIZER} has {stamp.size} bytes and may have {LARGEST_TOKENIZER}")
    return stamp


def chosen(variants: Mapping[str, Variant], name: str, root: Path) -> Variant:
    """The variant of that name. Raises FolderError with those that are there."""
    if name not in variants:
        has = f"has no variant {shown(name)!r}; it has {some(sorted(variants)) or 'none'}"
        raise FolderError(f"{root} {has}")
    return variants[name]


def find(path: str | Path | None, variant: str | None = None) -> Path:
    """The resolved folder at path; a bare name that is no folder here may be that of a model that ships.

    A text "org/name" that is no path here is downloaded from the hub, as much of it as the variant needs.
    Raises FolderError if there is no folder.
    """
    if path is not None and not isinstance(path, str | os.PathLike):
        raise InputError(f"a model is a folder's path or a name on the hub, not {written(path)}")
    root = on_disk("models", DEFAULT_MODEL) if path is None else Path(path)
    if root is None:
        raise FolderError(f"the captioner {DEFAULT_MODEL} is not there; install fuseline again")
    with reading(root):
        if not os.path.lexists(root):
            bare = str(root)
            shipped = on_disk("models", bare) if bare == PurePosixPath(bare).name else None
            if shipped is not None and (shipped / DESCRIPTION).exists():
                root = shipped
            elif isinstance(path, str) and is_hub_id(path):
                root = downloaded(path, variant)
        if not root.exists():
            raise FolderError(f"there is no model folder {shown(root, 400)}{_not_asked(path)}; {_RIGHT}")
        if not root.is_dir():
            raise FolderError(
                f"{root} is a file; a model is a folder with a {DESCRIPTION}, or of ONNX graphs by optimum"
            )
        return root.resolve()


def _not_asked(path: str | Path | None) -> str:
    """Why a name of the hub's form was taken for a path."""
    first = PurePosixPath(str(path)).parts[:1]
    if isinstance(path, str) and has_form(path) and os.path.lexists(first[0]):
        return f"; {first[0]} is there, so the name is a path here and the hub was not asked"
    return ""
