"""What screens hold: windows, pictures, colours, and the monitor around them."""

from __future__ import annotations

from PIL import Image, ImageDraw

from .canvas import (
    COLOURS,
    WHITE,
    Colour,
    Rng,
    between,
    chance,
    colour_near,
    field,
    grey,
    lit,
    named_colour,
    set_line,
    tinted,
    title,
    whole,
)

Box = tuple[float, float, float, float]
SHOT = "[screenshot|screen shot|picture]"


def any_colour(rng: Rng) -> Colour:
    return named_colour(rng)[1]


def landscape(rng: Rng, image: Image.Image, box: Box) -> None:
    """Stands for a photo on a screen: sky above land, smooth."""
    wide, tall = max(2, int(box[2] - box[0])), max(2, int(box[3] - box[1]))
    sky = tinted(field(rng, (wide, tall), (3, 2)), any_colour(rng), colour_near(rng, (210, 225, 240)))
    land = tinted(field(rng, (wide, tall), (9, 7)), colour_near(rng, (40, 60, 40)), any_colour(rng))
    edge = tall * between(rng, 0.4, 0.8)
    hills = [(x * wide / 6, edge + tall * between(rng, -0.15, 0.15)) for x in range(7)]
    mask = Image.new("L", (wide, tall))
    ImageDraw.Draw(mask).polygon([(0, tall), *hills, (wide, tall)], 255)
    image.paste(Image.composite(land, sky, mask), (int(box[0]), int(box[1])))


def window(rng: Rng, image: Image.Image, box: Box, dark: bool = False) -> Box:
    """A window with its title bar; returns the box inside."""
    draw, bar = ImageDraw.Draw(image), max(14, int((box[3] - box[1]) * 0.05))
    body, head = (grey(whole(rng, 15, 40)), grey(whole(rng, 50, 80))) if dark else (WHITE, grey(whole(rng, 200, 235)))
    draw.rectangle(box, body, grey(120))
    draw.rectangle((box[0], box[1], box[2], box[1] + bar), head, grey(120))
    middle, right_handed = box[1] + bar / 2, chance(rng, 0.5)
    for i, name in enumerate(("red", "yellow", "green")):
        x = box[2] - bar * (0.8 + i) if right_handed else box[0] + bar * (0.8 + i * 0.8)
        draw.circle((x, middle), bar * 0.25, COLOURS[name] if not right_handed else grey(150))
    ink = grey(200 if dark else 60)
    set_line(image, (box[0] + (box[2] - box[0]) * 0.4, box[1] + bar * 0.15), title(rng, 2), int(bar * 0.6), ink)
    return box[0] + 1, box[1] + bar + 1, box[2] - 1, box[3] - 1


def shown(rng: Rng, screen: Image.Image) -> Image.Image:
    """Mostly the screen as it is; else on a monitor that stands on a desk."""
    if chance(rng, 0.85) or screen.height > screen.width:
        return screen
    wide, tall = screen.size
    image = Image.new("RGB", screen.size, colour_near(rng, (200, 195, 185)))
    draw, frame = ImageDraw.Draw(image), grey(whole(rng, 15, 60))
    draw.rectangle((0, tall * 0.9, wide, tall), colour_near(rng, (140, 100, 65)))
    draw.polygon(
        [(wide * 0.45, tall * 0.8), (wide * 0.55, tall * 0.8), (wide * 0.6, tall * 0.95), (wide * 0.4, tall * 0.95)],
        frame,
    )
    draw.rounded_rectangle((wide * 0.08, tall * 0.04, wide * 0.92, tall * 0.86), 8, frame)
    image.paste(screen.resize((int(wide * 0.8), int(tall * 0.76))), (int(wide * 0.1), int(tall * 0.06)))
    return lit(rng, image)
