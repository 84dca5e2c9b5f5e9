"""onnxruntime sessions: a graph opened on a device, and the tensors that it really has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DeviceError, Error, FolderError
from ..folders.tensors import Signature, Tensor
from .cores import thread_count
from .devices import CPU, ON_CPU, Device, prepare
from .installed import onnxruntime, version
from .reasons import SILENT, reason
from .running import CPU_MEMORY, Graph
from .starting import not_started, standard_error

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg, SessionOptions

_BOUNDS_CONSTANTS = (1, 27)  # an onnxruntime before this computes constants of any size while it loads a graph
_TYPES = {"float": "float32", "double": "float64"}  # the rest onnxruntime names as numpy does


def open_graph(path: Path, device: Device = ON_CPU, threads: int | None = None, folded: int | None = None) -> Graph:
    """The graph at path, ready to run on the device with that many threads (None: one for each physical core).

    folded: the most bytes of a constant that onnxruntime may compute while it loads the graph (GraphFacts.folded).
    Raises DeviceError if the device is not to be had, InputError for a wrong number of threads, FolderError if
    onnxruntime refuses the file.
    """
    count = thread_count(threads)
    if device.is_cpu:
        return Graph(path, _session(path, device, count, folded), device)
    prepare(device)
    error: Exception | None = None
    session: InferenceSession | None = None
    with standard_error() as said:
        try:
            session = _session(path, device, count, folded)
        except Exception as raised:
            error = raised
    if session is None or session.get_providers()[0] != device.provider:
        _session(path, ON_CPU, count, folded)  # the file may be what is wrong: then this says so
        raise not_started(device.name, device.provider, error and (error.__context__ or error), said)
    nodes = _taken(session, device.provider)
    if nodes is not None and not nodes[0]:
        raise DeviceError(
            f"the device {device.name} takes no node of {path}, all of which would run on the CPU; give its provider "
            "the options that it needs as device_options, or use cpu"
        )
    return Graph(path, session, device, nodes)


def _taken(session: InferenceSession, provider: str) -> tuple[int, int] | None:
    """How many nodes are on the device, and how many there are; None where onnxruntime does not tell.

    It does from 1.24 on, of providers that make programs of parts of a graph. Of others, which have kernels as the CPU
    has and memory of their own, it leaves most nodes out.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    if any(info.name != CPU_MEMORY for info in session.get_input_memory_infos()):
        return None
    parts = [(part.ep_name, len(part.get_nodes())) for part in session.get_provider_graph_assignment_info()]
    return sum(count for name, count in parts if name == provider), sum(count for _, count in parts)


def _session(path: Path, device: Device, threads: int, folded: int | None) -> InferenceSession:
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = SILENT
    # Spinning makes a run of many small nodes faster, and would burn every core for 25 ms after each run; this keeps
    # the first and stops the second.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    unbounded: list[str] = []
    if folded is not None:
        options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(folded))
        if version() < _BOUNDS_CONSTANTS:
            unbounded.append("ConstantFolding")
    try:
        return _started(path, device, options, unbounded, threads)
    except Error:  # of the kernel library's variables, which have nothing to do with this file
        raise
    except Exception as error:  # onnxruntime's errors have no common base but this one
        raise FolderError(f"onnxruntime cannot load {path}: {reason(error)}") from None


def _started(
    path: Path, device: Device, options: SessionOptions, unbounded: list[str], threads: int
) -> InferenceSession:
    """The session, of onnxruntime's own providers or by a plugin's handle."""
    session = onnxruntime().InferenceSession
    if not device.is_cpu:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if device.handle is not None:
        options.add_provider_for_devices([device.handle], dict(device.options))
        return session(str(path), options, disabled_optimizers=unbounded)
    if device.is_cpu:
        _register_kernels(options)
        providers: list[object] = [CPU]
    else:
        providers = [(device.provider, _told(device, threads)), CPU]
    # With the fallback a provider that fails is replaced by the CPU, and standard output is told.
    return session(str(path), options, providers, enable_fallback=0, disabled_optimizers=unbounded)


def _told(device: Device, threads: int) -> dict[str, str]:
    """The provider's options; OpenVINO does not look at the session's threads."""
    own = device.options.get("device_type", "CPU") == "CPU" and "load_config" not in device.options
    if device.kind == "OpenVINO" and own:
        return {"num_of_threads": str(threads), **device.options}
    return dict(device.options)


def _register_kernels(options: SessionOptions) -> None:
    """Fused operators by the kernel library; without it, as on other devices, their bodies in the model run."""
    from fuseline.kernels import library_info

    library = library_info().path
    if library is not None:
        options.register_custom_ops_library(str(library))


def signature(graph: Graph) -> Signature:
    """The inputs and outputs that the graph really has. Raises FolderError for names that are no text."""
    try:
        return Signature(
            tuple(_tensor(argument) for argument in graph.session.get_inputs()),
            tuple(_tensor(argument) for argument in graph.session.get_outputs()),
        )
    except UnicodeDecodeError:
        raise FolderError(f"{graph.path} has names that are not UTF-8; export the model again") from None


def _tensor(argument: NodeArg) -> Tensor:
    """onnxruntime writes a type as tensor(float), and an unnamed free dimension as None."""
    kind = re.sub(r"^tensor\((\w+)\)$", r"\1", argument.type)
    shape = tuple(size if isinstance(size, int) else str(size or "?") for size in argument.shape)
    return Tensor(argument.name, _TYPES.get(kind, kind), shape)
