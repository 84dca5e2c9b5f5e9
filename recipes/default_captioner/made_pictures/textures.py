"""Surfaces that fill the picture: bricks, gravel, grass, wood, cloth, water."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from .canvas import (
    BLACK,
    WHITE,
    Painted,
    Rng,
    between,
    blank,
    chance,
    colour_near,
    field,
    from_grey,
    grained,
    grey,
    pick,
    shade_near,
    size_between,
    tinted,
    whole,
)


def _maybe_grey(rng: Rng, image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB") if chance(rng, 0.35) else image


def bricks(rng: Rng) -> Painted:
    (width, height), tall = size_between(rng), whole(rng, 24, 80)
    wide, gap = int(tall * between(rng, 2, 3.2)), max(2, tall // 10)
    clay = pick(rng, [(165, 80, 60), (190, 120, 85), (140, 130, 125), (205, 195, 180)])
    image, draw = blank((width, height), colour_near(rng, (190, 185, 175)))
    for row in range(height // tall + 1):
        shift = (row % 2) * wide // 2
        for x in range(-shift, width, wide):
            shade = shade_near(rng, clay, 0.22)
            draw.rectangle((x, row * tall, x + wide - gap, row * tall + tall - gap), shade)
    image = ImageChops.multiply(
        image.filter(ImageFilter.SMOOTH), field(rng, image.size, (40, 30), 190, 255).convert("RGB")
    )
    return Painted(
        _maybe_grey(rng, grained(rng, image, whole(rng, 10, 40))),
        (
            "a [|close up of a|picture of a] [|old] [brick wall|wall of bricks|wall made of bricks]",
            "[rows of|many] bricks in a wall",
            "a [wall|brick wall] [with|of] [rows of|many] bricks",
        ),
    )


def gravel(rng: Rng) -> Painted:
    """Stones of like size on each other, each lighter on one side."""
    size, radius = size_between(rng), between(rng, 12, 40)
    image, draw = blank(size, grey(45))
    stone = pick(rng, [(150, 145, 140), (170, 150, 125), (120, 120, 125)])
    count = int(min(900, 1.6 * size[0] * size[1] / radius**2))
    angles = np.sort(rng.uniform(0, 2 * np.pi, (count, 8)), 1)
    radii = radius * rng.uniform(0.5, 1.3, (count, 1)) * rng.uniform(0.8, 1.1, (count, 8))
    places = rng.uniform(-5, 5 + np.array(size), (count, 1, 2))
    outlines = places + np.stack([np.cos(angles), np.sin(angles)], 2) * radii[:, :, None]
    inner = places + (outlines - places) * 0.75 - radius * 0.1
    for outline, top in zip(outlines, inner, strict=True):
        red, green, blue = shade = shade_near(rng, colour_near(rng, stone, 8), 0.4)
        draw.polygon(outline.ravel().tolist(), (red // 2, green // 2, blue // 2))
        draw.polygon(top.ravel().tolist(), shade)
    image = grained(rng, image.filter(ImageFilter.SMOOTH), whole(rng, 15, 40))
    return Painted(
        _maybe_grey(rng, image),
        (
            "[many|lots of|a lot of] [|small] [stones|pebbles|rocks] [|on the ground]",
            "a [close up of|surface of|ground covered with] [gravel|small stones|pebbles|stones]",
            "gravel and [small|] stones on the ground",
        ),
    )


def grass(rng: Rng) -> Painted:
    size = size_between(rng)
    image, draw = blank(size, (30, 55, 20))
    blade = pick(rng, [(80, 140, 50), (110, 150, 60), (150, 150, 80)])
    longest, count = between(rng, 20, 90), int(min(2600, size[0] * size[1] / 110))
    places, leans = rng.uniform(0, 1, (count, 2)) * (size[0], size[1] + longest), rng.normal(0, 0.35, count)
    tall, shades = longest * rng.uniform(0.4, 1, count), rng.uniform(0.45, 1.3, count)
    # From the far to the near, so that near blades hide far ones.
    for i in np.argsort(places[:, 1]).tolist():
        (x, y), h, lean = places[i].tolist(), float(tall[i]), float(leans[i] * tall[i])
        line = (x, y, x + lean * 0.4, y - h * 0.6, x + lean, y - h)
        draw.line(line, tuple(min(255, int(value * shades[i])) for value in blade), 2 + i % 2)
    return Painted(
        _maybe_grey(rng, grained(rng, image, 14)),
        (
            "[|a field of|a close up of|a lawn of] [|tall|thick] grass [|on the ground|in a field]",
            "[many|long] blades of grass",
            "the ground covered with [|thick] grass",
        ),
    )


def wood(rng: Rng) -> Painted:
    width, height = size_between(rng)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    warp = np.asarray(field(rng, (width, height), (3, 8)), np.float32)
    values = 150 + 45 * np.sin(warp / np.float32(between(rng, 4, 12)) + y / np.float32(between(rng, 3, 12)) + x / 400)
    image = from_grey(values)
    streaks = Image.fromarray(rng.integers(150, 256, (height, 12), np.uint8)).resize((width, height))
    image = ImageChops.multiply(image, streaks.convert("RGB"))
    image = tinted(image, (70, 40, 20), pick(rng, [(225, 175, 115), (190, 130, 80), (240, 215, 170)]))
    if chance(rng, 0.5):
        draw, plank = ImageDraw.Draw(image), height // whole(rng, 2, 6)
        for edge in range(plank, height, plank):
            draw.line((0, edge, width, edge), (35, 20, 12), 4)
    if chance(rng, 0.5):
        image = image.transpose(Image.Transpose.ROTATE_90)
    return Painted(
        image,
        (
            "a [|close up of a|picture of a] [wooden|brown wooden] [surface|board|wall|table]",
            "the [grain|surface|pattern] of [wood|a piece of wood|a wooden board]",
        ),
    )


def cloth(rng: Rng) -> Painted:
    width, height = size_between(rng)
    step, colour = (
        between(rng, 3, 9),
        colour_near(rng, pick(rng, [(60, 80, 150), (170, 60, 60), (190, 180, 150), (90, 90, 95)])),
    )
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    weave = np.sin(x * np.float32(6.3 / step)) * np.sin(y * np.float32(6.3 / step))
    image = tinted(from_grey(140 + 80 * weave), BLACK, colour)
    folds = ImageOps.autocontrast(field(rng, image.size, (whole(rng, 2, 7), whole(rng, 2, 4)), 120, 255))
    image = ImageChops.multiply(image, folds.point([140 + v * 115 // 255 for v in range(256)]).convert("RGB"))
    return Painted(
        grained(rng, ImageChops.add(image, image, 1.4), 18),
        (
            "a [close up of a|picture of a|] piece of [cloth|fabric|woven cloth]",
            "a [woven|folded|soft] [cloth|fabric] [with a fine pattern|with shadows|of one color]",
        ),
    )


def clouds(rng: Rng) -> Painted:
    size = size_between(rng)
    image = field(rng, size, (4, 3), 40, 215)
    for cells, share in (((9, 7), 0.4), ((20, 16), 0.25), ((60, 45), 0.12)):
        image = Image.blend(image, field(rng, size, cells), share)
    image = ImageOps.autocontrast(image, 1)
    dark, light, where = pick(
        rng,
        [
            ((80, 140, 215), WHITE, "white clouds in [a|the] blue sky"),
            (grey(90), grey(225), "gray clouds in [a|the] cloudy sky"),
        ],
    )
    return Painted(
        tinted(image, dark, light),
        (f"[|soft|many|large] {where}", "[a|the] sky [full of|covered with] [|soft|white] clouds"),
    )
