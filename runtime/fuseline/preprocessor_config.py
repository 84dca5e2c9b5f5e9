"""Checked values out of a `preprocessor_config.json`, and what an image processor does where it is silent."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from PIL import Image

from .errors import FolderError, shown
from .framing import Frame
from .resizing import FILTERS


@dataclass(frozen=True)
class Kind:
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
    "ViTImageProcessor": Kind(224, Image.Resampling.BILINEAR, _HALF, _HALF),
    "DeiTImageProcessor": Kind(256, Image.Resampling.BICUBIC, _HALF, _HALF, crop=224),
    "BeitImageProcessor": Kind(256, Image.Resampling.BICUBIC, _HALF, _HALF, crop=224),
    "BlipImageProcessor": Kind(384, Image.Resampling.BICUBIC, _CLIP_MEAN, _CLIP_STD),
    "CLIPImageProcessor": Kind(224, Image.Resampling.BICUBIC, _CLIP_MEAN, _CLIP_STD, shortest_edge=True, crop=224),
    "DonutImageProcessor": Kind((2560, 1920), Image.Resampling.BILINEAR, _HALF, _HALF, switches=_FRAMING),
}

# Without effect here: images are RGB already, and label maps are not captioned.
_HARMLESS_SWITCHES = ("do_convert_rgb", "do_reduce_labels")

MAX_EDGE = 8192  # of a size in a configuration; the largest of published encoders is 2,560
MAX_AREA = 4096 * 4096  # of height times width, which make 201 MB of `pixel_values` a photo


@dataclass(frozen=True)
class ConfigReader:
    """Takes checked values out of a `preprocessor_config.json`; absent or null, it is the processor's default."""

    config: Mapping[str, object]
    where: str

    def kind(self) -> Kind:
        name = self.config.get("image_processor_type") or self.config.get("feature_extractor_type")
        if not isinstance(name, str):
            raise self._wrong("image_processor_type", name, f"one of {', '.join(_KINDS)}")
        slow = name.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
        if slow not in _KINDS:
            raise self._wrong("image_processor_type", name, f"one of {', '.join(_KINDS)}")
        kind = _KINDS[slow]
        known = ["do_resize", "do_rescale", "do_normalize", *_HARMLESS_SWITCHES, *kind.switches]
        if kind.crop is not None:
            known.append("do_center_crop")
        for key, value in self.config.items():
            if value and key not in known and (str(key).startswith("do_") or key == "use_square_size"):
                raise FolderError(f"{self.where}: {shown(key)} is not known of {slow}; known are {', '.join(known)}")
        return kind

    def switch(self, key: str, default: bool) -> bool:
        value = self.config.get(key, default)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return bool(value)  # null is off, as in transformers

    def frame(self, kind: Kind) -> Frame:
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
        if _is_edge(value):
            self._edges(key, (value, value))
            return value
        return self.rectangle(key, default)

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
        if edges[0] * edges[1] > MAX_AREA:
            raise self._wrong(key, self.config.get(key), f"of at most {MAX_AREA:,} pixels, which are 4096 x 4096")
        return edges[0], edges[1]

    def resample(self, default: Image.Resampling) -> Image.Resampling:
        value = self._get("resample", default)
        if isinstance(value, bool) or value not in FILTERS:
            filters = ", ".join(f"{number.value} ({number.name})" for number in FILTERS)
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
        return FolderError(f"{self.where}: {key} is {_brief(value)}; it must be {right}")


def _brief(value: object) -> str:
    """A value of a configuration in a message: of what is long or deep only the beginning is looked at."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a whole number of more than 40 digits"
    try:
        return shown(_BRIEF.repr(value))
    except Exception:  # such as for a number of more digits than Python writes
        return f"what cannot be shown ({type(value).__name__})"


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 120
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = 6
_BRIEF.maxlevel = 4


def _is_edge(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_EDGE


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300  # no NaN, no infinity
