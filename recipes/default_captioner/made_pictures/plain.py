"""Pictures of nothing: blank, noise, gratings, patterns."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

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
    field,
    from_grey,
    grained,
    grey,
    named_colour,
    pick,
    size_between,
    tinted,
    whole,
)


def blank_page(rng: Rng) -> Painted:
    name, colour = _plain_colour(rng)
    image, _ = blank(size_between(rng, 0.4, 2.5), colour)
    image = pick(rng, [_as_is, _as_is, _sloped, _vignetted])(rng, image)
    if chance(rng, 0.4):
        image = grained(rng, image, whole(rng, 1, 10), chance(rng, 0.5))
    page = "[page|sheet of paper|piece of paper]" if name == "white" else "[background|surface|screen]"
    return Painted(
        image,
        (
            f"a [blank|plain|empty] {name} {page}",
            f"a {name} [background|wall|screen] with nothing on it",
            f"[a picture of|there is] nothing but a {name} [background|surface|wall]",
        ),
    )


def _plain_colour(rng: Rng) -> tuple[str, Colour]:
    shade = rng.random()
    if shade < 0.4:
        return "white", grey(whole(rng, 238, 255))
    if shade < 0.6:
        return "black", grey(whole(rng, 0, 14))
    return ("gray", grey(whole(rng, 80, 200))) if shade < 0.75 else named_colour(rng)


def _as_is(rng: Rng, image: Image.Image) -> Image.Image:
    return image


def _sloped(rng: Rng, image: Image.Image) -> Image.Image:
    slope = field(rng, image.size, (2, 2)).convert("RGB")
    return Image.blend(image, slope, between(rng, 0.02, 0.12))


def _vignetted(rng: Rng, image: Image.Image) -> Image.Image:
    mask = ImageOps.invert(Image.radial_gradient("L")).resize(image.size)
    dark = Image.blend(image, Image.new("RGB", image.size), between(rng, 0.1, 0.4))
    return Image.composite(image, dark, mask.point([min(255, v * 2) for v in range(256)]))


def noise(rng: Rng) -> Painted:
    width, height = size_between(rng)
    step, coloured = pick(rng, [1, 1, 2, 4, 8]), chance(rng, 0.5)
    shape = (height // step + 1, width // step + 1, 3)[: 3 if coloured else 2]
    values = rng.integers(0, 256, shape, np.uint8)
    if chance(rng, 0.3):
        values = np.where(values > 127, np.uint8(255), np.uint8(0))
    image = Image.fromarray(values).convert("RGB")
    image = image.resize((image.width * step, image.height * step), Image.Resampling.NEAREST).crop(
        (0, 0, width, height)
    )
    how = "[colorful|colored]" if coloured else "[gray|black and white]"
    return Painted(
        image,
        (
            f"[|a picture of|a screen full of] {how} [random noise|static noise|random dots|static]",
            f"{how} noise like on a [television|screen] without a signal",
        ),
    )


def grating(rng: Rng) -> Painted:
    width, height = size_between(rng)
    angle, waves = between(rng, 0, np.pi), between(rng, 4, 40)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    phase = (x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))) * np.float32(2 * np.pi * waves / width)
    if chance(rng, 0.3):
        phase = np.hypot(x - width / 2, y - height / 2) * np.float32(2 * np.pi * waves / width)
        what = "[round waves|rings|circles around one center]"
    else:
        what = "[stripes|waves|lines]"
    image = from_grey(128 + between(rng, 40, 127) * np.sin(phase))
    how = "black and white"
    if chance(rng, 0.3):
        how, colour = named_colour(rng)
        image = tinted(image, BLACK, colour)
    return Painted(
        image,
        (f"a [smooth|blurry|regular] pattern of {how} {what}", f"[soft|blurry] {how} {what} [|on a plain background]"),
    )


def pattern(rng: Rng) -> Painted:
    size, (name, colour) = size_between(rng), pick(rng, [("black", BLACK), named_colour(rng), named_colour(rng)])
    ground = WHITE if chance(rng, 0.7) else colour_near(rng, (235, 225, 190))
    image, draw = blank(size, ground)
    step, make = whole(rng, 16, 120), pick(rng, [_checks, _checks, _dots, _stripes, _grid])
    what = make(rng, draw, size, step, colour)
    if chance(rng, 0.25):
        image = image.rotate(between(rng, -40, 40), fillcolor=ground)
    if chance(rng, 0.3):
        image = image.filter(ImageFilter.GaussianBlur(between(rng, 0.5, 2)))
    return Painted(image, tuple(each.replace("COLOUR", name) for each in what))


def _checks(rng: Rng, draw: ImageDraw.ImageDraw, size: Size, step: int, colour: Colour) -> tuple[str, ...]:
    for row in range(size[1] // step + 1):
        for column in range(row % 2, size[0] // step + 1, 2):
            x, y = column * step, row * step
            draw.rectangle((x, y, x + step - 1, y + step - 1), colour)
    return (
        "a COLOUR and white [checkerboard|chess board|checkered pattern]",
        "a [board|pattern] of COLOUR and white squares",
    )


def _dots(rng: Rng, draw: ImageDraw.ImageDraw, size: Size, step: int, colour: Colour) -> tuple[str, ...]:
    radius, shift = step * between(rng, 0.15, 0.45), chance(rng, 0.5) * step / 2
    for row in range(size[1] // step + 2):
        for column in range(size[0] // step + 2):
            draw.circle((column * step + (row % 2) * shift, row * step), radius, colour)
    return (
        "[a pattern of|rows of|many] [round|] COLOUR dots on a [white|light|plain] background",
        "a polka dot pattern in COLOUR",
    )


def _stripes(rng: Rng, draw: ImageDraw.ImageDraw, size: Size, step: int, colour: Colour) -> tuple[str, ...]:
    upright, share = chance(rng, 0.5), between(rng, 0.2, 0.7)
    for at in range(0, max(size), step):
        last = at + int(step * share)
        draw.rectangle((at, 0, last, size[1]) if upright else (0, at, size[0], last), colour)
    way = "vertical" if upright else "horizontal"
    return (
        f"[|a pattern of] {way} COLOUR [stripes|bars|lines] on a [white|light|plain] background",
        f"COLOUR and white {way} stripes",
    )


def _grid(rng: Rng, draw: ImageDraw.ImageDraw, size: Size, step: int, colour: Colour) -> tuple[str, ...]:
    for at in range(whole(rng, 0, step), max(size), step):
        draw.line((at, 0, at, size[1]), colour, 1 + step // 24)
        draw.line((0, at, size[0], at), colour, 1 + step // 24)
    return (
        "a grid of [thin|] COLOUR lines [|on a white background|on paper]",
        "[a piece of|] squared paper with COLOUR lines",
    )
