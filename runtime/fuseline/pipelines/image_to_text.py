"""pipeline("image-to-text"): photos in, text out, called as in transformers 4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, TypeAlias, TypedDict, Unpack, cast, overload

import numpy as np
import numpy.typing as npt

from ..errors import InputError, written
from ..generation.config import PIPELINE_NEW_TOKENS, GenerationConfig
from ..inputs.ahead import AHEAD, ReadAhead
from ..inputs.contract import together
from ..inputs.images import ImageProcessor, check_fast
from ..inputs.named import HINT
from ..inputs.prepared import Prepared, prepared
from ..migrating.copied_calls import CAPTION, prompt_tokens, settle
from ..model import Model
from ..outputs.shares import read_several, shares_of_words
from .beside import Beside
from .common import Pipeline, add_confidences, checked_batch_size, fields_given, params_of_task, telling_confidence

if TYPE_CHECKING:
    from PIL import Image

    from ..generation.result import Generation

Photo: TypeAlias = "str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | npt.NDArray[Any]"
Captions: TypeAlias = list[dict[str, Any]]

TASK = "image-to-text"
_OF_A_CALL = (
    "images",
    "inputs",
    "max_new_tokens",
    "generate_kwargs",
    "generation_config",
    "batch_size",
    "prompt",
    "fast",
    "heat_map",
    "sources",
    "source_weights",
    "hint",
)


class _Options(TypedDict, total=False):
    """What a call may say anew; see pipeline."""

    max_new_tokens: int | None
    generate_kwargs: Mapping[str, Any] | None
    generation_config: object
    batch_size: int | None
    prompt: str | None
    timeout: float | None
    allow_downloads: bool | None
    fast: bool | None
    heat_map: bool
    sources: Mapping[str, Any] | None
    source_weights: Mapping[str, Any] | None
    hint: str | Iterable[str | None] | None


class _Streaming(_Options):
    """The same, for text in pieces."""

    stream: Literal[True]


class Reading(NamedTuple):
    """How a call's photos are read, what their texts begin with, and the hint of calls that give none."""

    prompt: str | None = None
    timeout: float | None = None
    allow_downloads: bool = False
    hint: str | None = None
    fast: bool | None = None

    def or_as(
        self, prompt: str | None, timeout: float | None, allow_downloads: bool | None, fast: bool | None
    ) -> Reading:
        """The same, with what is not None."""
        return Reading(
            self.prompt if prompt is None else prompt,
            self.timeout if timeout is None else timeout,
            self.allow_downloads if allow_downloads is None else allow_downloads,
            self.hint,
            self.fast if fast is None else fast,
        )

    @property
    def downloads(self) -> dict[str, Any]:
        """The arguments of load_image."""
        return {"allow_downloads": True, "timeout": self.timeout} if self.allow_downloads else {}


class ImageToText(Pipeline):
    """Captions photos with one model. A photo is a path, the bytes of a file, a PIL image or an array of pixels."""

    task = TASK

    def __init__(
        self,
        model: Model,
        batch_size: int = 1,
        fields: Mapping[str, Any] | None = None,
        stream: bool = False,
        reading: Reading = Reading(),  # noqa: B008 - it cannot be changed
    ) -> None:
        """fields: GenerationConfig fields over the model's own, checked here and not at the first photo."""
        super().__init__(model, batch_size, fields, stream)
        self._reading = _checked(reading)
        self._beside(None, None)
        config = self.generation_config
        if reading.prompt is not None:
            self._prompt(reading.prompt, 1, config)

    @property
    def image_processor(self) -> ImageProcessor:
        """The model's."""
        return self.model.image_processor

    @property
    def feature_extractor(self) -> ImageProcessor:
        """The model's image processor."""
        return self.model.image_processor

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
        inputs: Photo | Sequence[Photo] | Iterator[Photo] | None = None,
        *,
        max_new_tokens: int | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        generation_config: object = None,
        batch_size: int | None = None,
        prompt: str | None = None,
        timeout: float | None = None,
        allow_downloads: bool | None = None,
        fast: bool | None = None,
        stream: bool | None = None,
        heat_map: bool = False,
        sources: Mapping[str, Any] | None = None,
        source_weights: Mapping[str, Any] | None = None,
        hint: str | Iterable[str | None] | None = None,
        **copied: Any,
    ) -> Captions | list[Captions] | Iterator[Captions] | Iterator[str]:
        """Caption one photo, a list of them, or a stream.

        One photo gives [{"generated_text": text}], num_return_sequences dicts in all; a list or another sequence gives
        a list of such lists; an iterator gives an iterator, which yields as it goes. Photos are read in a thread while
        those before them are captioned, two ahead or batch_size of them; it also asks an iterator for them.
        With stream one photo gives an iterator over pieces of its text, which joined are the text; a word comes when it
        is certain that it stays. With heat_map each dict also has "heat_map", a fuseline.outputs.heat_maps.HeatMap:
        where the model looked in the photo when it said each word. sources: of a model with several, what is given
        beside each photo, {"hint": "a text"}, for all photos or a list (or an iterator) with one a photo, None where
        there is none; source_weights how much each counts, see docs/fusion.md; each dict then has "words" too, with the
        share of each source in them. hint: the same as sources={"hint": ...}; an empty one is none. Where the model's
        folder says how sure it is, each dict has "confidence", from 0 to 1, and "unsure", whether that is below
        Model.unsure_below. images, by name, is the same as inputs; for other keywords see pipeline. Raises InputError,
        for a list or a stream with the place of the photo in it.
        """
        if inputs is None and "images" in copied:
            inputs = copied.pop("images")
        settle(CAPTION, copied, _OF_A_CALL)
        if inputs is None:
            raise InputError(
                "there is no photo; give a path, bytes, a file, a PIL image or an array, or a list of them"
            )
        fields = self._fields | fields_given(max_new_tokens, generate_kwargs, generation_config)
        in_pieces = self._in_pieces if stream is None else stream
        if in_pieces and "generation_config" not in fields:  # whatever the model's own number is
            fields = {"num_return_sequences": 1} | fields
        reading = _checked(self._reading.or_as(prompt, timeout, allow_downloads, fast))
        beside = self._beside(sources, hint)
        job = self._job(fields, reading, heat_map, in_pieces, beside)._replace(source_weights=source_weights)
        if batch_size is not None:
            job = job._replace(batch_size=checked_batch_size(batch_size))
        if _are_several(inputs):
            if in_pieces:
                raise InputError("stream=True gives the text of one photo in pieces; call it for each photo")
            if isinstance(inputs, Sequence):
                beside.check_count(len(inputs))
            captions = self._captions(cast("Iterable[Photo]", inputs), job)
            return captions if isinstance(inputs, Iterator) else list(captions)
        photo = cast("Photo", inputs)
        beside.check_count(1)
        if in_pieces:
            return self._streamed(photo, job)
        return self._caption([self._prepared(photo, job)], job)[0]

    predict = transform = __call__

    def _beside(self, sources: Mapping[str, Any] | None, hint: str | Iterable[str | None] | None) -> Beside:
        """What a call gives beside its photos; where it says nothing of a hint, the pipeline's own. Raises
        InputError."""
        own = hint is None and not (isinstance(sources, Mapping) and HINT in sources)
        return Beside(self.model, sources, self._reading.hint if own else hint)

    def _job(
        self, fields: Mapping[str, Any], reading: Reading, heat_map: bool, in_pieces: bool, beside: Beside
    ) -> _Job:
        """What a call asks for. Raises InputError."""
        if not isinstance(heat_map, bool):
            raise InputError(f"heat_map must be True or False, not {written(heat_map)}")
        if heat_map and in_pieces:
            raise InputError("heat_map=True shows a text that is whole, and stream=True gives pieces; leave one out")
        config = self._config(fields)
        if heat_map:
            from ..outputs.heat_maps import check_shows

            check_shows(self.model)
            config = config.override(output_attentions=True)
        if not in_pieces:
            config = telling_confidence(self.model, config)
        return _Job(config, reading, self._batch_size, beside, heat_map)

    def _config(self, fields: Mapping[str, Any]) -> GenerationConfig:
        """The options of a call, by transformers' rules: its own, the model's, then the pipeline's default length.

        The default stands where neither the model nor the call sets a length: a max_length of the call's counts, which
        transformers 4.57 leaves to the default. A generation_config of the call's stands in the place of all of it.
        """
        options = dict(fields)
        given = options.pop("generation_config", None)
        if given is not None:
            return self.model._configured(given).override(**options)
        config = self.model.generation_config.with_default_length(PIPELINE_NEW_TOKENS)
        of_task = params_of_task(self.model.folder.config, TASK)
        of_task.pop("prefix", None)  # of pipelines that read text
        return config.override(**of_task | options)

    def _captions(self, photos: Iterable[Photo], job: _Job) -> Iterator[Captions]:
        alone = isinstance(photos, Sequence) and len(photos) == 1
        most, count = 0 if alone else max(AHEAD, job.batch_size), 0

        def make(numbered: tuple[int, Photo]) -> Prepared:
            return self._prepared_or_named(numbered[1], numbered[0], job)

        with ReadAhead(make, most) as reading:
            ready = reading.over(enumerate(photos, start=1))
            while batch := list(islice(ready, job.batch_size)):
                yield from self._caption([each.get() for each in batch], job)
                count += len(batch)
        job.beside.check_count(count)

    def _prepared(self, photo: Photo, job: _Job, number: int = 1) -> Prepared:
        reading = job.reading
        made = prepared(photo, self.model.inputs, fast=reading.fast, shown=job.heat_map, **reading.downloads)
        if job.beside:
            made = made._replace(pixels={self.model.folder.source.name: made.pixels, **job.beside.of(number)})
        return made

    def _prepared_or_named(self, photo: Photo, number: int, job: _Job) -> Prepared:
        try:
            return self._prepared(photo, job, number)
        except InputError as error:
            raise InputError(f"photo {number}: {error}") from error

    def _caption(self, photos: list[Prepared], job: _Job) -> list[Captions]:
        """The captions of B photos that go through the model together."""
        prompt = self._prompt(job.reading.prompt, len(photos), job.config)
        pixels = together([photo.pixels for photo in photos])
        generation = self.model.generate(
            pixels, prompt, generation_config=job.config, source_weights=job.source_weights
        )
        self._tell(generation, job.config)
        captions: Captions = [{"generated_text": text} for text in self.model.decode(generation.sequences)]
        for index, caption in enumerate(captions):
            if read_several(generation, index):
                caption["words"] = shares_of_words(generation, self.model.decode, index)
        add_confidences(captions, generation, self.model.unsure_below)
        each = generation.num_return_sequences
        if job.heat_map:
            self._add_heat_maps(captions, generation, [photo.image for photo in photos for _ in range(each)])
        return [captions[first : first + each] for first in range(0, len(captions), each)]

    def _add_heat_maps(self, captions: Captions, generation: Generation, images: Sequence[Image.Image | None]) -> None:
        """Put "heat_map" into each. images: of each caption."""
        from ..outputs.heat_maps import heat_map

        for index, (caption, image) in enumerate(zip(captions, images, strict=True)):
            assert image is not None
            caption["heat_map"] = heat_map(generation, image, self.model, index)

    def _streamed(self, photo: Photo, job: _Job) -> Iterator[str]:
        prompt = self._prompt(job.reading.prompt, 1, job.config)
        given = self._prepared(photo, job).pixels
        events = self.model.stream(given, prompt, generation_config=job.config, source_weights=job.source_weights)
        return self._pieces(events, job.config)

    def _prompt(self, prompt: str | None, photos: int, config: GenerationConfig) -> npt.NDArray[np.int64] | None:
        """What the texts begin with, int64[photos, T]."""
        if prompt is None:
            return None
        tokens = prompt_tokens(self.model.folder.config.get("model_type"), prompt, self.model.encode_text)
        begin = np.tile(np.array(tokens, np.int64), (photos, 1))
        return np.concatenate([config.prompt(photos), begin], axis=1)


class _Job(NamedTuple):
    """What a call asks for. beside: inputs of other sources."""

    config: GenerationConfig
    reading: Reading
    batch_size: int
    beside: Beside
    heat_map: bool = False
    source_weights: Mapping[str, Any] | None = None


def _are_several(inputs: object) -> bool:
    """Whether it is a list or a stream of photos. Texts, bytes in memory and open files are one photo each."""
    alone = isinstance(inputs, str | bytes | bytearray | memoryview) or hasattr(inputs, "read")
    return not alone and isinstance(inputs, Iterator | Sequence)


def _checked(reading: Reading) -> Reading:
    """Raise InputError for a way to read that is none."""
    if not isinstance(reading.allow_downloads, bool):
        raise InputError(f"allow_downloads must be True or False, not {written(reading.allow_downloads)}")
    if reading.hint is not None and not isinstance(reading.hint, str):
        raise InputError(f"hint of a pipeline must be a text; give calls one a photo, not {written(reading.hint)} here")
    timeout = reading.timeout
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0):
        raise InputError(f"timeout must be a number of seconds above 0, not {written(timeout)}")
    check_fast(reading.fast)
    return reading
