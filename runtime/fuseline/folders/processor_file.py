"""Which file of a checkpoint says how photos or speech are prepared, and what it says, as one plain configuration.

Up to transformers 4 an image processor or a feature extractor is saved as preprocessor_config.json. transformers 5
saves a whole processor as processor_config.json, with that one inside; 4.57 reads both. Where both are there, 4.57
takes the first and 5 the second. Here the first counts, and a warning says so where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FolderError, shown
from ..files.reading import some
from ..warning import warn

PLAIN, NESTED = "preprocessor_config.json", "processor_config.json"
PROCESSOR_FILES = (PLAIN, NESTED)

_INSIDE = ("image_processor", "feature_extractor")  # where NESTED has it, the newer name first
_TYPES = ("image_processor_type", "feature_extractor_type")
_NO_VALUES = (*_TYPES, "processor_class")  # these may differ with the same pixels

# What transformers' AutoImageProcessor takes for a file that names no processor, by config.json's model_type.
_BY_MODEL_TYPE = {
    **dict.fromkeys(("vit", "vit_mae", "vit_msn", "swin", "swinv2", "clipseg"), "ViTImageProcessor"),
    **dict.fromkeys(("beit", "data2vec-vision"), "BeitImageProcessor"),
    **dict.fromkeys(("blip", "blip-2", "instructblip"), "BlipImageProcessor"),
    **dict.fromkeys(("clip", "git", "kosmos-2"), "CLIPImageProcessor"),
    **dict.fromkeys(("convnext", "convnextv2", "cvt", "resnet"), "ConvNextImageProcessor"),
    **dict.fromkeys(("bit", "dinov2", "hiera"), "BitImageProcessor"),
    **dict.fromkeys(("pvt", "pvt_v2"), "PvtImageProcessor"),
    "deit": "DeiTImageProcessor",
    "donut-swin": "DonutImageProcessor",
    "levit": "LevitImageProcessor",
    "nougat": "NougatImageProcessor",
    "pix2struct": "Pix2StructImageProcessor",
    "siglip": "SiglipImageProcessor",
    "vit_hybrid": "ViTHybridImageProcessor",
}


def plain_config(
    files: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any], root: Path
) -> tuple[str, Mapping[str, Any]]:
    """The name of the file that counts, and what a preprocessor_config.json of its image processor holds.

    files: those of PROCESSOR_FILES that are in the folder root, parsed; config: config.json. A file that names no
    processor means that of config.json's model_type, as in transformers, and the name is put in.
    Raises FolderError if there is no image processor, or none that is named.
    """
    name, values = _first(files, root, "image_processor", "photos are")
    if not any(values.get(key) for key in _TYPES):
        values = {**values, _TYPES[0]: _type_of(values, config, root / name)}
    return name, values


def extractor_config(files: Mapping[str, Mapping[str, Any]], root: Path) -> tuple[str, Mapping[str, Any]]:
    """The same of the feature extractor of a model of speech. Raises FolderError if there is none."""
    return _first(files, root, "feature_extractor", "speech is")


def _first(files: Mapping[str, Mapping[str, Any]], root: Path, what: str, are: str) -> tuple[str, Mapping[str, Any]]:
    """The file that counts and what it holds. what, are: for the message."""
    found = {name: inner for name in PROCESSOR_FILES if (inner := _inner(files.get(name), root / name)) is not None}
    if not found:
        there = f"has no {what} in it" if NESTED in files else "is not there either"
        raise FolderError(
            f"{root} has no {PLAIN}, and {NESTED} {there}, so how {are} to be prepared is not known; "
            "copy it from the model that this one was made of"
        )
    if len(found) > 1:
        _tell_differences(found[PLAIN], found[NESTED], root)
    return next(iter(found.items()))


def _inner(file: Mapping[str, Any] | None, where: Path) -> Mapping[str, Any] | None:
    """The values of what prepares inputs in a file; None where there are none."""
    if file is None:
        return None
    for key in _INSIDE:
        inner = file.get(key)
        if isinstance(inner, Mapping):
            return inner
        if inner is not None:
            raise FolderError(f"{where}: {key!r} is wrong; it must be an object")
    return file if where.name == PLAIN else None


def _tell_differences(plain: Mapping[str, Any], nested: Mapping[str, Any], root: Path) -> None:
    """A warning where both files give a value and it is not the same."""
    differing = sorted(key for key in plain.keys() & nested.keys() - set(_NO_VALUES) if plain[key] != nested[key])
    if differing:
        what = f"{PLAIN} and {NESTED} differ in {some(differing)}"
        warn(f"{root}: {what}; the first is taken, as in transformers 4 (5 takes the second)")


def _type_of(values: Mapping[str, Any], config: Mapping[str, Any], where: Path) -> str:
    """The processor that is meant by a file that names none. Raises FolderError."""
    maps = values.get("auto_map")
    if isinstance(maps, Mapping) and ("AutoImageProcessor" in maps or "AutoFeatureExtractor" in maps):
        raise FolderError(f"{where}: its image processor is code of the model's own (auto_map), which is not run")
    named, model_type = config.get(_TYPES[0]), config.get("model_type")
    if isinstance(named, str):
        return named
    if isinstance(model_type, str) and model_type in _BY_MODEL_TYPE:
        return _BY_MODEL_TYPE[model_type]
    encoder = config.get("encoder")
    kind = encoder.get("model_type") if isinstance(encoder, Mapping) else None
    usual = _BY_MODEL_TYPE.get(kind, "ViTImageProcessor") if isinstance(kind, str) else "ViTImageProcessor"
    of_config = f"config.json's model_type {shown(model_type)!r} stands for none"
    raise FolderError(
        f'{where} names no image_processor_type, and {of_config}; add the one of the training, such as "{usual}"'
    )
