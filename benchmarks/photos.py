"""The photos that every system is given: eight JPEGs of 512 x 512, cut from those that scikit-image ships."""

from __future__ import annotations

from pathlib import Path

from .environments import cache
from .errors import BenchmarkError

_SOURCES = ("astronaut", "coffee", "chelsea", "rocket")  # a woman, a cup, a cat, a launch; free to use
EDGE = 512


def photos() -> list[Path]:
    """Their paths, always in the same order; made if they are not there. Raises BenchmarkError without scikit-image."""
    folder = cache() / "photos"
    paths = [folder / f"{name}{side}.jpg" for side in ("", "-mirrored") for name in _SOURCES]
    if all(path.is_file() for path in paths):
        return paths
    try:
        from PIL import Image, ImageOps
        from skimage import data
    except ImportError as error:
        raise BenchmarkError("the photos come from scikit-image, which is missing; pip install scikit-image") from error
    folder.mkdir(parents=True, exist_ok=True)
    for name in _SOURCES:
        photo = ImageOps.fit(Image.fromarray(getattr(data, name)()), (EDGE, EDGE))
        photo.save(folder / f"{name}.jpg", quality=90)
        ImageOps.mirror(photo).save(folder / f"{name}-mirrored.jpg", quality=90)
    return paths
