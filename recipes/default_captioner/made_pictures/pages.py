"""Paper with writing: print, columns, handwriting, tables, signs."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .canvas import (
    BLACK,
    WHITE,
    Colour,
    Painted,
    Rng,
    between,
    blank,
    chance,
    colour_near,
    font,
    grey,
    line_of_words,
    named_colour,
    paper_colour,
    pick,
    set_line,
    set_words,
    size_between,
    title,
    whole,
    worn,
)

Point = tuple[float, float]


def printed_page(rng: Rng) -> Painted:
    size, paper = size_between(rng, 0.45, 2.2), paper_colour(rng)
    image, _ = blank(size, paper)
    letters, ink = whole(rng, 9, max(12, min(size) // 12)), grey(whole(rng, 0, 70))
    # A negative margin: letters are cut off at the edges, as in a close-up.
    margin = pick(rng, [-0.03, 0.01, 0.05, 0.1]) * size[0]
    top = margin
    if chance(rng, 0.4):
        set_line(image, (margin * between(rng, 1, 3), top), title(rng, 3), round(letters * 1.6), ink, bold=True)
        top += letters * 3
    set_words(rng, image, (margin, top, size[0] - margin, size[1] - margin / 2), letters, ink, between(rng, 1.15, 1.8))
    return Painted(
        worn(rng, _laid_down(rng, image, paper)),
        (
            "a [page|sheet of paper|document] with [black|printed|] text on it",
            "a [page|close up|photo|piece] of printed text",
            "[lines of|some] [printed|black] text on [a page|a sheet of paper|paper]",
            "a page [of|from] a book [|with printed text]",
        ),
    )


def columns_page(rng: Rng) -> Painted:
    size, paper, ink = size_between(rng, 0.6, 1.6), paper_colour(rng), grey(whole(rng, 0, 60))
    image, draw = blank(size, paper)
    head = size[1] // whole(rng, 9, 14)
    set_line(image, (size[0] * 0.04, head * 0.3), title(rng, whole(rng, 2, 5)), int(head * 0.7), ink, bold=True)
    draw.line((size[0] * 0.04, head * 1.3, size[0] * 0.96, head * 1.3), ink, 2)
    columns, letters = whole(rng, 2, 4), whole(rng, 8, 13)
    wide = size[0] * 0.94 / columns
    for column in range(columns):
        left, top = size[0] * 0.04 + column * wide, head * 1.6
        if chance(rng, 0.3):
            tall = size[1] * between(rng, 0.12, 0.3)
            draw.rectangle((left, top, left + wide * 0.9, top + tall), colour_near(rng, (140, 140, 140), 60))
            top += tall + letters
        set_words(rng, image, (left, top, left + wide * 0.92, size[1] * 0.97), letters, ink)
    return Painted(
        worn(rng, _laid_down(rng, image, paper)),
        (
            "a [page|sheet|part] of a newspaper [|with text|with columns of text]",
            "a [newspaper|magazine|printed] page with [several columns|columns] of text",
            "[an article|printed text] in [a newspaper|columns]",
        ),
    )


def open_book(rng: Rng) -> Painted:
    (width, height), paper, letters = size_between(rng, 1.1, 1.7), paper_colour(rng), whole(rng, 8, 14)
    image, draw = blank((width, height), colour_near(rng, pick(rng, [(90, 60, 40), (50, 50, 60), (200, 200, 195)])))
    x, y, middle = width * 0.06, height * 0.08, width / 2
    draw.rectangle((x, y, width - x, height - y), paper)
    for left, right in ((x, middle), (middle, width - x)):
        gap = width * 0.035
        set_words(rng, image, (left + gap, y * 2, right - gap, height - 2 * y), letters, grey(whole(rng, 10, 60)))
    for i in range(12):
        shade = tuple(int(c * (0.6 + 0.03 * i)) for c in paper)
        for side in (-1, 1):
            draw.line((middle + side * i, y, middle + side * i, height - y), shade)
    return Painted(
        worn(rng, image),
        (
            "[an open book|a book lying open] [|with text on both pages|with printed pages|on a table]",
            "two pages of [a book|printed text] [|in an open book]",
        ),
    )


def _laid_down(rng: Rng, image: Image.Image, paper: Colour) -> Image.Image:
    """Often as scanned; else askew, on its own colour or on a table."""
    if chance(rng, 0.45):
        return image
    table = paper if chance(rng, 0.6) else colour_near(rng, pick(rng, [(80, 55, 35), (40, 40, 45), (150, 120, 90)]))
    size = image.size
    if table != paper:
        inside = image.resize((int(size[0] * 0.86), int(size[1] * 0.86)))
        image = Image.new("RGB", size, table)
        image.paste(inside, (int(size[0] * 0.07), int(size[1] * 0.07)))
    return image.rotate(between(rng, -9, 9), Image.Resampling.BILINEAR, fillcolor=table)


def handwriting(rng: Rng) -> Painted:
    size, paper = size_between(rng, 0.5, 2.5), paper_colour(rng)
    image, draw = blank(size, paper)
    ink = colour_near(rng, pick(rng, [(30, 40, 120), (20, 20, 25), (70, 70, 75)]), 15)
    step = max(24.0, size[1] / whole(rng, 4, 16))
    if chance(rng, 0.4):
        for row in range(1, int(size[1] / step) + 1):
            draw.line((0, row * step, size[0], row * step), (170, 190, 220))
    thick, slant = max(1, round(step * between(rng, 0.04, 0.09))), between(rng, -0.1, 0.5)
    for row in range(1, int(size[1] / step) + 1):
        x = size[0] * between(rng, 0.03, 0.1)
        while x < size[0] * between(rng, 0.75, 0.93):
            stroke = _written_word(rng, step * 0.32, slant)
            draw.line([(x + dx, row * step - step * 0.08 - dy) for dx, dy in stroke], ink, thick, "curve")
            x += stroke[-1][0] + step * between(rng, 0.2, 0.4)
    return Painted(
        worn(rng, image),
        (
            "a [page|sheet|note|letter] [of|with] handwriting [|in ink|on paper]",
            "[handwritten text|handwriting|a handwritten note] on a [piece of paper|page|sheet of paper]",
            "[words|lines] written by hand on paper",
        ),
    )


def _written_word(rng: Rng, tall: float, slant: float) -> list[Point]:
    """A line that swings up and down as a pen does: some letters tall, some below the line, some round."""
    strokes = whole(rng, 3, 16)
    tops = rng.choice([0.6, 1.0, 1.1, 2.1, -0.9], strokes, p=[0.25, 0.35, 0.15, 0.15, 0.1]) * tall
    widths = tall * rng.uniform(0.35, 0.75, strokes)
    loops = tall * rng.choice([0.1, 0.35, -0.3], strokes)
    t = np.arange(strokes * 8) / 8
    letter, phase = t.astype(int), 2 * np.pi * (t % 1)
    y = tops[letter] * (1 - np.cos(phase)) / 2
    x = np.cumsum(widths[letter] / 8) + loops[letter] * np.sin(phase) + slant * y
    return list(zip((x - x.min()).tolist(), y.tolist(), strict=True))


def table(rng: Rng) -> Painted:
    size, ink = size_between(rng, 0.7, 2.2), grey(whole(rng, 0, 80))
    image, draw = blank(size, paper_colour(rng))
    columns, rows = whole(rng, 3, 7), whole(rng, 4, 18)
    x0, y0 = size[0] * 0.05, size[1] * 0.06
    wide, tall = size[0] * 0.9 / columns, size[1] * 0.88 / rows
    letters, upright = max(8, int(min(tall * 0.55, wide * 0.2))), chance(rng, 0.7)
    draw.rectangle((x0, y0, x0 + wide * columns, y0 + tall), colour_near(rng, (200, 205, 220), 30))
    for row in range(rows):
        for column in range(columns):
            text = str(whole(rng, 1, 9999)) if row and column else title(rng, 1)[:9]
            set_line(image, (x0 + column * wide + 4, y0 + row * tall + tall * 0.2), text, letters, ink, bold=row == 0)
    for row in range(rows + 1):
        draw.line((x0, y0 + row * tall, x0 + wide * columns, y0 + row * tall), ink)
    for column in range((columns + 1) * upright):
        draw.line((x0 + column * wide, y0, x0 + column * wide, y0 + tall * rows), ink)
    return Painted(
        worn(rng, image),
        (
            "a [printed|] table with [rows and columns|numbers|rows of numbers|numbers and words]",
            "[rows and columns|a list|a page] of numbers in a table",
        ),
    )


def sign(rng: Rng) -> Painted:
    (width, height), (name, colour) = size_between(rng, 0.6, 2), named_colour(rng)
    image, draw = blank(
        (width, height), colour_near(rng, pick(rng, [(150, 185, 220), (130, 130, 125), (110, 130, 90)]))
    )
    x, y, edge = width * between(rng, 0.04, 0.2), height * between(rng, 0.06, 0.25), max(3, width // 90)
    ink = BLACK if sum(colour) > 420 else WHITE
    draw.rectangle((width * 0.47, height / 2, width * 0.53, height), grey(110))
    draw.rounded_rectangle((x, y, width - x, height - y), width // 25, colour, ink, edge)
    lines = [title(rng, 1).upper() for _ in range(whole(rng, 1, 3))]
    longest = max(len(line) for line in lines)
    letters = int(min((height - 2 * y) / (len(lines) * 1.3), (width - 2 * x) / (longest * 0.75)))
    for i, line in enumerate(lines):
        place = y + (height - 2 * y) * (i + 0.5) / len(lines)
        draw.text((width / 2, place), line, ink, font(letters), anchor="mm", stroke_width=letters // 25)
    return Painted(
        worn(rng, image),
        (
            f"a [large|] {name} sign with [|big] [letters|words|text|writing] on it",
            f"[words|text|letters] on a {name} [sign|board]",
        ),
    )


def slide(rng: Rng) -> Painted:
    (width, height), ground = size_between(rng, 1.2, 1.8), paper_colour(rng)
    ink: Colour = BLACK
    if chance(rng, 0.4):
        ground, ink = colour_near(rng, pick(rng, [(25, 45, 90), (40, 40, 45), (20, 80, 80)])), WHITE
    image, draw = blank((width, height), ground)
    set_line(image, (width * 0.07, height * 0.08), title(rng, 3), height // 11, ink, bold=True)
    for row in range(whole(rng, 3, 6)):
        y = height * (0.3 + 0.11 * row)
        draw.circle((width * 0.09, y + height * 0.025), height * 0.012, ink)
        set_line(image, (width * 0.12, y), line_of_words(rng, whole(rng, 8, 30)), height // 20, ink)
    return Painted(
        worn(rng, image),
        (
            "a [slide|presentation slide] with a [title|heading] and [a list|lines|several lines] of text",
            "[text|a list of points] on a [presentation slide|slide|screen]",
        ),
    )


def sheet_music(rng: Rng) -> Painted:
    size, ink = size_between(rng, 0.6, 1.8), grey(whole(rng, 0, 40))
    image, draw = blank(size, paper_colour(rng))
    gap = max(5, size[1] // whole(rng, 60, 110))
    for top in range(gap * 5, size[1] - gap * 6, gap * 10):
        for line in range(5):
            draw.line((gap * 3, top + line * gap, size[0] - gap * 3, top + line * gap), ink)
        x = gap * 8.0
        while x < size[0] - gap * 5:
            y, up = top + gap * whole(rng, 0, 8) / 2, pick(rng, [1, -1])
            draw.ellipse((x - gap * 0.65, y - gap * 0.45, x + gap * 0.65, y + gap * 0.45), ink)
            draw.line((x + up * gap * 0.6, y, x + up * gap * 0.6, y - up * gap * 3.2), ink, max(1, gap // 6))
            x += gap * between(rng, 2, 5)
            if chance(rng, 0.2):
                draw.line((x - gap, top, x - gap, top + 4 * gap), ink)
    return Painted(
        worn(rng, image),
        (
            "a [page|sheet|piece] of [|printed] [sheet music|music|music notes]",
            "[music notes|musical notes|notes of music] on [a page|paper|a sheet of paper]",
        ),
    )
