"""Screens of phones: icons, a chat."""

from __future__ import annotations

from .canvas import (
    BLACK,
    WHITE,
    Painted,
    Rng,
    between,
    blank,
    chance,
    colour_near,
    grey,
    line_of_words,
    pick,
    set_line,
    size_between,
    title,
    whole,
)
from .windows import SHOT, any_colour, landscape


def phone(rng: Rng) -> Painted:
    size = size_between(rng, 0.5, 0.65)
    image, draw = blank(size, WHITE)
    if chance(rng, 0.6):
        landscape(rng, image, (0, 0, *size))
    set_line(image, (12, 4), f"{whole(rng, 1, 23)}:{whole(rng, 10, 59)}", size[1] // 40, BLACK, bold=True)
    draw.rectangle((size[0] - 40, 8, size[0] - 14, 20), outline=BLACK)
    step, columns = size[0] / 4, 4
    for row in range(whole(rng, 2, 6)):
        for column in range(columns):
            x, y = step * (column + 0.2), size[1] * 0.08 + row * step * 1.35
            draw.rounded_rectangle((x, y, x + step * 0.6, y + step * 0.6), step * 0.14, any_colour(rng))
            draw.circle((x + step * 0.3, y + step * 0.3), step * between(rng, 0.08, 0.2), any_colour(rng))
            set_line(image, (x, y + step * 0.64), title(rng, 1)[:7], max(8, int(step * 0.15)), BLACK)
    return Painted(
        image,
        (
            f"a {SHOT} of a [phone|cell phone|smartphone] [screen|home screen] [|with icons]",
            "a [phone|cell phone] screen with [colorful icons|rows of icons|many icons]",
        ),
    )


def chat(rng: Rng) -> Painted:
    size, dark = size_between(rng, 0.5, 1.3), chance(rng, 0.3)
    image, draw = blank(size, grey(25) if dark else colour_near(rng, (240, 240, 240), 12))
    mine, letters = (
        colour_near(rng, pick(rng, [(60, 130, 245), (120, 210, 120)])),
        max(11, size[0] // whole(rng, 22, 34)),
    )
    draw.rectangle((0, 0, size[0], letters * 3), grey(45) if dark else grey(225))
    draw.circle((letters * 2, letters * 1.5), letters, any_colour(rng))
    set_line(image, (letters * 4, letters * 0.8), title(rng, 1), letters, grey(130), bold=True)
    y = letters * 4.0
    while y < size[1] - letters * 4:
        rows, wide, own = whole(rng, 1, 4), size[0] * between(rng, 0.3, 0.7), chance(rng, 0.5)
        x, tall = (size[0] - wide - letters if own else letters), letters * (rows * 1.35 + 0.9)
        draw.rounded_rectangle((x, y, x + wide, y + tall), letters * 0.8, mine if own else grey(70 if dark else 255))
        for row in range(rows):
            text = line_of_words(rng, int(wide / letters / 0.6) - 2)
            ink = WHITE if own or dark else BLACK
            set_line(image, (x + letters * 0.7, y + letters * (0.4 + row * 1.35)), text, letters, ink)
        y += tall + letters * 0.7
    return Painted(
        image,
        (
            f"a {SHOT} of [a chat|text messages|a conversation] [|on a phone|between two people]",
            "[text messages|chat messages|speech bubbles with text] on a [phone|computer|] screen",
        ),
    )
