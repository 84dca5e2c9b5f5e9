"""A folder of another tool, checked as far as its files tell. What its graphs hold is checked when they are opened.

There is no list of sizes and hashes to hold the files to. What remains: names by convention, JSON that can be read, the
numbers that config.json must give, and that no file lies outside the folder, weights beside the graphs included.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import FolderError
from ..files import external_locations, inside, read_json
from ..folder import DecoderSizes, Folder, Signature
from .layout import PLACES, ForeignVariant, belongs_to, chosen, variants_of

# The names of the same thing in the configurations of transformers, those that speak of the decoder alone first.
_LAYERS = ("decoder_layers", "n_layer", "num_hidden_layers", "num_layers")
_HEADS = ("decoder_attention_heads", "n_head", "num_attention_heads", "num_heads")
_WIDTH = ("d_model", "n_embd", "hidden_size")
_POSITIONS = ("n_positions", "max_position_embeddings")
# Their positions begin after the padding token's (transformers' create_position_ids_from_input_ids).
SHIFTED = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "xmod")


@dataclass(frozen=True)
class ForeignFolder(Folder):
    """A Folder without signatures: nothing lists the tensors, so both are empty, and each graph tells its own."""

    @property
    def graphs(self) -> ForeignVariant:
        """The variant in use."""
        graphs = self.variants[self.variant]
        assert isinstance(graphs, ForeignVariant)  # open_folder puts no other kind there
        return graphs


def open_folder(root: Path, variant: str | None = None) -> ForeignFolder:
    """Check the resolved folder root, of optimum or transformers.js. variant: by its suffix; None: that without one.

    Raises FolderError naming the file and the reason.
    """
    names = _files(root)
    variants = variants_of(names)
    name, graphs = chosen(variants, variant, root)
    for needed in ("config.json", "preprocessor_config.json", "tokenizer.json"):
        if needed not in names:
            raise FolderError(f"{root} has no {needed}; {_ADVICE[needed]}")
    for graph in graphs.graphs:
        _check_graph(root, graph)
    read = [file for file in _READ if file in names]
    read += [file for each in variants.values() for graph in each.graphs for file in names if belongs_to(graph, file)]
    config = read_json(root, "config.json")
    return ForeignFolder(
        path=root,
        variant=name,
        default_variant=next(iter(variants)),
        variants=variants,
        decoder=_decoder_sizes(config, root / "config.json"),
        encoder_signature=Signature((), ()),
        decoder_signature=Signature((), ()),
        sizes={file: inside(root, file).stat().st_size for file in sorted(set(read))},
        hashes={},
        made_by={},
        quality={},
        agreement={},
        max_loss=None,
        config=config,
        generation_config=read_json(root, "generation_config.json") if "generation_config.json" in names else {},
        preprocessor_config=read_json(root, "preprocessor_config.json"),
    )


_READ = ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json")
_ADVICE = {
    "config.json": "copy it from the model that the graphs were made of",
    "preprocessor_config.json": "copy it from the model that the graphs were made of; it says how photos are prepared",
    "tokenizer.json": "transformers' AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER) writes it",
}


def _files(root: Path) -> set[str]:
    """The paths of what lies in the folder and in onnx/."""
    try:
        return {
            f"{place}{entry.name}" for place in PLACES if (root / place).is_dir() for entry in (root / place).iterdir()
        }
    except OSError as error:
        raise FolderError(f"{error.filename or root} cannot be read: {error.strerror}") from error


def _check_graph(root: Path, graph: str) -> None:
    """The graph and the files that it keeps weights in lie inside the folder."""
    inside(root, graph)
    try:
        locations = sorted(external_locations(root / graph))
    except OSError as error:
        raise FolderError(f"{root / graph} cannot be read: {error.strerror}") from error
    for location in locations:
        inside(root, str(PurePosixPath(graph).parent / location), root / graph)


def _decoder_sizes(config: Mapping[str, Any], where: Path) -> DecoderSizes:
    """What config.json says of the decoder. Raises FolderError for a number that is missing or impossible."""
    section = config
    for name in ("decoder", "text_config"):
        if isinstance(config.get(name), Mapping):
            section = config[name]
            break
    layers, heads, width = (_number(section, names, where) for names in (_LAYERS, _HEADS, _WIDTH))
    if width % heads:
        raise FolderError(f"{where}: a width of {width} cannot be shared by {heads} heads")
    return DecoderSizes(
        layers, heads, width // heads, _number(section, ("vocab_size",), where), _positions(section, where)
    )


def _positions(section: Mapping[str, Any], where: Path) -> int:
    """The most positions that the decoder can tell apart; without bound where config.json gives none, as for T5."""
    if not any(name in section for name in _POSITIONS):
        return sys.maxsize
    most = _number(section, _POSITIONS, where)
    if section.get("model_type") in SHIFTED:
        pad = section.get("pad_token_id")
        most -= (pad if isinstance(pad, int) else 1) + 1
    return most


def _number(section: Mapping[str, Any], names: tuple[str, ...], where: Path) -> int:
    """The first of the names that is there, a whole number of at least 1."""
    for name in names:
        if name in section:
            value = section[name]
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise FolderError(f"{where}: {name!r} is wrong; it must be a whole number of at least 1")
            return value
    raise FolderError(f"{where} says nothing of the decoder's {' or '.join(names)}")
