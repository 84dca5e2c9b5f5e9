"""DINOv2 (arXiv:2304.07193), with registers (arXiv:2309.16588) or without.

Source: transformers' modeling_dinov2.py and modeling_dinov2_with_registers.py for the arithmetic (their eager form) and
the tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..graphs.architecture import Pen
from ..graphs.graph import Array
from ..graphs.tensors import Tensors
from .vision_encoder import Names
from .vit import Vit

_REGISTERS = "embeddings.register_tokens"


class Dinov2(Vit):
    """What each part of a layer gives is scaled by numbers of its own, which its last linear layer takes in."""

    title = "DINOv2"
    names = Names("norm1", Vit.names.qkv, "attention.output.dense", "norm2", "mlp.fc1", "mlp.fc2")
    scales: ClassVar = {"layer_scale1.lambda1": "attention.output.dense", "layer_scale2.lambda1": "mlp.fc2"}

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__({**config, "intermediate_size": int(config["hidden_size"] * config["mlp_ratio"])})

    def takes(self) -> bool:
        """Positions are interpolated to any photo that is no square."""
        height, width = self.photo()
        return super().takes() and height == width

    def tensors(self) -> Tensors:
        wanted = super().tensors()
        for at in map(self.at, range(self.sizes.layers)):
            wanted.others.update({at + name: (self.sizes.width,) for name in self.scales})
        return wanted

    def _weights(self, state_dict: Mapping[str, Array]) -> dict[str, Array]:
        weights = super()._weights(state_dict)
        for at in map(self.at, range(self.sizes.layers)):
            for name, linear in self.scales.items():
                scale_E = weights.pop(at + name)
                for part in (f"{at}{linear}.weight", f"{at}{linear}.bias"):
                    weights[part] = weights[part] * scale_E
        return weights


class Dinov2Gated(Dinov2):
    """The network of a layer is gated: silu of a half, times the other half."""

    names = Names("norm1", Vit.names.qkv, "attention.output.dense", "norm2", "mlp.weights_in", "mlp.weights_out")
    scales: ClassVar = {**Dinov2.scales, "layer_scale2.lambda1": "mlp.weights_out"}

    def __init__(self, config: Mapping[str, Any]) -> None:
        inner = int(int(config["hidden_size"] * config["mlp_ratio"]) * 2 / 3)
        Vit.__init__(self, {**config, "intermediate_size": (inner + 7) // 8 * 8})

    def tensors(self) -> Tensors:
        wanted, sizes = super().tensors(), self.sizes
        wanted.linears.update(
            {self.at(layer) + self.names.fc1: (sizes.width, 2 * sizes.inner) for layer in range(sizes.layers)}
        )
        return wanted

    def _weights(self, state_dict: Mapping[str, Array]) -> dict[str, Array]:
        weights = super()._weights(state_dict)
        for layer in range(self.sizes.layers):
            at = self.at(layer) + self.names.fc1
            for part in ("weight", "bias"):
                gate, grown = np.split(weights.pop(f"{at}.{part}"), 2, axis=-1)
                weights |= {f"{at}.gate.{part}": gate, f"{at}.grown.{part}": grown}
        return weights

    def network(self, pen: Pen, x_BSE: str, at: str, residual: str) -> str:
        fc1 = at + self.names.fc1
        gate_BSI = pen.linear(x_BSE, f"{fc1}.gate", activation="silu")
        return pen.linear(pen.linear(x_BSE, f"{fc1}.grown", factor=gate_BSI), at + self.names.fc2, residual=residual)


class Registers(Dinov2):
    """Tokens without positions between the first one and the patches."""

    def embedding_tensors(self) -> dict[str, tuple[int, ...]]:
        registers = {_REGISTERS: (1, int(self.of["num_register_tokens"]), self.sizes.width)}
        return super().embedding_tensors() | registers

    def placed(self, weights: Mapping[str, Array]) -> tuple[Array, Array]:
        first_FE, places_PE = super().placed(weights)
        return np.concatenate([first_FE, weights[_REGISTERS][0]]), places_PE


class GatedRegisters(Registers, Dinov2Gated):
    """Both."""
