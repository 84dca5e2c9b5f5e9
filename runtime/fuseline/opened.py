"""A model that is open: its folder, what makes its inputs and texts, its graphs; how it is closed and copied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from fuseline.kernels import warn_if_portable

from .errors import InputError, shown, written
from .files.unchanged import Unchanged
from .folders.open import AUTO, find, open_folder
from .folders.own import Folder
from .generation.config import GenerationConfig
from .graphs.contract import Decoder
from .inputs.images import ImageProcessor
from .inputs.named import made_of
from .inputs.open import (
    NoInputs,
    PhotoInputs,
    SpeechInputs,
    TextInputs,
    as_fast,
    checked_fast,
    inputs_of_source,
    open_texts,
)
from .migrating.config_view import ConfigView
from .migrating.copied_calls import (
    OPEN,
    NoAttribute,
    Opening,
    device_named,
    no_attribute,
    one_of,
    opening,
)
from .trials.placing import open_placed, place


class Opened:
    """What a Model is made of and how it is opened, copied, pickled and closed; see Model for its attributes."""

    _no_image_processor = "this model reads no photos and has no image_processor; Model.inputs makes its inputs"

    _fast: bool | None = None  # as it was asked for

    def __init__(
        self,
        folder: Folder,
        device: object = "cpu",
        threads: int | None = None,
        fast: bool | None = None,
        device_options: Mapping[str, Any] | None = None,
        fallback: str | None = None,
    ) -> None:
        """See from_pretrained, which takes a path where this takes a checked folder."""
        self.folder = folder
        self._fast = checked_fast(fast, folder)
        self.generation_config = GenerationConfig.from_folder(
            folder.generation_config,
            folder.config,
            folder.path,
            folder.decoder.vocab_size,
            reads_text=folder.reads_text_alone,
        )
        self._tokens, inputs = open_texts(folder)
        self.inputs = as_fast(inputs, fast)
        self._inputs: dict[str, PhotoInputs | TextInputs | SpeechInputs | NoInputs] = {}
        self.tokenizer = self._tokens.tokenizer
        self.threads, self._fallback = threads, fallback
        self._graphs, self._placement = open_placed(folder, device, device_options, threads, fallback)
        self.device: str | dict[str, str] = self._placement.asked
        self._closed = False
        Unchanged({folder.path / name: stamp for name, stamp in folder.stamps.items()}).check()
        warn_if_portable()

    @property
    def variant(self) -> str:
        """The name of the variant in use."""
        return self.folder.variant

    @property
    def config(self) -> ConfigView:
        """What config.json says, to be read as that of transformers."""
        return ConfigView(self.folder.config)

    @property
    def unsure_below(self) -> float | None:
        """The confidence, from 0 to 1, below which a text is said to be unsure; None of a model that does not say how
        sure it is."""
        known = self.folder.confidence
        return None if known is None else known.unsure_below

    def inputs_of(self, source: str) -> PhotoInputs | TextInputs | SpeechInputs | NoInputs:
        """What makes the inputs of a source, as `inputs` does of a model with one. Raises InputError."""
        if not isinstance(source, str) or source not in self.folder.sources:
            known = ", ".join(self.folder.sources) or "none"
            raise InputError(f"this model has no source {written(source)}; it has {known}")
        if len(self.folder.sources) == 1 or source == self.folder.source.name:
            return self.inputs
        if source not in self._inputs:
            self._inputs[source] = as_fast(inputs_of_source(self.folder, source), self._fast)
        return self._inputs[source]

    def inputs_beside(self, given: object) -> dict[str, Mapping[str, Any]]:
        """Of a model with several sources the inputs of all but the first that its task is about, B = 1.

        given: by source a text, or a photo or a sound as load_image and load_audio take it: {"hint": "a text"}. Raises
        InputError.
        """
        return made_of(given, self.folder.sources, self.inputs_of, self.folder.source.name)

    @property
    def image_processor(self) -> ImageProcessor:
        """Of a model that reads photos. Raises InputError for another."""
        if not isinstance(self.inputs, PhotoInputs):
            raise NoAttribute(self._no_image_processor)
        return self.inputs.image_processor

    @property
    def feature_extractor(self) -> ImageProcessor:
        """The image processor."""
        return self.image_processor

    @property
    def decoder(self) -> Decoder:
        """The step contract that a search runs on, see fuseline.graphs.contract."""
        return self._graphs.decoder

    @property
    def task(self) -> str:
        """What the model is for, by its name among transformers' pipelines: image-to-text, text2text-generation,
        automatic-speech-recognition, or text-generation of a decoder without sources."""
        return self.folder.task

    def eval(self) -> Self:
        """The model itself: there is no other mode."""
        return self

    def to(self, device: object) -> Self:
        """The model itself, for the device it is on. Raises InputError for another one."""
        if not one_of(device_named(device), self.device):
            instead = "give device= to Model.from_pretrained"
            raise InputError(
                f"this model is on {self.device} and stays there; {instead}, not {written(device)} to to()"
            )
        return self

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Not what a model of torch does. Raises InputError with what to call."""
        raise InputError(str(no_attribute(self, "forward")))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in ("image_processor", "feature_extractor"):  # whose own error leads here
                raise NoAttribute(self._no_image_processor)
            raise no_attribute(self, name)

    def close(self) -> None:
        """Let go of the graphs and their memory. Calls that run end as they would; new ones are refused."""
        self._closed = True
        self._graphs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        return f"<Model {shown(self.folder.path)}, variant {shown(self.variant)}, on {shown(self.device)}{closed}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        self._refuse_closed()
        path = None if self.folder.path == find(None) else str(self.folder.path)
        placement = self._placement
        options = {part: dict(each.options) for part, each in vars(placement).items()}
        given = options if len(placement.parts) > 1 else options["decoder"]
        reopened = {"fast": self._fast, "device_options": given or None, "fallback": self._fallback}
        return _reopened, (type(self), path, self.variant, self.device, self.threads, reopened)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise InputError(f"this model was closed; open {self.folder.path} again")

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path | None = None,
        variant: str | None = AUTO,
        device: str | int | Mapping[str, str] = "cpu",
        threads: int | None = None,
        *,
        fast: bool | None = None,
        device_options: Mapping[str, Any] | None = None,
        fallback: str | None = None,
        **copied: Any,
    ) -> Self:
        """Open a model folder, of fuseline or as optimum and transformers.js write them.

        folder: its path, the name of a model that `fuseline get` has fetched, or a name on the hub such as "org/name";
        None for the captioner that ships. variant: one of
        those in the folder; None for its default; "auto" for the default too, unless another is good enough and
        faster here by far (see fuseline.trials.auto).
        device: "cpu", or another as `fuseline devices` lists them, "openvino", "cuda:0", "webgpu", which is compared
        with the CPU once; {"encoder": "openvino", "decoder": "cpu"} for one each; "auto" for the fastest that says
        what the CPU says. device_options: what the device's provider is told, by name. fallback: "cpu" for the CPU
        where the device is not to be had or fails, also in the middle of a text, which a warning says.
        threads: None for one a physical core. fast: whether large photos are made smaller while they
        are read, which takes a third of the time and is not to the bit what transformers does (see ImageProcessor);
        None for what the folder says, which is no, but yes in the captioner that ships. copied: keywords of
        transformers and optimum, of which dtype is a variant and provider a device; see
        fuseline.migrating.copied_calls for the others.
        Raises FolderError, DeviceError, InputError.
        """
        own = ("folder", "variant", "device", "threads", "fast", "device_options", "fallback")
        wanted = opening(OPEN, Opening(folder, variant, device), copied, own)
        return cls._opened(wanted, threads, fast, device_options, fallback)

    @classmethod
    def _opened(
        cls,
        wanted: Opening,
        threads: int | None,
        fast: bool | None = None,
        device_options: Mapping[str, Any] | None = None,
        fallback: str | None = None,
    ) -> Self:
        folder, variant, device = wanted
        if variant is not None and not isinstance(variant, str):
            raise InputError(f"variant must be the name of one of the folder's, or None, not {written(variant)}")
        found = open_folder(folder, None if variant == AUTO else variant)
        if variant == AUTO and len(found.variants) > 1 and not found.foreign:
            from .trials.auto import choose  # of folders of other tools no quality is known

            placement = place(device, device_options, fallback)
            found = choose(found, placement, threads).applied(found)
        return cls(found, device, threads, fast, device_options, fallback)


_AnyOpened = TypeVar("_AnyOpened", bound=Opened)


def _reopened(
    kind: type[_AnyOpened],
    path: str | None,
    variant: str,
    device: str | dict[str, str],
    threads: int | None,
    options: Mapping[str, Any],
) -> _AnyOpened:
    """What was pickled."""
    return kind.from_pretrained(path, variant, device, threads, **options)
