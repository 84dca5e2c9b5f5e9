"""Which kernels a process gets: by what is installed, by the CPU, and by the environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.kernels import library, library_info, warn_if_portable

LIBRARY = library.load(library.folders(), {})
ISAS = LIBRARY.available_isas if isinstance(LIBRARY, library.Native) else ()
SOURCES = Path(__file__).parents[2] / "kernels"
LOGITS = np.array([[1, 3, 2]], np.float32)
SAYS = "fuseline runs on the portable operators"

needs_library = pytest.mark.skipif(not ISAS, reason="there is no kernel library here")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a new process, where `f(logits)` is top_candidates with k=2."""
    setup = (
        "import numpy as np, sys; from fuseline.kernels import top_candidates, library_info;"
        "f = lambda: top_candidates(np.array([[1, 3, 2]], np.float32), 2)[1].tolist();"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FUSELINE_")}
    return subprocess.run(
        [sys.executable, "-c", setup + code], capture_output=True, text=True, check=False, env=inherited | environment
    )


def portable(kernels: library.Kernels) -> str:
    """The reason for the portable operators; fails if they are not what it is."""
    info = kernels.info
    assert isinstance(kernels, library.Portable)
    assert (info.path, info.isa, info.features, info.abi) == (None, "portable", (), None)
    with pytest.warns(RuntimeWarning, match=SAYS):
        found = kernels.top_candidates(LOGITS, 2)[1].tolist()
    assert found == [[1, 2]]
    assert info.reason is not None
    return info.reason


@needs_library
def test_the_widest_instruction_set_is_taken() -> None:
    info = LIBRARY.info
    assert info.isa == ISAS[-1]
    assert info.path is not None
    assert info.path.is_file()
    assert (info.abi, info.reason) == (library.ABI, None)


@needs_library
@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="the operating system does not list the CPU's features")
def test_features_are_those_that_the_operating_system_lists() -> None:
    listed = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    assert listed is not None
    there = {name.replace("_", "") for name in listed[1].split()}
    features = {name.replace(".", "") for name in LIBRARY.info.features}
    assert features <= there
    needs = {
        "avx2": {"avx2", "fma", "f16c"},
        "avx512": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"},
        "avx512bf16": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni", "avx512bf16"},
        "amx": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni", "amxint8", "amxbf16"},
        "neon": {"asimd", "asimddp"},
        "neonbf16": {"asimd", "asimddp", "bf16"},
    }
    for isa, needed in needs.items():
        assert (isa in ISAS) == (needed <= features)


@needs_library
@pytest.mark.parametrize("isa", ISAS)
def test_the_environment_names_the_instruction_set(isa: str) -> None:
    done = run("print(f(), library_info().isa)", FUSELINE_ISA=isa)
    assert (done.stdout, done.stderr) == (f"[[1, 2]] {isa}\n", "")


@needs_library
@pytest.mark.parametrize("isa", ["sse9", "AVX2", "scalar "])
def test_an_instruction_set_that_there_is_not(isa: str) -> None:
    with pytest.raises(InputError, match=f"FUSELINE_ISA: .*'{isa}' cannot be used .* it offers scalar"):
        library.load(library.folders(), {"FUSELINE_ISA": isa})
    assert run("f()", FUSELINE_ISA=isa).returncode == 1


def test_the_switch() -> None:
    for off in ("off", "0"):
        assert f"FUSELINE_KERNELS={off}" in portable(library.load(library.folders(), {"FUSELINE_KERNELS": off}))
    for on in ("on", "1", ""):
        assert library.load(library.folders(), {"FUSELINE_KERNELS": on}).info.isa == LIBRARY.info.isa
    with pytest.raises(InputError, match=r"FUSELINE_KERNELS must be on or off \(or 1 or 0\), not 'no'"):
        library.load(library.folders(), {"FUSELINE_KERNELS": "no"})


@pytest.mark.parametrize("variable", ["FUSELINE_KERNELS", "FUSELINE_ISA"])
def test_a_wrong_variable_is_not_the_fault_of_the_model(variable: str) -> None:
    done = run("import fuseline; fuseline.Model.from_pretrained()", **{variable: "5"})
    assert done.stderr.strip().splitlines()[-1].startswith(f"fuseline.errors.InputError: {variable}")


def test_no_library(tmp_path: Path) -> None:
    assert "was not built" in portable(library.load([str(tmp_path), str(tmp_path / "none")], {}))


def test_a_damaged_library(tmp_path: Path) -> None:
    (tmp_path / library.FILE).write_bytes(b"not a library")
    assert "cannot be loaded" in portable(library.load([str(tmp_path)], {}))


@needs_library
def test_a_library_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    there = library.ABI
    monkeypatch.setattr(library, "ABI", 1000)
    reason = portable(library.load(library.folders(), {}))
    assert f"has another interface ({there}, not 1000)" in reason


@pytest.mark.skipif(shutil.which("cc") is None, reason="a C compiler makes the strange library")
@pytest.mark.parametrize(
    ("source", "reason"),
    [("int unrelated;", "no version"), (f"int fuseline_abi(void) {{ return {library.ABI}; }}", "cannot be loaded")],
)
def test_a_library_that_lacks_functions(tmp_path: Path, source: str, reason: str) -> None:
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(tmp_path / library.FILE)],
        input=source, text=True, check=True,
    )  # fmt: skip
    assert reason in portable(library.load([str(tmp_path)], {}))


def test_the_header_names_the_same_interface() -> None:
    header = (SOURCES / "include" / "fuseline_kernels.h").read_text()
    assert re.findall(r"#define FUSELINE_KERNELS_ABI (\d+)", header) == [str(library.ABI)]


def test_portable_operators_say_so_once() -> None:
    done = run("print(f(), f(), f())", FUSELINE_KERNELS="off")
    assert done.stdout == "[[1, 2]] [[1, 2]] [[1, 2]]\n"
    assert done.stderr.count(SAYS) == 1


@pytest.mark.parametrize(
    ("code", "times"),
    [
        ("library_info(); library_info(); f()", 1),  # to ask is not to say
        ("library_info(); warn_if_portable(); f(); warn_if_portable()", 1),
        ("f(); warn_if_portable()", 1),
        ("library_info()", 0),
    ],
)
def test_it_is_said_once_whoever_is_first(code: str, times: int) -> None:
    setup = "from fuseline.kernels import warn_if_portable;"
    done = run(setup + code, FUSELINE_KERNELS="off")
    assert (done.returncode, done.stderr.count(SAYS), done.stderr.count("RuntimeWarning")) == (0, times, times)
    assert run(setup + code).stderr == "" or not ISAS


def test_no_compiler_is_said_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "_loaded", library.load([str(tmp_path)], {}))
    with pytest.warns(RuntimeWarning, match=f"{SAYS}.*was not built"):
        warn_if_portable()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_portable()


# Of fuseline, between the caller and the kernels.
INNER = """
import numpy as np
from fuseline.kernels import top_candidates, warn_if_portable
def opens(*level): warn_if_portable(*level)
def steps(): top_candidates(np.zeros((1, 2), np.float32), 1)
"""
CALLER = """
import types, numpy as np, fuseline.kernels as kernels
inner = types.ModuleType("fuseline.inner")
exec(compile({inner!r}, "inner.py", "exec"), inner.__dict__)
def helper(*level):
    {call}  # line 6
helper({level})  # line 7
"""


@pytest.mark.parametrize(
    ("call", "level", "line"),
    [
        ("inner.opens(*level)", "", 6),
        ("inner.opens(*level)", "2", 7),
        ("inner.opens(*level)", "99", 7),
        ("kernels.warn_if_portable(*level)", "", 6),
        ("kernels.warn_if_portable(*level)", "2", 7),
        ("inner.steps()", "", 6),
        ("kernels.top_candidates(np.zeros((1, 2), np.float32), 1)", "", 6),
        ("list(map(lambda _: inner.steps(), [1]))", "", 6),
    ],
)
def test_the_warning_blames_the_caller(call: str, level: str, line: int, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(CALLER.format(inner=INNER, call=call, level=level))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FUSELINE_")}
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environment | {"FUSELINE_KERNELS": "off"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.startswith(f"{program}:{line}: RuntimeWarning: {SAYS}"), done.stderr
    assert done.stderr.count(SAYS) == 1


def test_portable_operators_say_so_once_to_many_threads() -> None:
    kernels = library.Portable("of a test")
    with warnings.catch_warnings(record=True) as said, ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        list(pool.map(lambda _: kernels.top_candidates(LOGITS, 1), range(50)))
    assert [str(one.message) for one in said] == [f"{SAYS}, which are slower: of a test"]


@needs_library
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm of binutils lists what a library needs")
def test_the_library_needs_next_to_nothing_of_a_c_plus_plus_runtime() -> None:
    """The guards of its statics, which every one has; exceptions, types and operator new belong to a version."""
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", str(LIBRARY.info.path)], capture_output=True, text=True, check=True
    )
    needed = {line.split()[-1].split("@")[0] for line in listed.stdout.splitlines()}
    needed = {name for name in needed if name.startswith(("_Z", "__cxa", "__gxx"))}
    assert needed <= {"__cxa_atexit", "__cxa_finalize", "__cxa_guard_acquire", "__cxa_guard_release"}


def test_threads_that_are_first_share_one_library(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    barrier = Barrier(8)

    def load(*_: object) -> library.Kernels:
        loads.append(1)
        return LIBRARY

    def first(_: int) -> library.Kernels:
        barrier.wait()
        return library.kernels()

    monkeypatch.setattr(library, "_loaded", None)
    monkeypatch.setattr(library, "load", load)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(first, range(8))) == [LIBRARY] * 8
    assert len(loads) == 1


def test_importing_loads_nothing() -> None:
    done = run("from fuseline.kernels import library; print(library._loaded, 'onnxruntime' in sys.modules)")
    assert (done.stdout, done.stderr) == ("None False\n", "")


def test_the_information_of_this_process() -> None:
    assert library_info() == library.kernels().info
