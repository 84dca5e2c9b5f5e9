"""fuseline's operators in a session: those of the kernel library on the CPU, on CUDA those of its own library.

A registered operator hides its body, so each library is for the sessions whose provider has its kernels, and for no
others; a session can have one of them only. On other devices the bodies in the model run.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from .devices import CPU, Device, prepare
from .installed import onnxruntime
from .reasons import SILENT

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

    from fuseline.kernels.cuda import CudaOperators

CUDA = "CUDAExecutionProvider"
# An ONNX model of one node, y = Identity(x) of float32[1]: what shows whether a provider starts.
_ONE_NODE = (
    b'\x08\x07\x12\x00:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


def register(options: SessionOptions, device: Device) -> None:
    """What there is for the device. Raises InputError for variables of the environment that ask for what there is not;
    without a library, or where CUDA does not start, nothing is registered."""
    if device.is_cpu:
        from fuseline.kernels import library_info

        library = library_info().path
    elif device.provider == CUDA and device.handle is None:
        library = on_cuda().path
        if library is not None and not _starts(device.provider, tuple(sorted(device.options.items()))):
            library = None  # the session will say why
    else:
        library = None
    if library is not None:
        options.register_custom_ops_library(str(library))


def on_cuda() -> CudaOperators:
    """The library for CUDA, or why there is none; CUDA's own libraries are loaded before. Raises InputError."""
    from fuseline.kernels.cuda import cuda_operators

    prepare(Device("cuda", CUDA))
    return cuda_operators()


@cache
def _starts(provider: str, told: tuple[tuple[str, str], ...]) -> bool:
    """Whether a session is opened on the provider, and not on the CPU in its place."""
    options = onnxruntime().SessionOptions()
    options.log_severity_level = SILENT
    try:
        session = onnxruntime().InferenceSession(_ONE_NODE, options, [(provider, dict(told)), CPU], enable_fallback=0)
    except Exception:  # onnxruntime's errors have no common base but this one
        return False
    return bool(session.get_providers()[0] == provider)
