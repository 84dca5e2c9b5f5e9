"""Charts, diagrams and maps."""

from __future__ import annotations

import itertools
import math

import numpy as np
from PIL import Image, ImageDraw

from .canvas import (
    BLACK,
    COLOURS,
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
    named_colour,
    pick,
    set_line,
    size_between,
    title,
    whole,
)

Box = tuple[float, float, float, float]
PLAIN = "[a white background|a plain background]"


def some_colours(rng: Rng, count: int) -> list[Colour]:
    """Different ones, as a chart's series have."""
    names = rng.permutation(list(COLOURS))
    return [colour_near(rng, COLOURS[str(names[i % len(names)])]) for i in range(count)]


def _axes(rng: Rng, ground: Colour = WHITE) -> tuple[Image.Image, ImageDraw.ImageDraw, Box]:
    """An empty chart with axes, their numbers, often a title and a grid; the box of the data."""
    (width, height), ink = size_between(rng, 0.8, 2), grey(whole(rng, 0, 90))
    image, draw = blank((width, height), ground)
    left, top, right, bottom = width * 0.1, height * 0.12, width * 0.95, height * 0.88
    letters, ticks = max(9, height // 34), whole(rng, 3, 7)
    if chance(rng, 0.7):
        set_line(image, (width * 0.3, height * 0.03), title(rng, 3), letters * 2, ink)
    for i in range(ticks + 1):
        y = bottom - (bottom - top) * i / ticks
        set_line(image, (width * 0.03, y - letters / 2), str(i * 10), letters, ink)
        draw.line((left - 5, y, left, y), ink)
        if ticks % 2:
            draw.line((left, y, right, y), grey(215))
    draw.line((left, top, left, bottom, right, bottom), ink, 2)
    return image, draw, (left, top, right, bottom)


def bar_chart(rng: Rng) -> Painted:
    image, draw, (left, top, right, bottom) = _axes(rng)
    bars, lying = whole(rng, 3, 14), chance(rng, 0.25)
    several = chance(rng, 0.5)
    colours = some_colours(rng, bars) if several else [named_colour(rng)[1]] * bars
    for i, colour in enumerate(colours):
        share, start, end = between(rng, 0.08, 0.97), i / bars + 0.1 / bars, (i + 0.85) / bars
        if lying:
            box = (left, top + (bottom - top) * start, left + (right - left) * share, top + (bottom - top) * end)
        else:
            x = right - left
            box = (left + x * start, bottom - (bottom - top) * share, left + x * end, bottom)
        draw.rectangle(box, colour)
    colored = "[with several colors|with colorful bars|with bars of different colors]" if several else "[|with bars]"
    return Painted(
        image,
        (
            f"a bar [chart|graph] {colored}",
            f"a [chart|graph] with [bars|several bars|bars of different lengths] on {PLAIN}",
        ),
    )


def line_chart(rng: Rng) -> Painted:
    image, draw, (left, top, right, bottom) = _axes(rng)
    lines, points = whole(rng, 1, 4), whole(rng, 6, 60)
    for colour in some_colours(rng, lines):
        walk = np.cumsum(rng.normal(between(rng, -0.3, 0.3), 1, points))
        walk = (walk - walk.min()) / (np.ptp(walk) + 1e-6) * between(rng, 0.4, 0.95)
        x = np.linspace(left, right, points)
        draw.line(
            list(zip(x.tolist(), (bottom - walk * (bottom - top)).tolist(), strict=True)), colour, whole(rng, 2, 4)
        )
    how = "[with one line|of a line]" if lines == 1 else "[with several lines|with colored lines|with lines]"
    return Painted(
        image,
        (f"a line [chart|graph] {how}", f"a [graph|chart|plot] {how} on {PLAIN}", f"a [graph|plot] {how} and two axes"),
    )


def scatter(rng: Rng) -> Painted:
    image, draw, (left, top, right, bottom) = _axes(rng)
    radius = between(rng, 2, 6)
    for colour in some_colours(rng, whole(rng, 1, 3)):
        middle, slope, count = rng.uniform(0.3, 0.7, 2), between(rng, -1, 1), whole(rng, 20, 120)
        x = rng.normal(middle[0], 0.13, count)
        y = middle[1] + slope * (x - middle[0]) + rng.normal(0, 0.07, count)
        for a, b in np.clip(np.stack([x, y], 1), 0, 1).tolist():
            draw.circle((left + a * (right - left), bottom - b * (bottom - top)), radius, colour)
    return Painted(
        image,
        (
            "a [chart|graph|plot] with [many dots|dots|points|colored dots] [|and two axes]",
            "a scatter plot [with|of] [points|dots] [|on a white background]",
        ),
    )


def pie_chart(rng: Rng) -> Painted:
    (width, height), slices = size_between(rng, 0.7, 1.8), whole(rng, 3, 7)
    image, draw = blank((width, height), WHITE)
    ends = np.cumsum(rng.uniform(0.3, 1, slices))
    angles = [0.0, *(ends / ends[-1] * 360).tolist()]
    radius, x, y = min(width, height) * between(rng, 0.3, 0.42), width * between(rng, 0.42, 0.5), height * 0.54
    colours = some_colours(rng, slices)
    for colour, start, end in zip(colours, angles, angles[1:], strict=False):
        draw.pieslice((x - radius, y - radius, x + radius, y + radius), start, end, colour, WHITE, 2)
    if chance(rng, 0.3):
        draw.circle((x, y), radius * 0.5, WHITE)
    letters = max(10, height // 30)
    for i, colour in enumerate(colours if chance(rng, 0.5) else []):
        draw.rectangle((width * 0.84, letters * (2 + 2 * i), width * 0.84 + letters, letters * (3 + 2 * i)), colour)
        set_line(image, (width * 0.84 + letters * 1.4, letters * (1.9 + 2 * i)), title(rng, 1), letters, BLACK)
    return Painted(
        image,
        (
            "a pie [chart|graph] [|with several colors|with colorful slices|in different colors]",
            "a round [chart|graph] with [colorful|colored] [slices|parts] [|on a white background]",
        ),
    )


def diagram(rng: Rng) -> Painted:
    size, colours = size_between(rng, 0.6, 1.9), some_colours(rng, 3)
    image, draw = blank(size, WHITE)
    columns, rows = whole(rng, 2, 4), whole(rng, 2, 4)
    wide, tall, filled = size[0] / columns, size[1] / rows, chance(rng, 0.6)
    centres = [((c + 0.5) * wide, (r + 0.5) * tall) for r in range(rows) for c in range(columns) if chance(rng, 0.8)]
    thick = whole(rng, 1, 4)
    for start, end in itertools.pairwise(centres):
        _arrow(draw, start, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), thick)
        draw.line((*start, *end), BLACK, thick)
    for x, y in centres:
        box = (x - wide * 0.3, y - tall * 0.25, x + wide * 0.3, y + tall * 0.25)
        fill = pick(rng, colours) if filled else WHITE
        pick(rng, [draw.rectangle, draw.rectangle, draw.ellipse])(box, fill, BLACK, thick)
        draw.text((x, y), title(rng, 1), BLACK, font(max(10, int(min(wide * 0.11, tall * 0.2)))), anchor="mm")
    return Painted(
        image,
        (
            "a [diagram|flow chart|chart] [with|of] [boxes and arrows|boxes and lines|boxes connected by arrows]",
            "[boxes with text|boxes] connected by [arrows|lines] [|on a white background]",
        ),
    )


def _arrow(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], thick: int) -> None:
    angle, length = math.atan2(end[1] - start[1], end[0] - start[0]), 10 + 4 * thick
    wings = [(end[0] - length * math.cos(angle + a), end[1] - length * math.sin(angle + a)) for a in (-0.4, 0.4)]
    draw.polygon([end, *wings], BLACK)


def street_map(rng: Rng) -> Painted:
    size = size_between(rng, 0.6, 1.8)
    image, draw = blank(size, colour_near(rng, (240, 236, 226), 8))
    reach = max(size)
    for colour in ((200, 225, 180), (170, 205, 230), (225, 220, 210)):
        for _ in range(whole(rng, 1, 3)):
            x, y, spread = between(rng, 0, size[0]), between(rng, 0, size[1]), reach * between(rng, 0.08, 0.25)
            corners = sorted(rng.uniform(0, 2 * np.pi, 9).tolist())
            draw.polygon([(x + spread * math.cos(a), y + spread * math.sin(a)) for a in corners], colour)
    turn = between(rng, 0, np.pi)
    for kind in [1] * whole(rng, 8, 25) + [2] * whole(rng, 1, 4):
        _road(rng, draw, reach, turn, kind)
    letters = max(9, size[1] // 45)
    for _ in range(whole(rng, 4, 14)):
        set_line(image, (between(rng, 0, size[0]), between(rng, 0, size[1])), title(rng, 1), letters, grey(80))
    return Painted(
        image,
        (
            "a map of [a city|a town|streets] [|with streets|with streets and parks|with roads]",
            "a [street map|road map|map] with [roads|streets|many lines] and names",
        ),
    )


def _road(rng: Rng, draw: ImageDraw.ImageDraw, reach: int, turn: float, kind: int) -> None:
    angle = turn + pick(rng, [0, np.pi / 2]) + rng.normal(0, 0.07 if kind == 1 else 0.5)
    x, y = rng.uniform(0, reach, 2).tolist()
    bend = rng.normal(0, 0.03 * kind)
    points = []
    for step in range(-6, 7):
        away, direction = step * reach / 6, angle + bend * step
        points.append((x + away * math.cos(direction), y + away * math.sin(direction)))
    wide = reach // 130 * kind + 1
    draw.line(points, grey(190), wide + 3, "curve")
    draw.line(points, WHITE if kind == 1 else (250, 215, 120), wide, "curve")
