"""What texts begin with: the start token, and what a caller gives beside it, as Model.generate has it.

Dimensions: `B` inputs of a call, `P` prompts, one or B, `T` their tokens.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from .nodes import Nodes, Value

NAME = "decoder_input_ids"
_PROMPT = Value(TensorProto.INT64, ["P", "T"])


def prompt(g: Nodes, given_PT: str, batch: str, vocab_size: int, start: int | None) -> str:
    """int64[P, T]: the prompts of a call, the start token before them where no prompt has it.

    batch: int64 without dimensions; start: the start token, None for a model whose prompts get none.
    """
    with g.scope("prompt"):
        given_PT = _checked(g, given_PT, batch, vocab_size)
        if start is None:
            return given_PT
        first = g.op("Slice", given_PT, g.ints(0), g.ints(1), g.ints(1))
        begun = g.cast(g.op("Equal", first, g.whole(start)), TensorProto.INT32)
        some_begun = g.cast(g.op("ReduceMax", begun, keepdims=0), TensorProto.BOOL)

        def with_start(g: Nodes) -> list[str]:
            starts = g.filled(g.joined(g.sizes(given_PT, 0), g.ints(1)), np.array(start, np.int64))
            return [g.joined(starts, given_PT, axis=1)]

        return g.choice(some_begun, lambda _: [given_PT], with_start, [_PROMPT])[0]


def _checked(g: Nodes, given_PT: str, batch: str, vocab_size: int) -> str:
    """The same. A run fails where it is no prompt of this call."""
    count = g.size(given_PT, 0)
    one_each = g.op("Or", g.op("Equal", count, g.whole(1)), g.op("Equal", count, batch))
    some = g.op("And", one_each, g.op("Greater", g.size(given_PT, 1), g.whole(0)))
    checked = g.checked(given_PT, some, f"{NAME} must have tokens, and one row, or one for each input")
    least, most = (g.op(kind, checked, keepdims=0) for kind in ("ReduceMin", "ReduceMax"))
    return g.checked(checked, g.within(least, most, (0, vocab_size - 1)), f"{NAME} must be from 0 to {vocab_size - 1}")
