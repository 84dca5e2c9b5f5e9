"""Screens of programmers: code in an editor, a terminal."""

from __future__ import annotations

from PIL import Image

from .canvas import (
    BLACK,
    WHITE,
    Painted,
    Rng,
    blank,
    chance,
    colour_near,
    grey,
    line_of_words,
    pick,
    set_line,
    size_between,
    whole,
)
from .windows import SHOT, Box, shown

CODE = ("def {}({}):", "for {} in {}:", "if {} == {}:", "return {}({})", "{} = {} + 1", "import {}.{}", "{}.append({})")
DARK_INKS = ((220, 220, 220), (150, 200, 250), (220, 150, 190), (150, 220, 150), (235, 200, 120))
LIGHT_INKS = ((30, 30, 30), (20, 50, 180), (160, 30, 130), (20, 120, 40), (150, 80, 20))


def code_lines(rng: Rng, image: Image.Image, box: Box, letters: int, dark: bool) -> None:
    """Lines of a program, indented, its words in colours, numbered at the left."""
    y, depth, number, advance = box[1] + 4, 0, 1, round(letters * 0.6)
    inks = DARK_INKS if dark else LIGHT_INKS
    last = int((box[2] - box[0]) / advance) - 8
    while y + letters * 1.3 < box[3]:
        set_line(image, (box[0] + 4, y), f"{number:3d}", letters, grey(130), mono=True)
        column = 5 + 3 * depth
        line = pick(rng, CODE).format(pick(rng, WORDS_OF_CODE), pick(rng, WORDS_OF_CODE)) if chance(rng, 0.85) else ""
        for word in line.split():
            if column + len(word) < last:
                set_line(image, (box[0] + column * advance, y), word, letters, pick(rng, inks), mono=True)
            column += len(word) + 1
        depth = min(4, max(0, depth + (1 if line.endswith(":") else whole(rng, -1, 0))))
        y, number = y + letters * 1.4, number + 1


WORDS_OF_CODE = ("value", "items", "count", "name", "result", "data", "index", "node", "path", "self", "left", "size")


def code(rng: Rng) -> Painted:
    size, dark = size_between(rng, 0.7, 2), chance(rng, 0.6)
    shade = "dark" if dark else "white"
    image, draw = blank(size, (colour_near(rng, (32, 34, 42), 10)) if dark else WHITE)
    side = size[0] * pick(rng, [0, 0, 0.2])
    if side:
        draw.rectangle((0, 0, side, size[1]), grey(50 if dark else 235))
        for i in range(whole(rng, 6, 16)):
            set_line(image, (10 + 10 * (i % 3 > 0), 10 + i * 20), pick(rng, WORDS_OF_CODE), 11, grey(140))
    code_lines(rng, image, (side, 0, *size), whole(rng, 10, 22), dark)
    return Painted(
        shown(rng, image),
        (
            f"a {SHOT} of [computer code|program code|code in an editor]",
            f"[lines of|colorful] [code|computer code] on a [|{shade}|computer] screen",
            "a computer screen with [code|computer code|lines of code] [on it|]",
        ),
    )


def terminal(rng: Rng) -> Painted:
    size = size_between(rng, 0.8, 2)
    ground, ink = pick(rng, [(BLACK, grey(220)), (BLACK, (60, 230, 90)), ((40, 10, 35), WHITE), (grey(30), grey(200))])
    image, _ = blank(size, ground)
    letters, y = whole(rng, 10, 20), 6.0
    lines = int(size[1] / (letters * 1.3)) - 1
    for _ in range(whole(rng, lines // 3, lines)):
        prompt = chance(rng, 0.25)
        text = "user:~$ " + pick(rng, ["ls -l", "cd src", "make all", "git status", "top"]) if prompt else ""
        text = text or line_of_words(rng, whole(rng, 5, int(size[0] / letters / 0.62)))
        set_line(image, (6, y), text, letters, (120, 220, 120) if prompt else ink, mono=True)
        y += letters * 1.3
    return Painted(
        shown(rng, image),
        (
            f"a {SHOT} of a [terminal|terminal window|command line] with text",
            "[lines of text|text|bright text] on a [black|dark] [computer screen|screen|background]",
            "a [black|dark] computer screen with [text on it|lines of text]",
        ),
    )
