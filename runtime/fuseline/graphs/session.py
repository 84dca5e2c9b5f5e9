"""onnxruntime sessions: a graph opened on a device, and the tensors that it really has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DeviceError, Error, FolderError
from ..folders.tensors import Signature, Tensor
from . import operators
from .cores import thread_count
from .devices import CPU, ON_CPU, Device, check_there, prepare, with_recording
from .installed import onnxruntime, version
from .reasons import SILENT, reason
from .running import CPU_MEMORY, Graph
from .starting import not_started, standard_error

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg, SessionOptions

_BOUNDS_CONSTANTS = (1, 27)  # an onnxruntime before this computes constants of any size while it loads a graph
# Convolutions are chosen without trying all, which takes seconds; floats are not rounded to 19 bits; norms of halves
# add up floats.
_CUDA = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0", "enable_skip_layer_norm_strict_mode": "1"}
# What is multiplied with codes of 8 bits stays floats, as on the CPU (see _session). Where a CPU multiplies 8 bits fast
# OpenVINO would round it too, and gives what is encoded no rows at widths that 32 does not divide.
_OPENVINO_CPU = {"load_config": '{"CPU": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}}'}
_SPIN = "1000"  # microseconds
_TYPES = {"float": "float32", "double": "float64"}  # the rest onnxruntime names as numpy does


def open_graph(
    path: Path,
    device: Device = ON_CPU,
    threads: int | None = None,
    folded: int | None = None,
    *,
    records: bool = False,
    by_bodies: bool = False,
) -> Graph:
    """The graph at path, ready to run on the device with that many threads (None: one for each physical core).

    folded: the most bytes of a constant that onnxruntime may compute while it loads the graph (GraphFacts.folded);
    records: whether its runs are recorded where the device can, see Graph; by_bodies: whether operators of ours run as
    their bodies say on the CPU. Raises DeviceError if the device is not to be had, InputError for a wrong number of
    threads, FolderError if onnxruntime refuses the file.
    """
    count = thread_count(threads)
    if device.is_cpu:
        return Graph(path, _session(path, device, count, folded, by_bodies), device)
    check_there(device)
    recording = with_recording(device) if records else device
    session, error, said = _tried(path, recording, count, folded)
    if session is None and recording is not device:  # not every graph can be
        recording = device
        session, error, said = _tried(path, device, count, folded)
    if session is None:
        _session(path, ON_CPU, count, folded)  # the file may be what is wrong: then this says so
        raise not_started(device.name, device.provider, error and (error.__context__ or error), said)
    nodes = _taken(session, device.provider)
    if nodes is not None and not nodes[0]:
        raise DeviceError(
            f"the device {device.name} takes no node of {path}, all of which would run on the CPU; give its provider "
            "the options that it needs as device_options, or use cpu"
        )
    return Graph(path, session, device, nodes, recording is not device)


def _tried(
    path: Path, device: Device, threads: int, folded: int | None
) -> tuple[InferenceSession | None, Exception | None, list[str]]:
    """The session, or None where it is not on the device; what was raised, and what onnxruntime wrote."""
    error: Exception | None = None
    session: InferenceSession | None = None
    with standard_error() as said:
        try:
            prepare(device)
            session = _session(path, device, threads, folded)
        except Exception as raised:
            error = raised
    there = session is not None and session.get_providers()[0] == device.provider
    return session if there else None, error, said


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


def _session(path: Path, device: Device, threads: int, folded: int | None, by_bodies: bool = False) -> InferenceSession:
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
    # Threads spin when a session is made, too, until they have waited so long: each for some 20 ms, if it is not said.
    # Nodes of a run come sooner. onnxruntime knows it from 1.26 on.
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN)
    # Codes that DequantizeLinear makes floats of are multiplied as floats. onnxruntime after 1.24 would round what they
    # are multiplied with to 8 bits, too, and say other words than a device by the same graph.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    unbounded: list[str] = []
    if folded is not None:
        options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(folded))
        if version() < _BOUNDS_CONSTANTS:
            unbounded.append("ConstantFolding")
    try:
        if not by_bodies:
            operators.register(options, device)
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
    providers = [CPU] if device.is_cpu else [(device.provider, _told(device, threads)), CPU]
    # With the fallback a provider that fails is replaced by the CPU, and standard output is told.
    return session(str(path), options, providers, enable_fallback=0, disabled_optimizers=unbounded)


def _told(device: Device, threads: int) -> dict[str, str]:
    """The provider's options; OpenVINO does not look at the session's threads."""
    if device.kind == "CUDA":
        return {**_CUDA, **device.options}
    own = device.options.get("device_type", "CPU") == "CPU" and "load_config" not in device.options
    if device.kind == "OpenVINO" and own:
        return {"num_of_threads": str(threads), **_OPENVINO_CPU, **device.options}
    return dict(device.options)


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
