"""The frozen front of the encoder, and what its classifier says, once for several views of every photo."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

import fuseline  # noqa: F401 - before onnxruntime, which then reports nothing

from .convolutions_graph import FRONT, LOGITS, conv_model
from .data import Photo
from .efficientnet import CLASSES, EfficientNetLite, Variant
from .progress import track

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0


def plain(image: Image.Image, size: int) -> Image.Image:
    """What the captioner sees when it is used: the whole photo, squeezed to a square."""
    return image.resize((size, size), Image.Resampling.BICUBIC)


def random_view(image: Image.Image, size: int, rng: random.Random) -> Image.Image:
    """A crop of 50-100% of the area, mirrored every other time, with its colours shifted a little."""
    area, aspect = rng.uniform(0.5, 1.0), rng.uniform(0.8, 1.25)
    width = min(1.0, (area * aspect) ** 0.5) * image.width
    height = min(1.0, (area / aspect) ** 0.5) * image.height
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    view = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    if rng.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = enhance(view).enhance(rng.uniform(0.8, 1.2))
    return view


def make_views(path: Path, count: int, size: int) -> NDArray[np.float32]:
    """float32[count, 3, size, size]: plain, mirrored, and random ones; what is random depends on the file's name."""
    rng = random.Random(path.name)
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    views = [plain(image, size)]
    if count > 1:
        views.append(views[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        views.extend(random_view(image, size, rng) for _ in range(count - 2))
    pixels = np.stack([np.asarray(view, np.float32) for view in views])
    return np.ascontiguousarray(((pixels - PIXEL_MEAN) / PIXEL_STD).transpose(0, 3, 1, 2))


def encoder_session(variant: Variant, size: int) -> onnxruntime.InferenceSession:
    """The encoder in onnxruntime, four times as fast as in torch here."""
    network = EfficientNetLite(variant, size)
    network.load_imagenet()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    model = conv_model(network, size)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def prepare(work: Path, name: str, photos: list[Photo], views: int, variant: Variant, size: int) -> None:
    """Write front_{name}.npy and logits_{name}.npy into `work`; finished files are kept."""
    targets = [work / f"{part}_{name}.npy" for part in ("front", "logits")]
    rows = math.ceil(size / 16)
    shapes = [(len(photos), views, variant.tail_channels, rows, rows), (len(photos), views, CLASSES)]
    if all(target.exists() for target in targets):
        for target, shape in zip(targets, shapes, strict=True):
            found = np.load(target, mmap_mode="r").shape
            if found != shape:
                raise ValueError(
                    f"{target} is of other photos or another encoder: {list(found)} instead of {list(shape)}"
                )
        return
    work.mkdir(parents=True, exist_ok=True)
    partial = [target.with_suffix(".partial.npy") for target in targets]
    caches = [
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for path, shape in zip(partial, shapes, strict=True)
    ]
    session = encoder_session(variant, size)
    pixels = ahead([photo.file for photo in photos], lambda path: make_views(path, views, size))
    for index, batch in enumerate(track(pixels, f"views of {name}", len(photos))):
        for cache, made in zip(caches, session.run([FRONT, LOGITS], {"pixel_values": batch}), strict=True):
            cache[index] = made
    for cache, path, target in zip(caches, partial, targets, strict=True):
        cache.flush()
        path.rename(target)


def ahead(paths: list[Path], make: Callable[[Path], NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The results in order, a few of them made ahead in threads."""
    with ThreadPoolExecutor(2) as pool:
        pending: deque[Future[NDArray[np.float32]]] = deque()
        for path in paths:
            pending.append(pool.submit(make, path))
            if len(pending) >= 8:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
