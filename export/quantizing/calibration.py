"""What a model's linear layers see when it reads photos, texts or speech: second moments of their inputs, for GPTQ.

Dimensions: `B` inputs of a call, `S` encoder positions, `T` tokens of a text, `R` rows, `I` inputs of a layer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from fuseline.folders.tensors import (
    ATTENTION_MASK,
    BEAM_TABLE,
    INPUT_IDS,
    INPUT_VALUES,
    LENGTHS,
    PAST,
    POSITION,
    SELF,
    kv_names,
)
from fuseline.generation.config import GenerationConfig
from fuseline.model import Model

from ..graphs.recode import float_matrices
from ..graphs.weights import Array
from ..quality.reading import Inputs, Reading
from ..writing.graphs import save_graph

# However many cores there are: onnxruntime cuts a product's sums by the number of its threads, and the last bits of
# what layers see decide some of the codes. 16 threads gave other codes than 2.
_THREADS = 2

Moments = Mapping[str, Array]


class Calibration:
    """Runs a folder's float graphs over photos, texts or clips and keeps what their layers see."""

    def __init__(
        self,
        model: Model,
        encoder: onnx.ModelProto,
        decoder: onnx.ModelProto,
        config: GenerationConfig,
        reading: Reading = Reading(),  # noqa: B008 - frozen
    ) -> None:
        """model: the variant of floats; encoder, decoder: its graphs, with all linear layers fused; config: for
        generate; reading: what texts begin with."""
        self._model, self._config, self._reading = model, config.override(num_return_sequences=1), reading
        self._graphs = {"encoder": _Watched(encoder), "decoder": _Watched(decoder)}

    def see(self, inputs: Inputs) -> None:
        """Say what comes of inputs, and read each text once more, all its tokens at once. Padding is not seen.

        Clips of samples come one by one, since that is how their encoder reads them.
        """
        model = self._model
        encoded = model.encode(inputs)
        prompt = self._reading.prompt(model, encoded)
        sequences = model.generate(encoded, prompt, generation_config=self._config).sequences
        mask = inputs.get(ATTENTION_MASK) if INPUT_IDS in inputs else None
        read = {name: value for name, value in inputs.items() if INPUT_VALUES not in inputs or name == INPUT_VALUES}
        cross = self._graphs["encoder"].run(read, None if mask is None else mask.reshape(-1) == 1)
        ends = np.isin(sequences, model.generation_config.ends)
        ends[:, 0] = False  # a text may begin with the token that ends it
        said = (ends[:, :-1].cumsum(axis=1) == 0).reshape(-1)
        lengths = {} if encoded.lengths is None else {LENGTHS: encoded.lengths}
        self._graphs["decoder"].run(self._whole(sequences[:, :-1]) | cross | lengths, said)

    def _whole(self, tokens: Array) -> dict[str, Array]:
        """What a decoder reads of tokens int64[R, T], all in one step, but for what was encoded."""
        (rows, length), sizes = tokens.shape, self._model.folder.decoder
        names = [name for layer in range(sizes.layers) for name in kv_names(PAST, layer, SELF)]
        return {
            INPUT_IDS: np.ascontiguousarray(tokens),
            POSITION: np.zeros(1, np.int64),
            BEAM_TABLE: np.repeat(np.arange(rows)[:, None], length, axis=1),
            **{name: np.zeros((length, rows, sizes.width), np.float32) for name in names},
        }

    def moments(self, part: str) -> Moments:
        """By the value that a layer of the encoder or decoder multiplies: float64[I, I], the mean of x x'."""
        return self._graphs[part].moments()


def products(seen: Array) -> Array:
    """float64[I, I]: the sum of x x' over the rows x of float32[R, I].

    In float64, since the order of adding is the CPU's: in float32 its last bits decided some of the codes.
    """
    exact = seen.astype(np.float64)
    result: Array = exact.T @ exact
    return result


class _Watched:
    """A graph whose layers' inputs come out beside its results."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnxruntime import InferenceSession, SessionOptions

        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        self._results = [value.name for value in model.graph.output]
        self._inputs = list(dict.fromkeys(each.x for each in float_matrices(model) if each.x and not each.table))
        there = {value.name for value in [*model.graph.output, *model.graph.input]}
        new = [name for name in self._inputs if name not in there]
        watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in new)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "watched.onnx"
            save_graph(watched, path)
            options = SessionOptions()
            options.intra_op_num_threads = _THREADS
            self._session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._sums: dict[str, Array] = {}
        self._rows: dict[str, int] = {}

    def run(self, feeds: Mapping[str, Array], rows: Array | None) -> dict[str, Array]:
        """The graph's own results. rows: which rows count, bool[B x S] of an encoder, bool[R x T] of a decoder."""
        names = list(dict.fromkeys([*self._results, *self._inputs]))
        values = dict(zip(names, self._session.run(names, feeds), strict=True))
        for name in self._inputs:
            value = values[name]
            seen = value.reshape(-1, value.shape[-1])
            if rows is not None and len(seen) == len(rows):
                seen = seen[rows]
            self._sums[name] = self._sums.get(name, 0.0) + products(seen)
            self._rows[name] = self._rows.get(name, 0) + len(seen)
        return {name: values[name] for name in self._results}

    def moments(self) -> Moments:
        return {name: total / self._rows[name] for name, total in self._sums.items()}
