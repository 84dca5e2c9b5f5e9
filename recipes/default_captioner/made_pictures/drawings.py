"""Drawings in lines or flat colours, shapes and logos."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw, ImageFilter

from .canvas import (
    BLACK,
    WHITE,
    Colour,
    Painted,
    Rng,
    Size,
    between,
    blank,
    chance,
    colour_near,
    font,
    named_colour,
    paper_colour,
    pick,
    size_between,
    title,
    whole,
    worn,
)
from .charts import some_colours
from .figures import FIGURES, Figure, Point

# Drawn twice as large and halved, since Pillow's lines have no soft edges.
FINE = 2
PAPER = "[|on paper|on a piece of paper]"


def line_drawing(rng: Rng) -> Painted:
    """One to three things in lines, as with a pen or a pencil."""
    image, names = _scene(rng, size_between(rng, 0.6, 1.7), coloured=False)
    things = _listed(names)
    return Painted(
        worn(rng, image) if chance(rng, 0.5) else image,
        (
            f"a [|simple|line|pencil|black and white] drawing of {things}",
            f"a [|simple|rough] sketch of {things} {PAPER}",
            f"{things} drawn [with a pen|with a pencil|by hand|in black lines]",
        ),
    )


def cartoon(rng: Rng) -> Painted:
    """One to three things in flat colours, before a plain ground or sky and grass."""
    image, names = _scene(rng, size_between(rng, 0.6, 1.7), coloured=True)
    things = _listed(names)
    return Painted(
        image,
        (
            f"a [|simple|colorful|cartoon|childish] drawing of {things}",
            f"a [cartoon|colorful cartoon|colored picture|simple picture] of {things}",
        ),
    )


def _listed(names: list[str]) -> str:
    counted = [f"a {name}" for name in dict.fromkeys(names)]
    return " and ".join(counted if len(counted) < 3 else [" ".join(counted[:-1]), counted[-1]])


def _scene(rng: Rng, size: Size, coloured: bool) -> tuple[Image.Image, list[str]]:
    count = pick(rng, [1, 1, 2, 2]) if min(size) * 1.2 < max(size) else 1
    names = [str(name) for name in rng.permutation(list(FIGURES))[:count]]
    ground, ink = paper_colour(rng), colour_near(rng, pick(rng, [(15, 15, 15), (90, 90, 95), (30, 40, 110)]), 15)
    wide, tall = size[0] * FINE, size[1] * FINE
    image, draw = blank((wide, tall), ground)
    if coloured and chance(rng, 0.6):
        draw.rectangle((0, 0, wide, tall), colour_near(rng, (165, 210, 245)))
        draw.rectangle((0, tall * between(rng, 0.65, 0.85), wide, tall), colour_near(rng, (120, 195, 95)))
    across = wide > tall
    for i, name in enumerate(names):
        cell = (wide / count, tall) if across else (wide, tall / count)
        side = min(cell) * between(rng, 0.65, 0.95)
        x = (cell[0] * i if across else 0) + (cell[0] - side) / 2
        y = (0 if across else cell[1] * i) + (cell[1] - side) * 0.6
        _put(rng, draw, FIGURES[name](rng), (x, y), side, ink, None if coloured else ground)
    return image.reduce(FINE), names


def _put(
    rng: Rng,
    draw: ImageDraw.ImageDraw,
    figure: Figure,
    at: Point,
    side: float,
    ink: Colour,
    paper: Colour | None,
) -> None:
    """The figure in a square of this side, by an unsteady hand, sometimes mirrored; `paper` is None in colour."""
    unsteady, mirrored = pick(rng, [0.0, 0.004, 0.009]), chance(rng, 0.5)
    thick = max(2, int(side * between(rng, 0.006, 0.02)))
    outlined = paper is not None or chance(rng, 0.6)
    for part in figure:
        shaken = rng.normal(0, unsteady, (len(part.points), 2)) if unsteady else [(0.0, 0.0)] * len(part.points)
        points = [
            (at[0] + side * ((1 - x if mirrored else x) + dx), at[1] + side * (y + dy))
            for (x, y), (dx, dy) in zip(part.points, shaken, strict=True)
        ]
        if part.fill:
            dark = sum(part.fill) < 150
            draw.polygon(points, part.fill if paper is None else ink if dark else paper)
        if outlined or part.fill is None:
            draw.line(points, ink, thick, "curve")


def shapes(rng: Rng) -> Painted:
    """Circles, squares, triangles, stars of flat colours."""
    size = size_between(rng)
    image, draw = blank((size[0] * FINE, size[1] * FINE), pick(rng, [WHITE, WHITE, BLACK, named_colour(rng)[1]]))
    kinds = [(0, "circles"), (4, "squares"), (3, "triangles"), (5, "stars")]
    chosen = [kinds[i] for i in rng.permutation(4)[: whole(rng, 1, 4)]]
    count, colours, filled = whole(rng, 5, 24), some_colours(rng, 6), chance(rng, 0.8)
    for i in range(count):
        x, y = rng.uniform(0.05, 0.95, 2) * image.size
        radius = min(image.size) * between(rng, 0.04, 0.16)
        outline = _regular(chosen[i % len(chosen)][0], x, y, radius, between(rng, 0, 6.3))
        colour = pick(rng, colours)
        draw.polygon(outline, colour if filled else None, colour, width=6)
    what = "shapes" if len(chosen) > 2 else " and ".join(name for _, name in chosen)
    return Painted(
        image.reduce(FINE),
        (
            f"[colorful|colored|many colored|several colored] {what} on a [plain|flat] background",
            f"a [drawing|picture|pattern] of [many|colorful|colored|flat] {what}",
        ),
    )


def _regular(corners: int, x: float, y: float, radius: float, turn: float) -> list[Point]:
    """A circle for 0, a star of five points for 5, else a polygon."""
    steps = 10 if corners == 5 else corners or 60
    radii = [radius * (0.42 if corners == 5 and i % 2 else 1) for i in range(steps)]
    angles = [turn + 2 * math.pi * i / steps for i in range(steps)]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def logo(rng: Rng) -> Painted:
    size, (name, colour) = size_between(rng, 0.7, 2), named_colour(rng)
    image, draw = blank(
        (size[0] * FINE, size[1] * FINE), WHITE if chance(rng, 0.8) else colour_near(rng, (25, 25, 30), 15)
    )
    wide, tall = image.size
    x, y, radius = wide / 2, tall * 0.4, min(wide, tall) * between(rng, 0.2, 0.3)
    draw.polygon(_regular(pick(rng, [0, 3, 4, 5, 6]), x, y, radius, -math.pi / 2), colour)
    inner = _regular(pick(rng, [0, 3, 4, 5]), x, y, radius * between(rng, 0.3, 0.6), pick(rng, [0, 0.8, -1.57]))
    draw.polygon(inner, pick(rng, [WHITE, named_colour(rng)[1]]))
    if chance(rng, 0.75):
        ink = colour if chance(rng, 0.5) or image.getpixel((0, 0)) != WHITE else BLACK
        word = title(rng, 1)
        draw.text((x, tall * 0.83), word, ink, font(int(min(tall * 0.16, wide * 1.2 / len(word)))), anchor="mm")
    return Painted(
        image.reduce(FINE),
        (
            f"a [|simple|round|company] logo in {name} [|on a plain background]",
            f"a {name} [logo|symbol|emblem] [on a plain background|on a white background|of a company]",
        )
        if image.getpixel((0, 0)) == WHITE
        else (f"a [|simple|company] logo in {name}", f"a {name} [logo|symbol|emblem] on a [dark|black] background"),
    )


def scribble(rng: Rng) -> Painted:
    """Loose polygons and curves."""
    size = size_between(rng)
    image, draw = blank((size[0] * FINE, size[1] * FINE), paper_colour(rng))
    for colour in some_colours(rng, whole(rng, 1, 4)) if chance(rng, 0.5) else [BLACK] * whole(rng, 1, 4):
        steps = rng.normal(0, min(image.size) * between(rng, 0.05, 0.2), (whole(rng, 8, 60), 2)).cumsum(0)
        steps = (steps - steps.min(0)) / (steps.max(0) - steps.min(0)) * (0.8, 0.8) + 0.1
        points = [(x * image.width, y * image.height) for x, y in steps.tolist()]
        draw.line(points, colour, whole(rng, 3, 14), "curve")
    return Painted(
        image.reduce(FINE).filter(ImageFilter.SMOOTH),
        (
            "[lines|a scribble|scribbles] drawn on [white paper|paper|a piece of paper]",
            "an abstract drawing of [lines|crossing lines|many lines]",
            "a [drawing|scribble|sketch] of [random|crossing] lines",
        ),
    )
