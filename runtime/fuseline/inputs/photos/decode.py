"""An encoded photo into pixels: refused by its header, or decoded by Pillow's reader of its format."""

from __future__ import annotations

import importlib
import io
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from PIL import Image

from fuseline.errors import InputError

from . import colours
from .header import Damaged, Header, check_memory, check_size
from .orientation import SIDEWAYS, TURNS, orientation
from .scaled import Least, Size
from .signatures import format_of, what_else

# The formats that are opened, by their names in Pillow: its module that reads each, and ours that reads the header with
# the function in it. Both are loaded when a file needs them.
# Named one by one because some of Pillow's other readers run programs (EPS) or have no signature to tell them by (TGA).
_READERS: dict[str, tuple[str, str, str]] = {
    "JPEG": ("JpegImagePlugin", "jpeg", "read"),
    "PNG": ("PngImagePlugin", "png", "read"),
    "WEBP": ("WebPImagePlugin", "others", "webp"),
    "GIF": ("GifImagePlugin", "others", "gif"),
    "BMP": ("BmpImagePlugin", "others", "bmp"),
    "TIFF": ("TiffImagePlugin", "tiff", "read"),
    "AVIF": ("AvifImagePlugin", "others", "avif"),
    "JPEG2000": ("Jpeg2KImagePlugin", "jpeg2000", "read"),
    "PPM": ("PpmImagePlugin", "others", "ppm"),
}

_HEIF_MEMORY = 16  # bytes a pixel
_SECOND_BYTE = 24  # bytes a pixel: the image once more, and both together
_TURNING = 8  # bytes a pixel: a second image, and the time of another

_FACTORS = (8, 4, 2)  # by which libjpeg makes a photo smaller while it decodes it


@dataclass(frozen=True)
class Photo:
    """A decoded image, in whatever mode; `orientation` is its EXIF tag, `pages` how many images the file has.

    Where it was made smaller, `size` is that of the file, and `used` how much of the image's width and height it is.
    """

    image: Image.Image
    orientation: int = 1
    pages: int = 1
    size: Size | None = None
    used: tuple[float, float] | None = None


def decode(data: bytes, name: str, least: Least | None = None) -> Photo:
    """The first image of a file. Raises InputError, beginning with `name`.

    least: how small it may become, upright; only JPEG files are made smaller, by whole factors.
    """
    if not data:
        raise InputError(f"{name}: the file is empty; give a photo")
    found = format_of(data)
    if found == "HEIC":
        return _heic(data, name)
    if found is None:
        raise _no_photo(data, name)
    module = _READERS[found][0]
    try:
        header = _header(found, data)
    except Damaged as error:
        raise _unreadable(name, found, f" ({error})") from error
    except Exception as error:  # whatever a damaged header leads to
        raise _unreadable(name, found) from error
    header.check(name, len(data))
    image = _opened(found, module, header.data, name)
    _check_again(image, header, name, len(data))
    size, used = image.size, None
    if found == "JPEG" and least is not None:
        used = _made_smaller(image, least, orientation(header.exif, header.xmp))
    low_byte = colours.low_byte(image)
    with _quiet(found):
        load(image, name)
        if low_byte is not None and colours.is_dark(image):
            check_memory(image.width, image.height, header.memory + _SECOND_BYTE, name, len(data))
            again = _opened(found, module, header.data, name)
            again.tile = low_byte  # type: ignore[attr-defined]
            load(again, name)
            image = colours.combined(image, again)
    exif, xmp = header.exif, header.xmp
    if found in ("WEBP", "AVIF"):
        exif, xmp = image.info.get("exif"), image.info.get("xmp")
    turn = orientation(exif, xmp)
    if turn in TURNS:
        check_memory(*size, header.memory + _TURNING, name, len(data))
    return Photo(_sixteen_bits(image, found, data), turn, header.pages, size, used)


def _header(found: str, data: bytes) -> Header:
    """Of a file of a format. Raises Damaged, or whatever a damaged header leads to."""
    _, module, function = _READERS[found]
    header: Header = getattr(importlib.import_module(f".{module}", __package__), function)(data)
    return header


def _made_smaller(image: Image.Image, least: Least, turn: int) -> tuple[float, float] | None:
    """Have libjpeg decode fewer pixels, as the DCT allows it; how much of them is the photo, None for all of it."""
    width, height = image.size
    sideways = turn in SIDEWAYS
    enough = least((height, width) if sideways else (width, height))
    if enough is None:
        return None
    wide, high = enough[::-1] if sideways else enough
    factor = next((each for each in _FACTORS if width >= each * wide and height >= each * high), 1)
    # Pillow takes the largest factor that leaves as many pixels as it is asked for.
    found = image.draft(None, (width // factor, height // factor)) if factor > 1 else None
    return None if found is None else found[1][2:]


def _quiet(found: str) -> AbstractContextManager[None]:
    if found != "TIFF":
        return nullcontext()
    from . import libtiff  # only for these few: ctypes takes a while to load

    return libtiff.quiet(importlib.import_module("PIL._imaging").__file__ or "")


def _opened(found: str, module: str, data: bytes, name: str) -> Image.Image:
    """`Image.open` is not asked: whether it warns of a large image, or refuses it, hangs on globals of the process."""
    try:
        importlib.import_module(f"PIL.{module}")
        read, _ = Image.OPEN[found]
    except (ImportError, KeyError) as error:  # AVIF came with Pillow 11.3
        raise InputError(f"{name}: the Pillow that is installed does not read {found}; install a newer one") from error
    try:
        image = read(io.BytesIO(data), "")
    except Exception as error:  # readers raise nearly every built-in error on damaged headers
        raise _unreadable(name, found) from error
    if found == "TIFF" and min(image.size) > 0 and image.width * image.height * 4 < 2**31:
        # Made here, since Pillow's reader would warn of a large image when it makes one.
        image.im = Image.new(image.mode, image.size).im
    return image


def _check_again(image: Image.Image, header: Header, name: str, file_bytes: int) -> None:
    """The reader may have found another size, such as that of a box beside the one that the header was read from."""
    width, height = image.size
    check_size(width, height, name)
    check_memory(width, height, header.memory, name, file_bytes)


def load(image: Image.Image, name: str) -> None:
    """Decodes the pixels. Raises InputError."""
    try:
        image.load()
    except MemoryError as error:
        found = f"there is too little memory for its {image.width} x {image.height} pixels"
        raise InputError(f"{name}: {found}; make the photo smaller") from error
    except Exception as error:  # as with headers, and OSError for a file that ends too early
        raise InputError(f"{name}: the image is damaged or cut off; give a photo that is whole") from error


def _sixteen_bits(image: Image.Image, found: str, data: bytes) -> Image.Image:
    """Greys of 16 bits of a PNG file, which older Pillows give as 32, as the newer ones do."""
    if found == "PNG" and image.mode == "I" and data[24] == 16:
        return image.convert("I;16")
    return image


def _heic(data: bytes, name: str) -> Photo:
    """By the package pillow-heif, if it is installed; its reader is not registered with Pillow."""
    try:
        HeifImageFile = importlib.import_module("pillow_heif").HeifImageFile
    except ImportError as error:
        what = "this is a HEIC image, which is read only where the package pillow-heif is installed"
        raise InputError(f"{name}: {what}; install it, or save the photo as JPEG") from error
    try:
        header = _header("AVIF", data)  # boxes are the same
    except Damaged as error:
        raise _unreadable(name, "HEIC", f" ({error})") from error
    header = Header(header.width, header.height, _HEIF_MEMORY, data)
    header.check(name, len(data))
    try:
        image: Image.Image = HeifImageFile(io.BytesIO(data))
    except Exception as error:
        raise _unreadable(name, "HEIC") from error
    _check_again(image, header, name, len(data))
    load(image, name)
    return Photo(image)  # libheif has turned it upright


def _no_photo(data: bytes, name: str) -> InputError:
    other = what_else(data)
    if other is not None:
        what, to_do = other
        return InputError(f"{name}: this is {what}, not a photo that can be read; {to_do}")
    return InputError(f"{name}: this is not an image that can be read; give one of {', '.join(_READERS)}")


def _unreadable(name: str, found: str, why: str = "") -> InputError:
    to_do = "give a photo that is whole, or save it anew as JPEG or PNG"
    return InputError(f"{name}: the image's header cannot be read as {found}{why}; {to_do}")
