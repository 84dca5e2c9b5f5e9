"""pipeline(): the callable of a task, opened with the model that it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from ..errors import InputError, written
from ..folders.open import AUTO
from ..folders.tensors import PHOTOGRAPH, SPEECH, TEXT
from ..generation.options import CHECKS, UNSUPPORTED
from ..migrating.copied_calls import PIPELINE, Opening, device_named, one_of, opening, settle
from ..model import Model
from .common import RECOGNITION, check_task, fields_given
from .image_to_text import TASK, ImageToText, Reading
from .text_reading import KEYWORDS, TextReading
from .text_to_text import RESULTS, TRANSLATION, TextToText

if TYPE_CHECKING:
    from .speech_reading import Seconds
    from .speech_recognition import SpeechRecognition

TextTask: TypeAlias = Literal["text2text-generation", "summarization", "translation"]

TASKS = (TASK, *RESULTS, RECOGNITION)
Where: TypeAlias = str | int | Mapping[str, str]
_DEVICE = ("device", "device_options", "fallback", "threads")
_OWN = ("task", "model", "variant", *_DEVICE, "batch_size", "max_new_tokens", "generate_kwargs", "stream")


@overload
def pipeline(
    task: Literal["image-to-text"] = "image-to-text",
    model: Model | str | Path | None = None,
    *,
    variant: str | None = AUTO,
    device: Where = "cpu",
    threads: int | None = None,
    device_options: Mapping[str, Any] | None = None,
    fallback: str | None = None,
    batch_size: int = 1,
    max_new_tokens: int | None = None,
    generate_kwargs: Mapping[str, Any] | None = None,
    generation_config: object = None,
    stream: bool = False,
    prompt: str | None = None,
    timeout: float | None = None,
    allow_downloads: bool = False,
    hint: str | None = None,
    fast: bool | None = None,
    **copied: Any,
) -> ImageToText: ...


@overload
def pipeline(
    task: TextTask,
    model: Model | str | Path,
    *,
    variant: str | None = AUTO,
    device: Where = "cpu",
    threads: int | None = None,
    device_options: Mapping[str, Any] | None = None,
    fallback: str | None = None,
    batch_size: int = 1,
    max_new_tokens: int | None = None,
    generate_kwargs: Mapping[str, Any] | None = None,
    generation_config: object = None,
    stream: bool = False,
    src_lang: str | None = None,
    tgt_lang: str | None = None,
    truncation: bool | str | None = None,
    **copied: Any,
) -> TextToText: ...


@overload
def pipeline(
    task: Literal["automatic-speech-recognition"],
    model: Model | str | Path | None = None,
    *,
    variant: str | None = AUTO,
    device: Where = "cpu",
    threads: int | None = None,
    device_options: Mapping[str, Any] | None = None,
    fallback: str | None = None,
    batch_size: int = 1,
    max_new_tokens: int | None = None,
    generate_kwargs: Mapping[str, Any] | None = None,
    generation_config: object = None,
    stream: bool = False,
    chunk_length_s: float | None = None,
    stride_length_s: Seconds | None = None,
    return_timestamps: bool | Literal["word"] | None = None,
    return_language: bool | None = None,
    **copied: Any,
) -> SpeechRecognition: ...


@overload
def pipeline(
    task: str | None, model: Model | str | Path | None = None, **options: Any
) -> ImageToText | TextToText | SpeechRecognition: ...


def pipeline(
    task: str | None = TASK,
    model: Model | str | Path | None = None,
    *,
    variant: str | None = AUTO,
    device: Where = "cpu",
    threads: int | None = None,
    device_options: Mapping[str, Any] | None = None,
    fallback: str | None = None,
    batch_size: int = 1,
    max_new_tokens: int | None = None,
    generate_kwargs: Mapping[str, Any] | None = None,
    generation_config: object = None,
    stream: bool = False,
    **copied: Any,
) -> ImageToText | TextToText | SpeechRecognition:
    """A callable that does a task: it captions photos, makes texts of texts, or writes down what is said.

    task: "image-to-text"; or "text2text-generation", "summarization", "translation" or "translation_XX_to_YY"; or
    "automatic-speech-recognition"; None for what the model is for. model: a Model, the path of a folder, or the name
    of a model that `fuseline get` has fetched; None for the captioner that ships, or of speech for the one that was
    fetched, as docs/models.md orders them. variant, device, device_options, fallback, threads: see
    Model.from_pretrained. batch_size: inputs that go through the model together. max_new_tokens, generate_kwargs,
    generation_config: the GenerationConfig fields of every call that does not give its own; where neither they nor the
    model set a length, texts have 256 new tokens at
    most, and a warning says once that one ended there. stream: whether calls that do not say give the text of one input
    in pieces. Of photos: prompt, what texts begin with, of BLIP's models; allow_downloads, whether photos may be URLs,
    fetched within timeout seconds; fast, as of Model.from_pretrained; hint, of a model with a source of that name, some
    words about every photo of calls that give none. Of texts: src_lang, tgt_lang, truncation and the others of
    TextToText's call. Of speech: chunk_length_s, stride_length_s, return_timestamps, return_language and the others of
    SpeechRecognition's call.
    copied: other fields of GenerationConfig, and keywords of transformers' and optimum's pipelines; see
    fuseline.migrating.copied_calls.
    Raises InputError for an unknown task, a wrong option or a model of another task, FolderError and DeviceError as
    Model.from_pretrained.
    """
    reads = None if task is None else _reads(task)
    special = {name: copied.pop(name) for name in _special_among(copied)}
    if reads is not None:
        special = _of_kind(special, reads)
    if reads == SPEECH and model is None:
        from ..getting.places import fetched_for_speech

        model = fetched_for_speech("model=")
    if reads not in (None, PHOTOGRAPH) and model is None:
        raise InputError(f"the captioner that ships reads photos; give model= the folder of a model for {task}")
    fields = {name: value for name, value in copied.items() if name in CHECKS or name in UNSUPPORTED}
    others = {name: value for name, value in copied.items() if name not in fields}
    use_cache = {"use_cache": fields.pop("use_cache")} if "use_cache" in fields else {}
    wanted = opening(PIPELINE, Opening(model, variant, device), others | use_cache, _OWN)
    if isinstance(model, Model):
        _check_open(model, wanted, threads, {"device_options": device_options, "fallback": fallback})
    else:
        model = Model._opened(wanted, threads, None, device_options, fallback)
    task = task or model.task
    if reads is None:
        reads = model.folder.source.reads
        special = _of_kind(special, reads)
    fields |= fields_given(max_new_tokens, generate_kwargs, generation_config)
    if reads == TEXT:
        return TextToText(model, task, batch_size, fields, stream, TextReading().taking(special))
    if reads == SPEECH:
        from .speech_reading import SpeechReading
        from .speech_recognition import SpeechRecognition

        listening = SpeechReading().taking(special)
        return SpeechRecognition(model, batch_size, special | fields, stream, listening)
    check_task(model, f"pipeline({task!r})", PHOTOGRAPH)
    return ImageToText(model, batch_size, fields, stream, Reading(**special))


@cache
def _special() -> Mapping[str, Iterable[str]]:
    """Keywords of pipelines that read one kind of input. The files about speech take time to be imported, which a
    caption has not."""
    from .speech_reading import KEYWORDS as OF_SPEECH
    from .speech_recognition import OPTIONS

    return {PHOTOGRAPH: Reading._fields, TEXT: KEYWORDS, SPEECH: (*OF_SPEECH, *OPTIONS)}


def _special_among(given: Iterable[str]) -> list[str]:
    """Those of the keywords that are of one kind."""
    return [name for name in given if any(name in names for names in _special().values())]


def _of_kind(special: Mapping[str, Any], reads: str) -> dict[str, Any]:
    """Those of the keywords that pipelines of a kind have. Raises InputError for others that would change something."""
    own = {name: value for name, value in special.items() if name in _special()[reads]}
    settle(PIPELINE, {name: value for name, value in special.items() if name not in own}, _OWN)
    return own


def _reads(task: object) -> str:
    """What a task reads. Raises InputError for one that there is not."""
    if isinstance(task, str):
        words = task.split("_")
        if task in RESULTS or (len(words) == 4 and words[0] == TRANSLATION and words[2] == "to" and all(words)):
            return TEXT
        if task in (TASK, RECOGNITION):
            return PHOTOGRAPH if task == TASK else SPEECH
    raise InputError(f"there is no task {written(task)}; there is {', '.join(TASKS)}, {TRANSLATION}_XX_to_YY")


def _check_open(model: Model, wanted: Opening, threads: int | None, others: Mapping[str, Any]) -> None:
    """Refuse to open a model that is open already in another way. others: what is of opening alone."""
    for name, value in others.items():
        if value is not None:
            raise InputError(f"the model is open already; give {name}={written(value)} to Model.from_pretrained")
    asked = {"variant": (wanted.variant, AUTO, model.variant), "threads": (threads, None, model.threads)}
    asked["device"] = (wanted.device, "cpu", device_named(model.device))
    for name, (value, default, has) in asked.items():
        if not one_of(value, default, has):
            raise InputError(f"the model is open already; give {name}={written(value)} to Model.from_pretrained")
