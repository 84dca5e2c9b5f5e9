"""Checked values out of a `preprocessor_config.json`, and what an image processor does where it is silent."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from PIL import Image

from ..errors import FolderError, shown
from .framing import Frame
from .resizing import FILTERS


@dataclass(frozen=True)
class Kind:
    """What an image processor of transformers does where the configuration is silent; all have one order of steps."""

    size: int | tuple[int, int]  # as in a configuration
    resample: Image.Resampling
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    edge: Literal["square", "shortest", "none"] = "square"  # what an int `size` is; "shortest" knows {"shortest_edge"}
    crop: int | None = None  # None: this processor has no `do_center_crop`
    enlarged: float = 1.0  # a shortest edge is resized to so much more than `size` says
    crop_pct: float | None = None  # the share that ConvNext's processor keeps of what it resized; None: it has none
    switches: tuple[str, ...] = ()  # what else may be switched: those of a `Frame`
    width_first: bool = False  # a list `size` is width and height


_HALF = (0.5, 0.5, 0.5)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
_FRAMING = ("do_thumbnail", "do_align_long_axis", "do_pad")
_CLIP = Kind(224, _BICUBIC, _CLIP_MEAN, _CLIP_STD, "shortest", crop=224)

_KINDS = {
    "ViTImageProcessor": Kind(224, _BILINEAR, _HALF, _HALF),
    "DeiTImageProcessor": Kind(256, _BICUBIC, _HALF, _HALF, crop=224),
    "BeitImageProcessor": Kind(256, _BICUBIC, _HALF, _HALF, crop=224),
    "BlipImageProcessor": Kind(384, _BICUBIC, _CLIP_MEAN, _CLIP_STD),
    "CLIPImageProcessor": _CLIP,
    "BitImageProcessor": _CLIP,  # of DINOv2
    "ViTHybridImageProcessor": _CLIP,
    "SiglipImageProcessor": Kind(224, _BICUBIC, _HALF, _HALF, "none"),
    "PvtImageProcessor": Kind(224, _BILINEAR, _IMAGENET_MEAN, _IMAGENET_STD),
    "LevitImageProcessor": Kind(224, _BICUBIC, _IMAGENET_MEAN, _IMAGENET_STD, "shortest", crop=224, enlarged=256 / 224),
    "ConvNextImageProcessor": Kind(384, _BILINEAR, _HALF, _HALF, "shortest", crop_pct=224 / 256),
    "DonutImageProcessor": Kind((2560, 1920), _BILINEAR, _HALF, _HALF, switches=_FRAMING, width_first=True),
    "NougatImageProcessor": Kind(
        (896, 672), _BILINEAR, _IMAGENET_MEAN, _IMAGENET_STD, switches=(*_FRAMING, "do_crop_margin")
    ),
}

# Without effect here: images are RGB already, and label maps are not captioned.
_HARMLESS_SWITCHES = ("do_convert_rgb", "do_reduce_labels")

_CONVNEXT_WHOLE = 384  # from this edge on ConvNext's processor makes a square of the whole photo and cuts nothing off

FAST = "fuseline_fast"

MAX_EDGE = 8192  # of a size in a configuration; the largest of published encoders is 2,560
MAX_AREA = 4096 * 4096  # of height times width, which make 201 MB of `pixel_values` a photo


@dataclass(frozen=True)
class ConfigReader:
    """Takes checked values out of a `preprocessor_config.json`; absent or null, it is the processor's default.

    Of keys that a processor does not know, those that switch a step on are refused: some version of transformers takes
    that step. All others are ignored, as they are there: what is left of other versions (`_valid_processor_keys`,
    `device`, `data_format`, `return_tensors`), of other classes (`crop_pct`, `patch_size`), or says whose file it is.
    """

    config: Mapping[str, object]
    where: str

    def kind(self) -> Kind:
        name = self.config.get("image_processor_type") or self.config.get("feature_extractor_type")
        if not isinstance(name, str):
            raise self._wrong("image_processor_type", name, f"one of {', '.join(_KINDS)}")
        slow = slow_name(name)
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
        """Null is off, as in transformers; but fast processors write null for what is as their class has it."""
        value = self.config.get(key, default)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        if value is None and str(self.config.get("image_processor_type")).endswith("Fast"):
            return default
        return bool(value)

    def fast(self) -> bool:
        """Whether photos are made smaller while they are read. The key is fuseline's own, transformers has none."""
        value = self._get(FAST, False)
        if not isinstance(value, bool):
            raise self._wrong(FAST, value, "true or false")
        return value

    def frame(self, kind: Kind) -> Frame:
        size = self.config.get("size")
        pair = size if isinstance(size, list) and len(size) == 2 and kind.width_first else None
        if pair is not None:
            height, width = self._edges("size", pair[::-1])
        else:
            height, width = self.rectangle("size", kind.size)
        return Frame(
            height=height,
            width=width,
            resample=self.resample(kind.resample),
            bare="do_crop_margin" in kind.switches and self.switch("do_crop_margin", True),
            turn=self.switch("do_align_long_axis", False),
            scale=self.switch("do_resize", True),
            shrink=self.switch("do_thumbnail", True),
            surround=self.switch("do_pad", True),
        )

    def size_and_crop(self, kind: Kind) -> tuple[tuple[int, int] | int | None, tuple[int, int] | None]:
        """What is resized to, as height and width or as the shortest edge, and what is cut out; None: not done."""
        resizes, crops = self.switch("do_resize", True), self.switch("do_center_crop", kind.crop is not None)
        size = self._size(kind) if resizes else None
        if kind.crop_pct is not None:
            return self._cut(size, kind.crop_pct) if size is not None else (None, None)
        if isinstance(size, int):
            size = int(kind.enlarged * size)
        return size, self.rectangle("crop_size", kind.crop) if crops and kind.crop is not None else None

    def _cut(
        self, size: tuple[int, int] | int, crop_pct: float
    ) -> tuple[tuple[int, int] | int, tuple[int, int] | None]:
        """As ConvNext's processor: the middle of a photo that was made larger, or all of it where that is large."""
        if not isinstance(size, int):
            raise self._wrong("size", self.config.get("size"), '{"shortest_edge": ...} or one number')
        if size >= _CONVNEXT_WHOLE:
            return (size, size), None
        share = self._get("crop_pct", crop_pct)
        if not _is_number(share) or not 0 < share <= 1e6 or not 1 <= size / share <= MAX_EDGE:
            raise self._wrong("crop_pct", share, f"a share above 0 that makes an edge from 1 to {MAX_EDGE} of {size}")
        return int(size / share), (size, size)

    def _size(self, kind: Kind) -> tuple[int, int] | int:
        value = self._get("size", kind.size)
        if kind.edge == "none" and self.config.get("size") is not None and isinstance(value, int):
            raise self._wrong("size", value, f'{{"height": ..., "width": ...}}, each from 1 to {MAX_EDGE}')
        if kind.edge == "shortest":
            if isinstance(value, Mapping) and set(value) == {"shortest_edge"}:
                value = value["shortest_edge"]
            if _is_edge(value):
                self._edges("size", (value, value))
                return value
        return self.rectangle("size", kind.size)

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


def slow_name(name: str) -> str:
    """The processor of transformers 4 that works with Pillow and numpy, by that name or one that stands for it.

    A name ending in `Fast` is of the same processor in torch, and one ending in `Pil` that of transformers 5 with
    Pillow; a `...FeatureExtractor` is what a processor was called before.
    """
    return name.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")


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
