"""What the linear layers of a model see when it describes photos: the second moments of their inputs, for GPTQ.

Dimensions: `N` photos, `T` tokens of a text, `R` rows, `I` inputs of a layer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from fuseline.errors import InputError, counted
from fuseline.inputs.images import load_image
from fuseline.model import Model

from ..graphs.recode import float_matrices
from ..graphs.weights import Array
from ..writing.folder import save_graph

LEAST_PHOTOS = 8
MOST_PHOTOS = 128  # more changed nothing: 2,000 rows were enough for the layers of the default captioner
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_AT_ONCE = 8
# However many cores there are: onnxruntime cuts a product's sums by the number of its threads, and the last bits of
# what layers see decide some of the codes. 16 threads gave other codes than 2.
_THREADS = 2

Moments = Mapping[str, Array]


def calibration_photos(folder: Path, most: int | None = MOST_PHOTOS) -> list[Path]:
    """So many photos of a folder, spread evenly over their names; None: all. Raises InputError for too few."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of photos to calibrate with")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
    if len(found) < LEAST_PHOTOS:
        raise InputError(f"{folder} has {counted(len(found), 'photo')}, and calibrating takes at least {LEAST_PHOTOS}")
    if most is None or len(found) <= most:
        return found
    return [found[index * len(found) // most] for index in range(most)]


def pixel_batches(model: Model, photos: Sequence[Path]) -> list[Array]:
    """pixel_values of the photos, float32[N, 3, height, width] each, a few together."""
    starts = range(0, len(photos), _AT_ONCE)
    return [model.image_processor([load_image(path) for path in photos[at : at + _AT_ONCE]]) for at in starts]


class Calibration:
    """Runs a folder's float graphs over photos and keeps what their layers see."""

    def __init__(self, model: Model, encoder: onnx.ModelProto, decoder: onnx.ModelProto) -> None:
        """model: the variant of floats; encoder, decoder: its graphs, with all linear layers fused."""
        self._model = model
        self._graphs = {"encoder": _Watched(encoder), "decoder": _Watched(decoder)}

    def see(self, pixels: Array) -> None:
        """Describe photos, float32[N, 3, height, width], and read each text once more, all its tokens at once."""
        model = self._model
        sequences = model.generate(pixels, num_return_sequences=1).sequences
        cross = self._graphs["encoder"].run({"pixel_values": pixels}, None)
        ends = np.isin(sequences, model.generation_config.ends)
        ends[:, 0] = False  # a text may begin with the token that ends it
        tokens = sequences[:, :-1]
        said = (ends[:, :-1].cumsum(axis=1) == 0).reshape(-1)
        feeds = {"input_ids": np.ascontiguousarray(tokens), "position": np.zeros(1, np.int64)} | cross
        rows, length = tokens.shape
        feeds["beam_table"] = np.repeat(np.arange(rows)[:, None], length, axis=1)
        sizes = model.folder.decoder
        for layer in range(sizes.layers):
            for part in ("key", "value"):
                feeds[f"past_key_values.{layer}.decoder.{part}"] = np.zeros((length, rows, sizes.width), np.float32)
        self._graphs["decoder"].run(feeds, said)

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
        """The graph's own results. rows: bool[R x T], which of the decoder's rows count."""
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
