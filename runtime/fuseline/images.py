"""A photo, in whatever form it comes, into `pixel_values`, to the last bit as the Hugging Face image processor does.

`load_image` turns a source into an upright RGB image, an `ImageProcessor` such images into `pixel_values`.
Nothing here changes a global of Pillow or of `warnings`, so both may be called from several threads.
"""

from __future__ import annotations

import importlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from .errors import FolderError, InputError, shown
from .framing import Frame

ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any]"
)

# The most pixels a photo may have, which is where Pillow starts to warn: half a gibibyte at 3 bytes a pixel.
MAX_PIXELS = 178_956_970

# The formats that are opened, by their names in Pillow, with the module that reads each (loaded when a file needs it).
# Named one by one because some of Pillow's other readers run programs (EPS) or have no signature to tell them by (TGA).
_READERS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "AVIF": "AvifImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "PPM": "PpmImagePlugin",
}

# What to do with the pixels for each value of the EXIF tag Orientation (EXIF 2.32, section 4.6.4 A); 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)


def load_image(source: ImageSource) -> Image.Image:
    """Reads a photo completely and returns it as an upright RGB image of 8 bits a channel.

    `source` is a path, an encoded file's bytes, a binary file object (read from its beginning, left open), a PIL image
    (returned itself if it is upright RGB already) or an array: uint8, or float with values from 0 to 1, of shape
    [height, width] or [height, width, 1, 3 or 4]. Of an animation the first frame is taken.

    The result is that of transformers' `load_image` (EXIF orientation, then `convert("RGB")`, so an alpha channel is
    dropped), except where that one loses the photo: greys of more than 8 bits are scaled, not clipped to white, and
    damaged EXIF data are ignored. A URL or base64 text is refused: nothing is fetched.

    Raises InputError, naming the source, if there is no such file, or it cannot be read, is no image, is damaged, or
    has more than MAX_PIXELS pixels (decided from the header, before anything is decoded).
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the PIL image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), "the image bytes")
    if isinstance(source, (str, os.PathLike)):
        return _from_path(os.fsdecode(source))
    if hasattr(source, "read"):
        return _decode(source, shown(getattr(source, "name", None) or "the file object"))
    found = type(source).__name__
    raise InputError(f"a photo cannot be read from {found}; give a path, bytes, a file, a PIL image or an array")


def _from_path(path: str) -> Image.Image:
    name = shown(path)
    if _URL.match(path) and not os.path.exists(path):
        raise InputError(f"{name}: a URL is not fetched; download the photo and give the path of the file")
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; only a failure to open is answered here
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file; give the path of a photo") from None
    except IsADirectoryError:
        raise InputError(f"{name}: this is a folder; give the path of a photo") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: the file cannot be opened ({reason}); give one that may be read") from None
    with file:
        return _decode(file, name)


def _from_array(array: NDArray[Any]) -> Image.Image:
    """An array as `load_image` takes it as RGB; floats are rounded to 8 bits."""
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)) or 0 in array.shape:
        right = "[height, width] or [height, width, 1, 3 or 4], not empty"
        raise InputError(f"an array of shape {list(array.shape)} is no photo; give {right}")
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # said this way round, NaN is refused too
            raise InputError(f"an array of {array.dtype} must hold values from 0 to 1, without NaN; or give uint8")
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(f"an array of {array.dtype} is no photo; give uint8 (0 to 255) or float (0 to 1)")
    grey = array.ndim == 3 and array.shape[2] == 1
    return _rgb(Image.fromarray(array[:, :, 0] if grey else array), "the array")


def _decode(file: IO[bytes], name: str) -> Image.Image:
    """The first image of an encoded file, as upright RGB."""
    try:
        if not (hasattr(file, "seekable") and file.seekable()):
            file = io.BytesIO(file.read())
        image = _open(file)
    except Exception as error:  # readers raise nearly every built-in error on damaged headers
        raise InputError(f"{name}: the image's header cannot be read ({error}); give a photo that is whole") from error
    if image is not None:
        return _upright_rgb(image, name)
    if file.seek(0, os.SEEK_END) == 0:
        raise InputError(f"{name}: the file is empty; give a photo")
    raise InputError(f"{name}: this is not an image that can be read; give one of {', '.join(_READERS)}")


def _open(file: IO[bytes]) -> Image.Image | None:
    """Reads the header with the reader whose signature the file begins with; None if there is none.

    `Image.open` is not asked: whether it warns of a large image, or refuses it, hangs on globals of the process.
    """
    file.seek(0)
    start = file.read(16)
    if not isinstance(start, bytes):
        raise TypeError("the file is open as text, not as bytes")
    if len(start) < 2:  # some signatures are looked at byte by byte
        return None
    for format_name, module in _READERS.items():
        try:
            importlib.import_module(f"PIL.{module}")
        except ImportError:  # AVIF came with Pillow 11.3
            continue
        read, accepts = Image.OPEN[format_name]
        if accepts is not None and accepts(start) is True:
            file.seek(0)
            return read(file, "")
    return None


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        found = f"{width} x {height} pixels are more than the limit of {MAX_PIXELS:,}"
        raise InputError(f"{name}: {found}; make the photo smaller")
    if width < 1 or height < 1:
        raise InputError(f"{name}: {width} x {height} pixels are no photo; at least 1 x 1 is needed")
    try:
        image.load()
    except Exception as error:  # as with headers, and OSError for a file that ends too early
        raise InputError(f"{name}: the image is damaged or cut off ({error}); give a photo that is whole") from error
    turn = _TURNS.get(_orientation(image))
    return _rgb(image if turn is None else image.transpose(turn), name)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the pixels are whole: damaged EXIF data must not cost the photo
        return 1


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        return _high_byte(np.asarray(image))
    if image.mode in ("I", "F"):
        return _deep_grey(image, name)
    if "transparency" in image.info:
        image = image.copy()  # the caller's image keeps its own; Pillow would warn that RGB cannot express it
        del image.info["transparency"]
    try:
        return image.convert("RGB")
    except Exception as error:
        raise InputError(f"{name}: mode {image.mode} cannot be turned into RGB ({error}); convert it first") from error


def _high_byte(grey: NDArray[Any]) -> Image.Image:
    """UInt16[height, width] as RGB: the high byte, which is also what Pillow keeps of 16-bit colours.

    `convert("RGB")` would instead clip at 255 and leave an all but white image.
    """
    return Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")


def _deep_grey(image: Image.Image, name: str) -> Image.Image:
    """Grey in 32-bit integers (mode I) or floats (F) as RGB.

    Such files do not say what white is, so the largest value decides: up to 1 (floats only) white is 1, up to 255 it is
    255 (as in Pillow), up to 65,535 it is 65,535. Anything else is refused.
    """
    grey = np.asarray(image)
    high = grey.max()
    if not (grey.min() >= 0 and high <= 65535):  # said this way round, NaN is refused too
        raise InputError(f"{name}: its greys must lie within 0 to 65535, without NaN; convert it to 8 bits first")
    if high > 255:
        return _high_byte(grey.astype(np.uint16))
    if image.mode == "F" and high <= 1:
        return Image.fromarray(np.rint(grey * 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


@dataclass(frozen=True)
class _Kind:
    """What an image processor of transformers does where the configuration is silent; all have one order of steps."""

    size: int | tuple[int, int]  # a square's edge, or the shortest edge; or height and width
    resample: Image.Resampling
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    shortest_edge: bool = False  # an int `size` is the shortest edge, and {"shortest_edge": ...} is known
    crop: int | None = None  # None: this processor has no `do_center_crop`
    switches: tuple[str, ...] = ()  # what else may be switched


_HALF = (0.5, 0.5, 0.5)
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_FRAMING = ("do_thumbnail", "do_align_long_axis", "do_pad")

_KINDS = {
    "ViTImageProcessor": _Kind(224, Image.Resampling.BILINEAR, _HALF, _HALF),
    "DeiTImageProcessor": _Kind(256, Image.Resampling.BICUBIC, _HALF, _HALF, crop=224),
    "BeitImageProcessor": _Kind(256, Image.Resampling.BICUBIC, _HALF, _HALF, crop=224),
    "BlipImageProcessor": _Kind(384, Image.Resampling.BICUBIC, _CLIP_MEAN, _CLIP_STD),
    "CLIPImageProcessor": _Kind(224, Image.Resampling.BICUBIC, _CLIP_MEAN, _CLIP_STD, shortest_edge=True, crop=224),
    "DonutImageProcessor": _Kind((2560, 1920), Image.Resampling.BILINEAR, _HALF, _HALF, switches=_FRAMING),
}

# Without effect here: images are RGB already, and label maps are not captioned.
_HARMLESS_SWITCHES = ("do_convert_rgb", "do_reduce_labels")

MAX_EDGE = 8192  # of a size in a configuration; the largest of published encoders is 2,560


@dataclass(frozen=True)
class ImageProcessor:
    """The slow (Pillow and numpy) image processors of transformers 4: resize, centre crop, rescale, normalise.

    A step that is off is None.
    """

    size: tuple[int, int] | int | None  # (height, width), or the shortest edge
    resample: Image.Resampling
    crop: tuple[int, int] | None  # (height, width)
    rescale_factor: float | None
    mean_std: tuple[tuple[float, ...], tuple[float, ...]] | None  # of R, G and B
    frame: Frame | None = None  # in place of size and crop

    @classmethod
    def from_config(cls, config: Mapping[str, object], where: str) -> ImageProcessor:
        """Reads a parsed `preprocessor_config.json`; `where` names that file in messages.

        A name ending in `Fast` is read as its slow processor, as `use_fast=False` does in transformers, and an old
        `...FeatureExtractor` as the processor that replaced it. Raises FolderError for a processor, a switch or a value
        that is not known.
        """
        reader = _ConfigReader(config, where)
        kind = reader.kind()
        crops = reader.switch("do_center_crop", kind.crop is not None)
        resizes = reader.switch("do_resize", True) and not kind.switches
        processor = cls(
            size=reader.size("size", kind.size, kind.shortest_edge) if resizes else None,
            resample=reader.resample(kind.resample),
            crop=reader.rectangle("crop_size", kind.crop) if crops and kind.crop is not None else None,
            rescale_factor=reader.factor() if reader.switch("do_rescale", True) else None,
            mean_std=reader.mean_std(kind.mean, kind.std) if reader.switch("do_normalize", True) else None,
            frame=reader.frame(kind) if kind.switches else None,
        )
        if not np.isfinite(processor.pixel_table()).all():
            raise FolderError(f"{where}: rescale_factor, image_mean and image_std must keep pixels within float32")
        return processor

    def __call__(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """RGB images, as `load_image` returns them -> `pixel_values`, Float32[B, 3, height, width].

        A photo of 1 or 3 rows is a photo: transformers, not told `input_data_format`, takes its rows for channels.
        Raises InputError if there is no image, one is not RGB or too elongated, or they come out in different sizes.
        """
        fitted = [self._fit(image) for image in images]
        sizes = sorted({image.size for image in fitted})
        if len(sizes) != 1:
            found = " and ".join(f"{width} x {height}" for width, height in sizes[:2]) or "no photo at all"
            raise InputError(f"photos of one batch must come out in one size, not {found}; give them one at a time")
        width, height = sizes[0]
        table = self.pixel_table()
        pixel_values = np.empty((len(fitted), 3, height, width), np.float32)
        for values, image in zip(pixel_values, fitted, strict=True):
            pixels = np.asarray(image)
            for channel in range(3):
                # No index can miss the table, so "clip" changes only the time: without it `take` buffers `out`.
                np.take(table[channel], pixels[:, :, channel], out=values[channel], mode="clip")
        return pixel_values

    def pixel_table(self) -> NDArray[np.float32]:
        """Float32[3, 256]: what each 8-bit value of R, G and B becomes.

        The steps round as transformers' `image_transforms` does: the product in float64, then float32 from there on.
        """
        table = np.tile(np.arange(256), (3, 1)).astype(np.float32)
        with np.errstate(all="ignore"):  # `from_config` refuses what is not finite
            if self.rescale_factor is not None:
                table = (table.astype(np.float64) * self.rescale_factor).astype(np.float32)
            if self.mean_std is not None:
                mean, std = (np.array(numbers, np.float32)[:, np.newaxis] for numbers in self.mean_std)
                table = (table - mean) / std
        return table

    def _fit(self, image: Image.Image) -> Image.Image:
        """Resizes and crops. Where the crop is the larger, black surrounds the image (the odd pixel left and above)."""
        if image.mode != "RGB":
            raise InputError(f"an image processor takes RGB images, not mode {image.mode}; use load_image")
        if self.frame is not None:
            return self.frame.fit(image, MAX_PIXELS)
        if self.size is not None:
            image = image.resize(self._target(image), self.resample)
        if self.crop is not None:
            height, width = self.crop
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        return image

    def _target(self, image: Image.Image) -> tuple[int, int]:
        """The (width, height) to resize to."""
        if isinstance(self.size, tuple):
            return self.size[1], self.size[0]
        assert self.size is not None
        short, long = sorted(image.size)
        longest = int(self.size * long / short)
        if self.size * longest > MAX_PIXELS:
            found = f"a photo of {image.width} x {image.height} pixels is too elongated"
            raise InputError(f"{found} for this model, whose shortest edge is {self.size}; cut out a part of it")
        return (self.size, longest) if image.width <= image.height else (longest, self.size)


@dataclass(frozen=True)
class _ConfigReader:
    """Takes checked values out of a `preprocessor_config.json`; absent or null, it is the processor's default."""

    config: Mapping[str, object]
    where: str

    def kind(self) -> _Kind:
        name = self.config.get("image_processor_type") or self.config.get("feature_extractor_type")
        slow = str(name).removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
        if slow not in _KINDS:
            raise self._wrong("image_processor_type", name, f"one of {', '.join(_KINDS)}")
        kind = _KINDS[slow]
        known = ["do_resize", "do_rescale", "do_normalize", *_HARMLESS_SWITCHES, *kind.switches]
        if kind.crop is not None:
            known.append("do_center_crop")
        for key, value in self.config.items():
            if value and key not in known and (key.startswith("do_") or key == "use_square_size"):
                raise FolderError(f"{self.where}: {key} is not known of {slow}; known are {', '.join(known)}")
        return kind

    def switch(self, key: str, default: bool) -> bool:
        value = self.config.get(key, default)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return bool(value)  # null is off, as in transformers

    def frame(self, kind: _Kind) -> Frame:
        size = self.config.get("size")
        pair = size if isinstance(size, list) and len(size) == 2 else None
        if pair is not None:  # of the feature extractor before it: width, then height
            height, width = self._edges("size", pair[::-1])
        else:
            height, width = self.rectangle("size", kind.size)
        return Frame(
            height=height,
            width=width,
            resample=self.resample(kind.resample),
            turn=self.switch("do_align_long_axis", False),
            scale=self.switch("do_resize", True),
            shrink=self.switch("do_thumbnail", True),
            surround=self.switch("do_pad", True),
        )

    def size(self, key: str, default: int | tuple[int, int], shortest_edge: bool) -> tuple[int, int] | int:
        value = self._get(key, default)
        if not shortest_edge:
            return self.rectangle(key, default)
        if isinstance(value, Mapping) and set(value) == {"shortest_edge"}:
            value = value["shortest_edge"]
        return value if _is_edge(value) else self.rectangle(key, default)

    def rectangle(self, key: str, default: int | tuple[int, int]) -> tuple[int, int]:
        value = self._get(key, default)
        edges = (value, value)
        if isinstance(value, Mapping) and set(value) == {"height", "width"}:
            edges = (value["height"], value["width"])
        elif isinstance(value, (list, tuple)) and len(value) == 2:
            edges = (value[0], value[1])
        return self._edges(key, edges)

    def _edges(self, key: str, edges: Sequence[Any]) -> tuple[int, int]:
        if not (_is_edge(edges[0]) and _is_edge(edges[1])):
            right = f'{{"height": ..., "width": ...}} or one number, each from 1 to {MAX_EDGE}'
            raise self._wrong(key, self.config.get(key), right)
        return edges[0], edges[1]

    def resample(self, default: Image.Resampling) -> Image.Resampling:
        value = self._get("resample", default)
        if isinstance(value, bool) or value not in list(Image.Resampling):
            filters = ", ".join(f"{number.value} ({number.name})" for number in sorted(Image.Resampling))
            raise self._wrong("resample", value, f"one of {filters}")
        return Image.Resampling(value)

    def factor(self) -> float:
        value = self._get("rescale_factor", 1 / 255)
        if not _is_number(value) or value <= 0:
            raise self._wrong("rescale_factor", value, "a number above 0")
        return float(value)

    def mean_std(self, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        means, stds = self._channels("image_mean", mean), self._channels("image_std", std)
        if min(stds) <= 0:
            raise self._wrong("image_std", self.config["image_std"], "above 0 everywhere")
        return means, stds

    def _channels(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        value = self._get(key, default)
        numbers = value if isinstance(value, (list, tuple)) else [value] * 3
        if len(numbers) != 3 or not all(_is_number(number) for number in numbers):
            raise self._wrong(key, value, "one number, or 3 for R, G and B")
        return tuple(float(number) for number in numbers)

    def _get(self, key: str, default: object) -> Any:
        value = self.config.get(key)
        return default if value is None else value

    def _wrong(self, key: str, value: object, right: str) -> FolderError:
        return FolderError(f"{self.where}: {key} is {shown(repr(value))}; it must be {right}")


def _is_edge(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_EDGE


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300  # no NaN, no infinity
