"""Pictures that show nothing with an everyday name: colours, stains, scans, discs with branching lines."""

from __future__ import annotations

import math

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from .canvas import (
    BLACK,
    COLOURS,
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
    grained,
    grey,
    named_colour,
    pick,
    size_between,
    tinted,
    whole,
)


def _cloudy(rng: Rng, size: Size, coarsest: int) -> Image.Image:
    """A random L picture with larger and smaller waves."""
    image = field(rng, size, (coarsest, coarsest))
    for finer, share in ((2, 0.4), (5, 0.25), (12, 0.15)):
        image = Image.blend(image, field(rng, size, (coarsest * finer, coarsest * finer)), share)
    return ImageOps.autocontrast(image, 1)


def colours(rng: Rng) -> Painted:
    """Blurred patches, or all hues one after another."""
    size = size_between(rng)
    if chance(rng, 0.4):
        hue, light = field(rng, size, (whole(rng, 2, 3), whole(rng, 1, 3))), Image.new("L", size, 255)
        image = Image.merge("HSV", [hue, field(rng, size, (2, 2), 150, 255), light]).convert("RGB")
        names = "colors"
    else:
        (first, dark), (second, light_colour) = (named_colour(rng) for _ in range(2))
        image = tinted(_cloudy(rng, size, whole(rng, 2, 5)), dark, light_colour)
        names = first if first == second else f"{first} and {second}"
    return Painted(
        image,
        (
            f"an abstract [picture|image|pattern|painting] [of|in] {names}",
            f"[a blurry|an abstract|a soft] [background|picture] [of|in] [|bright|soft] {names}",
        ),
    )


def stain(rng: Rng) -> Painted:
    """What a stained slice looks like from near: patches of one colour with holes and dots of another."""
    size, (name, colour) = size_between(rng, 0.7, 1.5), named_colour(rng)
    pale = colour_near(rng, (235, 230, 238), 15)
    image = tinted(_cloudy(rng, size, whole(rng, 4, 9)).point(_steep(rng)), colour, pale)
    draw = ImageDraw.Draw(image)
    dots = colour_near(rng, COLOURS[pick(rng, ["blue", "purple", "brown"])])
    for _ in range(whole(rng, 80, 500)):
        draw.circle((between(rng, 0, size[0]), between(rng, 0, size[1])), min(size) * between(rng, 0.004, 0.012), dots)
    return Painted(
        grained(rng, image.filter(ImageFilter.GaussianBlur(between(rng, 0.8, 2))), whole(rng, 4, 15)),
        (
            f"an abstract [picture|image|pattern] [with|of] {name} [spots|stains|patches] [|and dots]",
            f"{name} [spots|stains|patches] [and small dots|] [under|through] a microscope",
            f"a [close up|microscope picture] of [something {name}|{name} stains|{name} spots]",
        ),
    )


def _steep(rng: Rng) -> list[int]:
    """A table that pushes greys to either side."""
    middle = whole(rng, 90, 160)
    return [min(255, max(0, (value - middle) * 4 + 128)) for value in range(256)]


def disc(rng: Rng) -> Painted:
    """A lit disc, mostly on black, with lines that branch from a spot."""
    size, (name, colour) = size_between(rng, 0.75, 1.4), pick(rng, [("orange", (215, 110, 50)), ("red", (190, 70, 45))])
    name, colour = (name, colour) if chance(rng, 0.6) else named_colour(rng)
    image = ImageChops.multiply(
        Image.new("RGB", size, colour_near(rng, colour)), field(rng, size, (4, 4), 130, 255).convert("RGB")
    )
    draw, radius = ImageDraw.Draw(image), min(size) * between(rng, 0.4, 0.52)
    middle = size[0] / 2, size[1] / 2
    spot = middle[0] + radius * between(rng, -0.6, 0.6), middle[1] + radius * between(rng, -0.2, 0.2)
    draw.circle(spot, radius * between(rng, 0.07, 0.14), colour_near(rng, (250, 220, 150)))
    red, green, blue = colour
    for turn in rng.uniform(0, 2 * math.pi, whole(rng, 4, 9)).tolist():
        _branch(rng, draw, spot, turn, radius / 40, (red * 3 // 5, green * 2 // 5, blue * 2 // 5))
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).circle(middle, radius, 255)
    ground = Image.new("RGB", size, BLACK if chance(rng, 0.8) else WHITE)
    image = Image.composite(image.filter(ImageFilter.GaussianBlur(1)), ground, mask.filter(ImageFilter.GaussianBlur(3)))
    on = "a [black|dark] background" if ground.getpixel((0, 0)) == BLACK else "a white background"
    return Painted(
        grained(rng, image, 8),
        (
            f"a [|round] {name} [circle|disc|shape] [|with lines] on {on}",
            f"a [close up|picture] of something [round|{name}|round and {name}] on {on}",
        ),
    )


def _branch(
    rng: Rng, draw: ImageDraw.ImageDraw, at: tuple[float, float], turn: float, thick: float, colour: Colour
) -> None:
    """A line that wanders, grows thinner, and forks."""
    x, y = at
    for _ in range(whole(rng, 8, 16)):
        turn += rng.normal(0, 0.22)
        end = x + thick * 9 * math.cos(turn), y + thick * 9 * math.sin(turn)
        draw.line((x, y, *end), colour, max(1, int(thick)))
        (x, y), thick = end, thick * 0.96
        if thick > 2 and chance(rng, 0.12):
            _branch(rng, draw, (x, y), turn + pick(rng, [-0.6, 0.6]), thick * 0.7, colour)


def scan(rng: Rng) -> Painted:
    """Ovals in greys inside a bright rim, as in a scan of a body."""
    size = size_between(rng, 0.7, 1.4)
    image, draw = blank((size[0] * 2, size[1] * 2), BLACK)
    x, y, radius = size[0], size[1], min(size) * between(rng, 0.6, 0.95)
    rx, ry = radius * between(rng, 0.65, 1), radius
    draw.ellipse(
        (x - rx, y - ry, x + rx, y + ry), grey(whole(rng, 40, 90)), grey(whole(rng, 170, 255)), int(radius / 12)
    )
    for _ in range(whole(rng, 3, 12)):
        dx, dy = between(rng, -0.45, 0.45) * rx, between(rng, -0.55, 0.55) * ry
        a, b = radius * between(rng, 0.03, 0.25), radius * between(rng, 0.03, 0.3)
        draw.ellipse((x + dx - a, y + dy - b, x + dx + a, y + dy + b), grey(whole(rng, 0, 170)))
    image = image.reduce(2)
    if chance(rng, 0.6):
        image = grained(rng, image.filter(ImageFilter.GaussianBlur(between(rng, 0.5, 4))), whole(rng, 5, 30))
    return Painted(
        image,
        (
            "a black and white [scan|x ray|x ray picture] [|of something|of a body|of a head]",
            "[gray|white and gray] [ovals|circles|shapes] on a [black|dark] background",
            "a scan of [something round|a head|a body] [in black and white|on a black background]",
        ),
    )
