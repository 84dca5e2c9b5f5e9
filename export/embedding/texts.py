"""Tokens into texts, in a graph: the words of a sequence one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto

from .nodes import Nodes, Value
from .words import Words

_TEXT, _BEGUN = Value(TensorProto.STRING, ["n"]), Value(TensorProto.BOOL, ["n"])


def texts(g: Nodes, sequences: str, words: Words) -> str:
    """int64[n, T] -> string[n], UTF-8, before the clean-up that the words may need."""
    with g.scope("text"):
        count = g.sizes(sequences, 0)
        later = _table(g, "words/later", words.later)
        first = later if words.first == words.later else _table(g, "words/first", words.first)
        begins = g.weight("words/begins", np.array(words.begins, np.bool_))

        def add(g: Nodes, place: str, state: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
            tokens = g.op("Gather", sequences, place, axis=1)
            word = g.op("Gather", later, tokens)
            if first != later:
                word = g.op("Where", state["begun"], word, g.op("Gather", first, tokens))
            begun = g.op("Or", state["begun"], g.op("Gather", begins, tokens))
            go_on = g.cast(g.whole(1), TensorProto.BOOL)
            return go_on, {"text": g.op("StringConcat", state["text"], word), "begun": begun}

        nothing = g.op("Expand", _table(g, "words/none", [b""]), count)
        none_begun = g.cast(g.filled(count, np.array(0, np.int64)), TensorProto.BOOL)
        state = {"text": (nothing, _TEXT), "begun": (none_begun, _BEGUN)}
        return g.repeated(g.size(sequences, 1), state, add)["text"]


def _table(g: Nodes, name: str, words: Sequence[bytes]) -> str:
    """Words as a constant, string[V]."""
    g.root.proto.initializer.add(name=name, dims=[len(words)], data_type=TensorProto.STRING, string_data=words)
    return g.root._take(name)
