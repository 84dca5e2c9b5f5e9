"""Runs a written folder beside the model it was made of, and says how far they agree.

The reference is transformers' generate, greedy and with 4 beams, on photos or texts made here. Dimensions: `B` inputs,
`T` tokens of a sequence, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.errors import ExportError
from fuseline.folders.tensors import ATTENTION_MASK, INPUT_IDS, INPUT_VALUES, PIXEL_VALUES
from fuseline.graphs.contract import Encoded
from fuseline.graphs.sources import count_of
from fuseline.model import Model

from .adapters import model_adapter
from .checkpoints.photo_size import generated_pixels

TRANSFORMERS = "transformers"
PHOTOS, MAX_LENGTH, BEAMS = 4, 16, 4
SMALL, ROWS = 256, 8  # pixels on a side of photos that are asked about together, and sequences of them at once
# Log-probabilities this close are a tie, which rounding decides: float32 logits of the two engines differ by some 1e-5,
# and the project's bound for them is 2e-4, so that each of two log-probabilities may move by that much.
TIE = 4e-4

Array = npt.NDArray[Any]
Inputs = Mapping[str, Array]  # what an encoder reads, by its names: [B, ...] each; of a decoder alone none, B is 1


@dataclass(frozen=True)
class Agreement:
    """How one variant compares with transformers on generated photos or texts."""

    inputs: int
    """how many of them"""
    max_length: int
    texts: int
    """how many different sequences the reference gave with beams: 1 of many photos shows little"""
    greedy: float
    """share of equal sequences without beams"""
    beam: float
    """share of equal sequences with 4 beams"""
    logits: float
    """largest difference of a logit along the reference's greedy sequences"""
    tokens: float
    """share of the positions along them where both would say the same token next"""
    first_difference: str | None
    """a sentence about a difference that is no tie, or else about the first tie; None where all sequences are equal"""
    tie: bool
    """every difference is between two tokens or texts whose log-probabilities are closer than TIE"""
    kind: str = "photos"
    """what was asked about: photos, texts or clips"""
    reference: str = TRANSFORMERS

    @property
    def photos(self) -> int:
        """How many inputs, by the name that this had when all of them were photos."""
        return self.inputs

    def record(self) -> dict[str, Any]:
        """As fuseline.json has it."""
        fields = asdict(self)
        count = "photos" if fields.pop("kind") == "photos" else "inputs"
        if self.reference == TRANSFORMERS:
            del fields["reference"]
        return {count: fields.pop("inputs"), **fields}


@dataclass(frozen=True)
class _Difference:
    sentence: str
    tie: bool


@dataclass(frozen=True)
class Answers:
    """What the model that was exported says of inputs; variants are compared with it when the model is gone."""

    inputs: Inputs
    max_length: int
    sequences: Mapping[int, Sequence[Array]]
    """of each input int64[T], by num_beams"""
    logits: Sequence[Array]
    """of each input float32[T - 1, V], along its sequence without beams"""
    reference: str = TRANSFORMERS
    """who says it"""

    @property
    def kind(self) -> str:
        """Photos, texts or clips; inputs of several sources; without inputs it is texts that are said."""
        if any(isinstance(each, Mapping) for each in self.inputs.values()):
            return "inputs"
        kinds = {PIXEL_VALUES: "photos", INPUT_IDS: "texts"}
        return next((kind for name, kind in kinds.items() if name in self.inputs), "clips" if self.inputs else "texts")


def ask(reference: Any, inputs: Inputs, ends: Sequence[int], max_positions: int) -> Answers:
    """The answers of a model as its loader gives it.

    ends: the tokens that end its texts; max_positions: how many tokens the exported decoder reads. Small photos, and
    texts, are asked about together, which takes half the time; large ones one by one, for the memory that attention
    takes.
    """
    import torch

    max_length, count = min(MAX_LENGTH, max_positions + 1), count_of(inputs)
    small = all(array[0].size <= 3 * SMALL**2 for array in inputs.values())
    sequences: dict[int, list[Array]] = {1: [], BEAMS: []}
    logits: list[Array] = []
    with _encoding_once(reference, inputs), torch.inference_mode():
        for beams, said in sequences.items():
            at_once = ROWS // beams if small and INPUT_VALUES not in inputs else 1
            for some in (_some(inputs, slice(first, first + at_once)) for first in range(0, count, at_once)):
                found = _generate(reference)(**_tensors(some), **_options(beams, max_length)).numpy()
                said += [until_end(row, ends) for row in found]
                if beams == 1:
                    logits.extend(_reference_logits(reference, some, found[:, :-1]))
    logits = [along[: len(said) - 1] for along, said in zip(logits, sequences[1], strict=True)]
    return Answers(inputs, max_length, sequences, logits)


def _generate(reference: Any) -> Callable[..., Any]:
    """Its generate. Of Whisper that of all models: what its own does beside it, fuseline does above the model."""
    from transformers import GenerationMixin, WhisperForConditionalGeneration

    if not isinstance(reference, WhisperForConditionalGeneration):
        own: Callable[..., Any] = reference.generate
        return own
    settings: Any = reference.generation_config
    settings.forced_decoder_ids = None  # of older versions; refused by this one
    plain: Callable[..., Any] = partial(GenerationMixin.generate, reference)
    return plain


def check(folder: Path, variant: str, reference: Any, photos: int = PHOTOS) -> Agreement:
    """Compare a variant of a folder that reads photos with reference, the model of transformers it was made of.

    Raises ExportError where fp32 differs by more than a tie, and what Model.from_pretrained raises.
    """
    model = Model.from_pretrained(folder, variant)
    ends, max_positions = model.generation_config.ends, model.folder.decoder.max_positions
    inputs = {PIXEL_VALUES: generated_pixels(model.image_processor, photos)}
    answers = ask(reference, inputs, ends, max_positions)
    return _compared(model, variant, answers, lambda: reference)


def compare(folder: Path, variant: str, answers: Answers, reference: Callable[[], Any]) -> Agreement:
    """As check, with answers that were asked before. reference: loads the model again, if something differs."""
    return _compared(Model.from_pretrained(folder, variant), variant, answers, reference)


def _compared(model: Model, variant: str, answers: Answers, reference: Callable[[], Any]) -> Agreement:
    encoded = model.encode(answers.inputs)
    shares: dict[int, float] = {}
    differences: list[_Difference] = []
    for beams, said in answers.sequences.items():
        found = model.generate(encoded, **_options(beams, answers.max_length)).sequences
        ended = [until_end(row, model.generation_config.ends) for row in found]
        width, pad = max(map(len, [*said, *ended])), model.generation_config.pad or 0
        expected, got = (_padded(rows, width, pad) for rows in (said, ended))
        shares[beams] = float((expected == got).all(axis=1).mean())
        if shares[beams] < 1:
            differences += _differences(model, reference(), answers, expected, got, beams)
    first = next((each for each in differences if not each.tie), differences[0] if differences else None)
    if variant == "fp32" and first is not None and not first.tie:
        raise ExportError(f"the exported model does not say what {answers.reference} says: {first.sentence}")
    logits, tokens = _along(model, encoded, answers)
    return Agreement(
        inputs=count_of(answers.inputs),
        max_length=answers.max_length,
        texts=len({row.tobytes() for row in answers.sequences[BEAMS]}),
        greedy=shares[1],
        beam=shares[BEAMS],
        logits=logits,
        tokens=tokens,
        first_difference=first.sentence if first else None,
        tie=all(each.tie for each in differences),
        kind=answers.kind,
        reference=answers.reference,
    )


def _along(model: Model, encoded: Encoded, answers: Answers) -> tuple[float, float]:
    """Along the greedy texts: the largest difference of logits, and the share of equal best tokens."""
    lengths = [len(each) for each in answers.logits]
    tokens = _padded([row[:-1] for row in answers.sequences[1]], max(lengths), 0)
    decoder = model.decoder
    state = decoder.start(encoded, 1, tokens.shape[1])
    worst, same = 0.0, 0
    for position in range(tokens.shape[1]):
        found = decoder.step(state, np.ascontiguousarray(tokens[:, position : position + 1]), None)
        for row, exact in zip(found, answers.logits, strict=True):
            if position < len(exact):
                worst = max(worst, float(np.abs(row - exact[position]).max()))
                same += int(row.argmax() == exact[position].argmax())
    return worst, same / sum(lengths)


def _options(beams: int, max_length: int) -> dict[str, Any]:
    return {"num_beams": beams, "max_length": max_length, "max_new_tokens": None, "num_return_sequences": 1}


def _some(inputs: Inputs, which: slice) -> Inputs:
    if any(isinstance(each, Mapping) for each in inputs.values()):
        return {name: _some(each, which) for name, each in inputs.items()}  # type: ignore[arg-type, misc]  # by source
    some = {name: array[which] for name, array in inputs.items()}
    if INPUT_VALUES in some:  # an encoder of samples norms over padding too, so each clip goes without
        longest = int(some[ATTENTION_MASK].sum(axis=1).max())
        some = {name: array[:, :longest] for name, array in some.items()}
    return some


def _tensors(inputs: Inputs) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array) for name, array in inputs.items()}


@contextmanager
def _encoding_once(reference: Any, inputs: Inputs) -> Iterator[None]:
    """The reference's encoder computes each photo once, alone, for all who ask for the same; texts are no such work."""
    import torch

    if PIXEL_VALUES not in inputs:
        yield
        return
    encoder: Any = model_adapter({"architectures": [type(reference).__name__]}).encoder(reference)
    own, forward = vars(encoder).get("forward"), encoder.forward  # its own where it always interpolates
    kept: dict[Any, tuple[Any, Any]] = {}

    def of_one(photo: Any, options: Mapping[str, Any]) -> Any:
        asked = {name: value for name, value in options.items() if value}  # False and None are defaults of all encoders
        key = (photo.data_ptr(), repr(sorted(asked.items())))
        if key not in kept:  # with the photo, so that nothing else takes its place in memory
            kept[key] = photo, forward(pixel_values=photo, **options)
        return kept[key][1]

    def remembered(pixel_values: Any, **options: Any) -> Any:
        found = [of_one(photo, options) for photo in pixel_values.split(1)]
        return type(found[0])({name: torch.cat([one[name] for one in found]) for name in found[0]})

    encoder.forward = remembered
    try:
        yield
    finally:
        del encoder.forward  # the class's again
        if own is not None:
            encoder.forward = own


def until_end(row: Array, ends: Sequence[int]) -> Array:
    """A sequence int64[T] up to its end token; the first may be one, since texts may begin with it."""
    found = np.flatnonzero(np.isin(row[1:], ends))
    return row[: found[0] + 2] if len(found) else row


def _padded(rows: Sequence[Array], width: int, pad: int) -> Array:
    return np.stack([np.pad(row, (0, width - len(row)), constant_values=pad) for row in rows])


def _differences(
    model: Model, reference: Any, answers: Answers, expected: Array, got: Array, beams: int
) -> list[_Difference]:
    """What differs, one an input. A greedy tie is one of two tokens, a beam's one of two texts with their scores."""
    found = []
    how, kind = "greedy" if beams == 1 else f"{beams} beams", answers.kind.removesuffix("s")
    for number in np.flatnonzero((expected != got).any(axis=1)):
        one, wanted, other = _some(answers.inputs, slice(number, number + 1)), expected[number], got[number]
        position = int(np.flatnonzero(wanted != other)[0])
        if position == 0:
            found.append(_Difference(f"{how}, {kind} {number}: the first token is {other[0]}, not {wanted[0]}", False))
            continue
        after = _log_probabilities(reference, one, wanted[None, :position])[0, -1]
        gap = float(after[wanted[position]] - after[other[position]])
        apart = gap if beams == 1 else _score(model, reference, one, wanted) - _score(model, reference, one, other)
        sentence = (
            f"{how}, {kind} {number}, position {position}: expected token {wanted[position]} and got "
            f"{other[position]}, whose log-probability there is {abs(gap):.3g} {'higher' if gap < 0 else 'lower'}"
        )
        found.append(_Difference(sentence, abs(apart) < TIE))
    return found


def _score(model: Model, reference: Any, inputs: Inputs, sequence: Array) -> float:
    """What beam search ranks a sequence int64[T] by: its log-probability over its length to the length penalty."""
    config = model.generation_config
    ended = np.flatnonzero(np.isin(sequence[1:], config.ends))
    length = int(ended[0]) + 1 if len(ended) else len(sequence) - 1
    after_TV = _log_probabilities(reference, inputs, sequence[None, :length])[0]
    total = float(after_TV[np.arange(length), sequence[1 : length + 1]].sum())
    return total / float(length**config.length_penalty)


def _log_probabilities(reference: Any, inputs: Inputs, tokens: Array) -> Array:
    """float64[B, T, V] after every token of int64[B, T], by the reference."""
    logits = _reference_logits(reference, inputs, tokens).astype(np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _reference_logits(reference: Any, inputs: Inputs, tokens: Array) -> Array:
    """float32[B, T, V]. reference: a model of transformers, or one that tells its logits itself."""
    if hasattr(reference, "logits"):
        told: Array = reference.logits(inputs, tokens)
        return told
    import torch

    adapter = model_adapter({"architectures": [type(reference).__name__]})
    with torch.inference_mode():
        logits: Array = adapter.logits(reference, _tensors(inputs), torch.from_numpy(tokens)).numpy()
    return logits
