"""A model ready to run: photos as arrays in, tokens out, and the tokenizer and image processor that belong to it.

Dimensions: `B` photos, `T` tokens, `S` encoder positions, `E` width of the decoder, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .decoder import CachedDecoder, Decoder, Encoded
from .errors import FolderError, InputError
from .folder import AUTO, Folder, Signature, mismatches
from .foreign import ForeignFolder, open_graphs
from .generation import Generation, GenerationConfig
from .images import ImageProcessor
from .search import search
from .session import open_session, signature

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

_PIXELS = "pixel_values"


class Model:
    """An encoder and a decoder with what goes before and after them. Safe to share between threads.

    folder: the Folder it was made of; generation_config: its defaults; image_processor: from photos to pixel_values;
    tokenizer: a tokenizers.Tokenizer. None of them changes.
    """

    def __init__(self, folder: Folder, device: str = "cpu", threads: int | None = None) -> None:
        """See from_pretrained, which takes a path where this takes a checked folder."""
        self.folder = folder
        self.generation_config = GenerationConfig.from_folder(folder.generation_config, folder.config, folder.path)
        self.image_processor = ImageProcessor.from_config(
            folder.preprocessor_config, str(folder.path / "preprocessor_config.json")
        )
        self.tokenizer = _tokenizer(folder.tokenizer_path)
        if isinstance(folder, ForeignFolder):
            self._open_foreign(folder, device, threads)
        else:
            self._open(folder, device, threads)

    def _open(self, folder: Folder, device: str, threads: int | None) -> None:
        """The graphs of a folder that fuseline made."""
        self._encoder = _session(folder.encoder_path, folder.encoder_signature, device, threads)
        sizes = folder.decoder
        self._decoder: Decoder = CachedDecoder(
            _session(folder.decoder_path, folder.decoder_signature, device, threads),
            layers=sizes.layers,
            width=sizes.width,
            vocab_size=sizes.vocab_size,
            max_positions=sizes.max_positions,
        )
        self._pixels = next(tensor for tensor in folder.encoder_signature.inputs if tensor.name == _PIXELS)
        self._crossing = [tensor.name for tensor in folder.encoder_signature.outputs]

    def _open_foreign(self, folder: ForeignFolder, device: str, threads: int | None) -> None:
        """The graphs of a folder of optimum or transformers.js."""
        graphs = open_graphs(folder, device, threads)
        self._encoder, self._decoder = graphs.encoder, graphs.decoder
        self._pixels, self._crossing = graphs.pixels, [graphs.hidden]

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path | None = None,
        variant: str | None = AUTO,
        device: str = "cpu",
        threads: int | None = None,
    ) -> Model:
        """Open a model folder, of fuseline or as optimum and transformers.js write them.

        folder: its path, or a name on the hub such as "org/name"; None for the captioner that ships. variant: one of
        those in the folder; None for its default; "auto" for what is fastest here and good enough, encoder and decoder
        each for itself (see fuseline.auto).
        device: "cpu", "cuda" or the name of a provider of onnxruntime. threads: None for one a physical core.
        Raises FolderError, DeviceError, InputError.
        """
        if variant != AUTO:
            return cls(Folder.open(folder, variant), device, threads)
        opened = Folder.open(folder)
        if len(opened.variants) > 1 and not isinstance(opened, ForeignFolder):  # of theirs no quality is known
            from .auto import choose

            opened = choose(opened, device, threads).applied(opened)
        return cls(opened, device, threads)

    def generate(
        self, pixel_values: npt.ArrayLike, decoder_input_ids: npt.ArrayLike | None = None, **fields: Any
    ) -> Generation:
        """The most probable text for every photo, as tokens.

        pixel_values: float32[B, 3, height, width]. decoder_input_ids: int64[B, T], what the texts begin with; as in
        transformers the start token goes before it if no row begins with it already (Donut's prompts stay as they are:
        they name a task). fields: those of GenerationConfig,
        over the model's own. Raises InputError for an option or an array that cannot be used.
        """
        config = self.generation_config.override(**fields)
        began = perf_counter()
        encoded = self.encode(pixel_values)
        encoder_ms = (perf_counter() - began) * 1000
        prompt = self._prompt(decoder_input_ids, encoded.batch, config)
        positions = self.folder.decoder.max_positions
        return search(self._decoder, encoded, prompt, config, max_positions=positions, encoder_ms=encoder_ms)

    def encode(self, pixel_values: npt.ArrayLike) -> Encoded:
        """Run the encoder: float32[B, 3, height, width] -> cross-attention K/V of all layers, float32[B, S, E] each.

        In a folder of another tool: the encoder's last hidden state, float32[B, S, E] or float16.
        """
        from onnxruntime import OrtValue

        pixels = self._checked(pixel_values)
        given = OrtValue.ortvalue_from_numpy(pixels.astype(self._pixels.type, copy=False))
        outputs = self._encoder.run_with_ort_values(self._crossing, {_PIXELS: given})
        return Encoded(len(pixels), dict(zip(self._crossing, outputs, strict=True)))

    def decode(self, sequences: npt.NDArray[np.int64], skip_special_tokens: bool = True) -> list[str]:
        """The text of every sequence, int64[N, T]."""
        return [self.tokenizer.decode(row, skip_special_tokens=skip_special_tokens) for row in sequences.tolist()]

    def _checked(self, pixel_values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """pixel_values as the encoder reads them. Raises InputError for another type or shape, NaN or infinity."""
        pixels = np.asarray(pixel_values)
        shape = self._pixels.shape
        right = f"float32[{', '.join(map(str, shape))}]"
        if pixels.dtype != np.float32:
            raise InputError(f"pixel_values must be {right}, not {pixels.dtype}")
        fits = pixels.ndim == 4 and all(
            isinstance(size, str) or size == found for size, found in zip(shape, pixels.shape, strict=True)
        )
        if not fits or 0 in pixels.shape:
            raise InputError(f"pixel_values must be {right}, not of shape {list(pixels.shape)}")
        if not np.isfinite(pixels).all():
            raise InputError("pixel_values hold NaN or infinite values; every value must be finite")
        return np.ascontiguousarray(pixels)

    def _prompt(self, given: npt.ArrayLike | None, batch: int, config: GenerationConfig) -> npt.NDArray[np.int64]:
        """What the decoder starts from, int64[B, T]."""
        if given is None:
            return config.prompt(batch)
        ids = np.asarray(given)
        if ids.ndim != 2 or len(ids) != batch or ids.shape[1] < 1 or not np.issubdtype(ids.dtype, np.integer):
            found = f"{ids.dtype} of shape {list(ids.shape)}"
            raise InputError(f"decoder_input_ids must be whole numbers of shape [{batch}, T], not {found}")
        vocab_size = self.folder.decoder.vocab_size
        if ids.min() < 0 or ids.max() >= vocab_size:
            raise InputError(f"decoder_input_ids must be from 0 to {vocab_size - 1}, not {ids.min()} to {ids.max()}")
        ids = ids.astype(np.int64)
        if _begins_by_itself(self.folder.config):
            return ids
        start = config.prompt(batch)
        return ids if (ids[:, :1] == start).any() else np.concatenate([start, ids], axis=1)


def _begins_by_itself(config: Mapping[str, Any]) -> bool:
    """Whether a prompt gets no start token, which transformers asks the encoder's model_type."""
    encoder = config.get("encoder")
    return isinstance(encoder, Mapping) and "donut" in str(encoder.get("model_type")).lower()


def _session(path: Path, listed: Signature, device: str, threads: int | None) -> InferenceSession:
    """The graph at path. Raises FolderError with every difference between its tensors and those that were listed."""
    session = open_session(path, device, threads)
    problems = mismatches("graph", listed, signature(session))
    if problems:
        raise FolderError(f"{path} is not the graph that fuseline.json describes: {'; '.join(problems)}")
    return session


def _tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises Exception itself
        raise FolderError(f"{path} is not a tokenizers file: {error}") from error
