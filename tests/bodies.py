"""A device that is there everywhere and is not the CPU as fuseline uses it: the CPU by the operators' bodies.

It is onnxruntime's own provider without the kernel library, asked for as another device would be.
"""

from __future__ import annotations

from fuseline.folders.description import FUSED
from fuseline.graphs.devices import CPU, Device, Placement


class Bodies(Device):
    """The graphs of the fused layout on it run operator by operator."""

    @property
    def is_cpu(self) -> bool:
        return False

    @property
    def layout(self) -> str:
        return FUSED


BODIES = Bodies("bodies", CPU)
ON_BODIES = Placement(BODIES, BODIES)
