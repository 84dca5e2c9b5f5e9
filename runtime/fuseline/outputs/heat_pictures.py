"""A heat map as one picture: the caption, a panel for each word, a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..arrays import Float32
from .heat_colours import colours, layer

_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_AREA = 224 * 224  # pixels of a panel, whatever its proportions; of long texts less, down to _NARROWEST
_MANY = 24  # words from which on panels get smaller
_NARROWEST, _WIDEST = 112, 448  # a panel's width
_GAP = 14
_TITLE, _LABEL, _SMALL = 30, 21, 15  # heights of letters
_WHITE, _INK, _FAINT = (255, 255, 255), (24, 24, 27), (95, 95, 102)
_PROPORTIONS = 1.5  # of the whole, about
_LEGEND = ("looked little", "looked most, each word on its own scale")
# Fonts of many scripts, for what Pillow's own does not have.
_WIDE_FONTS = (
    *("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "NotoSans-Regular.ttf"),
    *("msyh.ttc", "arial.ttf", "LiberationSans-Regular.ttf", "FreeSans.ttf"),
)


class _Sizes(NamedTuple):
    """How the picture is laid out, in pixels."""

    panel: tuple[int, int]
    columns: int
    rows: int

    @property
    def width(self) -> int:
        return max(self.columns * (self.panel[0] + _GAP) + _GAP, 420)

    @property
    def row(self) -> int:
        return self.panel[1] + _LABEL + 2 * _GAP


def picture(text: str, words: Sequence[str], maps: Float32, photo: Image.Image) -> Image.Image:
    """RGB. maps: float32[W, rows, columns]; photo: upright, RGB."""
    sizes = _laid_out(photo.size, max(1, len(words)))
    plain, wide = photo.resize(sizes.panel, Image.Resampling.LANCZOS), _needs_wide(text)
    lines = _wrapped(text, _font(_TITLE, wide), sizes.width - 2 * _GAP)
    top = _GAP + len(lines) * (_TITLE + 8) + _GAP
    whole = Image.new("RGB", (sizes.width, top + sizes.rows * sizes.row + _SMALL + 3 * _GAP), _WHITE)
    draw = ImageDraw.Draw(whole)
    for number, line in enumerate(lines):
        draw.text((_GAP, _GAP + number * (_TITLE + 8)), line, _INK, _font(_TITLE, wide))
    left = (sizes.width - sizes.columns * (sizes.panel[0] + _GAP) + _GAP) // 2
    for number, (word, map) in enumerate(zip(words, maps, strict=True)):
        x = left + number % sizes.columns * (sizes.panel[0] + _GAP)
        y = top + number // sizes.columns * sizes.row
        font = _font(_LABEL, wide)
        draw.text((x, y), _shortened(word, font, sizes.panel[0]), _INK, font)
        whole.paste(lit(plain, map), (x, y + _LABEL + _GAP // 2))
    if not words:
        whole.paste(plain, (left, top))
    _draw_legend(whole, draw, whole.height - _SMALL - _GAP)
    return whole


def lit(photo: Image.Image, map: Float32) -> Image.Image:
    """The photo in greys, with a map's colours over it."""
    base = photo.convert("L").convert("RGBA")
    return Image.alpha_composite(base, layer(map).resize(photo.size, Image.Resampling.BICUBIC)).convert("RGB")


def _laid_out(photo: tuple[int, int], words: int) -> _Sizes:
    width, height = photo
    area = _AREA * min(1, _MANY / words)
    across = min(max(math.sqrt(area * width / height), _NARROWEST), _WIDEST)
    panel = (round(across), min(max(round(across * height / width), 1), 4 * _WIDEST))
    columns = min(range(1, words + 1), key=lambda each: _cost(panel, each, words))
    return _Sizes(panel, columns, -(-words // columns))


def _cost(panel: tuple[int, int], columns: int, words: int) -> float:
    """How bad it is to have so many columns: proportions that are odd, places that stay empty."""
    rows = -(-words // columns)
    proportions = columns * (panel[0] + _GAP) / (rows * (panel[1] + _LABEL + 2 * _GAP))
    return abs(math.log(proportions / _PROPORTIONS)) + 2 * (rows * columns - words) / (rows * columns)


def _draw_legend(whole: Image.Image, draw: ImageDraw.ImageDraw, y: int) -> None:
    font, (little, most) = _font(_SMALL, False), _LEGEND
    draw.text((_GAP, y), little, _FAINT, font)
    x = _GAP + round(draw.textlength(little, font)) + 8
    bar = np.broadcast_to(colours(np.linspace(0, 1, 110, dtype=np.float32)), (_SMALL, 110, 3))
    whole.paste(Image.fromarray(np.ascontiguousarray(bar)), (x, y))
    draw.text((x + 118, y), most, _FAINT, font)


def _wrapped(text: str, font: _Font, width: int) -> list[str]:
    """The text in lines that fit."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for letter in word:  # a word that is wider than a line goes on in the next
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines or [""]


def _shortened(word: str, font: _Font, width: int) -> str:
    if font.getlength(word) <= width:
        return word
    kept = next((end for end in range(len(word), 0, -1) if font.getlength(word[:end] + "...") <= width), 0)
    return word[:kept] + "..."


def _needs_wide(text: str) -> bool:
    """Whether Pillow's own font may lack a letter: it has those of western Europe."""
    return any(ord(letter) > 0xFF for letter in text)


@cache
def _font(size: int, wide: bool) -> _Font:
    for name in _WIDE_FONTS if wide else ():
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
