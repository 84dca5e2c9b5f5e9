"""Where the library of CUDA operators is found, why it is not used, and that sessions of other devices do not see it.

With FUSELINE_TEST_CUDA_BUILT, a library that NVIDIA's compiler has made, and onnxruntime-gpu (.ci/cuda) it is
registered too.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import fuseline.kernels.cuda
from fuseline.cli import main
from fuseline.errors import DeviceError, InputError
from fuseline.folders.open import open_folder
from fuseline.graphs import operators
from fuseline.graphs.devices import CPU, Device
from fuseline.graphs.session import open_graph
from fuseline.kernels import library_info
from fuseline.kernels.bodies import add_bodies
from fuseline.kernels.cuda import FILE, HOW, find
from fuseline.kernels.cuda.build import find_toolkit, kernels_of
from fuseline.trials.machine import facts_of

from .cases import Case, Maker, exact, model_of, run, session

BUILT = os.environ.get("FUSELINE_TEST_CUDA_BUILT")


def with_bodies(case: Case) -> bytes:
    made: bytes = add_bodies(model_of(case)).SerializeToString()
    return made


def test_the_first_folder_with_a_library_is_meant(library: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(library)
    found = find(["/nowhere", str(tmp_path)], {})
    assert (found.path, found.reason) == (tmp_path / FILE, None)


def test_why_there_is_no_library_is_said(tmp_path: Path) -> None:
    assert find([str(tmp_path)], {}).reason == "the library was not built; python -m fuseline.kernels.cuda builds it"
    (tmp_path / FILE).write_bytes(b"no library")
    assert "cannot be loaded" in str(find([str(tmp_path)], {}).reason)
    assert "FUSELINE_KERNELS=off switches" in str(find([str(tmp_path)], {"FUSELINE_KERNELS": "off"}).reason)
    with pytest.raises(InputError, match="FUSELINE_KERNELS must be on or off"):
        find([str(tmp_path)], {"FUSELINE_KERNELS": "maybe"})


@pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")
def test_a_library_of_another_interface_is_not_used(tmp_path: Path) -> None:
    path = library_info().path
    assert path is not None
    (tmp_path / FILE).symlink_to(path)  # the CPU's, say
    found = find([str(tmp_path)], {})
    assert found.path is None and "has another interface (no version, not 1)" in str(found.reason)


def test_what_shows_whether_a_provider_starts_is_a_model() -> None:
    model = onnx.load_from_string(operators._ONE_NODE)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Identity"]
    assert operators._starts(CPU, ())


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="CUDA's provider is there")
def test_nothing_is_registered_where_cuda_does_not_start(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).symlink_to(library)
    monkeypatch.setattr(fuseline.kernels.cuda, "cuda_operators", lambda: find([str(tmp_path)], {}))
    operators._starts.cache_clear()
    options = ort.SessionOptions()
    with pytest.warns(UserWarning, match="not in available provider names"):
        operators.register(options, Device("cuda", operators.CUDA))
    # The body refuses a position that there is not; the library would give NaN.
    case = Maker(0).self_attention().with_(position=np.array([-1]))
    opened = ort.InferenceSession(with_bodies(case), options, providers=[CPU])
    with pytest.raises(Exception, match="ScatterND"):
        opened.run(None, dict(case.feed))


def test_sessions_without_it_are_as_before(library: Path) -> None:
    """In one process: by the CUDA library, by the bodies, and by the CPU's library, one after the other."""
    case = Maker(4).self_attention()
    cpu = [path] if (path := library_info().path) is not None else []
    for libraries in ([library], [], cpu, [library], []):
        np.testing.assert_allclose(run(case, *libraries)["mixed"], exact(case)["mixed"], rtol=2e-5, atol=2e-5)


def test_a_session_has_one_of_the_libraries_only(library: Path) -> None:
    path = library_info().path
    if path is None:
        pytest.skip("the kernel library was not built")
    with pytest.raises(Exception, match="Domain already set in registry"):
        session(model_of(Maker(4).self_attention()), library, path)


def test_what_was_found_out_without_the_library_does_not_hold_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what was found out with another one."""
    monkeypatch.setattr(fuseline.kernels.cuda, "folders", lambda: [str(tmp_path)])
    folder, seen = open_folder(), []
    for content in (None, b"one", b"another"):
        if content is not None:
            (tmp_path / FILE).write_bytes(content)
        seen.append(facts_of(folder, "cpu", 1))
    monkeypatch.setenv("FUSELINE_KERNELS", "off")
    assert [each["cuda"] is None for each in (*seen, facts_of(folder, "cpu", 1))] == [True, False, False, True]
    assert seen[1] != seen[2]


def test_a_compiler_that_is_not_there_is_asked_for() -> None:
    with pytest.raises(DeviceError, match="there is no CUDA compiler in /nowhere: pip install 'fuseline"):
        find_toolkit({}, Path("/nowhere"))


def test_what_the_compiler_says_of_a_kernel_is_read() -> None:
    said = """ptxas info    : Compiling entry function '_Z4findIfEvi' for 'sm_90'
ptxas info    : Function properties for _Z4findIfEvi
    32 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 30 registers, used 1 barriers, 32 bytes cumulative stack size, 320 bytes smem"""
    (kernel,) = kernels_of(said)
    assert (kernel.architecture, kernel.registers, kernel.stack, kernel.spills, kernel.shared) == (90, 30, 32, 12, 320)


@pytest.mark.parametrize("given", [True, False])
def test_info_says_whether_it_is_there(
    given: bool, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an onnxruntime that has CUDA's provider."""
    if given:
        (tmp_path / FILE).symlink_to(library)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [operators.CUDA, CPU])
    monkeypatch.setattr(fuseline.kernels.cuda, "cuda_operators", lambda: find([str(tmp_path)], {}))
    assert main(["info", "/nowhere"]) == 2
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("CUDA operators"))
    assert row.endswith(str(tmp_path / FILE) if given else "none, bodies run: the library was not built; " + HOW)


@pytest.mark.skipif(BUILT is None, reason="needs the library that .ci/cuda builds, and onnxruntime-gpu")
def test_what_nvidias_compiler_has_made_is_registered_and_disturbs_no_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert BUILT is not None
    built = find([str(Path(BUILT).parent)], {})
    assert built.reason is None
    codes = subprocess.run(["strings", "-a", BUILT], capture_output=True, text=True, check=True).stdout
    assert all(f"sm_{each}" in codes for each in (80, 86, 89, 90))
    case = Maker(0).self_attention()
    file = tmp_path / "one.onnx"
    file.write_bytes(with_bodies(case))
    options = ort.SessionOptions()
    options.register_custom_ops_library(BUILT)
    with pytest.raises(Exception, match="Could not find an implementation for CachedSelfAttention"):  # it is CUDA's
        ort.InferenceSession(str(file), options, providers=[CPU])
    monkeypatch.setattr(fuseline.kernels.cuda, "cuda_operators", lambda: built)
    if not operators._starts(operators.CUDA, ()):
        with pytest.raises(DeviceError, match="the device cuda cannot be used: CUDAExecutionProvider did not start"):
            open_graph(file, Device("cuda", operators.CUDA))
    found = open_graph(file).session.run(None, dict(case.feed))[0]
    np.testing.assert_allclose(found, exact(case)["mixed"], rtol=2e-5, atol=2e-5)
