"""onnxruntime sessions: device -> providers, threads, options, and the tensors that a graph really has."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import DeviceError, FolderError, InputError
from .folder import Signature, Tensor

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg, SessionOptions

_DEVICES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TYPES = {"float": "float32", "double": "float64"}  # the rest onnxruntime names as numpy does
_MOST_THREADS = 1024


def open_session(
    path: Path, device: str = "cpu", threads: int | None = None, folded: int | None = None
) -> InferenceSession:
    """The graph at path, ready to run on the device with that many threads (None: one for each physical core).

    folded: the most bytes of a constant that onnxruntime may compute while it loads the graph (GraphFacts.folded).
    Raises DeviceError if the device is not to be had, InputError for a wrong number of threads, FolderError if
    onnxruntime refuses the file.
    """
    import onnxruntime

    providers = _providers(device)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count(threads)
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Spinning makes a run of many small nodes faster, and would burn every core for 25 ms after each run; this keeps
    # the first and stops the second.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if folded is not None:
        options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(folded))
    _register_kernels(options, providers)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers)
    except Exception as error:  # onnxruntime's errors have no common base but this one
        raise FolderError(f"onnxruntime cannot load {path}: {_first_sentence(error)}") from error
    if session.get_providers()[0] != providers[0]:
        raise DeviceError(f"{providers[0]} could not be started; install its driver and libraries, or use cpu")
    return session


def _register_kernels(options: SessionOptions, providers: list[str]) -> None:
    """Fused operators by the kernel library, on the CPU; elsewhere, or without it, their bodies in the model run."""
    from fuseline.kernels import library_info

    library = library_info().path
    if library is not None and providers == [_DEVICES["cpu"]]:
        options.register_custom_ops_library(str(library))


def signature(session: InferenceSession) -> Signature:
    """The inputs and outputs that the graph really has."""
    return Signature(
        tuple(_tensor(argument) for argument in session.get_inputs()),
        tuple(_tensor(argument) for argument in session.get_outputs()),
    )


def physical_cores() -> int:
    """The cores that this process may use, two hardware threads of one core counted once."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in allowed:
        try:
            cores.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            return len(allowed)
    return max(1, min(len(cores), _quota()))


def _quota() -> int:
    """The CPUs that the container may use at once (cgroup v2), at least 1; no limit if none is set."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, round(int(limit) / int(period)))
    except (OSError, ValueError):
        return _MOST_THREADS


def thread_count(threads: int | None) -> int:
    """threads, or one for each physical core. Raises InputError for a number that cannot be used."""
    if threads is None:
        return physical_cores()
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
        raise InputError(f"threads must be a whole number from 1 to {_MOST_THREADS}, or None, not {threads!r}")
    return threads


def _providers(device: str) -> list[str]:
    """The provider of the device first, the CPU for what it cannot do."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    provider = _DEVICES.get(device, device)
    if provider not in available:
        names = [short for short, name in _DEVICES.items() if name in available]
        names += [name for name in available if name not in _DEVICES.values()]
        raise DeviceError(f"there is no device {device!r} here; available: {', '.join(names)}")
    return list(dict.fromkeys([provider, _DEVICES["cpu"]]))


def _tensor(argument: NodeArg) -> Tensor:
    """onnxruntime writes a type as tensor(float), and an unnamed free dimension as None."""
    kind = re.sub(r"^tensor\((\w+)\)$", r"\1", argument.type)
    shape = tuple(size if isinstance(size, int) else str(size or "?") for size in argument.shape)
    return Tensor(argument.name, _TYPES.get(kind, kind), shape)


def _first_sentence(error: Exception) -> str:
    """The first line of what onnxruntime says, without its code and the file's name, which is said already."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^Load model from .* failed:", "", text)
    return text[:300].rstrip(". ")
