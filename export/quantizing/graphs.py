"""The graphs of a smaller variant, made of those of floats and of what calibration showed of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from fuseline.errors import InputError
from fuseline.folders.own import Folder
from fuseline.model import Model

from ..graphs.linears import fuse_linears
from ..graphs.recode import errors, recode
from ..graphs.weights import FLOATS, Scheme
from ..quality.reading import Reading
from ..writing.graphs import load_graph
from ..writing.parts import DECODER, ENCODER, encoders_of, part_of
from .calibration import Calibration, Moments
from .convolutions import calibrate_convolutions, is_convolutional, store_convolutions
from .examples import Example, batches

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Made:
    """The graphs of a variant. errors: by matrix, how much of its layer's output is rounding error, the largest first;
    half: the matrices that were left in half precision."""

    graphs: Mapping[str, onnx.ModelProto]
    errors: Mapping[str, float]
    half: Sequence[str]


class FloatGraphs:
    """The graphs of floats, and what examples showed of them."""

    def __init__(
        self,
        folder: Folder,
        model: Model,
        source: str,
        examples: Sequence[Example],
        tell: Progress,
        reading: Reading = Reading(),  # noqa: B008 - frozen
    ) -> None:
        """model: the folder's variant `source`, which is one of floats; examples: to calibrate with, or none."""
        self.model, self.source, self.tell = model, source, tell
        files = folder.variants[source]
        scheme: Scheme = "fp16" if source == "fp16" else "fp32"
        several = len(files.encoders) > 1
        self._parts = {
            part_of(name) if several else ENCODER: fuse_linears(load_graph(folder.path / file), scheme)
            for name, file in files.encoders.items()
        }
        self._parts[DECODER] = load_graph(folder.path / files.decoder)
        self._moments: dict[str, Moments] = {part: {} for part in self._parts}
        self._seen = batches(model, examples, reading)
        if examples:
            self._calibrate(reading)

    def _calibrate(self, reading: Reading) -> None:
        self.tell(1, 3, "calibrating")
        config = reading.config(self.model)
        calibration = Calibration(self.model, self._parts[ENCODER], self._parts[DECODER], config, reading)
        for batch in self._seen:
            calibration.see(batch)
        self._moments = {part: calibration.moments(part) for part in self._parts}

    def variant(self, scheme: Scheme, half: int = 0, static: bool = False) -> Made:
        """Its graphs. half, static: as for quantize."""
        self.tell(1, 3, f"making {scheme}")
        graphs, wrong = {}, dict[str, float]()
        for part, model in self._parts.items():
            graphs[part] = recode(model, scheme, self._moments[part])
            wrong |= errors(model, graphs[part], self._moments[part])
        wrong = dict(sorted(wrong.items(), key=lambda each: -each[1]))
        if scheme not in FLOATS and 0 < half >= len(wrong):
            raise InputError(
                f"half {half} leaves none of the {len(wrong)} matrices to be stored in {scheme}; give a smaller "
                "number, or ask for the variant fp16"
            )
        left = list(wrong)[:half] if scheme not in FLOATS else []
        if left:
            halves: dict[str, Scheme] = dict.fromkeys(left, "fp16")
            graphs = {part: recode(model, scheme, self._moments[part], halves) for part, model in self._parts.items()}
        for part in encoders_of(graphs) if scheme not in FLOATS else ():
            if is_convolutional(graphs[part]):
                made = graphs[part]
                graphs[part] = calibrate_convolutions(made, self._seen) if static else store_convolutions(made)
        return Made(graphs, wrong, left)
