"""A model ready to run: photos as arrays in, tokens out, and the tokenizer and image processor that belong to it.

Dimensions: `B` photos, `T` tokens, `S` encoder positions, `E` width of the decoder, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
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
from .scoring import Score, padded_labels, score
from .search import CancelToken, Search
from .session import open_session, signature
from .streaming import Event, events
from .text import text_of_token

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
        folder.check_unchanged()

    def _open(self, folder: Folder, device: str, threads: int | None) -> None:
        """The graphs of a folder that fuseline made."""
        self._encoder = _session(folder, folder.encoder_path, folder.encoder_signature, device, threads)
        self._decoder: Decoder = CachedDecoder(
            _session(folder, folder.decoder_path, folder.decoder_signature, device, threads), folder.decoder
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
        self,
        pixel_values: npt.ArrayLike | Encoded,
        decoder_input_ids: npt.ArrayLike | None = None,
        *,
        cancel: CancelToken | None = None,
        partial: bool = False,
        **fields: Any,
    ) -> Generation:
        """The most probable text for every photo, as tokens.

        pixel_values: float32[B, 3, height, width], or what `encode` made of them, which several calls may share.
        decoder_input_ids: int64[B, T], what the texts begin with; as in transformers the start token goes before it if
        no row begins with it already (Donut's prompts stay as they are: they name a task). fields: those of
        GenerationConfig, over the model's own; max_time is the deadline. cancel: looked at before every step, a
        threading.Event or anything else with is_set(). partial: whether a call that is cancelled, or interrupted by
        Ctrl-C between two steps, returns the best sequences so far.
        Raises InputError for an option or an array that cannot be used; without partial, Cancelled, KeyboardInterrupt.
        """
        search = self._search(pixel_values, decoder_input_ids, cancel, partial, fields)
        while search.step():
            pass
        return search.generation()

    def stream(
        self,
        pixel_values: npt.ArrayLike | Encoded,
        decoder_input_ids: npt.ArrayLike | None = None,
        *,
        cancel: CancelToken | None = None,
        partial: bool = False,
        **fields: Any,
    ) -> Iterator[Event]:
        """The same, watched: events as tokens become certain, the last of them with the Generation.

        With beams a token is certain once all hypotheses that may still win have it. The encoder has run when this
        returns; closing the iterator, or dropping it, gives up the rest. Raises as generate does, and InputError for
        num_return_sequences other than 1.
        """
        if fields.setdefault("num_return_sequences", 1) != 1:
            raise InputError("a stream follows one sequence a photo, so num_return_sequences must be 1 or left out")
        return events(self._search(pixel_values, decoder_input_ids, cancel, partial, fields), self._text)

    def _search(
        self,
        pixel_values: npt.ArrayLike | Encoded,
        decoder_input_ids: npt.ArrayLike | None,
        cancel: CancelToken | None,
        partial: bool,
        fields: dict[str, Any],
    ) -> Search:
        """A search for these photos, the encoder done."""
        config = self.generation_config.override(**fields)
        began = perf_counter()
        encoded = pixel_values if isinstance(pixel_values, Encoded) else self.encode(pixel_values)
        encoder_ms = (perf_counter() - began) * 1000
        return Search(
            self._decoder,
            encoded,
            self._prompt(decoder_input_ids, encoded.batch, config),
            config,
            max_positions=self.folder.decoder.max_positions,
            encoder_ms=encoder_ms,
            text_of=self._text_of_token,
            cancel=cancel,
            partial=partial,
        )

    def score(self, pixel_values: npt.ArrayLike, text: str | Sequence[str]) -> Score:
        """How probable given texts are: the cross-entropy of each token, and of the end token after the last.

        pixel_values: float32[B, 3, height, width]; text: one a photo, or as many for each, those of a photo together.
        The mean over the tokens is the cross-entropy of transformers' logits against the same labels. (Its own `loss`
        in 4.57 shifts the labels of these models twice.) Raises InputError.
        """
        texts = [text] if isinstance(text, str) else list(text)
        if not all(isinstance(each, str) for each in texts):
            raise InputError("text must be a text or a list of texts")
        encoded = self.encode(pixel_values)
        if not texts or len(texts) % encoded.batch:
            raise InputError(
                f"there must be as many texts for each of the {encoded.batch} photos, not {len(texts)} in all"
            )
        config = self.generation_config
        tokens = [self.tokenizer.encode(each, add_special_tokens=False).ids for each in texts]
        labels = padded_labels(tokens, next(iter(config.ends), None), self.folder.decoder.max_positions)
        return score(self._decoder, encoded, labels, int(config.prompt(1)[0, 0]))

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

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    @cached_property
    def _text_of_token(self) -> Callable[[int], str]:
        return text_of_token(self.tokenizer)

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


def _session(folder: Folder, path: Path, listed: Signature, device: str, threads: int | None) -> InferenceSession:
    """The graph at path. Raises FolderError with every difference between its tensors and those that were listed."""
    session = open_session(path, device, threads, folder.facts_of(path).folded)
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
