"""Things seen from above, below or very near: sky, moon, coins, cells, and codes for machines."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

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
    font,
    from_grey,
    grained,
    grey,
    pick,
    set_line,
    size_between,
    tinted,
    whole,
    worn,
)


def night_sky(rng: Rng) -> Painted:
    size = size_between(rng)
    image = tinted(field(rng, size, (5, 4), 0, 70), (2, 2, 8), pick(rng, [(60, 60, 160), (130, 80, 150), (70, 70, 75)]))
    draw = ImageDraw.Draw(image)
    for _ in range(whole(rng, 60, 700)):
        x, y = between(rng, 0, size[0]), between(rng, 0, size[1])
        draw.circle((x, y), abs(rng.normal(0, 1.1)), colour_near(rng, grey(whole(rng, 110, 230))))
    image = image.filter(ImageFilter.SMOOTH)
    if chance(rng, 0.35):
        hills = [(i * size[0] / 8, size[1] * between(rng, 0.78, 0.92)) for i in range(9)]
        ImageDraw.Draw(image).polygon([(0, size[1]), *hills, (size[0], size[1])], BLACK)
    return Painted(
        image,
        (
            "[the|a] night sky [with|full of] [stars|many stars|bright stars]",
            "[many|white|bright|small] stars in [the|a] [dark|black|night] sky",
        ),
    )


def moon(rng: Rng) -> Painted:
    width, height = size_between(rng, 0.6, 1.7)
    radius = min(width, height) * between(rng, 0.2, 0.47)
    x, y = width * between(rng, 0.4, 0.6), height * between(rng, 0.45, 0.55)
    seas = field(rng, (width, height), (9, 8), 110, 235)
    draw = ImageDraw.Draw(seas)
    for _ in range(whole(rng, 10, 60)):
        _crater(
            rng, draw, (x + rng.normal() * radius / 2, y + rng.normal() * radius / 2), radius * between(rng, 0.01, 0.09)
        )
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).circle((x, y), radius, 255)
    full = chance(rng, 0.5)
    if not full:
        shift = radius * between(rng, 0.4, 1.2)
        ImageDraw.Draw(mask).circle((x + shift * pick(rng, [-1, 1]), y), radius, 0)
    mask = mask.filter(ImageFilter.GaussianBlur(2 if full else radius / 20))
    image = Image.composite(
        seas.filter(ImageFilter.GaussianBlur(1.5)), Image.new("L", seas.size, whole(rng, 0, 14)), mask
    )
    image = tinted(image, (0, 0, 4), pick(rng, [WHITE, (255, 245, 215)]))
    kind = "full" if full else "bright"
    return Painted(
        grained(rng, image, 6),
        (
            f"the [|{kind}] moon in [the|a] [black|dark|night] sky",
            f"a [close up|picture|black and white photo] of the [|{kind}] moon [|at night]",
        ),
    )


def _crater(rng: Rng, draw: ImageDraw.ImageDraw, at: tuple[float, float], radius: float) -> None:
    draw.circle(at, radius, whole(rng, 120, 200))
    draw.arc((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), 90, 270, 245, 2)


def coins(rng: Rng) -> Painted:
    """Discs in rows on a dark ground, each with a rim and something stamped on it."""
    width, height = size_between(rng, 0.7, 1.7)
    step = min(width, height) / between(rng, 3, 6)
    image = field(rng, (width, height), (3, 3), 20, 90)
    draw = ImageDraw.Draw(image)
    for row in range(int(height / step)):
        for column in range(int(width / step)):
            centre = (step * (column + 0.5) + rng.normal() * step / 25, step * (row + 0.5) + rng.normal() * step / 25)
            _coin(rng, draw, centre, step * between(rng, 0.28, 0.46))
    image = ImageChops.multiply(image.filter(ImageFilter.SMOOTH), field(rng, image.size, (2, 2), 170, 255))
    metal = pick(rng, [WHITE, WHITE, (255, 220, 140), (240, 180, 130)])
    return Painted(
        grained(rng, tinted(image, BLACK, metal), whole(rng, 8, 30)),
        (
            "rows of [|round|old|metal] coins on a [dark|black|plain] [background|surface]",
            "[many|several|old] [|round|metal] coins [lying|] on a [dark|black] [background|table|surface]",
        ),
    )


def _coin(rng: Rng, draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    x, y = centre
    shade = whole(rng, 130, 220)
    draw.circle((x + radius * 0.06, y + radius * 0.08), radius, 10)
    draw.circle(centre, radius, shade, shade - 60, max(2, int(radius / 9)))
    draw.circle(centre, radius * 0.82, None, shade - 35, max(1, int(radius / 25)))
    for _ in range(whole(rng, 8, 16)):
        dx, dy = rng.normal(0, radius / 4.5, 2).tolist()
        draw.ellipse(
            (x + dx - radius / 8, y + dy - radius / 6, x + dx + radius / 8, y + dy), shade + whole(rng, -40, 35)
        )


def cells(rng: Rng) -> Painted:
    """Blobs with nuclei: stained, or in grey as in a microscope of fluorescence."""
    size, glowing = size_between(rng, 0.7, 1.5), chance(rng, 0.4)
    image = Image.new("L", size, 20 if glowing else 235)
    draw, radius = ImageDraw.Draw(image), min(size) * between(rng, 0.025, 0.11)
    count = int(min(260, size[0] * size[1] / radius**2 / between(rng, 5, 14)))
    for _ in range(count):
        x, y = between(rng, 0, size[0]), between(rng, 0, size[1])
        body = 90 + whole(rng, 0, 80) if glowing else 150 + whole(rng, 0, 40)
        draw.polygon(_blob(rng, x, y, radius), body, 190 if glowing else 120)
        draw.polygon(_blob(rng, x, y, radius * between(rng, 0.3, 0.55)), 235 if glowing else whole(rng, 30, 70))
    image = ImageChops.multiply(image.filter(ImageFilter.GaussianBlur(radius / 12)), field(rng, size, (6, 6), 215, 255))
    stain = pick(rng, [((70, 20, 110), (250, 225, 240)), ((30, 30, 120), (240, 240, 255)), (BLACK, WHITE)])
    light = pick(rng, [WHITE, WHITE, (120, 255, 130)])
    return Painted(
        grained(rng, tinted(image, *((BLACK, light) if glowing else stain)), whole(rng, 3, 15)),
        (
            "[cells|many cells|small cells|round cells] [seen|] [under|through|in] a microscope",
            "a [microscope picture|picture from a microscope|microscopic image] of [cells|round cells|many cells]",
        ),
    )


def _blob(rng: Rng, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    wave = 1 + 0.18 * np.sin(2 * angles + rng.uniform(0, 6)) + 0.1 * np.sin(3 * angles + rng.uniform(0, 6))
    return list(
        zip((x + radius * wave * np.cos(angles)).tolist(), (y + radius * wave * np.sin(angles)).tolist(), strict=True)
    )


def qr_code(rng: Rng) -> Painted:
    side = pick(rng, [21, 25, 29, 33, 41])
    modules = rng.integers(0, 2, (side, side)) * 255
    eye = np.zeros((8, 8), int)
    eye[7] = eye[:, 7] = 255
    eye[1:6, 1:6] = 255
    eye[2:5, 2:5] = 0
    modules[:8, :8], modules[:8, -8:], modules[-8:, :8] = eye, eye[:, ::-1], eye[::-1]
    modules = np.pad(modules, 3, constant_values=255)
    size = size_between(rng, 0.75, 1.4)
    scale = max(2, int(min(size) / len(modules) * between(rng, 0.6, 1)))
    square = from_grey(modules).resize((len(modules) * scale,) * 2, Image.Resampling.NEAREST)
    image, _ = blank(size, WHITE if chance(rng, 0.6) else colour_near(rng, (200, 190, 170), 50))
    image.paste(square, ((size[0] - square.width) // 2, (size[1] - square.height) // 2))
    if chance(rng, 0.3):
        ground = image.getpixel((0, 0))
        image = image.rotate(between(rng, -25, 25), Image.Resampling.BILINEAR, fillcolor=ground)
    return Painted(
        worn(rng, image),
        (
            "a [qr code|square code] [on|printed on] [paper|a label|a surface]",
            "a square [code|pattern] of small black and white squares",
        ),
    )


def bar_code(rng: Rng) -> Painted:
    width, height = size_between(rng, 0.9, 2)
    image, draw = blank((width, height), grey(whole(rng, 225, 255)))
    unit, x, foot = max(1, width // whole(rng, 110, 180)), width * 0.08, height * between(rng, 0.6, 0.85)
    while x < width * 0.9:
        bar = unit * whole(rng, 1, 4)
        draw.rectangle((x, height * 0.1, x + bar - 1, foot), BLACK)
        x += bar + unit * whole(rng, 1, 4)
    digits = "".join(str(d) + " " for d in rng.integers(0, 10, 13))
    set_line(image, (width * 0.1, foot + 4), digits, max(10, width // 24), BLACK)
    return Painted(
        worn(rng, image),
        (
            "a [|black and white|printed] bar code [with|and] [numbers|digits] [|below it]",
            "a [bar code|barcode] [on|printed on] [paper|a label|a white background]",
        ),
    )


def clock(rng: Rng) -> Painted:
    """A round face with twelve marks and two hands."""
    size = size_between(rng, 0.7, 1.5)
    wall, rim = colour_near(rng, pick(rng, [(235, 230, 220), (150, 170, 190), (120, 90, 70)])), grey(whole(rng, 10, 80))
    image, draw = blank((size[0] * 2, size[1] * 2), wall)
    x, y, radius = size[0], size[1], min(size) * between(rng, 0.65, 0.95)
    draw.circle((x, y), radius, WHITE, rim, int(radius / 14))
    roman = pick(rng, [True, False])
    for hour in range(1, 13):
        mark = _hand(x, y, radius * 0.76, hour / 12)
        text = ROMAN[hour - 1] if roman else str(hour)
        draw.text(mark, text, BLACK, font(max(12, int(radius / 6))), anchor="mm")
    time = between(rng, 0, 12)
    draw.line((x, y, *_hand(x, y, radius * 0.45, time / 12)), BLACK, int(radius / 22))
    draw.line((x, y, *_hand(x, y, radius * 0.68, time % 1)), BLACK, int(radius / 32))
    draw.circle((x, y), radius / 25, rim)
    return Painted(
        worn(rng, image.reduce(2)),
        (
            "a [|white|round|round white] clock [on a wall|with black numbers|on a plain wall]",
            "the [face|dial] of a [|round] clock [with two hands|with numbers]",
        ),
    )


ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")


def _hand(x: float, y: float, length: float, turn: float) -> tuple[float, float]:
    angle = 2 * np.pi * turn
    return x + length * float(np.sin(angle)), y - length * float(np.cos(angle))
