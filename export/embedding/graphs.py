"""The embedded graphs: start and step, between which a host loops, and one that does everything in a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

import fuseline.export.embedding.options as asked
import fuseline.export.embedding.state as carried
from fuseline.folders.own import Folder
from fuseline.folders.tensors import BEAM_TABLE, INPUT_IDS, LOGITS, PAST, POSITION, PRESENT

from ..graphs.weights_file import WeightsFile
from .found import found
from .nodes import Nodes, Value
from .options import OF_START, OF_STEP, Option
from .parts import Part, new_graph
from .prompt import prompt
from .search import advanced
from .sources import Reader, declare, encoded
from .state import PROMPT_LENGTH, Call, begin, values_of
from .texts import texts
from .whisper import Beginning
from .words import Words

STATE, NEXT, GIVEN = "state", "next", "given"  # what a step reads and gives; what does not change from step to step
SEQUENCES, SEQUENCES_SCORES, TEXT, FINISHED = "sequences", "sequences_scores", "text", "finished"
PARTIAL = "partial"
_ROOM = 64  # positions that caches begin with after the prompt, and get more, where a Loop copies them
_OUTPUTS = {
    SEQUENCES: Value(TensorProto.INT64, ["n", "tokens"]),
    SEQUENCES_SCORES: Value(TensorProto.FLOAT, ["n"]),
    TEXT: Value(TensorProto.STRING, ["n"]),
    FINISHED: Value(TensorProto.BOOL, []),
}


@dataclass(frozen=True)
class Model:
    """A folder as its embedded graphs are made of it. pad: its pad token; start: the start token that prompts get, None
    where they get none; words: None where texts are not made of them."""

    folder: Folder
    readers: Mapping[str, Reader]
    decoder: Part
    options: Mapping[str, Option]
    pad: int | None
    start: int | None
    words: Words | None
    beginning: Beginning | None = None
    """of Whisper, where it knows several languages"""

    @property
    def parts(self) -> list[Part]:
        """All graphs of the folder."""
        return [*(reader.part for reader in self.readers.values()), self.decoder]


def start_graph(model: Model, outside: WeightsFile) -> onnx.ModelProto:
    """What is given and the state before the first step, of the inputs of a call."""
    g = new_graph("start", model.parts, outside)
    state, given = _begun(g, model, declare(g, model.readers), _options(g, model, OF_START))
    kinds = _given_values(model)
    for name, value in given.items():
        g.give(value, f"{GIVEN}.{name}", kinds[name])
    for name, what in values_of(model.folder.decoder).items():
        g.give(state[name], f"{STATE}.{name}", what)
    return g.model


def step_graph(model: Model, outside: WeightsFile) -> onnx.ModelProto:
    """A token more for every open sequence: the state after a step, and once the search is over the best sequences.

    With `partial` they are there after every step, as if the search ended there; without it they are empty until then.
    """
    g = new_graph("step", model.parts, outside)
    kinds = values_of(model.folder.decoder)
    state = {name: g.input(f"{STATE}.{name}", what.dtype, what.shape) for name, what in kinds.items()}
    given = {name: g.input(f"{GIVEN}.{name}", what.dtype, what.shape) for name, what in _given_values(model).items()}
    options = _options(g, model, OF_STEP)
    partial = g.default(PARTIAL, _OUTPUTS[FINISHED], np.array(False))
    after, over = _stepped(g, model, state, given, options)
    sequences, scores = g.choice(
        g.op("Or", over, partial),
        lambda inner: found(inner, after, over, given[PROMPT_LENGTH], options, model.pad),
        lambda inner: [
            inner.filled(inner.ints(0, 0), np.array(0, np.int64)),
            inner.filled(inner.ints(0), np.array(0, np.float32)),
        ],
        [_OUTPUTS[SEQUENCES], _OUTPUTS[SEQUENCES_SCORES]],
    )
    for name, value in {FINISHED: over, SEQUENCES: sequences, SEQUENCES_SCORES: scores}.items():
        g.give(value, name, _OUTPUTS[name])
    for name, what in kinds.items():
        g.give(after[name], f"{NEXT}.{name}", what)
    return g.model


def whole_graph(model: Model, outside: WeightsFile) -> onnx.ModelProto:
    """Everything in one call: the best sequences, their scores and texts."""
    g = new_graph("whole", model.parts, outside)
    options = _options(g, model, (*OF_START, *OF_STEP))
    state, given = _begun(g, model, declare(g, model.readers), options, room=_ROOM)
    last = _searched(g, model, state, given, options)
    over = g.cast(g.whole(1), TensorProto.BOOL)  # at the greatest length nothing is open
    sequences, scores = found(g, last, over, given[PROMPT_LENGTH], options, model.pad)
    results = {SEQUENCES: sequences, SEQUENCES_SCORES: scores}
    if model.words is not None:
        results[TEXT] = texts(g, sequences, model.words)
    for name, value in results.items():
        g.give(value, name, _OUTPUTS[name])
    return g.model


def _searched(
    g: Nodes, model: Model, state: Mapping[str, str], given: Mapping[str, str], options: Mapping[str, str]
) -> dict[str, str]:
    """The state after the last step. A Loop in a Loop: the inner one copies the caches with each step, so they begin
    small, and the outer one makes them larger when they are full."""
    sizes = model.folder.decoder
    kinds = values_of(sizes) | {FINISHED: _OUTPUTS[FINISHED]}
    longest = g.size(state[carried.HISTORY], 1)
    positions = carried.capacity(g, longest, sizes)

    def step(g: Nodes, number: str, state: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        after, over = _stepped(g, model, state, given, options)
        return g.op("Not", over), after | {FINISHED: over}

    def steps(g: Nodes, number: str, state: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        missing = g.op("Sub", positions, g.size(state[carried.BEAM_TABLE], 1))
        first = g.op("Equal", number, g.whole(0))
        more = g.op("Where", first, g.whole(0), g.op("Min", missing, g.whole(_ROOM)))
        state = dict(state) | carried.with_room(g, state, more, sizes)
        # A step writes the positions up to the last token, so the sequences may have one token more than there are.
        end = g.op("Min", g.op("Add", g.size(state[carried.BEAM_TABLE], 1), g.whole(1)), longest)
        most_here = g.op("Sub", end, state[carried.LENGTH])
        after = g.repeated(most_here, {name: (state[name], what) for name, what in kinds.items()}, step)
        return g.op("Not", after[FINISHED]), after

    begun = dict(state) | {FINISHED: g.cast(g.whole(0), TensorProto.BOOL)}
    most = g.op("Sub", longest, given[PROMPT_LENGTH])
    return g.repeated(most, {name: (begun[name], what) for name, what in kinds.items()}, steps)


def _options(g: Nodes, model: Model, names: Sequence[str]) -> dict[str, str]:
    return asked.declare(g, model.options, names, model.folder.decoder.vocab_size)


def _begun(
    g: Nodes, model: Model, inputs: Mapping[str, str], options: Mapping[str, str], room: int | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """The state before the first step, and what does not change: what was encoded, and how long the prompt is."""
    given, batch = encoded(g, model.readers, inputs, model.decoder, model.folder.decoder)
    beams = options["num_beams"]
    good = g.within(beams, beams, (1, asked.MOST_BEAMS))
    beams = g.checked(beams, good, f"num_beams must be at least 1, and at most {asked.MOST_BEAMS}")
    begins = _prompt(g, model, options, batch, given)
    state = begin(g, Call(batch, beams, options["max_length"], begins), model.folder.decoder, room)
    return state, given | {PROMPT_LENGTH: g.size(begins, 1)}


def _prompt(g: Nodes, model: Model, options: Mapping[str, str], batch: str, encoded: Mapping[str, str]) -> str:
    """int64[P, T]: what the texts begin with, which of Whisper may be heard."""
    sizes = model.folder.decoder

    def asked_for(g: Nodes) -> str:
        return prompt(g, options["decoder_input_ids"], batch, sizes.vocab_size, model.start)

    def first_logits(g: Nodes, start: str) -> str:
        one = begin(g, Call(batch, g.whole(1), g.whole(2), start), sizes)
        return _decoded(g, model, one, encoded)[LOGITS]

    if model.beginning is None:
        return asked_for(g)
    return model.beginning.prompt(g, options, batch, asked_for, first_logits)


def _stepped(
    g: Nodes, model: Model, state: Mapping[str, str], given: Mapping[str, str], options: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """The state after a step, and whether the search is over."""
    results = _decoded(g, model, state, given)
    after, over = advanced(g, results[LOGITS], state, given[PROMPT_LENGTH], options)
    return after | {name: results[name] for name in carried.caches_of(model.folder.decoder)}, over


def _decoded(g: Nodes, model: Model, state: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """LOGITS of what may come next, and the caches by their names in the state, after a step of the decoder."""
    sizes = model.folder.decoder
    position = g.op("Sub", g.one(state[carried.LENGTH]), g.sizes(state[carried.TOKENS], 1))
    caches = {name: state[name] for name in carried.caches_of(sizes)}
    cross = {name: value for name, value in given.items() if name != PROMPT_LENGTH}
    steering = {INPUT_IDS: state[carried.TOKENS], POSITION: position, BEAM_TABLE: state[carried.BEAM_TABLE]}
    present = {name: name.replace(PAST, PRESENT, 1) for name in caches}
    results = model.decoder.paste(g, steering | caches | cross, [LOGITS, *present.values()])
    return {LOGITS: results[LOGITS]} | {name: results[there] for name, there in present.items()}


def _given_values(model: Model) -> dict[str, Value]:
    """What does not change from step to step, by name."""
    state = {INPUT_IDS, POSITION, BEAM_TABLE, *carried.caches_of(model.folder.decoder)}
    read = {name: what for name, what in model.decoder.inputs.items() if name not in state}
    return read | {PROMPT_LENGTH: Value(TensorProto.INT64, [])}
