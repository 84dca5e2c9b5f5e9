"""A folder of another tool, checked as far as its files tell. What its graphs hold is checked when they are opened.

There is no list of sizes and hashes to hold the files to. What remains: names by convention, JSON that can be read, the
numbers that config.json must give, and that no file lies outside the folder, weights beside the graphs included.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FolderError, shown
from ..files.reading import Stamp, parsed, read_small, reading
from ..tokens.hf import read_folder
from ..tokens.tokenizer import TokenizerFile
from .description import CONFIGS, FUSED, NEEDED, STANDARD, TASKS, TOKENIZER_CONFIG, Json
from .layout import PLACES, ForeignVariant, chosen, graph_of, variants_of
from .own import TOKENIZER, Folder, check_tokenizer
from .processor_file import NESTED, PLAIN, extractor_config, plain_config
from .tensors import CROSS, INPUT_FEATURES, MOONSHINE, MOST, PHOTO, SPEECH, DecoderSizes, Signature, Source
from .variant_files import check_variant

# The names of the same thing in the configurations of transformers, those that speak of the decoder alone first.
_LAYERS = ("decoder_layers", "decoder_num_hidden_layers", "n_layer", "num_hidden_layers", "num_layers")
_HEADS = ("decoder_attention_heads", "decoder_num_attention_heads", "n_head", "num_attention_heads", "num_heads")
_WIDTH = ("d_model", "n_embd", "hidden_size")
_POSITIONS = ("n_positions", "max_position_embeddings", "max_target_positions")
# Their positions begin after the padding token's (transformers' create_position_ids_from_input_ids).
SHIFTED = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "xmod")


@dataclass(frozen=True)
class ForeignFolder(Folder):
    """A Folder without signatures: nothing lists the tensors, so both are empty, and each graph tells its own."""

    foreign = True

    @property
    def graphs(self) -> ForeignVariant:
        """The variant in use."""
        graphs = self.variants[self.variant]
        assert isinstance(graphs, ForeignVariant)  # open_folder puts no other kind there
        return graphs

    def read_tokenizer(self) -> TokenizerFile:
        """What transformers makes of the folder's tokenizer files. Raises FolderError."""
        return read_folder(self.path)

    def using(self, variant: str, layout: str = FUSED) -> ForeignFolder:
        """See Folder.using. Nothing was listed, so the folder is looked at anew. Its graphs are plain ones already, so
        the standard layout is how they are."""
        if layout not in (FUSED, STANDARD):
            raise FolderError(f"{self.path} is of another tool and has no {shown(layout, 40)} layout; export the model")
        return self if variant == self.variant else open_foreign_folder(self.path, variant)


def open_foreign_folder(root: Path, variant: str | None = None) -> ForeignFolder:
    """Check the resolved folder root, of optimum or transformers.js. variant: by its suffix; None: that without one.

    Raises FolderError naming the file and the reason.
    """
    names = _files(root)
    variants = variants_of(names)
    name, graphs = chosen(variants, variant, root)
    for needed in (*NEEDED, PLAIN):
        elsewhere = needed == TOKENIZER or (needed == PLAIN and NESTED in names)
        if needed not in names and not elsewhere:
            raise FolderError(f"{root} has no {needed}; {_ADVICE[needed]}")
    configs, stamps = _configs(root, names)
    source = _source(configs["config.json"], root / "config.json")
    preprocessor_file, preprocessor_config = _preparing(root, names, configs, source)
    checked = check_variant(root, graphs.graphs, None)
    stamps |= checked.stamps
    return ForeignFolder(
        path=root,
        variant=name,
        default_variant=next(iter(variants)),
        variants=variants,
        decoder=_decoder_sizes(configs["config.json"], root / "config.json"),
        encoder_signatures={source.name: Signature((), ())},
        decoder_signature=Signature((), ()),
        sizes=_sizes(root, names, variants) | {file: stamp.size for file, stamp in stamps.items()},
        hashes={},
        made_by={},
        quality={},
        agreement={},
        max_loss=None,
        license={},
        config=configs["config.json"],
        generation_config=configs.get("generation_config.json", {}),
        preprocessor_config=preprocessor_config,
        tokenizer_config=configs.get(TOKENIZER_CONFIG, {}),
        preprocessor_file=preprocessor_file,
        task=next(task for task, reads in TASKS.items() if reads == source.reads),
        sources={source.name: source},
        fusion=None,
        facts=checked.facts,
        stamps=stamps,
    )


def _configs(root: Path, names: set[str]) -> tuple[dict[str, Json], dict[str, Stamp]]:
    """The configurations that are there, and the stamps of these and of the tokenizer."""
    configs: dict[str, Json] = {}
    stamps: dict[str, Stamp] = {}
    for name in (name for name in CONFIGS if name in names):
        content, stamps[name] = read_small(root, name)
        configs[name] = parsed(content, root / name)
    if TOKENIZER in names:
        stamps[TOKENIZER] = check_tokenizer(root)
    return configs, stamps


def _source(config: Json, where: Path) -> Source:
    """What the encoder reads, which the model's type tells: photos, unless it is a model of speech."""
    if config.get("model_type") == "moonshine":
        return MOONSHINE
    if config.get("model_type") == "whisper":
        longest = _number(config, ("max_source_positions",), where, MOST["max_positions"])
        return Source(CROSS, (INPUT_FEATURES,), longest)
    return PHOTO


def _preparing(root: Path, names: set[str], configs: Mapping[str, Json], source: Source) -> tuple[str, Json]:
    """The file that says how inputs are prepared, and what it says; see plain_config."""
    files = {name: configs[name] for name in (PLAIN,) if name in configs}
    if NESTED in names:
        files[NESTED] = parsed(read_small(root, NESTED)[0], root / NESTED)
    return (
        extractor_config(files, root) if source.reads == SPEECH else plain_config(files, configs["config.json"], root)
    )


def _sizes(root: Path, names: set[str], variants: Mapping[str, ForeignVariant]) -> dict[str, int]:
    """Bytes of the regular files that by their names belong to a variant; of those not in use no more is asked."""
    graphs = {graph for variant in variants.values() for graph in variant.graphs}
    sizes = {}
    for name in sorted(name for name in names if graph_of(name) in graphs):
        try:
            found = os.stat(root / name)
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):
            sizes[name] = found.st_size
    return sizes


_ADVICE = {
    "config.json": "copy it from the model that the graphs were made of",
    PLAIN: "copy it from the model that the graphs were made of; it says how photos or speech are prepared",
}


def _files(root: Path) -> set[str]:
    """The paths of what lies in the folder and in onnx/."""
    with reading(root):
        return set(_listed(root))


def _listed(root: Path) -> Iterable[str]:
    for place in PLACES:
        if (root / place).is_dir():
            yield from (f"{place}{name}" for name in os.listdir(root / place))


def _decoder_sizes(config: Mapping[str, Any], where: Path) -> DecoderSizes:
    """What config.json says of the decoder. Raises FolderError for a number that is missing or impossible."""
    section = config
    for name in ("decoder", "text_config"):
        if config.get(name) is not None:
            section = config[name]
            if not isinstance(section, Mapping):
                raise FolderError(f"{where}: {name!r} is wrong; it must be an object")
            break
    layers = _number(section, _LAYERS, where, MOST["layers"])
    heads = _number(section, _HEADS, where, MOST["heads"])
    width = _number(section, _WIDTH, where, MOST["heads"] * MOST["head_size"])
    if width % heads:
        raise FolderError(f"{where}: a width of {width} cannot be shared by {heads} heads")
    words = _number(section, ("vocab_size",), where, MOST["vocab_size"])
    return DecoderSizes(layers, heads, width // heads, words, _positions(section, where))


def _positions(section: Mapping[str, Any], where: Path) -> int:
    """The most positions that the decoder can tell apart; without bound where config.json gives none, as for T5."""
    if not any(name in section for name in _POSITIONS):
        return sys.maxsize
    most = _number(section, _POSITIONS, where, MOST["max_positions"])
    if section.get("model_type") in SHIFTED:
        pad = section.get("pad_token_id")
        most -= (pad if type(pad) is int else 1) + 1
        if not 0 < most <= MOST["max_positions"]:
            raise FolderError(f"{where}: 'pad_token_id' is {shown(pad)} and leaves {shown(most)} positions")
    return most


def _number(section: Mapping[str, Any], names: tuple[str, ...], where: Path, most: int) -> int:
    """The first of the names that is there, a whole number from 1 to most."""
    for name in names:
        if name in section:
            value = section[name]
            if type(value) is not int or not 1 <= value <= most:
                right = f"it must be a whole number of at least 1 and at most {most}"
                raise FolderError(f"{where}: {name!r} is wrong; {right}")
            return value
    raise FolderError(f"{where} says nothing of {' or '.join(names)}")
