"""Several models as one: each reads the inputs its own way, and at every step their scores are put together.

Dimensions: `B` inputs of a call, `M` models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from .arrays import as_array
from .errors import InputError, shown, written
from .files.unchanged import Unchanged
from .folders.tensors import INPUT_FEATURES, PHOTOGRAPH, SPEECH, TEXT
from .generation.config import GenerationConfig
from .graphs.contract import Decoder, Encoded
from .graphs.fused import LOG_LINEAR, FusedDecoder
from .graphs.guidance import Guidance
from .graphs.open import Graphs
from .graphs.sources import Encoders, batch_of
from .inputs.open import NoInputs, PhotoInputs, SpeechInputs, TextInputs
from .migrating.copied_calls import Opening
from .model import Model

_KINDS = {PHOTOGRAPH: "photos", TEXT: "texts", SPEECH: "speech"}
_ONE_EACH = "give one each, as in {0: ..., 1: ...}"


def ensemble(
    models: Sequence[Model], weights: Sequence[float] | None = None, rule: str = LOG_LINEAR, normalize: bool = True
) -> Model:
    """Models that share a vocabulary as one, to pipelines and searches: beams are those of one search.

    weights, rule, normalize: see FusedDecoder; None for 1/M each. A model with weight 0 is not stepped. Options of
    generation, the folder and the texts are those of the first model that has sources; the longest text is the shortest
    of all models'. A model without sources, a language model, gets no input.

    Where all models prepare their inputs alike, `inputs` is the first's, and calls take what a single model takes;
    otherwise `inputs` makes a mapping {0: ..., 1: ...} of what each reads, and calls take this. They take it in any
    case, and a list of one input each too. Closing the ensemble closes its models; pickled it is its models'
    folders. Raises InputError for no models, for models with other tokens or special ids, and for bad weights.
    """
    return Ensemble(models, weights, rule, normalize)


@dataclass(frozen=True)
class Given:
    """What each model reads of B inputs, checked."""

    batch: int
    each: Sequence[Any]


@dataclass(frozen=True)
class _EncodersOfAll:
    """The encoders of the models, one after the other."""

    models: Sequence[Model]
    decoder: FusedDecoder

    def checked(self, given: object) -> Given:
        """What each model reads, which its own encoder has checked. Raises InputError for other numbers of inputs."""
        assert isinstance(given, list)  # by Ensemble._checked
        counts = {batch_of(each) for each in given}
        if len(counts) > 1:
            found = " and ".join(str(batch_of(each)) for each in given)
            raise InputError(f"each of the {len(given)} models must have as many inputs, not {found}")
        return Given(counts.pop(), given)

    def encode(self, given: Given) -> Encoded:
        """See Encodes.encode."""
        pairs = zip(self.models, given.each, strict=True)
        return self.decoder.joined([model._run_encoder(each) for model, each in pairs])


class InputsOfEach:
    """Inputs of models that prepare them in different ways. See fuseline.inputs.contract."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = {number: model for number, model in enumerate(models) if model.folder.sources}
        self._kinds = list(dict.fromkeys(_KINDS[model.folder.source.reads] for model in self._models.values()))

    def __call__(self, given: Sequence[Any], /, **options: Any) -> Mapping[Any, Any]:
        """By the number of each model that reads anything, from 0, what its own inputs make. Raises InputError."""
        if len(self._kinds) > 1:
            raise InputError(
                f"the models of this ensemble read {' and '.join(self._kinds)}; make what each reads by its own inputs "
                f"and {_ONE_EACH}"
            )
        return {number: model.inputs(given, **options) for number, model in self._models.items()}

    def least(self, size: tuple[int, int], fast: bool | None = None) -> tuple[int, int] | None:
        """What is enough for all models; see ImageProcessor.least."""
        each = [model.inputs.least(size, fast) for model in self._models.values()]
        enough = [one for one in each if one is not None]
        if len(enough) < len(each) or not enough:
            return None
        return max(width for width, _ in enough), max(height for _, height in enough)

    @property
    def tokenizer(self) -> Any:
        """Of models that read texts, where they had one. Raises InputError."""
        raise self._different()

    @property
    def features(self) -> Any:
        """Of models that read speech, where they had the same. Raises InputError."""
        raise self._different()

    def _different(self) -> InputError:
        kinds = " and ".join(self._kinds)
        return InputError(f"the models of this ensemble prepare {kinds} in different ways; give generate one each")


class Ensemble(Model):
    """See ensemble. models: those that it is made of."""

    inputs: Any  # of one of the models, or InputsOfEach
    _no_image_processor = "the models of this ensemble have no one image_processor; inputs makes what each reads"

    def __init__(self, models: Sequence[Model], weights: Sequence[float] | None, rule: str, normalize: bool) -> None:
        """See ensemble."""
        listed = isinstance(models, list | tuple) and len(models) > 0
        if not listed or not all(isinstance(each, Model) for each in models):
            raise InputError(f"models must be a list of open models, not {written(models)}")
        for each in models:
            each._refuse_closed()
        for number, other in enumerate(models[1:], start=2):
            _check_tokens(models[0], other, number)
        self.models = tuple(models)
        given = [1 / len(models)] * len(models) if weights is None else weights
        decoder = FusedDecoder([each.decoder for each in models], given, rule, normalize)
        self._made_with = decoder.weights, rule, normalize
        self._readers = [number for number, each in enumerate(models) if each.folder.sources]
        readers = [models[number] for number in self._readers] or models
        self._first = first = readers[0]
        self.generation_config, self._tokens, self.tokenizer = first.generation_config, first._tokens, first.tokenizer
        self.device, self.threads = first.device, first.threads
        positions = min(each.folder.decoder.max_positions for each in models)
        sizes = replace(first.folder.decoder, max_positions=positions)
        self.folder = replace(first.folder, decoder=sizes, confidence=None)  # what one says of itself is not of all
        common = _common_inputs(readers)
        self._alike = common is not None
        self.inputs = InputsOfEach(models) if common is None else common
        self._inputs = {}
        files = {path: stamp for each in models for path, stamp in each.folder.files_in_use.items()}
        self._graphs = Graphs(_EncodersOfAll(self.models, decoder), decoder, Unchanged(files), self._close_all)
        self._closed = False

    def inputs_beside(self, given: object) -> dict[str, Mapping[str, Any]]:
        """See Model.inputs_beside; of models that all prepare their inputs alike."""
        if given and not self._alike:
            raise InputError(
                "the models of this ensemble prepare inputs in different ways, so sources cannot be given by name; "
                "make what each reads by its own inputs, and give generate a list with one entry a model"
            )
        return super().inputs_beside(given)

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        weights = ", ".join(f"{weight:g}" for weight in self._made_with[0])
        return f"<Ensemble of {', '.join(map(repr, self.models))}, weights {weights}{closed}>"

    def __reduce__(self) -> tuple[Any, ...]:
        self._refuse_closed()
        return ensemble, (self.models, *self._made_with)

    @classmethod
    def _opened(cls, wanted: Opening, threads: int | None, *options: object) -> Self:
        raise InputError(
            "an ensemble has no folder; open each model by Model.from_pretrained, and give them to ensemble"
        )

    def _refuse_closed(self) -> None:
        super()._refuse_closed()
        for each in self.models:
            each._refuse_closed()

    def _close_all(self) -> None:
        for each in self.models:
            each.close()

    def _checked(self, inputs: object, config: GenerationConfig, source_weights: Mapping[str, Any] | None) -> Any:
        """What each model reads, checked. Raises InputError."""
        several = [isinstance(each._graphs.encoder, Encoders | _EncodersOfAll) for each in self.models]
        if source_weights is not None and not any(several):
            raise InputError("source_weights are for models with several sources, and this ensemble has none")
        given: dict[int, Any] = {}
        for number, one in zip(self._readers, self._one_each(inputs), strict=True):
            try:
                given[number] = self.models[number]._checked(one, config, source_weights if several[number] else None)
            except InputError as error:
                raise InputError(f"model {number} of the ensemble: {error}") from error
        count = batch_of(given[self._readers[0]]) if given else inputs  # of models that read nothing a number is all
        whole = [
            given[number] if number in given else model._checked(count, config, None)
            for number, model in enumerate(self.models)
        ]
        return self._graphs.encoder.checked(whole)

    def _one_each(self, inputs: object) -> Sequence[Any]:
        """What is given to each model that reads anything. Raises InputError."""
        count = len(self._readers)
        if not count:
            return []
        numbered = isinstance(inputs, Mapping) and any(isinstance(key, int) for key in inputs)
        if numbered:
            assert isinstance(inputs, Mapping)
            if set(inputs) != set(self._readers):
                found = ", ".join(shown(key, 40) for key in list(inputs)[:8])
                right = f"0 to {count - 1}" if count == len(self.models) else " and ".join(map(str, self._readers))
                raise InputError(f"inputs by model must have {right}, not {found}")
            return [inputs[number] for number in self._readers]
        if isinstance(inputs, list | tuple) and self._lists_each(inputs):
            if len(inputs) != count:
                what = "models" if count == len(self.models) else "models that read anything"
                raise InputError(f"this ensemble has {count} {what}, and there are {len(inputs)} inputs; {_ONE_EACH}")
            return inputs
        if not self._alike and len({id(self.models[number]) for number in self._readers}) > 1:
            raise InputError(f"the models of this ensemble read what they are given in different ways; {_ONE_EACH}")
        return [inputs] * count

    def _lists_each(self, inputs: Sequence[Any]) -> bool:
        """Whether these are inputs of models, and no rows of one array: a mapping, or an array with all dimensions."""
        source = self.folder.source
        dimensions = 4 if source.reads == PHOTOGRAPH else 3 if INPUT_FEATURES in source.inputs else 2
        return any(isinstance(each, Mapping) or as_array(each).ndim == dimensions for each in inputs)

    def _guided(self, encoded: Encoded, guidance: Guidance) -> tuple[Decoder, Encoded]:
        raise InputError("an ensemble takes no guidance; guide one of its models alone")

    def _forced(self, tgt_lang: str | None) -> list[int]:
        return self._first._forced(tgt_lang)


def _common_inputs(models: Sequence[Model]) -> PhotoInputs | TextInputs | SpeechInputs | NoInputs | None:
    """What makes the inputs of all models; None where they need different ones."""
    first = models[0].inputs
    if not all(_prepare_alike(models[0], other) for other in models[1:]):
        return None
    if isinstance(first, TextInputs):
        bounds = [each.inputs.longest for each in models if isinstance(each.inputs, TextInputs)]
        return replace(first, longest=min((bound for bound in bounds if bound is not None), default=None))
    return first


def _prepare_alike(first: Model, other: Model) -> bool:
    """Whether what one model reads is what the other reads."""
    if first is other:
        return True
    one, two = first.inputs, other.inputs
    if isinstance(one, NoInputs):
        return isinstance(two, NoInputs)
    if isinstance(one, PhotoInputs) and isinstance(two, PhotoInputs):
        return one.image_processor == two.image_processor
    folders = [each.folder.of_source(each.folder.source.name) for each in (first, other)]
    if isinstance(one, SpeechInputs) and isinstance(two, SpeechInputs):
        read = [
            (type(each.features), dict(folder.preprocessor_config))
            for each, folder in zip((one, two), folders, strict=True)
        ]
        return read[0] == read[1]
    if isinstance(one, TextInputs) and isinstance(two, TextInputs):
        files = [(each.read_tokenizer().raw, dict(each.tokenizer_config)) for each in folders]
        return files[0] == files[1]
    return False


def _check_tokens(first: Model, other: Model, number: int) -> None:
    """Raise InputError unless two models have the same tokens, by the same ids."""
    where = f"model {number} of the ensemble, {other.folder.path}, cannot be combined with the first"
    sizes = [each.folder.decoder.vocab_size for each in (first, other)]
    if sizes[0] != sizes[1]:
        raise InputError(f"{where}: it has {sizes[1]} tokens and the first has {sizes[0]}; they must be the same")
    words, others = first.tokenizer.get_vocab(True), other.tokenizer.get_vocab(True)
    if words != others:
        word = min(word for word, _ in words.items() ^ others.items())
        ids = f"{others.get(word, 'nothing')} there and {words.get(word, 'nothing')} in the first"
        raise InputError(f"{where}: their tokenizers differ, as {shown(repr(word), 40)} is {ids}")
    for name, mine, theirs in zip(("end", "pad", "start"), _special(first), _special(other), strict=True):
        if mine != theirs:
            raise InputError(f"{where}: its {name} token is {theirs} and the first's is {mine}; they must be the same")


def _special(model: Model) -> tuple[object, object, object]:
    """The ids of the end tokens, of padding, and of the start."""
    config = model.generation_config
    start = config.bos_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
    return sorted(config.ends), config.pad, start
