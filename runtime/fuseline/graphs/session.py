"""onnxruntime sessions: a graph opened on a device, and the tensors that it really has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Error, FolderError
from ..folders.tensors import Signature, Tensor
from .cores import thread_count
from .devices import CPU, check_memory, not_started, onnxruntime, provider_of, standard_error, version
from .running import SILENT, Graph, reason

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg, SessionOptions

_BOUNDS_CONSTANTS = (1, 27)  # an onnxruntime before this computes constants of any size while it loads a graph
_TYPES = {"float": "float32", "double": "float64"}  # the rest onnxruntime names as numpy does


def open_graph(path: Path, device: str = "cpu", threads: int | None = None, folded: int | None = None) -> Graph:
    """The graph at path, ready to run on the device with that many threads (None: one for each physical core).

    folded: the most bytes of a constant that onnxruntime may compute while it loads the graph (GraphFacts.folded).
    Raises DeviceError if the device is not to be had, InputError for a wrong number of threads, FolderError if
    onnxruntime refuses the file.
    """
    provider, count = provider_of(device), thread_count(threads)
    if provider == CPU:
        return Graph(path, _session(path, [CPU], count, folded))
    error: Exception | None = None
    session: InferenceSession | None = None
    with standard_error() as said:
        try:
            session = _session(path, [provider, CPU], count, folded)
        except Exception as raised:
            error = raised
    if session is None or session.get_providers()[0] != provider:
        _session(path, [CPU], count, folded)  # the file may be what is wrong: then this says so
        raise not_started(provider, error and (error.__context__ or error), said)
    check_memory(session, provider)
    return Graph(path, session)


def _session(path: Path, providers: list[str], threads: int, folded: int | None) -> InferenceSession:
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
        _register_kernels(options, providers)
        # With the fallback a provider that fails is replaced by the CPU, and standard output is told.
        return runtime.InferenceSession(str(path), options, providers, enable_fallback=0, disabled_optimizers=unbounded)
    except Error:  # of the kernel library's variables, which have nothing to do with this file
        raise
    except Exception as error:  # onnxruntime's errors have no common base but this one
        raise FolderError(f"onnxruntime cannot load {path}: {reason(error)}") from None


def _register_kernels(options: SessionOptions, providers: list[str]) -> None:
    """Fused operators by the kernel library, on the CPU; elsewhere, or without it, their bodies in the model run."""
    from fuseline.kernels import library_info

    library = library_info().path
    if library is not None and providers == [CPU]:
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
