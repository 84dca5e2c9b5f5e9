"""The inputs of a folder's model: which kind they are, opened as that kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import InputError, written
from ..folders.own import Folder
from ..folders.tensors import ATTENTION_MASK, INPUT_FEATURES, PHOTOGRAPH, SKIP, SPEECH
from ..tokens.tokenizer import TextTokens, open_tokenizer
from .contract import Inputs
from .images import ImageProcessor, check_fast

if TYPE_CHECKING:
    from .audio import LogMel, RawSamples
    from .texts import SourceTokenizer

_OPTIONS = {"src_lang", "truncation", "max_length", "names"}


def open_inputs(folder: Folder, tokens: TextTokens) -> PhotoInputs | TextInputs | SpeechInputs | NoInputs:
    """What makes the inputs of the folder's encoder. tokens: of its tokenizer.json. Raises FolderError."""
    if not folder.sources:
        return NoInputs()
    if folder.source.reads_text:
        from .texts import SourceTokenizer  # which takes time to be imported, as audio does, and captions need neither

        tokenizer = SourceTokenizer(tokens, folder.read_tokenizer(), folder.tokenizer_config)
        return TextInputs(tokenizer, folder.source.longest, folder.source.absent == SKIP)
    where = str(folder.path / folder.preprocessor_file)
    if folder.source.reads == SPEECH:
        from .audio import LogMel, RawSamples

        kind = LogMel if INPUT_FEATURES in folder.source.inputs else RawSamples
        return SpeechInputs(kind.from_config(folder.preprocessor_config, where))
    return PhotoInputs(ImageProcessor.from_config(folder.preprocessor_config, where))


def open_texts(folder: Folder) -> tuple[TextTokens, PhotoInputs | TextInputs | SpeechInputs | NoInputs]:
    """What makes texts of tokens, and what makes inputs of photos, texts or speech. Raises FolderError."""
    target = folder.read_target_tokenizer()
    size = folder.decoder.vocab_size if target is None else folder.source.vocab_size or 0
    tokens = open_tokenizer(folder.read_tokenizer(), size)
    said = tokens if target is None else open_tokenizer(target, folder.decoder.vocab_size)
    if folder.fusion is not None:
        return said, inputs_of_source(folder, folder.source.name)
    return said, open_inputs(folder, tokens)


def inputs_of_source(folder: Folder, source: str) -> PhotoInputs | TextInputs | SpeechInputs | NoInputs:
    """What makes the inputs of one of several sources. Raises FolderError."""
    of_source = folder.of_source(source)
    size = of_source.sources[source].vocab_size or folder.decoder.vocab_size
    return open_inputs(of_source, open_tokenizer(of_source.read_tokenizer(), size))


@dataclass(frozen=True)
class PhotoInputs(Inputs):
    """Photos into pixel_values. See fuseline.inputs.contract."""

    image_processor: ImageProcessor

    def __call__(self, given: Sequence[Any], /, **options: Any) -> Mapping[str, npt.NDArray[Any]]:
        """{"pixel_values": float32[B, 3, height, width]} of images as load_image returns them. options: fast, see
        ImageProcessor."""
        return {"pixel_values": self.image_processor(given, **options)}

    def least(self, size: tuple[int, int], fast: bool | None = None) -> tuple[int, int] | None:
        """See ImageProcessor.least."""
        return self.image_processor.least(size, fast)


class NoInputs(Inputs):
    """Of a model without sources: there are none to make. See fuseline.inputs.contract."""

    def __call__(self, given: Sequence[Any], /, **options: Any) -> Mapping[str, npt.NDArray[Any]]:
        """Raises InputError."""
        raise self._none()

    @property
    def tokenizer(self) -> Any:
        """Of models that read texts. Raises InputError."""
        raise self._none()

    def _none(self) -> InputError:
        return InputError(
            "this model has no sources, so it reads no photos, texts or speech; give the tokens that texts begin with, "
            "which encode_text makes, to generate as decoder_input_ids"
        )


@dataclass(frozen=True)
class SpeechInputs(Inputs):
    """Clips of speech into input_features or input_values. See fuseline.inputs.contract."""

    features: LogMel | RawSamples

    def __call__(self, given: Sequence[Any], /, **options: Any) -> Mapping[str, npt.NDArray[Any]]:
        """{"input_features": float32[B, bands, frames]}, or {"input_values": float32[B, N], "attention_mask": ...}.

        given: clips, each as load_audio takes it; options: sampling_rate, of arrays that say none. Raises InputError.
        """
        from .audio import load_audio

        rate = options.pop("sampling_rate", None)
        if options:
            raise InputError(f"{next(iter(options))} is no option of inputs made of speech; there is sampling_rate")
        clips: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
        return self.features([load_audio(clip, rate) for clip in clips])


@dataclass(frozen=True)
class TextInputs(Inputs):
    """Texts into input_ids and attention_mask. longest: tokens that the encoder reads, None without a bound; optional:
    whether an input may be without a text."""

    tokenizer: SourceTokenizer
    longest: int | None
    optional: bool = False

    def __call__(self, given: Sequence[Any], /, **options: Any) -> Mapping[str, npt.NDArray[Any]]:
        """{"input_ids": int64[B, S], "attention_mask": int64[B, S]}. options: src_lang, truncation (whether a text that
        is too long is cut), max_length and names, see SourceTokenizer.encode. Of a source that inputs may be without,
        a text may be None, whose attention_mask is 0 everywhere. Raises InputError, also for an optional text of which
        the tokenizer keeps nothing."""
        texts = [given] if isinstance(given, str) else given
        if self.optional and isinstance(texts, list | tuple) and any(text is None for text in texts):
            made = self(["" if text is None else text for text in texts], **options)
            has = np.array([[text is not None] for text in texts])
            return {**made, ATTENTION_MASK: made[ATTENTION_MASK] * has}
        if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
            raise InputError(f"inputs are made of a text or a list of texts, not of {written(given)}")
        if other := sorted(options.keys() - _OPTIONS):
            raise InputError(f"{other[0]} is no option of a text's inputs; there are {', '.join(sorted(_OPTIONS))}")
        if options.get("max_length") is None:
            bounds = [self.longest, self.tokenizer.longest if options.get("truncation") else None]
            options["max_length"] = min((bound for bound in bounds if bound is not None), default=None)
        made = self.tokenizer.encode(texts, **options)
        if self.optional:
            self._refuse_unread(texts, made[ATTENTION_MASK], options.get("names"))
        return made

    def _refuse_unread(self, texts: Sequence[str], mask: npt.NDArray[Any], names: Sequence[str] | None) -> None:
        """Raises InputError for a text of which no token is left: it would be passed over in silence."""
        for at, (text, tokens) in enumerate(zip(texts, mask.sum(1).tolist(), strict=True)):
            if text.strip() and tokens <= self.tokenizer.around:
                name = names[at] if names else f"text {at + 1}"
                raise InputError(f"{name} is {written(text)}, and the model knows no sign of it; leave it out")


_AnyInputs = TypeVar("_AnyInputs", bound=PhotoInputs | TextInputs | SpeechInputs | NoInputs)


def as_fast(inputs: _AnyInputs, fast: bool | None) -> _AnyInputs:
    """The same, photos read as is asked for."""
    if fast is None or not isinstance(inputs, PhotoInputs):
        return inputs
    return replace(inputs, image_processor=replace(inputs.image_processor, fast=fast))


def checked_fast(fast: bool | None, folder: Folder) -> bool | None:
    """The same. Raises InputError where it is no choice, or there are no photos to read."""
    check_fast(fast)
    if fast is not None and all(each.reads != PHOTOGRAPH for each in folder.sources.values()):
        raise InputError("fast is how photos are read, and this model reads none; leave it out")
    return fast
