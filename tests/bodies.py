"""A device that is there everywhere and is not the CPU as fuseline uses it: the CPU by the operators' bodies.

It is onnxruntime's own provider without the kernel library, asked for as another device would be.
"""

from __future__ import annotations

from dataclasses import dataclass

from fuseline.folders.description import CONTRIB, FUSED
from fuseline.graphs.devices import CPU, Device, Placement


@dataclass(frozen=True)
class Bodies(Device):
    """The graphs of the fused layout on it run operator by operator. graphs: another layout that it runs."""

    graphs: str = FUSED

    @property
    def is_cpu(self) -> bool:
        return False

    @property
    def layout(self) -> str:
        return self.graphs

    @property
    def copies(self) -> tuple[str, int] | None:
        """With the graphs for CUDA all that is bound stays in one place, as there."""
        return ("cpu", 0) if self.graphs == CONTRIB else None


BODIES = Bodies("bodies", CPU)
ON_BODIES = Placement(BODIES, BODIES)
