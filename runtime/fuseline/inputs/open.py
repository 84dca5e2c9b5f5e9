"""The inputs of a folder's model: which kind they are, opened as that kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from ..folders.own import Folder
from .contract import Inputs
from .images import ImageProcessor


def open_inputs(folder: Folder) -> Inputs:
    """What makes the inputs of the folder's encoder. Raises FolderError."""
    where = str(folder.path / folder.preprocessor_file)
    return PhotoInputs(ImageProcessor.from_config(folder.preprocessor_config, where))


@dataclass(frozen=True)
class PhotoInputs:
    """Photos into pixel_values. See fuseline.inputs.contract."""

    image_processor: ImageProcessor

    def __call__(self, given: Sequence[Any], /, **options: Any) -> Mapping[str, npt.NDArray[Any]]:
        return {"pixel_values": self.image_processor(given, **options)}
