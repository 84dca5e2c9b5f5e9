"""A photo, in whatever form it comes, into `pixel_values`, to the last bit as the Hugging Face image processor does.

`load_image` turns a source into an upright RGB image, an `ImageProcessor` such images into `pixel_values`.
Nothing here changes a global of Pillow or of `warnings`, so both may be called from several threads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import FolderError, InputError, shown, written
from ..warning import warn
from .framing import Frame
from .photos.decode import Photo, decode, load
from .photos.greys import as_rgb, is_deep
from .photos.header import check_size
from .photos.orientation import ORIENTATION, TURNS, orientation
from .photos.scaled import Least, ScaledPhoto, Size
from .photos.source import file_bytes, path_bytes
from .photos.text import text_bytes
from .placing import Placement
from .preprocessor_config import ConfigReader
from .resizing import GAP, SMOOTH, resize, resize_with_gap

MAX_TIMEOUT = 86_400  # seconds; sockets take no much larger number

ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any]"
)


def load_image(source: ImageSource, *, allow_downloads: bool = False, timeout: float | None = None) -> Image.Image:
    """Reads a photo completely and returns it as an upright RGB image of 8 bits a channel.

    `source` is a path (`~` is the home folder), an encoded file's bytes, a binary file object (read from its beginning,
    left open), a PIL image (returned itself if it is upright RGB already), an array or what makes itself one by
    `__array__`: uint8, or float with values from 0 to 1, of shape [height, width] or [height, width, 1, 3 or 4]. A text
    may also be a photo in base64, with or without `data:image/...;base64,` before it, or a URL of http or https, which
    is fetched only with `allow_downloads`. `timeout`: seconds for a download (60 if None). Of an animation the first
    frame is taken.

    The result is that of transformers' `load_image` (EXIF orientation, then `convert("RGB")`, so an alpha channel is
    dropped), except where that one loses the photo: damaged EXIF data are ignored, and greys of more than 8 bits are
    not clipped to white. Files do not say what white is, so the largest value of the photo does: white is the highest
    number of 8, 10, 12 or 16 bits, whichever are the fewest that hold it, and the highest 8 of these are kept; in
    floats up to 1 it is 1. So photos, scans and X-rays look right however their bits were stored, 16-bit greys keep
    their high byte, and a 16-bit photo without any grey above 4,095, which is all black, is made lighter. Colours of 16
    bits in PNG and TIFF files are read alike.

    Of a TIFF file with several pages the first is taken, and a UserWarning at the caller's line says so.

    Raises InputError, naming the source, if there is no such file, or it is no regular file, cannot be read, is no
    image, is damaged, or would take more memory or time than a photo of so many bytes may: MAX_PIXELS at most, and far
    fewer where the file is small (decided from the header, before anything is decoded).
    """
    image = read_photo(open_photo(source, allow_downloads=allow_downloads, timeout=timeout))
    assert isinstance(image, Image.Image)  # nothing says that it may be smaller
    return image


class PhotoFile(NamedTuple):
    """The bytes of an encoded photo, and its name for messages."""

    data: bytes
    name: str


def open_photo(
    source: ImageSource, *, allow_downloads: bool = False, timeout: float | None = None
) -> PhotoFile | Image.Image:
    """The first half of `load_image`: the bytes of a file, not decoded yet, or what is pixels already, upright RGB."""
    _check_download(allow_downloads, timeout)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return PhotoFile(bytes(source), "the image bytes")
    if isinstance(source, str):
        return PhotoFile(*text_bytes(source, allow_downloads, timeout))
    if isinstance(source, os.PathLike):
        return PhotoFile(*path_bytes(_path(source)))
    if hasattr(source, "read"):
        return PhotoFile(*file_bytes(source))
    if hasattr(source, "__array__"):
        return _from_array(_array(source))
    found = type(source).__name__
    raise InputError(f"a photo cannot be read from {found}; give a path, bytes, a file, a PIL image or an array")


def read_photo(opened: PhotoFile | Image.Image, least: Least | None = None) -> Image.Image | ScaledPhoto:
    """The second half: the upright RGB image.

    least: how small it may become; a large JPEG file is then read as a ScaledPhoto, with fewer pixels, which takes half
    the time. Raises InputError.
    """
    if isinstance(opened, Image.Image):
        return opened
    photo = decode(opened.data, opened.name, least)
    if photo.pages > 1:
        warn(f"{opened.name}: it has {photo.pages} pages, of which only the first is read")
    return _upright_rgb(photo, opened.name)


def _check_download(allow_downloads: object, timeout: object) -> None:
    if not isinstance(allow_downloads, bool):
        raise InputError(f"allow_downloads must be True or False, not {written(allow_downloads)}")
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0 < timeout <= MAX_TIMEOUT):  # type: ignore[operator]
        raise InputError(f"timeout must be seconds above 0, at most {MAX_TIMEOUT}, or None, not {written(timeout)}")


def check_fast(fast: object) -> None:
    """Raises InputError for what is neither a choice nor None, which leaves it to the model."""
    if fast is not None and not isinstance(fast, bool):
        raise InputError(f"fast must be True, False or None, not {written(fast)}")


def _array(source: Any) -> NDArray[Any]:
    """What an object of another package (torch, jax, cupy) makes of itself."""
    try:
        return np.asarray(source)
    except Exception as error:  # such as for a tensor on another device
        found = type(source).__name__
        raise InputError(f"a {found} does not become an array; give a numpy array of [height, width, 3]") from error


def _path(source: os.PathLike[str]) -> str:
    try:
        return os.fsdecode(source)
    except Exception as error:  # a `__fspath__` is anybody's code
        raise InputError(f"a {type(source).__name__} is no path; give the path of a photo") from error


def _from_array(array: NDArray[Any]) -> Image.Image:
    """An array as `load_image` takes it as RGB; floats are rounded to 8 bits."""
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)) or 0 in array.shape:
        right = "[height, width] or [height, width, 1, 3 or 4], not empty"
        raise InputError(f"an array of shape {list(array.shape)} is no photo; give {right}")
    check_size(array.shape[1], array.shape[0], "the array")
    if array.dtype.names is None and np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # said this way round, NaN is refused too
            raise InputError(f"an array of {array.dtype} must hold values from 0 to 1, without NaN; or give uint8")
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        right = "give uint8 (0 to 255) or float (0 to 1)"
        raise InputError(f"an array of {shown(array.dtype)} is no photo; {right}")
    grey = array.ndim == 3 and array.shape[2] == 1
    plain = np.ascontiguousarray(np.asarray(array[:, :, 0] if grey else array))
    return _rgb(Image.fromarray(plain), "the array")


def _from_pil(image: Image.Image) -> Image.Image:
    name = "the PIL image"
    check_size(*image.size, name)
    load(image, name)
    upright = _upright_rgb(Photo(image, _orientation(image)), name)
    assert isinstance(upright, Image.Image)
    return upright


def _orientation(image: Image.Image) -> int:
    """Of an image of the caller's, who may have changed the tag; damaged EXIF data must not cost the photo."""
    try:
        exif, xmp = image.info.get("exif"), image.info.get("xmp")
        changed = getattr(image, "_exif", None)
        if isinstance(exif, bytes) and not (changed and ORIENTATION in changed):
            return orientation(exif, xmp if isinstance(xmp, bytes) else None)
        found = image.getexif().get(ORIENTATION, 1)
        return found if isinstance(found, int) else 1
    except Exception:
        return 1


def _upright_rgb(photo: Photo, name: str) -> Image.Image | ScaledPhoto:
    turn, image = TURNS.get(photo.orientation), photo.image
    try:
        if photo.used is None or photo.size is None:
            return _rgb(image if turn is None else image.transpose(turn), name)
        scaled = ScaledPhoto(image, photo.size, (0, 0, *photo.used))
        scaled = scaled if turn is None else scaled.turned(turn)
        return replace(scaled, image=_rgb(scaled.image, name))
    except MemoryError as error:
        found = f"there is too little memory for its {image.width} x {image.height} pixels"
        raise InputError(f"{name}: {found}; make the photo smaller") from error


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB":
        return image
    if is_deep(image):
        return as_rgb(image, name)
    if "transparency" in image.info:
        image = image.copy()  # the caller's image keeps its own; Pillow would warn that RGB cannot express it
        del image.info["transparency"]
    try:
        return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(f"{name}: mode {shown(image.mode)} cannot be turned into RGB; convert it first") from error


@dataclass(frozen=True)
class ImageProcessor:
    """The slow (Pillow and numpy) image processors of transformers 4: resize, centre crop, rescale, normalise.

    A step that is off is None. With `fast` a large photo is made smaller by a whole factor before it is resized, to no
    less than twice the size, which is not to the bit what transformers does.
    """

    size: tuple[int, int] | int | None  # (height, width), or the shortest edge
    resample: Image.Resampling
    crop: tuple[int, int] | None  # (height, width)
    rescale_factor: float | None
    mean_std: tuple[tuple[float, ...], tuple[float, ...]] | None  # of R, G and B
    frame: Frame | None = None  # in place of size and crop
    fast: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, object], where: str) -> ImageProcessor:
        """Reads a parsed `preprocessor_config.json`; `where` names that file in messages.

        A name ending in `Fast` is read as its slow processor, as `use_fast=False` does in transformers: both resize
        with the same filters, torch and Pillow round otherwise. An old `...FeatureExtractor` is the processor that
        replaced it. Raises FolderError for a processor, a switch or a value that is not known.
        """
        reader = ConfigReader(config, where)
        kind = reader.kind()
        size, crop = (None, None) if kind.switches else reader.size_and_crop(kind)
        processor = cls(
            size=size,
            resample=reader.resample(kind.resample),
            crop=crop,
            rescale_factor=reader.factor() if reader.switch("do_rescale", True) else None,
            mean_std=reader.mean_std(kind.mean, kind.std) if reader.switch("do_normalize", True) else None,
            frame=reader.frame(kind) if kind.switches else None,
            fast=reader.fast(),
        )
        if not np.isfinite(processor.pixel_table()).all():
            raise FolderError(f"{where}: rescale_factor, image_mean and image_std must keep pixels within float32")
        return processor

    def __call__(self, images: Sequence[Image.Image | ScaledPhoto], *, fast: bool | None = None) -> NDArray[np.float32]:
        """RGB images, as `load_image` or `read_photo` returns them -> `pixel_values`, Float32[B, 3, height, width].

        fast: whether speed counts more than the last bit; None for what the processor does by itself.

        A photo of 1 or 3 rows is a photo: transformers, not told `input_data_format`, takes its rows for channels.
        Raises InputError if there is no image, one is not RGB or too elongated, or they come out in different sizes.
        """
        kinds = Image.Image, ScaledPhoto
        if not isinstance(images, list | tuple) or not all(isinstance(image, kinds) for image in images):
            raise InputError(f"an image processor takes a list of images of load_image, not {written(images)}")
        check_fast(fast)
        fitted = [self._fit(image, self.fast if fast is None else fast) for image in images]
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

    def least(self, size: Size, fast: bool | None = None) -> Size | None:
        """How small a photo of this size, (width, height), may be when it comes here: twice what it is resized to.

        fast: as of a call. None: it must be whole, as it always is where fast is off. Raises InputError.
        """
        if not (self.fast if fast is None else fast):
            return None
        if self.frame is not None:
            target = self.frame.target(size)
        else:
            target = self._target(size) if self.size is not None and self.resample in SMOOTH else None
        return None if target is None else (int(GAP * target[0]), int(GAP * target[1]))

    def _fit(self, image: Image.Image | ScaledPhoto, fast: bool) -> Image.Image:
        """Resizes and crops. Where the crop is the larger, black surrounds the image (the odd pixel left and above)."""
        photo = image if isinstance(image, ScaledPhoto) else ScaledPhoto.of(image)
        if photo.image.mode != "RGB":
            raise InputError(f"an image processor takes RGB images, not mode {photo.image.mode}; use load_image")
        if not photo.is_whole and self.least(photo.size, True) is None:
            raise InputError("this image processor needs a photo with all its pixels; use load_image")
        if self.frame is not None:
            return self.frame.fit(photo, fast)
        fitted = photo.image
        if self.size is not None:
            fast = fast and self.resample in SMOOTH
            fitted = (resize_with_gap if fast else resize)(photo, self._target(photo.size), self.resample)
        return fitted if self.crop is None else _cropped(fitted, *self.crop)

    def placement(self, image: Image.Image) -> Placement:
        """Where an image as `load_image` returns it lies in the pixel_values that become of it. Raises InputError."""
        if self.frame is not None:
            return self.frame.placement(image)
        place = Placement.of(image.size)
        if self.size is not None:
            place = place.resized(self._target(image.size))
        if self.crop is None:
            return place
        (height, width), (x, y) = self.crop, place.frame
        return place.cut(-((width - x + 1) // 2), -((height - y + 1) // 2), (width, height))

    def _target(self, size: Size) -> Size:
        """The (width, height) to resize a photo of this size to."""
        if isinstance(self.size, tuple):
            return self.size[1], self.size[0]
        assert self.size is not None
        short, long = sorted(size)
        longest = int(self.size * long / short)
        return (self.size, longest) if size[0] <= size[1] else (longest, self.size)


def _cropped(image: Image.Image, height: int, width: int) -> Image.Image:
    """`image.crop` is not asked: whether it warns hangs on a global of Pillow."""
    cropped = Image.new("RGB", (width, height))
    cropped.paste(image, ((width - image.width + 1) // 2, (height - image.height + 1) // 2))
    return cropped
