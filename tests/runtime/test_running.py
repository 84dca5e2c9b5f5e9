"""Runs of graphs that fail or take long: one sentence, at once, and nothing on standard error before it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fuseline.errors import FolderError, InputError
from fuseline.graphs.reasons import reason
from fuseline.graphs.running import Graph, Limit, RunEnded
from fuseline.graphs.session import open_graph
from tests import odd_graphs

SOURCE = "/onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:45 "


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : Load model from /a b/c.onnx failed:Protobuf parsing failed.",
            "Protobuf parsing failed",
        ),
        (
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Non-zero status code returned while running Gather node. "
            "Name:'/g' Status Message: indices element out of data bounds, idx=5 must be within [-4,3]\nmore",
            "Gather node '/g': indices element out of data bounds, idx=5 must be within [-4,3]",
        ),
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Reshape node. "
            f"Name:'' Status Message: {SOURCE}onnxruntime::ReshapeHelper::ReshapeHelper(const TensorShape&, bool) "
            "input_shape_size == size was false. The input tensor cannot be reshaped. Input shape:{4}\n",
            "Reshape node: The input tensor cannot be reshaped",
        ),
        (
            f"\x1b[1;31m{SOURCE}void f(int (*)(int)) const [with T = float] Too large: 3.5 GB\x1b[m",
            "Too large: 3.5 GB",
        ),
        (
            "[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from a failed:This is an invalid model. "
            'In Node, ("", Nonsense, "", -1) : ("x": tensor(float),) -> ("y",) , Error No Op registered for Nonsense',
            "No Op registered for Nonsense",
        ),
        (
            f"[ONNXRuntimeError] : 1 : FAIL : Load model from a failed:{SOURCE}onnxruntime::Graph::Graph(int, bool) "
            "[ONNXRuntimeError] : 1 : FAIL : tensorprotoutils.cc:2678 ConstantNodeProtoToTensorProto Constant node: "
            "Constant_246 has no data attributes",
            "Constant node: Constant_246 has no data attributes",
        ),
        (
            "Deserialize tensor w failed.endian_utils.cc:66 CopyLittleEndian source and destination size mismatch",
            "Deserialize tensor w failed; source and destination size mismatch",
        ),
        ("std::bad_alloc", "there is not enough memory for it"),
        ("", "Exception"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_the_reason_is_what_a_person_can_use(said: str, expected: str) -> None:
    assert reason(Exception(said)) == expected


def test_no_memory_is_a_reason_too() -> None:
    assert reason(MemoryError()) == "there is not enough memory for it"


FAILING = {
    odd_graphs.out_of_range: r"fails when it runs: Gather node 'lookup.* idx=100",
    odd_graphs.wrong_shape: "fails when it runs: Reshape node: The input tensor cannot be reshaped",
    odd_graphs.too_large: "fails when it runs: Expand node: Failed to allocate memory",
    odd_graphs.unknown_operator: "onnxruntime cannot load .*: No Op registered for Nonsense",
    odd_graphs.not_a_graph: "onnxruntime cannot load .*: Protobuf parsing failed",
    lambda file: file: "onnxruntime cannot load .*: File doesn't exist",
}
_RUN = """
import sys
import numpy as np
from onnxruntime import OrtValue
from fuseline.errors import Error
from fuseline.graphs.session import open_graph
from pathlib import Path
for file in sys.argv[1:]:
    try:
        open_graph(Path(file), threads=1).run(["y"], {"x": OrtValue.ortvalue_from_numpy(np.float32([100]))}, 1)
    except Error as error:
        print(type(error).__name__, error)
"""


def test_graphs_that_fail_say_one_sentence_and_standard_error_nothing(tmp_path: Path) -> None:
    files = [make(tmp_path / f"graph {number}.onnx") for number, make in enumerate(FAILING)]
    done = subprocess.run([sys.executable, "-c", _RUN, *map(str, files)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == len(FAILING)
    for line, file, expected in zip(lines, files, FAILING.values(), strict=True):
        assert line.startswith("FolderError ")
        assert str(file) in line
        assert re.search(expected, line), line
        assert line.isprintable()
        assert "onnxruntime_src" not in line


@pytest.fixture
def endless(tmp_path: Path) -> Graph:
    return open_graph(odd_graphs.endless(tmp_path / "endless.onnx"), threads=1)


def run(graph: Graph, size: int = 1) -> None:
    graph.run(["y"], {"x": onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32))}, size)


WIDE = 20  # seconds, of a machine that others use


def test_a_deadline_ends_a_run(endless: Graph) -> None:
    began = time.monotonic()
    with pytest.raises(RunEnded, match="max_time"), Limit(0.2):
        run(endless)
    assert 0.2 <= time.monotonic() - began < WIDE


def test_a_cancel_token_ends_a_run(endless: Graph) -> None:
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    with pytest.raises(RunEnded, match="cancelled"), Limit(None, cancel):
        run(endless)


@pytest.mark.parametrize("before", [0, 1], ids=["the first run", "after a long one"])
@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="signals are POSIX's")
def test_ctrl_c_ends_a_run(endless: Graph, before: int) -> None:
    for _ in range(before):
        with pytest.raises(RunEnded), Limit(0.2):
            run(endless)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(endless)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="alarms are POSIX's")
def test_what_an_alarm_raises_reaches_the_caller_whenever_it_comes(tmp_path: Path) -> None:
    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    graph = open_graph(odd_graphs.endless(tmp_path / "short.onnx", most=2000), threads=1)
    before = signal.signal(signal.SIGALRM, ring)
    number = rung = 0
    try:
        while number < 300:
            try:
                while number < 300:
                    number += 1
                    graph._largest = 0  # so that each run is made on a thread of its own
                    signal.setitimer(signal.ITIMER_REAL, 0.0001 * (1 + number % 40))
                    run(graph)
            except Alarm:
                rung += 1
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rung > 0


def test_a_graph_serves_after_a_run_that_was_ended(tmp_path: Path) -> None:
    graph = open_graph(odd_graphs.endless(tmp_path / "long.onnx", most=3), threads=1)
    one = {"x": onnxruntime.OrtValue.ortvalue_from_numpy(np.ones(1, np.float32))}
    with Limit(1000):
        assert graph.run(["y"], one, 1)[0].numpy() == 8
    assert graph.run(["y"], one, 1)[0].numpy() == 8


def test_the_small_thread_is_there_as_long_as_the_limit(tmp_path: Path) -> None:
    graph = open_graph(odd_graphs.endless(tmp_path / "short.onnx", most=3), threads=1)
    run(graph)
    before = set(threading.enumerate())
    run(graph)
    assert not set(threading.enumerate()) - before
    limit = Limit(1000)
    with limit:
        run(graph)
    [small] = set(threading.enumerate()) - before
    del limit
    small.join(WIDE)
    assert not small.is_alive()


def test_threads_have_limits_of_their_own(endless: Graph, tmp_path: Path) -> None:
    short = open_graph(odd_graphs.endless(tmp_path / "short.onnx", most=3), threads=1)
    ended: list[str] = []

    def work() -> None:
        try:
            with Limit(0.3):
                run(endless)
        except RunEnded as error:
            ended.append(error.reason)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        run(short)
    assert ended == ["max_time"]


def test_a_closed_graph_is_refused(tmp_path: Path) -> None:
    graph = open_graph(odd_graphs.endless(tmp_path / "short.onnx", most=3), threads=1)
    graph.close()
    with pytest.raises(InputError, match="was closed"):
        run(graph)


def test_a_failed_run_shows_no_dump_in_its_traceback(tmp_path: Path) -> None:
    graph = open_graph(odd_graphs.wrong_shape(tmp_path / "w.onnx"), threads=1)
    with pytest.raises(FolderError) as caught:
        run(graph)
    assert caught.value.__suppress_context__
