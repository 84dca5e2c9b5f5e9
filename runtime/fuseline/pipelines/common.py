"""What pipelines of all tasks share: the model that they run, the options of their calls, and how these are checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from ..errors import InputError, written
from ..folders.tensors import PHOTOGRAPH, SPEECH, TEXT
from ..generation.config import GenerationConfig, cut_off
from ..migrating.copied_calls import no_attribute
from ..warning import warn

if TYPE_CHECKING:
    from ..generation.result import Generation
    from ..model import Model
    from ..outputs.streaming import Event

_MOST_AT_ONCE = 1 << 20  # inputs; how many fit into memory is looked at when they are there
RECOGNITION = "automatic-speech-recognition"  # the task of speech_recognition.py
# What models read, and what can use them.
_KINDS = {
    PHOTOGRAPH: ("photos", 'pipeline("image-to-text") or the command fuseline caption'),
    TEXT: ("texts", 'pipeline("text2text-generation") or the command fuseline text'),
    SPEECH: ("speech", 'pipeline("automatic-speech-recognition") or the command fuseline transcribe'),
}


class Pipeline:
    """A callable that runs one model. task: by its name among transformers' pipelines."""

    task: str
    framework = "onnx"

    def __init__(self, model: Model, batch_size: int, fields: Mapping[str, Any] | None, stream: bool) -> None:
        """fields: GenerationConfig fields over the model's own."""
        self.model = model
        self._in_pieces = stream
        self._batch_size = checked_batch_size(batch_size)
        self._fields = dict(fields or {})
        self._told = False  # that a text was cut off

    def _config(self, fields: Mapping[str, Any]) -> GenerationConfig:
        """The options of a call that gives these."""
        raise NotImplementedError

    @property
    def generation_config(self) -> GenerationConfig:
        """The options of calls that give none."""
        return self._config(self._fields)

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizers.Tokenizer."""
        return self.model.tokenizer

    @property
    def device(self) -> str | dict[str, str]:
        """The model's."""
        return self.model.device

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name)

    def close(self) -> None:
        """Close the model; see Model.close."""
        self.model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pipeline {self.task} of {self.model!r}>"

    def _pieces(self, events: Iterator[Event], config: GenerationConfig) -> Iterator[str]:
        """The text of one input as it becomes certain."""
        for event in events:
            if event.text:
                yield event.text
            if event.generation is not None:
                self._tell(event.generation, config)

    def _tell(self, generation: Generation, config: GenerationConfig) -> None:
        """Warn once where a text ended by a length that nobody chose."""
        if self._told:
            return
        sentence = cut_off(config, generation, self.model.folder.decoder.max_positions, "max_new_tokens")
        if sentence is not None:
            self._told = True
            warn(sentence)


def check_task(model: Model, asked: str, reads: str) -> None:
    """Raise InputError where a model is for another task. asked: what wants to use it; reads: what that needs, as in
    Source.reads."""
    found = model.folder.source.reads
    if found == reads:
        return
    (has, instead), (wanted, _) = _KINDS[found], _KINDS[reads]
    raise InputError(
        f"{model.folder.path}: this model reads {has} and no {wanted}, so {asked} cannot use it; {instead} can"
    )


def fields_given(
    max_new_tokens: int | None, generate_kwargs: Mapping[str, Any] | None, generation_config: object
) -> dict[str, Any]:
    """The options of generation that a call gives in these three ways. Raises InputError for one given twice."""
    named = isinstance(generate_kwargs, Mapping) and all(isinstance(name, str) for name in generate_kwargs)
    if generate_kwargs is not None and not named:
        raise InputError(f"generate_kwargs must be a mapping of options by name, not {written(generate_kwargs)}")
    fields = dict(generate_kwargs or {})
    if max_new_tokens is not None:
        if "max_new_tokens" in fields:
            raise InputError("max_new_tokens is given twice, by itself and in generate_kwargs; give it once")
        fields["max_new_tokens"] = max_new_tokens
    if generation_config is not None:
        if "generation_config" in fields:
            raise InputError("generation_config is given twice, by itself and in generate_kwargs; give it once")
        fields["generation_config"] = generation_config
    return fields


def telling_confidence(model: Model, config: GenerationConfig) -> GenerationConfig:
    """The options that tell how sure the model is too, where its folder says how."""
    return config if model.folder.confidence is None else config.override(output_sequences_confidences=True)


def add_confidences(results: Sequence[dict[str, Any]], generation: Generation, unsure_below: float | None) -> None:
    """Put "confidence" into each result, where the generation has them, and "unsure": whether it is below the border.

    unsure_below: the border, see Model.unsure_below; None of a model that has none.
    """
    if generation.sequences_confidences is None or unsure_below is None:
        return
    for result, confidence in zip(results, generation.sequences_confidences.tolist(), strict=True):
        result |= {"confidence": confidence, "unsure": confidence < unsure_below}


def params_of_task(config: Mapping[str, Any], task: str) -> dict[str, Any]:
    """What an old config.json says of this task alone."""
    tasks = config.get("task_specific_params")
    found = tasks.get(task) if isinstance(tasks, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def checked_batch_size(batch_size: int) -> int:
    """The same. Raises InputError for what is no number of inputs."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= _MOST_AT_ONCE:
        right = f"a whole number from 1 to {_MOST_AT_ONCE}"
        raise InputError(f"batch_size must be {right}, not {written(batch_size)}")
    return batch_size
