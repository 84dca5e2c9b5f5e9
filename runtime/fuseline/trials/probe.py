"""What a model is tried with when it is opened: a photo or texts, always the same ones, and the folder's options."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..folders.own import Folder
from ..folders.tensors import ATTENTION_MASK, INPUT_FEATURES, INPUT_IDS, PIXEL_VALUES, SPEECH
from ..generation.config import GenerationConfig
from ..graphs.contract import Decoder
from ..graphs.static import StaticDecoder
from ..inputs.images import ImageProcessor

_SIDE = 256
_LENGTHS = (12, 7)  # tokens of each text: of two, so that one has padding


def inputs(folder: Folder, texts: int = 1) -> Mapping[str, Any]:
    """What the encoder reads, made up: a photo, a clip, or so many texts, of which the second is shorter; of several
    sources one of each, by source, and of none nothing."""
    if len(folder.sources) != 1:
        return {name: inputs(folder.of_source(name)) for name in folder.sources}
    if folder.source.reads == SPEECH:
        return _clip(folder)
    return _texts(folder, texts) if folder.source.reads_text else {PIXEL_VALUES: photo(folder)}


def _texts(folder: Folder, count: int) -> Mapping[str, npt.NDArray[np.int64]]:
    """One or two made-up texts of the folder's vocabulary, padded on the right: int64[count, S] each.

    The first tenth of a vocabulary, where tokens lie that have a meaning of their own, is left out.
    """
    source = folder.source
    size = source.vocab_size or folder.decoder.vocab_size
    lengths = np.minimum(_LENGTHS[:count], source.longest or max(_LENGTHS))[:, None]
    shape = (count, int(lengths.max()))
    ids = np.random.default_rng(0).integers(size // 10, size, shape)
    mask = (np.arange(shape[1]) < lengths).astype(np.int64)
    return {INPUT_IDS: ids * mask, ATTENTION_MASK: mask}


def _clip(folder: Folder) -> Mapping[str, npt.NDArray[Any]]:
    """A second of a tone that rises in syllables, as the encoder takes it."""
    from ..inputs.audio import SAMPLING_RATE, LogMel, RawSamples

    seconds = np.arange(SAMPLING_RATE) / SAMPLING_RATE
    tones = sum(np.sin(2 * np.pi * (140 + 60 * seconds) * step * seconds) / step for step in range(1, 12))
    clip = (0.1 * tones * np.sin(np.pi * 4 * seconds) ** 2).astype(np.float32)
    where = str(folder.path / folder.preprocessor_file)
    features = LogMel if INPUT_FEATURES in folder.source.inputs else RawSamples
    return features.from_config(folder.preprocessor_config, where)([clip])


def photo(folder: Folder) -> npt.NDArray[np.float32]:
    """A made-up photo as the encoder takes it, float32[1, 3, height, width]."""
    from PIL import Image

    prepare = ImageProcessor.from_config(folder.preprocessor_config, str(folder.path / folder.preprocessor_file))
    return np.ascontiguousarray(prepare([Image.fromarray(_picture())]))


def _picture() -> npt.NDArray[np.uint8]:
    """A sky over a ground, a disc before them, and grain: uint8[height, width, 3]."""
    down, across = np.mgrid[:_SIDE, :_SIDE] / _SIDE
    sky = np.stack([0.35 + 0.4 * down, 0.55 + 0.3 * down, 0.95 - 0.2 * down], axis=-1)
    ground = np.stack([0.3 + 0.2 * across, 0.45 - 0.2 * across, 0.2 + 0.1 * down], axis=-1)
    picture: Any = np.where((down > 0.62 + 0.08 * np.sin(9 * across))[..., None], ground, sky)
    disc = (across - 0.4) ** 2 + (down - 0.55) ** 2 < 0.04
    picture = np.where(disc[..., None], (0.85, 0.3, 0.15), picture)
    grain = np.random.default_rng(0).uniform(-0.06, 0.06, picture.shape)
    return np.asarray(np.clip(picture + grain, 0, 1) * 255, np.uint8)


def generation_config(folder: Folder) -> GenerationConfig:
    """The folder's own. Raises FolderError."""
    return GenerationConfig.from_folder(folder.generation_config, folder.config, folder.path)


def room(decoder: Decoder, folder: Folder) -> tuple[int, int]:
    """The most beams and the most tokens of a text, the first one included, that a decoder of the folder takes."""
    if isinstance(decoder, StaticDecoder):
        return decoder.rows, decoder.capacity
    return sys.maxsize, folder.decoder.max_positions + 1
