"""Heat maps: the photo with, a word each, where a captioner looked when it said it.

A word's weights over the encoder's positions are those of `looking.py`, which has the rule. The positions are patches
of the frame that the image processor made of the photo (`grids.py`), and the frame lies over the photo as the processor
placed it (`inputs/placing.py`): what it cut off was not looked at, and what fell onto padding is left out. Between the
middles of patches a map runs smoothly, by cubic B-splines, which are never below 0 and put no peak where there is none.

Dimensions: `W` words, `S` encoder positions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..arrays import Float32
from ..errors import InputError, shown
from ..files.whole import write_whole
from ..folders.tensors import DecoderSizes, Source
from ..generation.result import Generation
from ..inputs.images import ImageProcessor
from ..inputs.placing import Placement
from .grids import Grid, grid_of
from .looking import looking, shares
from .words import Decode

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".html")
LONGEST = 256  # rows or columns of a map; it is smooth, so a larger photo is shown with the map enlarged


class Captioner(Protocol):
    """What fuseline.Model is, of a model that reads photos."""

    @property
    def image_processor(self) -> ImageProcessor: ...
    @property
    def folder(self) -> _Folder: ...
    @property
    def decode(self) -> Decode: ...


class _Folder(Protocol):
    @property
    def path(self) -> Path: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def decoder(self) -> DecoderSizes: ...
    @property
    def source(self) -> Source: ...
    @property
    def sources(self) -> Mapping[str, Source]: ...
    @property
    def fusion(self) -> str | None: ...


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where a model looked in one photo, word by word."""

    text: str
    """the caption"""
    words: tuple[str, ...]
    """its words in order, without those that a prompt brought"""
    maps: Float32
    """float32[W, rows, columns], of the photo's proportions and at most LONGEST a side: how much of a word's attention
    lies where on the photo. Each sums to 1; to 0 where the model looked only at what surrounds the photo"""
    photo: Image.Image
    """upright, RGB"""

    def __repr__(self) -> str:
        rows, columns = self.maps.shape[1:]
        return f"HeatMap({len(self.words)} words, {rows} x {columns})"

    def image(self) -> Image.Image:
        """One picture: the caption, the photo once a word with the places that it looked at lit, and a legend."""
        from .heat_pictures import picture

        return picture(self.text, self.words, self.maps, self.photo)

    def page(self) -> str:
        """One HTML page that needs nothing else: pointing at a word, tapping it or moving to it by the Tab key shows
        where it looked."""
        from .heat_pages import photo_page

        return photo_page(self.text, self.words, self.maps, self.photo)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture, x.png, or the page, x.html. Raises InputError for another suffix, and where no file can be
        written; nothing half-written is left then."""
        place = Path(path)
        if check_suffix(place) == ".png":
            data = BytesIO()
            self.image().save(data, "PNG")
            write_whole(place, data.getvalue())
        else:
            write_whole(place, self.page().encode("utf-8", "replace"))


def check_suffix(path: Path) -> str:
    """That of the path, one of SUFFIXES. Raises InputError for another."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{shown(path)}: a heat map is a .png or a .html file; give a name that ends so")
    return suffix


def check_shows(model: Captioner) -> None:
    """Raise InputError for a model whose decoder does not say where it looks, as those of other tools."""
    if len(model.folder.sources) > 1 and not model.folder.decoder.cross_attention_scales:
        raise InputError(
            f"{model.folder.path} reads its sources one after the other ({model.folder.fusion} fusion), and its graph "
            "does not say where it looks in each; there are heat maps of flat, mix, parallel and hierarchical fusion"
        )
    if not model.folder.decoder.cross_attention_scales:
        raise InputError(
            f"{model.folder.path}: a heat map needs a decoder graph that gives its cross-attention queries, and this "
            "folder's does not; export the model with this version of fuseline"
        )


def heat_map(generation: Generation, photo: Image.Image, model: Captioner, index: int = 0) -> HeatMap:
    """Of one sequence of a generation that was made with output_attentions, and the photo that it is about.

    photo: as load_image returns it, what pixel_values were made of. model: the one that said it. index: of the
    sequence, among B x num_return_sequences. Raises InputError for a generation without attentions, an index that it
    does not have, and where the encoder's positions are no grid of patches.
    """
    config: Mapping[str, Any] = model.folder.config
    if generation.sources:
        generation, config = _of_photo(generation, model.folder)
    found = looking(generation, model.decode, index)
    place = model.image_processor.placement(photo)
    grid = grid_of(config, place.frame, found.weights.shape[1])
    return HeatMap(found.text, found.words, on_photo(found.weights, grid, place), photo)


def _of_photo(generation: Generation, folder: _Folder) -> tuple[Generation, Mapping[str, Any]]:
    """Of a model with several sources what it looked at in the photo that its task is about, and the configuration of
    that source's encoder. Raises InputError where the photo was absent."""
    name, seen = folder.source.name, generation.cross_attentions
    place = generation.sources.index(name)
    first, end = generation.source_starts[place : place + 2]
    if first == end:
        raise InputError(f"this text was made without {name}, so there is no heat map of it")
    config = folder.config
    encoder = config.get("encoders", {}).get(config.get("shared", {}).get(name, name), config)
    only = None if seen is None else seen[..., first:end]  # heads that looked elsewhere count little
    return replace(generation, cross_attentions=only), {"encoder": encoder}


def on_photo(weights: Float32, grid: Grid, place: Placement) -> Float32:
    """Weights of positions, float32[W, S], as maps of the photo, float32[W, rows, columns]; see HeatMap.maps."""
    patches = weights[:, grid.first : grid.first + grid.rows * grid.columns].reshape(-1, grid.rows, grid.columns)
    width, height = place.photo
    scale = min(1.0, LONGEST / max(width, height))
    columns, rows = (max(1, round(edge * scale)) for edge in (width, height))
    x, y = ((np.arange(count) + 0.5) * edge / count for count, edge in ((columns, width), (rows, height)))
    if place.turned:
        x, y = y, x
    across = _splines(place.across[0] * x + place.across[1], place.frame[0], grid.columns, grid.stride)
    down = _splines(place.down[0] * y + place.down[1], place.frame[1], grid.rows, grid.stride)
    maps = down @ patches @ across.T  # [W, places along the frame's height, along its width]
    if place.turned:
        maps = maps.transpose(0, 2, 1)
    return shares(maps.reshape(len(maps), -1)).reshape(len(maps), rows, columns)


def _splines(places: npt.NDArray[np.float64], edge: int, patches: int, stride: int) -> Float32:
    """How much of each patch's weight a place of the frame gets: float32[places, patches], rows of sum 1, or of 0
    outside the frame's `edge` pixels."""
    distance = np.abs(places[:, np.newaxis] / stride - (np.arange(patches) + 0.5))
    near, far = 2 / 3 - distance**2 + distance**3 / 2, np.maximum(2 - distance, 0) ** 3 / 6
    found = np.where(distance < 1, near, far).astype(np.float32)
    found[(places < 0) | (places > edge)] = 0
    return shares(found)
