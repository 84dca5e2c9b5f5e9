"""What Whisper's texts begin with: the start token, the language that is spoken, the task, and that no times follow.

fuseline.speech.vocabulary says it for the runtime. A language that nobody gives is heard by a step of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from fuseline.errors import ExportError
from fuseline.speech.vocabulary import Vocabulary

from .nodes import Nodes, Value
from .options import LANGUAGE, TASK, Option, not_done

HEARD = -1  # in the place of a language
UNSAID = -1  # in the place of a task
_TRANSCRIBE = "transcribe"
_WHOLE, _PROMPT = Value(TensorProto.INT64, []), Value(TensorProto.INT64, ["P", "T"])
_COLUMN = Value(TensorProto.INT64, ["B", 1])


@dataclass(frozen=True)
class Beginning:
    """The tokens of a model that knows several languages. language, task: what its files ask for."""

    start: int
    languages: Mapping[str, int]
    tasks: Mapping[str, int]
    no_timestamps: int
    language: int
    task: int

    @property
    def options(self) -> dict[str, Option]:
        """As inputs of a graph."""
        spoken = f"the token of a language; {HEARD} for the one that is heard"
        said = f"the token of a task; {UNSAID}: transcribe, and where the language is heard none"
        return {
            LANGUAGE: Option(_WHOLE, np.array(self.language, np.int64), spoken),
            TASK: Option(_WHOLE, np.array(self.task, np.int64), said),
        }

    def prompt(
        self,
        g: Nodes,
        options: Mapping[str, str],
        batch: str,
        asked_for: Callable[[Nodes], str],
        first_logits: Callable[[Nodes, str], str],
    ) -> str:
        """int64[P, T]: the prompt that is given, where it has tokens, or else that of the language and the task.

        batch: how many clips, int64 without dimensions; asked_for: the prompt that is given; first_logits: float32[B,
        V] after a prompt int64[1, 1].
        """
        given = options["decoder_input_ids"]
        with g.scope("begin"):
            return g.choice(
                g.op("Greater", g.size(given, 1), g.whole(0)),
                lambda inner: [asked_for(inner)],
                lambda inner: [self._made(inner, options, batch, first_logits)],
                [_PROMPT],
            )[0]

    def _made(self, g: Nodes, options: Mapping[str, str], batch: str, first_logits: Callable[[Nodes, str], str]) -> str:
        """int64[B, 3], or int64[B, 4] with a task."""
        language = _one_of(
            g,
            options[LANGUAGE],
            [HEARD, *self.languages.values()],
            f"{LANGUAGE} must be a language's token, or {HEARD}",
        )
        task = _one_of(g, options[TASK], [UNSAID, *self.tasks.values()], f"{TASK} must be a task's token, or {UNSAID}")
        column = g.joined(g.one(batch), g.ints(1))
        unknown = g.op("Equal", language, g.whole(HEARD))
        spoken = g.choice(
            unknown,
            lambda inner: [self._heard(inner, first_logits)],
            lambda inner: [inner.op("Expand", language, column)],
            [_COLUMN],
        )[0]
        if _TRANSCRIBE in self.tasks:
            plain = g.op("Where", unknown, g.whole(UNSAID), g.whole(self.tasks[_TRANSCRIBE]))
            task = g.op("Where", g.op("Equal", task, g.whole(UNSAID)), plain, task)
        said = g.cast(g.op("Greater", task, g.whole(UNSAID)), TensorProto.INT64)
        tasks = g.op("Expand", task, g.joined(g.one(batch), g.one(said)))
        start, last = (g.op("Expand", g.whole(token), column) for token in (self.start, self.no_timestamps))
        return g.joined(start, spoken, tasks, last, axis=1)

    def _heard(self, g: Nodes, first_logits: Callable[[Nodes, str], str]) -> str:
        """int64[B, 1]: the likeliest languages after the start token."""
        logits = first_logits(g, g.op("Reshape", g.whole(self.start), g.ints(1, 1)))
        tokens = g.constant("languages", np.array(sorted(self.languages.values()), np.int64))
        likeliest = g.op("ArgMax", g.op("Gather", logits, tokens, axis=1), axis=1, keepdims=1)
        return g.op("Gather", tokens, likeliest)


def beginning_of(opened: Any) -> tuple[Sequence[int], Beginning | None]:
    """What texts begin with where a call says nothing, and of a model of several languages what it may say.

    opened: an open Model of Whisper. Raises ExportError for one whose files ask for what graphs do not do.
    """
    vocabulary = Vocabulary.of(opened)
    if opened.folder.generation_config.get("return_timestamps") is True:
        raise not_done("return_timestamps=True")
    listens = vocabulary.listens(None, None)
    begin = vocabulary.begin(None, None, HEARD if listens else None, timestamps=False)
    start, *others = begin
    last = vocabulary.no_timestamps
    task = others[1] if len(others) == 3 else UNSAID
    known = bool(vocabulary.languages) and last is not None and begin[-1] == last
    if not known or others[0] not in (HEARD, *vocabulary.languages.values()) or len(others) not in (2, 3):
        if listens:
            raise ExportError(f"this model's texts begin with {list(begin)}, in which no language can be heard")
        return begin, None
    assert last is not None  # since known
    return begin, Beginning(start, vocabulary.languages, vocabulary.tasks, last, others[0], task)


def _one_of(g: Nodes, token: str, known: Sequence[int], rule: str) -> str:
    """The same. A run fails where it is none of them."""
    same = g.op("Equal", token, g.constant(rule, np.array(known, np.int64)))
    there = g.op("ReduceMax", g.cast(same, TensorProto.INT32), keepdims=0)
    return g.checked(token, g.cast(there, TensorProto.BOOL), rule)
