"""Step 1: the vocabulary, and the frozen front of the encoder run once over several views of every photo."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from .captioner import Shape
from .data import Photo, build_vocabulary, read_split
from .efficientnet import TAIL_CHANNELS, EfficientNetLite0, imagenet_weights
from .encoder_graph import FEATURES, conv_model
from .progress import track

# Plain, mirrored, and four random crops: more views would fit on disk, but each costs a minute to make.
TRAIN_VIEWS = 6
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
    """float32[count, 3, size, size]; the randomness depends on the file's name alone."""
    rng = random.Random(path.name)
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    views = [plain(image, size)]
    if count > 1:
        views.append(views[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        views.extend(random_view(image, size, rng) for _ in range(count - 2))
    pixels = np.stack([np.asarray(view, np.float32) for view in views])
    return np.ascontiguousarray(((pixels - PIXEL_MEAN) / PIXEL_STD).transpose(0, 3, 1, 2))


def front_session(threads: int) -> onnxruntime.InferenceSession:
    """The front of the encoder in onnxruntime, four times as fast as in torch here."""
    network = EfficientNetLite0()
    network.load_imagenet(imagenet_weights())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = conv_model(network.front, "pixel_values", "N")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def prepare_split(data: Path, work: Path, split: str, photos: list[Photo], views: int, size: int) -> None:
    """Write views_{split}.npy; a finished file is kept."""
    target = work / f"views_{split}.npy"
    if target.exists():
        return
    partial = work / f"views_{split}.partial.npy"
    rows = size // 16
    shape = (len(photos), views, TAIL_CHANNELS, rows, rows)
    cache = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
    session = front_session(threads=2)
    paths = [data / photo.file for photo in photos]
    pixels = prefetch(paths, lambda path: make_views(path, views, size))
    for index, batch in enumerate(track(pixels, f"views of {split}", len(photos))):
        cache[index] = session.run([FEATURES], {"pixel_values": batch})[0]
    cache.flush()
    partial.rename(target)


def prefetch(paths: list[Path], make: Callable[[Path], NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The results in order, a few of them made ahead in threads."""
    with ThreadPoolExecutor(2) as pool:
        pending: deque[Future[NDArray[np.float32]]] = deque()
        for path in paths:
            pending.append(pool.submit(make, path))
            if len(pending) >= 8:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def prepare(data: Path, work: Path) -> None:
    """Vocabulary and cached views of both splits into `work`."""
    work.mkdir(parents=True, exist_ok=True)
    train, val = read_split(data, "train"), read_split(data, "val")
    (work / "vocabulary.json").write_text(json.dumps(build_vocabulary(train)), encoding="utf-8")
    size = Shape(vocab_size=0).image_size
    prepare_split(data, work, "val", val, 1, size)
    prepare_split(data, work, "train", train, TRAIN_VIEWS, size)
