"""Screenshots of computers: web pages, windows, dialogs, spreadsheets."""

from __future__ import annotations

from PIL import Image, ImageDraw

from .canvas import (
    BLACK,
    WHITE,
    Painted,
    Rng,
    Size,
    between,
    blank,
    chance,
    colour_near,
    grey,
    pick,
    set_line,
    set_words,
    size_between,
    title,
    whole,
)
from .consoles import code_lines
from .windows import SHOT, Box, any_colour, landscape, shown, window


def _web_content(rng: Rng, image: Image.Image, box: Box) -> None:
    draw, (left, top, right, bottom) = ImageDraw.Draw(image), box
    wide, tall, accent = right - left, bottom - top, any_colour(rng)
    head = tall * between(rng, 0.07, 0.15)
    draw.rectangle((left, top, right, top + head), accent if chance(rng, 0.6) else grey(240))
    letters = max(9, int(head * 0.3))
    for i in range(whole(rng, 3, 6)):
        set_line(
            image, (left + wide * (0.03 + i * 0.15), top + head * 0.3), title(rng, 1), letters, grey(30), bold=i == 0
        )
    y, side = top + head * 1.2, left + wide * pick(rng, [0.02, 0.22])
    if side > left + wide * 0.1:
        for i in range(whole(rng, 4, 10)):
            set_line(image, (left + wide * 0.02, y + i * letters * 2), title(rng, 1), letters, (30, 60, 180))
    edge = right - wide * 0.03
    set_line(image, (side, y), title(rng, whole(rng, 2, 4)), letters * 2, grey(20), bold=True)
    y += letters * 3
    cards = pick(rng, [0, 1, 2, 3, 4])
    if cards:
        step, high = (edge - side) / cards, tall * between(rng, 0.15, 0.35)
        for i in range(cards):
            landscape(rng, image, (side + i * step, y, side + i * step + step * 0.92, y + high))
        y += high + letters
    for i in range(max(1, cards)):
        step = (edge - side) / max(1, cards)
        x = side + i * step
        set_words(rng, image, (x, y, x + step * 0.92, bottom - 4), max(8, int(letters * 0.8)), grey(50))


def web_page(rng: Rng) -> Painted:
    size = size_between(rng, 0.6, 2)
    image, draw = blank(size, WHITE)
    box: Box = (0, 0, size[0], size[1])
    if chance(rng, 0.5):
        bar = max(20, size[1] // 18)
        draw.rectangle((0, 0, size[0], bar), grey(225))
        draw.rounded_rectangle((bar * 3, bar * 0.2, size[0] - bar, bar * 0.8), bar // 3, WHITE)
        set_line(
            image, (bar * 3.4, bar * 0.22), "www." + pick(rng, ["news", "shop", "home"]), int(bar * 0.45), grey(90)
        )
        box = (0, bar, size[0], size[1])
    _web_content(rng, image, box)
    return Painted(
        shown(rng, image),
        (
            f"a {SHOT} of a [web page|website] [|with text|with text and pictures]",
            "a [web page|website] [on|shown on] a computer screen",
            "a computer screen with [text on it|a web page|a website]",
        ),
    )


def desktop(rng: Rng) -> Painted:
    size = size_between(rng, 1.1, 2)
    image, _ = blank(size, any_colour(rng))
    if chance(rng, 0.6):
        landscape(rng, image, (0, 0, *size))
    draw, bar = ImageDraw.Draw(image), size[1] // 20
    draw.rectangle((0, size[1] - bar, *size), grey(whole(rng, 20, 60)))
    for i in range(whole(rng, 4, 9)):
        x = bar * (0.4 + i * 1.3)
        draw.rounded_rectangle((x, size[1] - bar * 0.85, x + bar * 0.7, size[1] - bar * 0.15), 3, any_colour(rng))
    for i in range(whole(rng, 3, 6)):
        y = bar * (0.6 + i * 2.6)
        draw.rounded_rectangle((bar * 0.6, y, bar * 2, y + bar * 1.4), 4, any_colour(rng))
        set_line(
            image, (bar * 0.5, y + bar * 1.5), pick(rng, ["Files", "Mail", "Web", "Notes"]), max(8, bar // 2), WHITE
        )
    for _ in range(whole(rng, 1, 3)):
        _any_window(rng, image, size)
    return Painted(
        shown(rng, image),
        (
            f"a {SHOT} of a computer [desktop|screen] with [windows|open windows|several windows]",
            "a computer [screen|desktop] with [windows and icons|icons|a window and text]",
            "[windows|programs] [open|] on a computer screen",
        ),
    )


def _any_window(rng: Rng, image: Image.Image, size: Size) -> None:
    wide, tall = size[0] * between(rng, 0.35, 0.65), size[1] * between(rng, 0.35, 0.65)
    x, y = between(rng, size[0] * 0.1, size[0] - wide), between(rng, 0, size[1] * 0.94 - tall)
    dark = chance(rng, 0.3)
    inside = window(rng, image, (x, y, x + wide, y + tall), dark)
    if dark:
        code_lines(rng, image, inside, 10, True)
    elif chance(rng, 0.4):
        set_words(rng, image, (inside[0] + 6, inside[1] + 6, inside[2] - 6, inside[3] - 4), 10, grey(30))
    else:
        _web_content(rng, image, inside)


def dialog(rng: Rng) -> Painted:
    size = size_between(rng, 0.9, 2)
    image, draw = blank(
        size, colour_near(rng, pick(rng, [(110, 130, 150), (60, 60, 70), (0, 110, 120), (225, 225, 228)]))
    )
    share = between(rng, 0.5, 0.98)
    x, y = size[0] * (1 - share) / 2, size[1] * (1 - share) / 2
    left, top, right, bottom = window(rng, image, (x, y, size[0] - x, size[1] - y))
    letters, wide, tall = max(10, size[0] // whole(rng, 26, 44)), right - left, bottom - top
    set_words(rng, image, (left + wide * 0.2, top + letters, right - letters, top + tall * 0.45), letters, BLACK)
    draw.circle((left + wide * 0.1, top + tall * 0.2), min(wide, tall) * 0.08, any_colour(rng))
    for i in range(whole(rng, 0, 2)):
        line = top + tall * (0.5 + 0.14 * i)
        draw.rectangle((left + wide * 0.2, line, right - letters, line + letters * 1.7), WHITE, grey(130))
    buttons = whole(rng, 1, 3)
    for i in range(buttons):
        a, b = right - wide * 0.24 * (i + 1), bottom - tall * 0.06
        draw.rounded_rectangle(
            (a, b - letters * 2, a + wide * 0.21, b), 4, grey(225) if i else (60, 120, 215), grey(120)
        )
        text = pick(rng, ["Cancel", "No", "Help"]) if i else pick(rng, ["OK", "Yes", "Save"])
        set_line(image, (a + wide * 0.06, b - letters * 1.6), text, letters, BLACK if i else WHITE)
    return Painted(
        image,
        (
            f"a {SHOT} of a [dialog|dialog box|window] with [buttons|text and buttons]",
            "a [window|dialog box|message] on a computer screen [|with buttons|with text]",
        ),
    )


def spreadsheet(rng: Rng) -> Painted:
    size = size_between(rng, 0.9, 2)
    image, draw = blank(size, WHITE)
    head, wide, tall = size[1] * 0.1, size[0] / whole(rng, 5, 10), max(15, size[1] / whole(rng, 14, 28))
    draw.rectangle((0, 0, size[0], head), colour_near(rng, pick(rng, [(40, 120, 70), (225, 225, 225)])))
    draw.rectangle((0, head, size[0], head + tall), grey(228))
    draw.rectangle((0, head, wide * 0.5, size[1]), grey(228))
    letters, filled = max(8, int(min(tall * 0.55, wide * 0.18))), between(rng, 0.4, 0.95)
    for row in range(int((size[1] - head) / tall) + 1):
        y = head + row * tall
        draw.line((0, y, size[0], y), grey(205))
        for column in range(int(size[0] / wide) + 1):
            x = wide * (column + 0.5)
            text = chr(65 + column) if row == 0 else str(whole(rng, 1, 99999)) if chance(rng, filled) else ""
            set_line(image, (x + 4, y + tall * 0.15), text, letters, grey(40))
        set_line(image, (4, y + tall * 0.15), str(row) if row else "", letters, grey(90))
    for column in range(int(size[0] / wide) + 1):
        draw.line((wide * (column + 0.5), head, wide * (column + 0.5), size[1]), grey(205))
    return Painted(
        image,
        (
            f"a {SHOT} of a spreadsheet [|with numbers|with rows of numbers]",
            "a [spreadsheet|table of numbers] on a computer screen",
            "a computer screen with [a spreadsheet|a table of numbers]",
        ),
    )
