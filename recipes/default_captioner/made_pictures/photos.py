"""What becomes of a photo: a drawing of it, or the silhouette of what it shows."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from .canvas import Rng, between, chance, grained, paper_colour, pick, tinted, whole

EVEN = 30  # of 255: how far a colour may be from the ground's and still be of it


def drawing_of(image: Image.Image, rng: Rng) -> Image.Image:
    """The photo as a pencil drawing, an ink drawing of its edges, or a cartoon of few colours; RGB of its size."""
    return pick(rng, [_pencil, _pencil, _ink, _cartoon])(rng, image.convert("RGB"))


def silhouette_of(image: Image.Image, rng: Rng) -> Image.Image | None:
    """What stands out from an even ground as a dark shape on a light one, RGB of the photo's size; None where the
    ground is not even or the shape touches the border for long."""
    light = np.asarray(image.convert("RGB").filter(ImageFilter.GaussianBlur(max(image.size) / 150)), np.int16)
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    ground = np.median(border, 0)
    if (np.abs(border - ground).max(1) > EVEN).mean() > 0.1:
        return None
    shape = np.abs(light - ground).max(2) > EVEN
    if not 0.08 < shape.mean() < 0.6:
        return None
    mask = Image.fromarray(shape.astype(np.uint8) * 255).filter(ImageFilter.MedianFilter(7))
    return tinted(ImageOps.invert(mask), pick(rng, [(0, 0, 0), (0, 0, 0), (40, 40, 45)]), paper_colour(rng))


def _on_paper(rng: Rng, drawn: Image.Image) -> Image.Image:
    lead = pick(rng, [(10, 10, 10), (60, 60, 65), (80, 50, 30)])
    return tinted(drawn, lead, paper_colour(rng))


def _pencil(rng: Rng, image: Image.Image) -> Image.Image:
    """Colour dodge, light / blurred light: even areas turn white, edges stay."""
    light = image.convert("L")
    if chance(rng, 0.5):
        light = grained(rng, light.convert("RGB"), whole(rng, 8, 25)).convert("L")
    blurred = light.filter(ImageFilter.BoxBlur(between(rng, 0.008, 0.025) * max(image.size)))
    dodged = np.asarray(light, np.uint16) * np.uint16(255) // np.maximum(np.asarray(blurred, np.uint16), 1)
    drawn = Image.fromarray(np.minimum(dodged, 255).astype(np.uint8))
    return _on_paper(rng, drawn if chance(rng, 0.4) else Image.blend(drawn, light, between(rng, 0.08, 0.25)))


def _ink(rng: Rng, image: Image.Image) -> Image.Image:
    """Dark lines where the photo has edges."""
    smooth = image.convert("L").filter(ImageFilter.GaussianBlur(between(rng, 0.8, 1.8)))
    edges = ImageOps.autocontrast(smooth.filter(ImageFilter.FIND_EDGES), (0, 1))
    strength = pick(rng, [1.5, 2.5])
    lines = edges.point([min(255, int(value * strength)) for value in range(256)])
    ImageDraw.Draw(lines).rectangle((0, 0, image.width - 1, image.height - 1), outline=0, width=3)
    return _on_paper(rng, ImageOps.invert(lines))


def _cartoon(rng: Rng, image: Image.Image) -> Image.Image:
    """Few bright colours in even patches, with dark lines at the edges."""
    smooth = ImageOps.autocontrast(image, 1).reduce(2).filter(ImageFilter.MedianFilter(5))
    bright = smooth.point([int(255 * (value / 255) ** 0.7) for value in range(256)] * 3)
    flat = bright.quantize(whole(rng, 6, 12), dither=Image.Dither.NONE).convert("RGB")
    edges = smooth.convert("L").filter(ImageFilter.GaussianBlur(0.7)).filter(ImageFilter.FIND_EDGES)
    lines = edges.point([255 - min(220, 12 * max(0, value - 22)) for value in range(256)])
    ImageDraw.Draw(lines).rectangle((0, 0, lines.width - 1, lines.height - 1), outline=255, width=2)
    return ImageChops.multiply(flat, lines.convert("RGB")).resize(image.size)
