"""Photos to compare models on where there are none: made here, always the same ones."""

from __future__ import annotations

import numpy as np
from PIL import Image


def generated_photos(count: int, edge: int = 256) -> list[Image.Image]:
    """Photos of coloured fields, each of its own coarseness and contrast; always the same ones."""
    random = np.random.default_rng(0)
    made = []
    for index in range(count):
        cells = 2 + index % 7
        colours = random.normal(128, random.uniform(20, 120), (cells, cells, 3)).clip(0, 255).astype(np.uint8)
        made.append(Image.fromarray(colours).resize((edge, edge), Image.Resampling.BICUBIC))
    return made
