"""What encoders of speech share: convolutions over time, then layers over what they give.

Names of values end in their shapes; fuseline.export.graphs.graph has the legend, F stands for frames or samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graphs.architecture import Pen
from ..graphs.tensors import Tensors
from .written import WrittenEncoder


class SpeechEncoder(WrittenEncoder):
    """An encoder of one architecture; it has no tokens, so `tokens` names its first convolution, which tells where in
    a checkpoint its tensors are."""

    inputs: tuple[str, ...]
    """the names of what a call gives"""

    def tables(self) -> dict[str, tuple[int, int]]:
        return {}

    @classmethod
    def samples_a_position(cls, config: Mapping[str, Any]) -> int | None:
        """How many samples a position stands for, of an encoder that reads samples."""
        return None


def convolution(pen: Pen, x_BCF: str, name: str, stride: int = 1, pad: int = 0) -> str:
    """float32[B, C, F] -> float32[B, E, F / stride]: the convolution over time of that name."""
    g, weight_ECK = pen.g, pen.weights[f"{name}.weight"]
    inputs = [x_BCF, g.weight(f"{name}.weight", weight_ECK)]
    if f"{name}.bias" in pen.weights:
        inputs.append(g.weight(f"{name}.bias", pen.weights[f"{name}.bias"]))
    return g.op("Conv", *inputs, kernel_shape=[weight_ECK.shape[2]], strides=[stride], pads=[pad, pad])


def convolutions(shapes: Mapping[str, tuple[int, int, int]], without_bias: tuple[str, ...] = ()) -> Tensors:
    """The tensors of convolutions. shapes: outputs, inputs and width of the kernel by name."""
    wanted = Tensors()
    for name, shape in shapes.items():
        wanted.others[f"{name}.weight"] = shape
        if name not in without_bias:
            wanted.others[f"{name}.bias"] = shape[:1]
    return wanted
