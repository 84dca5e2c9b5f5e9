"""Pictures that are no photos of things, made from a seed, with captions that say what they are.

Flickr8k shows people and dogs, so a captioner that knows nothing else calls a blank page a dog. These pictures are
blank pages, screens, drawings, charts, textures, things without a name and the like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from . import abstract, charts, consoles, drawings, objects, pages, phones, plain, screens, textures
from .canvas import Painted, Rng
from .captions import five_captions
from .photos import drawing_of, silhouette_of

__all__ = ["KINDS", "MadePicture", "drawing_of", "made_picture", "made_pictures", "silhouette_of"]

KINDS: dict[str, Callable[[Rng], Painted]] = {
    paint.__name__: paint
    for paint in (
        plain.blank_page,
        plain.noise,
        plain.grating,
        plain.pattern,
        pages.printed_page,
        pages.columns_page,
        pages.open_book,
        pages.handwriting,
        pages.sheet_music,
        pages.table,
        pages.sign,
        pages.slide,
        screens.web_page,
        screens.desktop,
        consoles.code,
        consoles.terminal,
        phones.phone,
        phones.chat,
        screens.dialog,
        screens.spreadsheet,
        charts.bar_chart,
        charts.line_chart,
        charts.scatter,
        charts.pie_chart,
        charts.diagram,
        charts.street_map,
        drawings.line_drawing,
        drawings.cartoon,
        drawings.shapes,
        drawings.logo,
        drawings.scribble,
        objects.qr_code,
        objects.bar_code,
        objects.night_sky,
        objects.moon,
        objects.clock,
        objects.coins,
        objects.cells,
        textures.bricks,
        textures.gravel,
        textures.grass,
        textures.wood,
        textures.cloth,
        textures.clouds,
        abstract.colours,
        abstract.stain,
        abstract.disc,
        abstract.scan,
    )
}


@dataclass(frozen=True)
class MadePicture:
    """A picture, RGB of 320 to 900 pixels a side, and five different captions of it."""

    kind: str
    image: Image.Image
    captions: list[str]


def made_pictures(count: int, seed: int) -> Iterator[MadePicture]:
    """So many pictures, all kinds equally often, each round of them in another order.

    The same seed makes the same pictures with the same Pillow, and picture i does not depend on the count.
    ImportError without FreeType in Pillow.
    """
    names = list(KINDS)
    for i in range(count):
        turn, place = divmod(i, len(names))
        order = np.random.default_rng([seed, turn]).permutation(len(names))
        yield made_picture(names[order[place]], np.random.default_rng([seed, turn, place]))


def made_picture(kind: str, rng: Rng) -> MadePicture:
    """One picture of a kind; KeyError if there is none of that name."""
    image, patterns = KINDS[kind](rng)
    return MadePicture(kind, image, five_captions(patterns, rng))
