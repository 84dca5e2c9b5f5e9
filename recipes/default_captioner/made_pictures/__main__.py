"""All kinds on one sheet, to look at; or how many pictures a second."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from . import KINDS, MadePicture, made_picture

CELL, CAPTION = 220, 16


def sheet(seed: int, each: int, kinds: list[str]) -> Image.Image:
    """A contact sheet: a row holds two kinds, `each` pictures of either, with a caption below."""
    pictures = [
        made_picture(kind, np.random.default_rng([seed, k, i])) for k, kind in enumerate(kinds) for i in range(each)
    ]
    columns = 2 * each
    rows = -(-len(pictures) // columns)
    image = Image.new("RGB", (columns * CELL, rows * (CELL + CAPTION)), (120, 160, 160))
    for i, picture in enumerate(pictures):
        _paste(image, picture, i % columns * CELL, i // columns * (CELL + CAPTION))
    return image


def _paste(image: Image.Image, picture: MadePicture, x: int, y: int) -> None:
    small = picture.image.copy()
    small.thumbnail((CELL - 6, CELL - 6))
    image.paste(small, (x + 3, y + 3))
    ImageDraw.Draw(image).text((x + 3, y + CELL), picture.captions[0][:44], (0, 0, 0))


def times(seed: int, each: int) -> dict[str, float]:
    """Milliseconds a picture of every kind."""
    taken = {}
    for k, kind in enumerate(KINDS):
        start = time.perf_counter()
        for i in range(each):
            made_picture(kind, np.random.default_rng([seed, k, i]))
        taken[kind] = (time.perf_counter() - start) / each * 1000
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.default_captioner.made_pictures", description=__doc__)
    parser.add_argument("--sheet", type=Path, metavar="OUT.png", help="write the sheet here")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), help="only these")
    parser.add_argument("--each", type=int, default=4, help="pictures of a kind (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.sheet:
        sheet(options.seed, options.each, options.kinds).save(options.sheet)
        return
    taken = times(options.seed, options.each)
    for kind, milliseconds in taken.items():
        print(f"{kind:15} {milliseconds:5.1f} ms")
    print(f"{'all':15} {1000 * len(taken) / sum(taken.values()):5.0f} a second")


if __name__ == "__main__":
    main()
