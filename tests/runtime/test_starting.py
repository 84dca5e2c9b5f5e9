"""A provider that does not start: what is said of it."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import pytest

from fuseline.graphs.starting import not_started, standard_error

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


# As it writes where there are the libraries and a driver, and no GPU.
_CUDA_CALL = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:{} std::conditional_t<THRW, void, onnxruntime::"
    "common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, const char*, int) "
    "[with ERRTYPE = cudaError; bool THRW = true; SUCCTYPE = cudaError; std::conditional_t<THRW, void, common::Status> "
    "= void] "
)
_NO_GPU = (
    f"{_CUDA_CALL.format(154)}{_CUDA_CALL.format(146)}CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; "
    "hostname=vm ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_execution_provider.cc ; line=355 ; "
    "expr=cudaSetDevice(info_.device_id); \n\n"
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
        (RuntimeError(_NO_GPU), [], "did not start: CUDA failure 100: no CUDA-capable device is detected; nvidia-smi"),
        (RuntimeError(_ADAPTER), [], "did not start: Failed to get a WebGPU adapter: No supported adapters"),
        (None, ["of another thread"], "did not start: onnxruntime does not say why"),
    ],
)
def test_a_provider_that_does_not_start_says_onnxruntimes_reason(error: Any, said: list[str], told: str) -> None:
    message = str(not_started("cuda:1", "CUDAExecutionProvider", error, said))
    assert message.startswith("the device cuda:1 cannot be used: CUDAExecutionProvider did not start: ")
    assert told in message
    assert "onnxruntime_src" not in message


@pytest.mark.parametrize(
    ("provider", "told", "help"),
    [
        (
            "CUDAExecutionProvider",
            [_LOG[0].replace("libcublasLt.so.13", "libcuda.so.1")],
            "No such file or directory; that is of NVIDIA's driver",
        ),
        ("CUDAExecutionProvider", _LOG, "pip install 'onnxruntime-gpu[cuda,cudnn]' brings the libraries of CUDA"),
        (
            "WebGpuExecutionProvider",
            RuntimeError(_ADAPTER),
            "needs a GPU and a driver for Vulkan",
        ),
        (
            "WebGpuExecutionProvider",
            RuntimeError("Program Transpose requires f16 but the device does not support it"),
            "does not support it; this GPU has no halves; fuseline layouts FOLDER standard --format fp32 makes floats",
        ),
        ("OpenVINOExecutionProvider", RuntimeError("no plugin"), "a GPU or an NPU needs Intel's driver"),
    ],
)
def test_what_would_help_is_said_too(provider: str, told: Any, help: str) -> None:
    error, said = (None, told) if isinstance(told, list) else (told, [])
    assert help in str(not_started("it", provider, error, said))


def test_standard_error_is_held_back_and_what_is_not_onnxruntimes_comes_afterwards(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with standard_error() as lines:
        os.write(2, f"mine\n{_LOG[0]}\n\x1b[m\nmine too".encode())
    assert lines[0] == "mine"
    assert "libcublasLt.so.13" in lines[1]
    assert capfd.readouterr().err == "mine\nmine too"


def test_where_no_folder_can_be_written_to_what_is_said_is_seen(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", "/nowhere")
        with standard_error() as said:
            os.write(2, b"no driver\n")
    assert said == []
    assert capfd.readouterr().err == "no driver\n"
