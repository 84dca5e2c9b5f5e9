"""Devices: which there are, why one cannot be had, and that one which says something else than the CPU is not used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

import fuseline
from fuseline.errors import DeviceError
from fuseline.folders.open import open_folder
from fuseline.folders.own import Folder
from fuseline.graphs import decoder, devices
from fuseline.graphs.devices import check_memory, not_started, provider_of, standard_error
from fuseline.graphs.open import open_graphs
from fuseline.trials import device_check, machine
from tests import tiny

WHERE = str(Path(fuseline.__file__).parents[1])


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider"])
def test_a_device_has_a_short_name_and_its_providers(name: str) -> None:
    assert provider_of(name) == "CPUExecutionProvider"


@pytest.mark.parametrize("name", ["tpu", "", "AzureExecutionProvider", "azure", None, 3, "a\x1b[31m\n" + "b" * 5000])
def test_what_is_no_device_is_refused_and_azure_is_none(name: Any) -> None:
    with pytest.raises(DeviceError, match="there is no device .* here; available: cpu") as caught:
        provider_of(name)
    assert "azure" not in str(caught.value).split("available")[1]
    assert len(str(caught.value)) < 400


def test_what_is_offered_begins_with_the_cpu_and_has_no_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["TensorrtExecutionProvider", "AzureExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: names)
    assert list(devices.devices().items()) == [
        ("cpu", "CPUExecutionProvider"),
        ("tensorrt", "TensorrtExecutionProvider"),
    ]


def session_of(*names: str) -> Any:
    """A session whose inputs and outputs lie in these memories, as onnxruntime tells."""
    infos = [SimpleNamespace(name=name) for name in names]
    return SimpleNamespace(get_input_memory_infos=lambda: infos, get_output_memory_infos=lambda: infos)


@pytest.mark.parametrize(
    ("session", "provider", "shared"),
    [
        (session_of("Cpu", "Cpu"), "OpenVINOExecutionProvider", True),
        (session_of("Cpu", "OpenVINO_RT_NPU"), "OpenVINOExecutionProvider", False),
        (session_of("Cpu"), "XnnpackExecutionProvider", True),
        (session_of("Cuda"), "CUDAExecutionProvider", False),
        (session_of("Cpu"), "CUDAExecutionProvider", False),  # where it took no node of this graph
        (session_of("WebGPU_Buf"), "WebGpuExecutionProvider", False),
        (SimpleNamespace(), "CUDAExecutionProvider", False),  # an onnxruntime that does not tell
        (SimpleNamespace(), "TensorrtExecutionProvider", False),
        (SimpleNamespace(), "DmlExecutionProvider", False),
        (SimpleNamespace(), "SomeNewExecutionProvider", False),
        (SimpleNamespace(), "CoreMLExecutionProvider", True),
        (SimpleNamespace(), "CPUExecutionProvider", True),
    ],
)
def test_a_device_with_memory_of_its_own_is_refused(session: Any, provider: str, shared: bool) -> None:
    if shared:
        check_memory(session, provider)
        return
    with pytest.raises(DeviceError, match="has memory of its own, which this version of fuseline does not write to"):
        check_memory(session, provider)


def test_this_onnxruntime_tells_of_the_cpus_memory(tiny_path: Path) -> None:
    graphs = open_graphs(open_folder(tiny_path))
    session = graphs.encoder.graph.session
    if not hasattr(session, "get_input_memory_infos"):
        pytest.skip("this onnxruntime is too old to tell")
    assert {info.name for info in session.get_input_memory_infos()} == {"Cpu"}


# As onnxruntime-gpu 1.31 writes them where there is no CUDA.
_LOG = [
    "\x1b[1;31m2026-11-28 14:41:16.242377475 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] "
    "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& "
    "onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library /lib/cuda.so "
    "with error: libcublasLt.so.13: cannot open shared object file: No such file or directory",
    "\x1b[m",
    "\x1b[0;93m2026-11-28 14:41:16.243006697 [W:onnxruntime:Default, onnxruntime_pybind_state.cc:1295 Create] Failed "
    "to create CUDAExecutionProvider. Require cuDNN 9.* and CUDA 13.*.\x1b[m",
]
_ADAPTER = (
    "/onnxruntime_src/onnxruntime/core/providers/webgpu/webgpu_context.cc:65 onnxruntime::webgpu::WebGpuContext::"
    "Initialize(const Config&)::<lambda()>::<lambda(wgpu::Status, wgpu::Adapter*)> status == wgpu::Status::Success was "
    "false. Failed to get a WebGPU adapter: No supported adapters\n"
)


@pytest.mark.parametrize(
    ("error", "said", "told"),
    [
        (
            None,
            _LOG,
            "Failed to load library /lib/cuda.so with error: libcublasLt.so.13: cannot open shared object file",
        ),
        (RuntimeError("Please install TensorRT"), _LOG[:2], "libcublasLt.so.13"),
        (None, _LOG[2:], "did not start: Failed to create CUDAExecutionProvider"),
        (RuntimeError(_ADAPTER), [], "did not start: Failed to get a WebGPU adapter: No supported adapters"),
        (None, ["of another thread"], "did not start: onnxruntime does not say why"),
    ],
)
def test_a_provider_that_does_not_start_says_onnxruntimes_reason(error: Any, said: list[str], told: str) -> None:
    message = str(not_started("CUDAExecutionProvider", error, said))
    assert message.startswith("the device cuda cannot be used: CUDAExecutionProvider did not start: ")
    assert told in message
    assert "onnxruntime_src" not in message


def test_standard_error_is_held_back_and_what_is_not_onnxruntimes_comes_afterwards(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with standard_error() as lines:
        os.write(2, f"mine\n{_LOG[0]}\n\x1b[m\nmine too".encode())
    assert lines[0] == "mine"
    assert "libcublasLt.so.13" in lines[1]
    assert capfd.readouterr().err == "mine\nmine too"


def in_python(code: str, *paths: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*map(str, paths), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


_OPEN = """
from fuseline import Model
from fuseline.errors import Error
try:
    Model.from_pretrained(device={!r})
except Error as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            "raise ImportError('libgomp.so.1: cannot open shared object file')",
            "cannot be loaded: ImportError: libgomp.so.1",
        ),
        ("import no_such_part", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_part'"),
        ("", "cannot be loaded: AttributeError: "),
        ("__version__ = '1.32.0'", "cannot be loaded: AttributeError: "),
        ("__version__ = '1.19.2'\nInferenceSession = 1", "onnxruntime 1.19.2 is too old; fuseline needs 1.20 or later"),
    ],
)
def test_an_onnxruntime_that_cannot_be_used_is_said_in_a_sentence(source: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(source)
    done = in_python(_OPEN.format("cpu"), tmp_path)
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)
    assert done.stdout.startswith("DeviceError onnxruntime")
    assert sentence in done.stdout


def test_there_is_no_onnxruntime(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['onnxruntime'] = None\n"
    assert (
        "cannot be loaded: it is not installed; pip install onnxruntime"
        in in_python(hidden + _OPEN.format("cpu")).stdout
    )


def test_two_packages_in_one_place_are_recognised(tmp_path: Path) -> None:
    """Real folders as pip leaves them, beside a package that is whole."""
    (tmp_path / "onnxruntime").symlink_to(Path(onnxruntime.__file__).parent)
    names = [
        "onnxruntime-1.32.0",
        "onnxruntime_gpu-1.31.1",
        "onnxruntime_ep_webgpu-0.4.0",
        "onnxruntime_extensions-0.14.0",
    ]
    for name in names:
        (tmp_path / f"{name}.dist-info").mkdir()
    done = in_python("from fuseline.graphs.devices import wheels; print(wheels())\n" + _OPEN.format("cuda"), tmp_path)
    found, error = done.stdout.splitlines()
    assert found == "['onnxruntime 1.32.0', 'onnxruntime-gpu 1.31.1']"
    assert error.startswith("DeviceError there is no device 'cuda' here; available: cpu")
    assert "onnxruntime 1.32.0, onnxruntime-gpu 1.31.1 overwrite each other's files: pip uninstall" in error


def test_here_is_one_package() -> None:
    assert devices.wheels() in ([f"onnxruntime {onnxruntime.__version__}"], [])  # none where it was built here


def test_telemetry_is_off_also_where_onnxruntime_was_loaded_before() -> None:
    code = """
import onnxruntime
calls = []
onnxruntime.disable_telemetry_events = lambda: calls.append(1)
from fuseline.graphs.devices import onnxruntime as ours
assert ours() is onnxruntime and ours() is onnxruntime
print(calls)
"""
    assert in_python(code).stdout == "[1]\n"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Folder]:
    """Two models of the same sizes that say different things."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
    return [open_folder(tiny.tiny_folder(tmp_path / str(seed), seed)) for seed in (0, 1)]


def test_what_says_other_tokens_than_the_cpu_is_noticed(folders: list[Folder]) -> None:
    one, other = folders
    assert device_check._says_the_same(one, open_graphs(one), "it", 1)
    assert not device_check._says_the_same(one, open_graphs(other), "it", 1)


def test_a_decoder_that_does_not_see_what_is_written_later_is_noticed(
    folders: list[Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a device with memory of its own does: it has the inputs as they were when they were bound."""
    graphs = open_graphs(folders[0])
    on_cpu = open_graphs(folders[0])
    started = graphs.decoder.start(on_cpu.encoder.encode({"pixel_values": tiny.photos(1)}), 1, 2)
    assert isinstance(started, decoder.CachedState)  # the real one

    copied: list[Any] = []

    def copy(array: Any) -> Any:
        copied.append(array.copy())
        return onnxruntime.OrtValue.ortvalue_from_numpy(copied[-1])

    def says_the_same() -> bool:
        expected = device_check._tokens(folders[0], on_cpu, None)
        with monkeypatch.context() as patch:
            patch.setattr(
                decoder._Buffers,
                "_bind_input",
                lambda self, name, array: self._binding.bind_ortvalue_input(name, copy(array)),
            )
            found = device_check._tokens(folders[0], graphs, expected[0])
        return all(a.tolist() == b.tolist() for a, b in zip(expected, found, strict=True))

    graphs.decoder.forget()  # type: ignore[attr-defined]
    assert not says_the_same()


def test_what_was_found_is_remembered_and_a_device_that_differs_is_refused(
    folders: list[Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison is real; only the name of the device is another's."""
    folder = folders[0]
    monkeypatch.setattr(device_check, "CPU", "another")
    compared: list[bool] = []
    real = device_check._says_the_same

    def counted(*arguments: Any) -> bool:
        compared.append(real(*arguments))
        return compared[-1]

    monkeypatch.setattr(device_check, "_says_the_same", counted)
    for _ in range(2):
        device_check.open_checked(folder, threads=1)
    assert compared == [True]
    facts = machine.facts_of(folder, "cpu", 1) | {"variant": folder.variant}
    machine.remember("devices", facts, {"same": False})
    with pytest.raises(DeviceError, match="says other tokens than the CPU for .*, so it is not used; use cpu"):
        device_check.open_checked(folder, threads=1)


def test_a_comparison_that_takes_too_long_is_refused(folders: list[Folder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_check, "CPU", "another")
    monkeypatch.setattr(device_check, "SECONDS", 0.0)
    monkeypatch.setattr("fuseline.graphs.running._TICK", 0.0001)
    try:
        device_check.open_checked(folders[0], threads=1)
    except DeviceError as error:
        assert "could not be compared with the CPU" in str(error)  # a quick machine is through before anybody looks


@pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers(), reason="needs onnxruntime-openvino"
)
def test_openvino_says_what_the_cpu_says(folders: list[Folder]) -> None:
    device_check.open_checked(folders[0], "openvino", threads=1)
