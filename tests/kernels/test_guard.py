"""Files that are cut short while they are read in place: real files and signals, each case in its own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fuseline.kernels import guard_files, library_info
from fuseline.kernels.guard import Guard

needs_library = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")
needs_maps = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mappings are not to be found here")

SETUP = """
import ctypes, faulthandler, gc, mmap, os, signal, sys, threading
from pathlib import Path
from fuseline.kernels import guard_files
PAGE = mmap.PAGESIZE
def mapped(name, pages=64, access=mmap.ACCESS_READ):
    path = Path(name)
    path.write_bytes(b"x" * PAGE * pages)
    with path.open("r+b") as file:
        return path, mmap.mmap(file.fileno(), 0, access=access)
"""


def run(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FUSELINE_")}
    return subprocess.run(
        [sys.executable, "-c", SETUP + code],
        env=inherited | environment, cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def prints(code: str, folder: Path, expected: str, **environment: str) -> None:
    done = run(code, folder, **environment)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, expected, "")


def dies(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = run(code, folder)
    assert done.returncode == -signal.SIGBUS, done
    return done


@needs_library
@needs_maps
def test_a_session_whose_weights_are_cut_short_while_it_runs(tmp_path: Path) -> None:
    """68 MB of weights beside a graph, as exports have them, read by several threads."""
    code = """
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto, helper
from fuseline.kernels import library_info
blocks, inputs = 1040, 1024
weight = onnx.TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[blocks, inputs, 16])
weight.data_location = TensorProto.EXTERNAL
weight.external_data.add(key="location", value="model.onnx_data")
os.truncate(os.open("model.onnx_data", os.O_CREAT | os.O_RDWR), blocks * inputs * 64)
bias = onnx.numpy_helper.from_array(np.ones(blocks * 16, np.float32), "bias")
graph = helper.make_graph(
    [helper.make_node("FloatLinear", ["x", "weight", "bias"], ["y"], domain="fuseline")], "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, inputs])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, blocks * 16])], [weight, bias])
opsets = [helper.make_opsetid("", 20), helper.make_opsetid("fuseline", 1)]
onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), "model.onnx")
options = ort.SessionOptions()
options.intra_op_num_threads = 3
options.register_custom_ops_library(str(library_info().path))
session = ort.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
guard = guard_files([Path("model.onnx_data")])
feed = {"x": np.ones((2, inputs), np.float32)}
def right():
    [y] = session.run(None, feed)
    return bool((y == 1).all())
print(right(), guard.broken)
started, stop = threading.Barrier(3), threading.Event()
def runs():
    started.wait()
    while not stop.is_set():
        session.run(None, feed)
threads = [threading.Thread(target=runs) for _ in range(2)]
for thread in threads: thread.start()
started.wait()
os.truncate("model.onnx_data", 5 * PAGE)
session.run(None, feed)
stop.set()
for thread in threads: thread.join()
print(guard.broken)
guard.release()
print(guard.broken)
"""
    prints(code, tmp_path, "True False\nTrue\nTrue")


@needs_library
@needs_maps
def test_what_is_gone_reads_as_zeros_and_what_is_there_as_it_is(tmp_path: Path) -> None:
    code = """
path, memory = mapped("a file")
guard = guard_files([path, Path("none"), Path("a\\0b")])
os.truncate(path, 10 * PAGE)
print(memory[0], memory[10 * PAGE - 1], guard.broken)
print(memory[10 * PAGE], memory[64 * PAGE - 1], memory[9 * PAGE], guard.broken)
"""
    prints(code, tmp_path, "120 120 False\n0 0 120 True")


@needs_library
@needs_maps
@pytest.mark.parametrize(
    "before",
    ["", "faulthandler.enable()", "guard_files([path])", "guard_files([path]).release()", "guard_files([])"],
)
def test_what_is_not_guarded_still_ends_the_process(tmp_path: Path, before: str) -> None:
    """Without a guard, with one of another file, and with one that is released or was let go."""
    code = f"""
path, memory = mapped("one")
other, others = mapped("other")
{before}
gc.collect()
guard = guard_files([other])
os.truncate(other, 0); os.truncate(path, 0)
print(others[0], guard.broken, flush=True)
memory[0]
"""
    done = dies(code, tmp_path)
    assert done.stdout == "0 True\n"
    assert ("Fatal Python error: Bus error" in done.stderr) == ("faulthandler" in before)


@needs_library
@needs_maps
def test_a_signal_that_somebody_sends_goes_where_it_went(tmp_path: Path) -> None:
    guarded = "path, memory = mapped('one')\nguard = guard_files([path])\n"
    dies(guarded + "os.kill(os.getpid(), signal.SIGBUS)", tmp_path)
    ignored = "signal.signal(signal.SIGBUS, signal.SIG_IGN)\n"
    prints(ignored + guarded + "os.kill(os.getpid(), signal.SIGBUS); print(guard.broken)", tmp_path, "False")
    heard = "signal.signal(signal.SIGBUS, lambda *_: print('heard'))\n"
    prints(heard + guarded + "os.kill(os.getpid(), signal.SIGBUS); print(guard.broken)", tmp_path, "heard\nFalse")


@needs_library
@needs_maps
def test_a_fault_of_somebody_else_reaches_the_handler_before(tmp_path: Path) -> None:
    """One that takes the address of the fault, as those of other run-times do."""
    code = """
libc = ctypes.CDLL(None)
class Action(ctypes.Structure):
    _fields_ = [
        ("handler", ctypes.c_void_p), ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_int), ("restorer", ctypes.c_void_p),
    ]
@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def heard(number, info, context):
    address = ctypes.c_uint64.from_address(info + 16).value
    os.write(1, b"heard" if address == where else b"elsewhere")
    os._exit(7)
libc.sigaction(signal.SIGBUS, ctypes.byref(Action(ctypes.cast(heard, ctypes.c_void_p), flags=4)), None)
path, memory = mapped("one", access=mmap.ACCESS_COPY)
other, others = mapped("other")
where = ctypes.addressof(ctypes.c_char.from_buffer(memory))
guard = guard_files([other])
os.truncate(path, 0)
memory[0]
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout) == (7, "heard")


@needs_library
@needs_maps
def test_a_handler_of_somebody_else_afterwards(tmp_path: Path) -> None:
    code = """
path, memory = mapped("one")
guard = guard_files([path])
signal.signal(signal.SIGBUS, signal.SIG_DFL)
os.truncate(path, 0)
memory[0]
"""
    dies(code, tmp_path)


@needs_library
@needs_maps
def test_two_guards_of_one_file(tmp_path: Path) -> None:
    code = """
path, memory = mapped("one")
first, second = guard_files([path]), guard_files([path])
os.truncate(path, 0)
memory[0]
print(first.broken, second.broken)
second.release(); second.release()
third = guard_files([path])
print(second.broken, third.broken, memory[PAGE], first.broken, third.broken)
"""
    prints(code, tmp_path, "True True\nTrue False 0 True True")


@needs_library
@needs_maps
def test_what_is_written_in_a_private_mapping_stays_writable(tmp_path: Path) -> None:
    code = """
path, memory = mapped("one", access=mmap.ACCESS_COPY)
guard = guard_files([path])
os.truncate(path, 0)
memory[5] = 7
print(memory[5], memory[6], guard.broken)
"""
    prints(code, tmp_path, "7 0 True")


@needs_library
@needs_maps
def test_many_threads_guard_read_and_release(tmp_path: Path) -> None:
    code = """
kept, memory = mapped("kept", 2000)
guard = guard_files([kept])
os.truncate(kept, 0)
def work(number):
    path, mine = mapped(f"file {number}", 40)
    for _ in range(30):
        with path.open("r+b") as file:
            os.truncate(path, 40 * PAGE)
            again = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        own = guard_files([path])
        os.truncate(path, 0)
        assert sum(again[page * PAGE] for page in range(40)) == 0 and own.broken
        assert sum(memory[page * PAGE] for page in range(number, 2000, 7)) == 0
        own.release()
        again.close()
threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(guard.broken)
"""
    prints(code, tmp_path, "True")


@needs_library
@needs_maps
def test_a_child_has_its_own_memory(tmp_path: Path) -> None:
    code = """
path, memory = mapped("one")
guard = guard_files([path])
os.truncate(path, 0)
child = os.fork()
if child == 0:
    memory[0]
    guard.release()
    os._exit(guard.broken + 2 * guard_files([path]).broken)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), guard.broken)
"""
    prints(code, tmp_path, "1 False")


def test_without_a_library_nothing_is_guarded(tmp_path: Path) -> None:
    code = """
path, memory = mapped("one")
guard = guard_files([path])
print(guard.broken); guard.release(); print(guard.broken)
"""
    prints(code, tmp_path, "False\nFalse", FUSELINE_KERNELS="off")


def test_what_is_not_mapped_is_never_broken(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 9999)
    for files in ([], [file], [tmp_path / "none"], [tmp_path]):
        guard = guard_files(files)
        file.write_bytes(b"")
        assert not guard.broken
        guard.release()
        guard.release()
        assert not guard.broken


def test_no_ranges_and_ranges_that_are_none() -> None:
    for ranges in ([], [(4096, 4096, False)], [(8192, 4096, True)]):
        guard = Guard(ranges)
        assert not guard.broken
        guard.release()
