"""pipeline("image-to-text"): photos in, text out, called as in transformers 4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, TypedDict, Unpack, cast, overload

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .folder import AUTO
from .images import load_image
from .model import Model
from .options import written

if TYPE_CHECKING:
    from PIL import Image

Photo: TypeAlias = "str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | npt.NDArray[Any]"
Captions: TypeAlias = list[dict[str, str]]

TASKS = ("image-to-text",)
_MOST_AT_ONCE = 1 << 20  # photos; how many fit into memory is looked at when they are there


class _Options(TypedDict, total=False):
    """What a call may say anew; see pipeline."""

    max_new_tokens: int | None
    generate_kwargs: Mapping[str, Any] | None
    batch_size: int | None


class _Streaming(_Options):
    """The same, for text in pieces."""

    stream: Literal[True]


def pipeline(
    task: str = "image-to-text",
    model: Model | str | Path | None = None,
    *,
    variant: str | None = AUTO,
    device: str = "cpu",
    threads: int | None = None,
    batch_size: int = 1,
    max_new_tokens: int | None = None,
    generate_kwargs: Mapping[str, Any] | None = None,
    stream: bool = False,
) -> ImageToText:
    """A callable that captions photos.

    model: a Model, or the path of a folder; None for the captioner that ships. variant, device, threads: see
    Model.from_pretrained. batch_size: photos that go through the model together. max_new_tokens, generate_kwargs: the
    GenerationConfig fields of every call that does not give its own. stream: whether calls that do not say give the
    text of one photo in pieces.
    Raises InputError for an unknown task or a wrong option, FolderError and DeviceError as Model.from_pretrained.
    """
    if not isinstance(task, str) or task not in TASKS:
        raise InputError(f"there is no task {written(task)}; there is {', '.join(TASKS)}")
    if not isinstance(model, Model):
        model = Model.from_pretrained(model, variant, device, threads)
    return ImageToText(model, batch_size, _fields(max_new_tokens, generate_kwargs), stream)


class ImageToText:
    """Captions photos with one model. A photo is a path, the bytes of a file, a PIL image or an array of pixels."""

    def __init__(
        self, model: Model, batch_size: int = 1, fields: Mapping[str, Any] | None = None, stream: bool = False
    ) -> None:
        """fields: GenerationConfig fields over the model's own, checked here and not at the first photo."""
        self.model = model
        self._in_pieces = stream
        self._batch_size = _checked_batch_size(batch_size)
        self._fields = dict(fields or {})
        model.generation_config.override(**self._fields)

    def close(self) -> None:
        """Close the model; see Model.close."""
        self.model.close()

    def __enter__(self) -> ImageToText:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pipeline image-to-text of {self.model!r}>"

    # A text is a sequence of texts, too; the first signature that fits is meant.
    @overload
    def __call__(self, inputs: Photo, **options: Unpack[_Streaming]) -> Iterator[str]: ...

    @overload
    def __call__(self, inputs: Photo, **options: Unpack[_Options]) -> Captions: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, inputs: Sequence[Photo], **options: Unpack[_Options]) -> list[Captions]: ...

    @overload
    def __call__(self, inputs: Iterator[Photo], **options: Unpack[_Options]) -> Iterator[Captions]: ...

    def __call__(
        self,
        inputs: Photo | Sequence[Photo] | Iterator[Photo],
        *,
        max_new_tokens: int | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
        stream: bool | None = None,
    ) -> Captions | list[Captions] | Iterator[Captions] | Iterator[str]:
        """Caption one photo, a list of them, or a stream.

        One photo gives [{"generated_text": text}], num_return_sequences dicts in all; a list or another sequence gives
        a list of such lists; an iterator gives an iterator, which reads batch_size photos ahead and yields as it goes.
        With stream one photo gives an iterator over pieces of its text, which joined are the text; a word comes when it
        is certain that it stays.
        Raises InputError, for a list or a stream with the place of the photo in it.
        """
        fields = self._fields | _fields(max_new_tokens, generate_kwargs)
        size = self._batch_size if batch_size is None else _checked_batch_size(batch_size)
        in_pieces = self._in_pieces if stream is None else stream
        if _are_several(inputs):
            if in_pieces:
                raise InputError("stream=True gives the text of one photo in pieces; call it for each photo")
            captions = self._captions(cast("Iterable[Photo]", inputs), size, fields)
            return captions if isinstance(inputs, Iterator) else list(captions)
        photo = cast("Photo", inputs)
        if in_pieces:
            return (event.text for event in self.model.stream(self._prepared(photo), **fields) if event.text)
        return self._caption([self._prepared(photo)], fields)[0]

    def _captions(self, photos: Iterable[Photo], size: int, fields: Mapping[str, Any]) -> Iterator[Captions]:
        numbered = enumerate(photos, start=1)
        while batch := list(islice(numbered, size)):
            yield from self._caption([self._prepared_or_named(photo, number) for number, photo in batch], fields)

    def _prepared(self, photo: Photo) -> npt.NDArray[np.float32]:
        """float32[1, 3, height, width]."""
        return self.model.image_processor([load_image(photo)])

    def _prepared_or_named(self, photo: Photo, number: int) -> npt.NDArray[np.float32]:
        try:
            return self._prepared(photo)
        except InputError as error:
            raise InputError(f"photo {number}: {error}") from error

    def _caption(self, prepared: list[npt.NDArray[np.float32]], fields: Mapping[str, Any]) -> list[Captions]:
        """The captions of B photos, float32[1, 3, height, width] each, that go through the model together."""
        if len({photo.shape for photo in prepared}) > 1:
            raise InputError("this model leaves photos their sizes, so these cannot go together; use batch_size=1")
        generation = self.model.generate(np.concatenate(prepared), **fields)
        captions = [{"generated_text": text} for text in self.model.decode(generation.sequences)]
        each = generation.num_return_sequences
        return [captions[first : first + each] for first in range(0, len(captions), each)]


def _are_several(inputs: object) -> bool:
    """Whether it is a list or a stream of photos. Texts, bytes in memory and open files are one photo each."""
    alone = isinstance(inputs, str | bytes | bytearray | memoryview) or hasattr(inputs, "read")
    return not alone and isinstance(inputs, Iterator | Sequence)


def _fields(max_new_tokens: int | None, generate_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    named = isinstance(generate_kwargs, Mapping) and all(isinstance(name, str) for name in generate_kwargs)
    if generate_kwargs is not None and not named:
        raise InputError(f"generate_kwargs must be a mapping of options by name, not {written(generate_kwargs)}")
    fields = dict(generate_kwargs or {})
    if max_new_tokens is not None:
        if "max_new_tokens" in fields:
            raise InputError("max_new_tokens is given twice, by itself and in generate_kwargs; give it once")
        fields["max_new_tokens"] = max_new_tokens
    return fields


def _checked_batch_size(batch_size: int) -> int:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= _MOST_AT_ONCE:
        right = f"a whole number from 1 to {_MOST_AT_ONCE}"
        raise InputError(f"batch_size must be {right}, not {written(batch_size)}")
    return batch_size
