"""Things to draw, as parts in a square of side 1 whose foot is y = 1.

A part is an outline and the colour it is filled with in coloured drawings; one without a colour is a line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from .canvas import Colour, Rng, between, chance, colour_near, named_colour, pick, whole

Point = tuple[float, float]


class Part(NamedTuple):
    points: list[Point]
    fill: Colour | None = None


Figure = list[Part]
SKIN, DARK, GREEN, WOOD = (250, 215, 180), (40, 40, 45), (70, 160, 70), (130, 90, 50)


def oval(x: float, y: float, rx: float, ry: float, fill: Colour | None = None, start: int = 0, end: int = 360) -> Part:
    """An ellipse or an arc of it; degrees run clockwise from the right."""
    steps = range(start, end + 1, 12)
    return Part([(x + rx * math.cos(math.radians(a)), y + ry * math.sin(math.radians(a))) for a in steps], fill)


def box(left: float, top: float, right: float, bottom: float, fill: Colour | None = None) -> Part:
    return Part([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], fill)


def any_colour(rng: Rng) -> Colour:
    return named_colour(rng)[1]


def house(rng: Rng) -> Figure:
    roof, wall = (
        between(rng, 0.35, 0.5),
        colour_near(rng, pick(rng, [(245, 225, 180), (230, 150, 120), (200, 215, 235)])),
    )
    parts = [box(0.12, roof, 0.88, 1, wall)]
    parts.append(Part([(0.04, roof), (0.5, between(rng, 0.02, 0.2)), (0.96, roof), (0.04, roof)], any_colour(rng)))
    parts.append(box(0.42, 0.7, 0.58, 1, WOOD))
    for x in (0.2, 0.66):
        parts += [box(x, 0.6, x + 0.14, 0.76, (180, 215, 245)), Part([(x + 0.07, 0.6), (x + 0.07, 0.76)])]
        parts.append(Part([(x, 0.68), (x + 0.14, 0.68)]))
    if chance(rng, 0.5):
        parts.insert(0, box(0.7, 0.08, 0.8, 0.4, (150, 70, 60)))
    return parts


def tree(rng: Rng) -> Figure:
    parts = [box(0.44, 0.55, 0.56, 1, WOOD)]
    green = colour_near(rng, GREEN)
    if chance(rng, 0.4):
        for i in range(3):
            y = 0.02 + 0.2 * i
            half = 0.2 + 0.07 * i
            parts.append(Part([(0.5, y), (0.5 + half, y + 0.32), (0.5 - half, y + 0.32), (0.5, y)], green))
        return parts
    lobes = whole(rng, 5, 9)
    crown = []
    for step in range(0, 361, 6):
        a = math.radians(step)
        radius = 0.3 + 0.05 * abs(math.sin(a * lobes / 2))
        crown.append((0.5 + radius * math.cos(a), 0.35 + radius * math.sin(a)))
    return [*parts, Part(crown, green)]


def sun(rng: Rng) -> Figure:
    rays = whole(rng, 8, 14)
    angles = [2 * math.pi * i / rays for i in range(rays)]
    lines = [Part([_around(a, 0.32), _around(a, 0.48)]) for a in angles]
    return [oval(0.5, 0.5, 0.25, 0.25, (250, 215, 60)), *lines]


def _around(angle: float, radius: float, x: float = 0.5, y: float = 0.5) -> Point:
    return x + radius * math.cos(angle), y + radius * math.sin(angle)


def stick_figure(rng: Rng) -> Figure:
    arms, step = between(rng, -0.15, 0.25), between(rng, 0.1, 0.2)
    parts = [
        oval(0.5, 0.16, 0.13, 0.14, SKIN),
        Part([(0.5, 0.3), (0.5, 0.65)]),
        Part([(0.25, 0.42 + arms), (0.5, 0.4), (0.75, 0.42 + arms * pick(rng, [1, -1]))]),
        Part([(0.5 - step, 1), (0.5, 0.65), (0.5 + step, 1)]),
    ]
    smile = oval(0.5, 0.17, 0.06, 0.06, None, 24, 156)
    return [*parts, oval(0.455, 0.13, 0.01, 0.012, DARK), oval(0.545, 0.13, 0.01, 0.012, DARK), smile]


def face(rng: Rng) -> Figure:
    skin = pick(rng, [SKIN, (250, 215, 60), (190, 135, 95)])
    parts = [oval(0.5, 0.5, between(rng, 0.33, 0.44), 0.46, skin)]
    for x in (0.35, 0.65):
        parts += [oval(x, 0.4, 0.07, 0.05, (255, 255, 255)), oval(x, 0.4, 0.028, 0.032, DARK)]
        parts.append(Part([(x - 0.09, 0.31), (x, 0.28), (x + 0.09, 0.31)]))
    parts.append(Part([(0.5, 0.43), (0.45, 0.6), (0.52, 0.61)]))
    happy = chance(rng, 0.8)
    parts.append(oval(0.5, 0.66, 0.18, 0.13, None, 24, 156) if happy else oval(0.5, 0.84, 0.16, 0.1, None, 204, 336))
    if chance(rng, 0.6):
        hair = [_around(math.radians(a), 0.47 + 0.03 * (a // 12 % 2)) for a in range(192, 349, 12)]
        parts.append(Part([*hair, (0.75, 0.2), (0.5, 0.14), (0.25, 0.2), hair[0]], any_colour(rng)))
    return parts


def cat(rng: Rng) -> Figure:
    fur = colour_near(rng, pick(rng, [(225, 150, 80), (130, 130, 135), (60, 60, 65), (240, 235, 225)]))
    parts = [oval(0.5, 0.72, 0.26, 0.28, fur)]
    parts.append(Part([(0.74, 0.85), (0.9, 0.8), (0.93, 0.62), (0.86, 0.52)]))
    for side in (-1, 1):
        parts.append(Part([(0.5 + side * 0.22, 0.2), (0.5 + side * 0.22, 0.0), (0.5 + side * 0.06, 0.12)], fur))
    parts.append(oval(0.5, 0.3, 0.24, 0.2, fur))
    for side in (-1, 1):
        parts += [
            oval(0.5 + side * 0.1, 0.26, 0.035, 0.045, (170, 220, 120)),
            oval(0.5 + side * 0.1, 0.26, 0.012, 0.03, DARK),
        ]
        parts += [Part([(0.5 + side * 0.1, y), (0.5 + side * 0.33, y + d)]) for y, d in ((0.36, -0.04), (0.38, 0.03))]
        parts.append(oval(0.5 + side * 0.12, 0.97, 0.08, 0.04, fur))
    return [*parts, Part([(0.47, 0.33), (0.53, 0.33), (0.5, 0.37), (0.47, 0.33)], (235, 130, 140))]


def car(rng: Rng) -> Figure:
    paint, roof = any_colour(rng), between(rng, 0.38, 0.48)
    body = [(0.02, 0.82), (0.02, 0.64), (0.2, 0.6), (0.32, roof), (0.68, roof), (0.82, 0.6), (0.98, 0.66), (0.98, 0.82)]
    parts = [Part([*body, body[0]], paint)]
    glass = (190, 220, 240)
    parts.append(Part([(0.25, 0.6), (0.35, roof + 0.04), (0.48, roof + 0.04), (0.48, 0.6), (0.25, 0.6)], glass))
    parts.append(Part([(0.52, 0.6), (0.52, roof + 0.04), (0.65, roof + 0.04), (0.75, 0.6), (0.52, 0.6)], glass))
    for x in (0.24, 0.76):
        parts += [oval(x, 0.84, 0.11, 0.11, DARK), oval(x, 0.84, 0.05, 0.05, (200, 200, 200))]
    return parts


def fish(rng: Rng) -> Figure:
    paint = any_colour(rng)
    tail = Part([(0.75, 0.5), (0.97, 0.3), (0.92, 0.5), (0.97, 0.7), (0.75, 0.5)], paint)
    fin = Part([(0.35, 0.3), (0.5, 0.14), (0.6, 0.32)], paint)
    parts = [
        tail,
        fin,
        oval(0.45, 0.5, 0.38, between(rng, 0.18, 0.28), paint),
        oval(0.2, 0.45, 0.04, 0.04, (255, 255, 255)),
    ]
    return [*parts, oval(0.2, 0.45, 0.015, 0.015, DARK), oval(0.28, 0.5, 0.07, 0.14, None, -60, 60)]


def flower(rng: Rng) -> Figure:
    petals, paint = whole(rng, 5, 9), any_colour(rng)
    stem = [Part([(0.5, 0.35), (0.52, 0.7), (0.5, 1)]), oval(0.62, 0.75, 0.12, 0.05, GREEN)]
    around = [_around(2 * math.pi * i / petals, 0.18, 0.5, 0.3) for i in range(petals)]
    return [*stem, *(oval(x, y, 0.11, 0.11, paint) for x, y in around), oval(0.5, 0.3, 0.1, 0.1, (250, 215, 60))]


def boat(rng: Rng) -> Figure:
    hull = Part([(0.08, 0.72), (0.92, 0.72), (0.76, 0.92), (0.22, 0.92), (0.08, 0.72)], any_colour(rng))
    sail = Part([(0.53, 0.08), (0.53, 0.66), (0.86, 0.66), (0.53, 0.08)], colour_near(rng, (245, 245, 240)))
    small = Part([(0.47, 0.2), (0.47, 0.66), (0.2, 0.66), (0.47, 0.2)], any_colour(rng))
    waves = [oval(0.12 + 0.19 * i, 0.97, 0.09, 0.03, None, 180, 360) for i in range(5)]
    return [hull, Part([(0.5, 0.05), (0.5, 0.72)]), sail, small, *waves]


def cloud(rng: Rng) -> Figure:
    bumps = [(0.1, 0.6), *(_around(math.radians(a), 0.18, 0.28, 0.5) for a in range(170, 300, 15))]
    bumps += [_around(math.radians(a), 0.22, 0.55, 0.42) for a in range(200, 340, 15)]
    bumps += [_around(math.radians(a), 0.15, 0.8, 0.53) for a in range(260, 430, 15)]
    return [Part([*bumps, (0.15, 0.68), (0.1, 0.6)], (235, 240, 248))]


def bird(rng: Rng) -> Figure:
    paint = any_colour(rng)
    parts = [Part([(0.7, 0.55), (0.98, 0.4), (0.96, 0.62), (0.7, 0.62)], paint), oval(0.5, 0.58, 0.28, 0.2, paint)]
    parts += [
        oval(0.27, 0.36, 0.15, 0.15, paint),
        Part([(0.13, 0.34), (0.0, 0.4), (0.14, 0.42), (0.13, 0.34)], (245, 170, 40)),
    ]
    parts += [oval(0.55, 0.56, 0.17, 0.09, colour_near(rng, paint)), oval(0.24, 0.33, 0.02, 0.02, DARK)]
    return [*parts, Part([(0.46, 0.77), (0.44, 1)]), Part([(0.56, 0.77), (0.56, 1)])]


def dog(rng: Rng) -> Figure:
    fur = colour_near(rng, pick(rng, [(190, 130, 75), (235, 220, 200), (90, 70, 60)]))
    parts = [box(x, 0.7, x + 0.07, 1, fur) for x in (0.34, 0.44, 0.7, 0.79)]
    parts += [oval(0.6, 0.62, 0.28, 0.17, fur), Part([(0.85, 0.55), (0.95, 0.4), (0.98, 0.3)])]
    parts += [oval(0.28, 0.4, 0.17, 0.16, fur), oval(0.13, 0.45, 0.1, 0.08, fur), oval(0.05, 0.43, 0.03, 0.025, DARK)]
    ear = oval(0.38, 0.42, 0.06, 0.14, colour_near(rng, (110, 75, 45)))
    return [*parts, ear, oval(0.24, 0.34, 0.02, 0.025, DARK), oval(0.14, 0.48, 0.06, 0.04, None, 24, 130)]


FIGURES: dict[str, Callable[[Rng], Figure]] = {
    "house": house,
    "tree": tree,
    "sun": sun,
    "stick figure": stick_figure,
    "face": face,
    "cat": cat,
    "dog": dog,
    "car": car,
    "fish": fish,
    "flower": flower,
    "boat": boat,
    "cloud": cloud,
    "bird": bird,
}
