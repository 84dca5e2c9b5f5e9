"""What all kinds share: chance, sizes, colours, light, grain and words set in type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFont

Rng = np.random.Generator
Colour = tuple[int, int, int]
Size = tuple[int, int]
T = TypeVar("T")

SMALLEST, LARGEST = 320, 900
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
COLOURS: dict[str, Colour] = {
    "red": (205, 45, 45),
    "orange": (240, 140, 40),
    "yellow": (245, 215, 60),
    "green": (60, 160, 75),
    "blue": (50, 95, 200),
    "purple": (130, 65, 170),
    "pink": (240, 150, 185),
    "brown": (125, 80, 45),
}
_TEXT = (
    "the of and a to in is was he for it with as his on be at by had not are but from or have an they which one "
    "you were her all she there would their we him been has when who will more no if out so said what up its "
    "about into than them can only other new some could time these two may then do first any my now such like our "
    "over man me even most made after also did many before must through back years where much your way well down "
    "should because each just those people how too little state good very make world still own see men work long "
    "get here between both life being under never day same another know while last might us great old year off "
    "come since against house right during without again place American around however home small found thought "
    "went say part once general high upon school every number system water light measure result table section "
    "report 12 1994 36 2.5 "
)
WORDS = _TEXT.split()


class Painted(NamedTuple):
    """A picture and the patterns of its captions."""

    image: Image.Image
    patterns: tuple[str, ...]


def chance(rng: Rng, probability: float) -> bool:
    return bool(rng.random() < probability)


def pick(rng: Rng, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def between(rng: Rng, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def whole(rng: Rng, low: int, high: int) -> int:
    """From low to high, both included."""
    return int(rng.integers(low, high + 1))


def size_between(rng: Rng, narrowest: float = 0.5, widest: float = 2.0) -> Size:
    """Width and height, whose quotient lies in the bounds as far as SMALLEST allows."""
    longer = between(rng, 360, LARGEST)
    aspect = math.exp(between(rng, math.log(narrowest), math.log(widest)))
    width, height = longer * min(1, aspect), longer / max(1, aspect)
    return max(SMALLEST, round(width)), max(SMALLEST, round(height))


def colour_near(rng: Rng, colour: Colour, spread: int = 25) -> Colour:
    """Another in hue as well as in lightness."""
    red, green, blue = rng.integers(-spread, spread + 1, 3).tolist()
    return _byte(colour[0] + red), _byte(colour[1] + green), _byte(colour[2] + blue)


def shade_near(rng: Rng, colour: Colour, spread: float = 0.25) -> Colour:
    """Of the same hue, lighter or darker by at most this share."""
    factor = between(rng, 1 - spread, 1 + spread)
    return _byte(int(colour[0] * factor)), _byte(int(colour[1] * factor)), _byte(int(colour[2] * factor))


def _byte(value: int) -> int:
    return min(255, max(0, value))


def grey(value: int) -> Colour:
    return value, value, value


def named_colour(rng: Rng) -> tuple[str, Colour]:
    name = pick(rng, list(COLOURS))
    return name, colour_near(rng, COLOURS[name])


def paper_colour(rng: Rng) -> Colour:
    """White, off-white, yellowed or grey."""
    return colour_near(rng, pick(rng, [(255, 255, 255), (250, 250, 248), (240, 228, 200), (220, 220, 220)]), 6)


def blank(size: Size, colour: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", size, colour)
    return image, ImageDraw.Draw(image)


def from_grey(values: NDArray[np.generic]) -> Image.Image:
    """An RGB picture of numbers[height, width], clipped to 0..255."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")


def tinted(image: Image.Image, dark: Colour, light: Colour) -> Image.Image:
    """A grey picture whose black becomes `dark` and whose white becomes `light`."""
    table = [d + (s - d) * v // 255 for d, s in zip(dark, light, strict=True) for v in range(256)]
    return image.convert("L").convert("RGB").point(table)


def field(rng: Rng, size: Size, cells: Size, low: int = 0, high: int = 255) -> Image.Image:
    """A smooth random L picture: few random values, made large."""
    values = rng.integers(low, high + 1, (cells[1], cells[0])).astype(np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def lit(rng: Rng, image: Image.Image, darkest: float = 0.55) -> Image.Image:
    """Uneven light, as on what was photographed by hand."""
    light = field(rng, image.size, (whole(rng, 2, 3), whole(rng, 2, 3)), int(255 * darkest), 255)
    return ImageChops.multiply(image, light.convert("RGB"))


def grained(rng: Rng, image: Image.Image, strength: int, coloured: bool = False) -> Image.Image:
    """Noise of at most `strength` of 255 to either side."""
    shape = (image.height, image.width, 3) if coloured else (image.height, image.width)
    noise = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
    table = [128 + (value - 128) * strength // 128 for value in range(256)]
    noise = noise.point(table * (3 if coloured else 1)).convert("RGB")
    return ImageChops.add(image, noise, 1, -128)


def worn(rng: Rng, image: Image.Image) -> Image.Image:
    """Often left as it is; else in uneven light, grained, or both."""
    if chance(rng, 0.4):
        image = lit(rng, image, between(rng, 0.4, 0.95))
    return grained(rng, image, whole(rng, 2, 25)) if chance(rng, 0.4) else image


def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, the only one that is everywhere."""
    return _font(size)


@lru_cache(maxsize=128)
def _font(size: int) -> ImageFont.FreeTypeFont:
    loaded = ImageFont.load_default(size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise ImportError("Pillow lacks FreeType, so letters have one size only")
    return loaded


def title(rng: Rng, words: int) -> str:
    return " ".join(pick(rng, WORDS) for _ in range(words)).capitalize()


def line_of_words(rng: Rng, letters: int) -> str:
    """A line of at most so many letters."""
    chosen = rng.integers(len(WORDS), size=letters // 3 + 2)
    line = " ".join(WORDS[i] for i in chosen)[: max(letters, 1)]
    return line.capitalize() if chance(rng, 0.3) else line


@lru_cache(maxsize=20000)
def glyph(letter: str, size: int, mono: bool, bold: bool) -> NDArray[np.uint8]:
    """uint8[height of a line, advance]. Lines set of cached glyphs take a tenth of the time of ImageDraw's."""
    advance = round(size * 0.6) if mono else max(1, round(font(size).getlength(letter)))
    image = Image.new("L", (advance, round(size * 1.25)))
    ImageDraw.Draw(image).text((0, 0), letter, 255, font(size), stroke_width=0.4 if bold else 0)
    return np.asarray(image)


def set_line(image: Image.Image, at: tuple[float, float], text: str, size: int, ink: Colour, **style: bool) -> None:
    """A line of text, its upper left corner at the point; `style`: mono, bold."""
    if not text:
        return
    glyphs = [glyph(c, size, style.get("mono", False), style.get("bold", False)) for c in text]
    image.paste(ink, (round(at[0]), round(at[1])), Image.fromarray(np.hstack(glyphs)))


def set_words(
    rng: Rng, image: Image.Image, box: tuple[float, float, float, float], size: int, ink: Colour, leading: float = 1.4
) -> None:
    """Paragraphs of words, to the box's foot."""
    left, top, right, bottom = box
    letters = int((right - left) / (size * 0.53))
    y, bold = top, chance(rng, 0.2)
    while letters > 0 and y + size <= bottom:
        ends = chance(rng, 0.12)
        line = line_of_words(rng, max(1, int(letters * between(rng, 0.2, 0.9)) if ends else letters))
        set_line(image, (left, y), line, size, ink, bold=bold)
        y += size * leading * (1.5 if ends else 1)
