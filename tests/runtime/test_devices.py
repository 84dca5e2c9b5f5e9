"""Devices by name: which there are, what stands behind a colon, options, and which graphs each runs."""

from __future__ import annotations

from typing import Any

import pytest

from fuseline.errors import DeviceError, InputError
from fuseline.graphs import devices
from fuseline.graphs.devices import ON_CPU, check_there, device_of, placed, with_recording
from fuseline.graphs.session import _told

PROVIDERS = [
    "TensorrtExecutionProvider",
    "CUDAExecutionProvider",
    "OpenVINOExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "QNNExecutionProvider",
    "WebGpuExecutionProvider",
    "AzureExecutionProvider",
    "CPUExecutionProvider",
]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime with many providers, as there is none: what they are called is all that is looked at here."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: PROVIDERS)


@pytest.mark.parametrize("name", ["cpu", "CPU", "cpu:0", "CPUExecutionProvider"])
def test_the_cpu_has_a_short_name_and_its_providers(name: str) -> None:
    assert device_of(name) == ON_CPU


@pytest.mark.parametrize(
    "name", ["tpu", "", "AzureExecutionProvider", "azure", "cpu:1", "cuda:", ":0", None, 3, "a\x1b[31m\n" + "b" * 5000]
)
def test_what_is_no_device_is_refused_and_azure_is_none(name: Any) -> None:
    with pytest.raises(DeviceError, match="there is no device .* here; available: cpu") as caught:
        device_of(name)
    assert "azure" not in str(caught.value).split("available")[1]
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "help"),
    [
        ("openvino:GPU", "available: cpu; onnxruntime-openvino in the place of onnxruntime brings it"),
        ("directml", "available: cpu; onnxruntime-directml in the place of onnxruntime brings it"),
        ("WebGpuExecutionProvider", "available: cpu; onnxruntime-ep-webgpu beside onnxruntime brings it"),
    ],
)
def test_what_brings_a_device_that_is_not_here_is_said(name: str, help: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: PROVIDERS[-2:])
    monkeypatch.setattr(devices, "plugins", lambda: ())
    with pytest.raises(DeviceError) as caught:
        device_of(name)
    assert str(caught.value).endswith(help)


@pytest.mark.usefixtures("many")
def test_what_is_offered_begins_with_the_cpu_and_has_no_azure() -> None:
    names = list(devices.devices())
    assert names[0] == "cpu"
    assert {"cuda", "openvino", "coreml", "dml", "qnn", "webgpu", "tensorrt"} < set(names)
    assert "azure" not in names


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("name", "given", "provider", "options", "layout"),
    [
        ("cuda", None, "CUDAExecutionProvider", {}, "contrib"),
        ("cuda:1", None, "CUDAExecutionProvider", {"device_id": "1"}, "contrib"),
        ("CUDAExecutionProvider", {"use_tf32": False}, "CUDAExecutionProvider", {"use_tf32": "False"}, "contrib"),
        (
            "openvino:GPU",
            {"num_streams": 2},
            "OpenVINOExecutionProvider",
            {"device_type": "GPU", "num_streams": "2"},
            "",
        ),
        ("openvino:HETERO:GPU,CPU", None, "OpenVINOExecutionProvider", {"device_type": "HETERO:GPU,CPU"}, "standard"),
        ("coreml:CPUAndNeuralEngine", None, "CoreMLExecutionProvider", {"MLComputeUnits": "CPUAndNeuralEngine"}, ""),
        ("directml:1", None, "DmlExecutionProvider", {"device_id": "1"}, "standard"),
        ("qnn", None, "QNNExecutionProvider", {"backend_type": "htp"}, "static"),
        ("qnn:gpu", None, "QNNExecutionProvider", {"backend_type": "gpu"}, "static"),
        ("qnn", {"backend_path": "libQnnHtp.so"}, "QNNExecutionProvider", {"backend_path": "libQnnHtp.so"}, "static"),
        ("webgpu", {}, "WebGpuExecutionProvider", {}, "standard"),
        ("webgpu:0", {}, "WebGpuExecutionProvider", {}, "standard"),
    ],
)
def test_a_name_its_colon_and_options(name: str, given: Any, provider: str, options: Any, layout: str) -> None:
    found = device_of(name, given)
    assert (found.provider, dict(found.options)) == (provider, options)
    assert found.layout == (layout or "standard")
    assert not found.is_cpu


@pytest.mark.usefixtures("many")
def test_what_cuda_is_told() -> None:
    """Floats stay floats, runs are recorded, and what a caller says goes before that."""
    one = device_of("cuda:1", {"use_tf32": True})
    assert one.copies == ("cuda", 1)
    told = _told(with_recording(one), 1)
    assert (told["use_tf32"], told["device_id"], told["enable_cuda_graph"]) == ("True", "1", "1")
    assert _told(one, 1).get("enable_cuda_graph") is None
    plain = device_of("cuda", {"enable_cuda_graph": 0})
    assert with_recording(plain) is plain
    assert _told(plain, 1)["use_tf32"] == "0"
    other = device_of("webgpu")
    assert with_recording(other) is other
    assert other.copies is None


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("name", "options", "error", "sentence"),
    [
        ("cuda:x", None, DeviceError, "which device of cuda is a number, such as cuda:0"),
        ("webgpu:1", None, DeviceError, "webgpu is one device; give its name alone, without :1"),
        ("cuda:1", {"device_id": 2}, InputError, "device_options say device_id is '2', and the device's name 1"),
        ("cuda", ["device_id"], InputError, "device_options must be texts, numbers, True or False by name, not"),
        ("cuda", {"device_id": [1]}, InputError, r"'device_id' is \[1\]"),
        ("cuda", {"a b": 1}, InputError, "'a b' is 1"),
        ("cpu", {"threads": 1}, InputError, "device_options are of another device than cpu"),
    ],
)
def test_what_is_wrong_with_a_device_is_said(name: str, options: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        device_of(name, options)


@pytest.mark.usefixtures("many")
def test_what_openvino_does_not_find_is_refused_with_what_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no node for a name that it does not know, and knows its names in capitals alone."""
    monkeypatch.setattr(devices, "openvino_parts", lambda: ("CPU", "GPU.0", "GPU.1"))
    for name, told in [
        ("cpu", "CPU"),
        ("GPU", "GPU"),
        ("gpu.1", "GPU.1"),
        ("HETERO:GPU,CPU", "HETERO:GPU,CPU"),
        ("GPU_FP16", "GPU_FP16"),
    ]:
        assert device_of(f"openvino:{name}").options == {"device_type": told}
        check_there(device_of(f"openvino:{name}"))
    sentence = "there is no device openvino:{} here; OpenVINO finds CPU, GPU.0, GPU.1, and a GPU or an NPU needs"
    asked = [device_of(f"openvino:{name}") for name in ("XYZ", "NPU", "GPU.2", "AUTO:TPU,CPU")]
    for each in [*asked, device_of("openvino", {"device_type": "XYZ"})]:
        with pytest.raises(DeviceError, match=sentence.format(each.options["device_type"])):
            check_there(each)


@pytest.mark.usefixtures("many")
def test_encoder_and_decoder_may_be_apart() -> None:
    found = placed({"encoder": "openvino", "decoder": "cpu"}, {"encoder": {"num_streams": 1}})
    assert (found.encoder.provider, found.encoder.options) == ("OpenVINOExecutionProvider", {"num_streams": "1"})
    assert found.decoder == ON_CPU
    assert found.asked == {"encoder": "openvino", "decoder": "cpu"}
    assert not found.is_cpu
    assert placed("cpu").is_cpu
    assert placed(found) is found


@pytest.mark.parametrize(
    ("device", "options", "sentence"),
    [
        ({"encoder": "cpu"}, None, 'device by part is {"encoder": ..., "decoder": ...}, not'),
        ({"encoder": "cpu", "decoder": "cpu", "head": "cpu"}, None, "device by part is"),
        ({"encoder": "cpu", "decoder": "cpu"}, {"device_id": 1}, "device_options are by part where device is"),
    ],
)
def test_parts_are_encoder_and_decoder(device: Any, options: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        placed(device, options)
    assert sentence in str(caught.value)
