"""Devices: their names, the providers of onnxruntime behind them, and which graphs each runs.

A device is asked for by a short name, "openvino", "cuda:1", "openvino:GPU", or by its provider's name. The provider is
built into onnxruntime or comes with a package of its own, see fuseline.graphs.plugins.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from ..errors import DeviceError, InputError, shown, written
from ..folders.description import CONTRIB, FUSED, STANDARD, STATIC
from .installed import onnxruntime, openvino_parts, several, wheels
from .plugins import Plugin, listed, plugins, registered, words_of

CPU = "CPUExecutionProvider"
SUFFIX = "ExecutionProvider"
# In every build, and none that runs graphs: it sends what it is given to a server.
_NO_DEVICES = ("AzureExecutionProvider",)
_ALIASES = {"directml": "dml"}
_STATIC = ("QNN",)  # these want every size fixed
_CONTRIB = ("CUDA",)  # these have kernels for the operators that onnxruntime contributes
# The library of Qualcomm's that a graph is given to: htp, gpu or cpu.
_BACKEND, _BACKEND_PATH, _DEFAULT_BACKEND = "backend_type", "backend_path", "htp"
_OPENVINO = "device_type"
# What stands behind a colon, by the provider's option that it is; of plugins it may choose among what they list.
_WHICH = {
    "CANN": "device_id",
    "CUDA": "device_id",
    "CoreML": "MLComputeUnits",
    "Dml": "device_id",
    "MIGraphX": "device_id",
    "OpenVINO": _OPENVINO,
    "QNN": _BACKEND,
    "ROCM": "device_id",
    "Tensorrt": "device_id",
}
_INSTEAD = "{} in the place of onnxruntime brings it"
_BRINGS = {
    "coreml": "onnxruntime for macOS has it",
    "cuda": _INSTEAD.format("onnxruntime-gpu[cuda,cudnn]"),
    "dml": _INSTEAD.format("onnxruntime-directml"),
    "openvino": _INSTEAD.format("onnxruntime-openvino"),
    "qnn": "onnxruntime-qnn beside onnxruntime brings it",
    "tensorrt": _INSTEAD.format("onnxruntime-gpu"),
    "webgpu": "onnxruntime-ep-webgpu beside onnxruntime brings it",
}
# How onnxruntime's bindings name memory of a provider's own.
_MEMORY = {
    "CANN": "cann",
    "CUDA": "cuda",
    "Dml": "dml",
    "MIGraphX": "cuda",
    "ROCM": "cuda",
    "Tensorrt": "cuda",
    "WebGpu": "webgpu",
}
_TOGETHER = ("AUTO", "HETERO", "MULTI", "BATCH")  # what OpenVINO makes of several of its devices, "AUTO:GPU,CPU"
_RECORDS = "enable_cuda_graph"
_NAME = re.compile(r"([^:]{1,60})(?::(.{1,100}))?", re.DOTALL)
_OPTION = re.compile(r"\w{1,100}")


@dataclass(frozen=True)
class Device:
    """What graphs run on. name: as it is asked for; provider: onnxruntime's name; options: what the provider is told;
    package: which brings it, with its version; handle: of a plugin, onnxruntime's OrtEpDevice."""

    name: str
    provider: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    package: str = ""
    handle: Any = None

    @property
    def kind(self) -> str:
        """The provider without what all their names end in."""
        return self.provider.removesuffix(SUFFIX)

    @property
    def is_cpu(self) -> bool:
        """Whether it is the CPU by onnxruntime's own kernels and ours."""
        return self.provider == CPU

    @property
    def layout(self) -> str:
        """Which graphs it runs, see fuseline.folders.description."""
        others = STATIC if self.kind in _STATIC else CONTRIB if self.kind in _CONTRIB else STANDARD
        return FUSED if self.is_cpu else others

    @property
    def may_round(self) -> bool:
        """Whether it was told things by which OpenVINO computes in fewer bits than a graph says."""
        return self.kind == "OpenVINO" and "load_config" in self.options

    @property
    def copies(self) -> tuple[str, int] | None:
        """Memory of its own that onnxruntime's bindings copy to and from, by its name and number; None where what is
        bound is copied when it is bound."""
        return ("cuda", int(self.options.get("device_id", 0))) if self.kind in _CONTRIB else None

    @property
    def memory(self) -> str | None:
        """How onnxruntime's bindings name memory of its own; None where there is no name."""
        if self.handle is not None and self.kind not in _MEMORY:
            kind = str(self.handle.device.type.name).lower()
            return kind if kind in ("gpu", "npu") else None
        return _MEMORY.get(self.kind)


ON_CPU = Device("cpu", CPU)


@dataclass(frozen=True)
class Placement:
    """Which device each graph of a model is on."""

    encoder: Device
    decoder: Device

    @property
    def parts(self) -> tuple[Device, ...]:
        """The devices, each once."""
        return (self.encoder,) if self.encoder == self.decoder else (self.encoder, self.decoder)

    @property
    def is_cpu(self) -> bool:
        """Whether all is on the CPU."""
        return self.encoder.is_cpu and self.decoder.is_cpu

    @property
    def asked(self) -> str | dict[str, str]:
        """What `placed` takes for it: a name, or names by part."""
        if len(self.parts) == 1:
            return self.encoder.name
        return {"encoder": self.encoder.name, "decoder": self.decoder.name}

    def __str__(self) -> str:
        if len(self.parts) == 1:
            return self.encoder.name
        return f"{self.encoder.name} (encoder) and {self.decoder.name} (decoder)"


PARTS = ("encoder", "decoder")
AUTO = "auto"  # in the place of a device: what fuseline.trials.fastest chooses for a whole model


def placed(device: object = "cpu", options: object = None) -> Placement:
    """Where a model is: a device's name, or {"encoder": ..., "decoder": ...} of names; a Placement is given back.

    options: of the provider, by name; where the device is by part, they are too. Raises DeviceError, InputError.
    """
    if isinstance(device, Placement):
        return device
    if not isinstance(device, Mapping):
        found = device_of(device, options)
        return Placement(found, found)
    if set(device) != set(PARTS):
        raise InputError(f'device by part is {{"encoder": ..., "decoder": ...}}, not {written(device)}')
    for part in PARTS:
        if isinstance(device[part], str) and device[part].lower() == AUTO:
            raise InputError(
                f"the device of the {part} is {AUTO}, which is for the whole model; "
                f"name one device, or give {AUTO} alone"
            )
    by_part = {} if options is None else options
    if not isinstance(by_part, Mapping) or not set(by_part) <= set(PARTS):
        raise InputError(f"device_options are by part where device is, encoder and decoder, not {written(options)}")
    return Placement(*(device_of(device[part], by_part.get(part)) for part in PARTS))


def device_of(device: object = "cpu", options: object = None) -> Device:
    """The device of a name. options: what its provider is told, by name. Raises DeviceError where it is not to be had,
    InputError for what are no options."""
    told = _options(options)
    name, which = _parsed(device)
    if name == ON_CPU.name:
        if told:
            raise InputError("device_options are of another device than cpu; threads= is how many threads it has")
        return ON_CPU
    if (provider := built_in().get(name)) is not None:
        package = ", ".join(wheels()[:1])
        return Device(_asked(name, which), provider, _with_which(provider, which, told), package)
    return _of_plugin(name, which, brought()[name], told)


def kind_of(device: object) -> str:
    """The name without what stands behind a colon, as `devices` has it. Raises DeviceError where there is none such."""
    return _parsed(device)[0]


def _parsed(device: object) -> tuple[str, str | None]:
    """One of `devices`, and what stands behind the colon. Raises DeviceError."""
    found = _NAME.fullmatch(device) if isinstance(device, str) else None
    name, which = (found[1].lower(), found[2]) if found else ("", None)
    name = _ALIASES.get(name, name.removesuffix(SUFFIX.lower()))
    if name == ON_CPU.name and which in (None, "0"):
        return name, None
    if name == ON_CPU.name or name not in devices():
        help = f"; {_BRINGS[name]}" if name in _BRINGS else ""
        there = ", ".join(devices())
        raise DeviceError(f"there is no device {written(device)} here; available: {there}{help}{several()}")
    return name, which


def devices() -> dict[str, str]:
    """onnxruntime's provider by the name of each device: "cpu", "cuda", "openvino" ...; the CPU first.

    Whether a device can be used shows only when a graph is opened on it. Raises DeviceError as onnxruntime does.
    """
    found = {name: plugin.provider for name, plugin in brought().items()} | built_in()
    return dict(sorted(found.items(), key=lambda each: (each[1] != CPU, each[0])))


def built_in() -> dict[str, str]:
    """Of these the providers that are onnxruntime's own, by name."""
    others = {*_NO_DEVICES, *registered()}
    return {_short(name): str(name) for name in onnxruntime().get_available_providers() if name not in others}


def brought() -> dict[str, Plugin]:
    """Those of packages, by name; where onnxruntime has its own of that name, that one is used."""
    own, found = built_in(), [*registered().values(), *plugins()]
    return {name: plugin for plugin in found if (name := _short(plugin.provider)) not in own}


def _short(provider: str) -> str:
    return provider.removesuffix(SUFFIX).lower()


def _options(options: object) -> dict[str, str]:
    """As onnxruntime takes them, which are texts. Raises InputError."""
    right = "device_options must be texts, numbers, True or False by name"
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise InputError(f"{right}, not {written(options)}")
    for name, value in options.items():
        if not isinstance(name, str) or not _OPTION.fullmatch(name) or not isinstance(value, str | int | float):
            raise InputError(f"{right}; {written(name)} is {written(value)}")
    return {name: str(value) for name, value in options.items()}


def _asked(name: str, which: str | None) -> str:
    return name if which is None else f"{name}:{which}"


def _with_which(provider: str, which: str | None, told: dict[str, str]) -> dict[str, str]:
    """The options with what stood behind the colon. Raises DeviceError for a provider that has one device only."""
    option = _WHICH.get(provider.removesuffix(SUFFIX))
    if option == _OPENVINO and which is not None:
        which = which.upper()
    if which is None and option == _BACKEND and _BACKEND_PATH not in told:
        which = told.get(_BACKEND, _DEFAULT_BACKEND)
    if which is None:
        return told
    if option is None:
        if which == "0":
            return told
        raise DeviceError(f"{_short(provider)} is one device; give its name alone, without :{shown(which, 40)}")
    if option == "device_id" and not re.fullmatch(r"\d{1,4}", which):
        raise DeviceError(f"which device of {_short(provider)} is a number, such as {_short(provider)}:0")
    if told.get(option, which) != which:
        raise InputError(f"device_options say {option} is {written(told[option])}, and the device's name {which}")
    return {option: which, **told}


def _of_plugin(name: str, which: str | None, plugin: Plugin, told: dict[str, str]) -> Device:
    found, asked = listed(plugin), _asked(name, which)
    if not found.handles:
        raise DeviceError(f"the device {shown(asked, 60)} cannot be used: {found.reason}")
    if _WHICH.get(plugin.provider.removesuffix(SUFFIX)) == _BACKEND:
        told = _with_which(plugin.provider, which, told)
        return Device(asked, plugin.provider, told, plugin.package, found.handles[0])
    for number, handle in enumerate(found.handles):
        if which is None or which == str(number) or which.lower() in words_of(handle):
            return Device(asked, plugin.provider, told, plugin.package, handle)
    names = ", ".join(f"{name}:{number} ({handle.device.type.name})" for number, handle in enumerate(found.handles))
    raise DeviceError(f"there is no device {shown(asked, 60)} here; {plugin.package} lists {names}")


def with_recording(device: Device) -> Device:
    """The device told to record runs as graphs of its own, where it can and its options do not say otherwise."""
    if device.kind not in _CONTRIB or _RECORDS in device.options:
        return device
    return replace(device, options={**device.options, _RECORDS: "1"})


def check_there(device: Device) -> None:
    """Raises DeviceError for what OpenVINO does not find here: of a name that it does not know it takes no node."""
    asked = device.options.get(_OPENVINO) if device.kind == "OpenVINO" and device.handle is None else None
    if not asked or not (there := openvino_parts()):
        return
    known = {*there, *(each.partition(".")[0] for each in there), *(f"{each}.0" for each in there), *_TOGETHER}
    words = [re.sub(r"_FP(16|32)$", "", each) for each in re.split("[:,]", asked) if each]
    if not known.issuperset(words):
        raise DeviceError(
            f"there is no device openvino:{shown(asked, 60)} here; OpenVINO finds {', '.join(there)}, and a GPU or an "
            "NPU needs Intel's driver"
        )


def prepare(device: Device) -> None:
    """What a provider's libraries need before its first session: those of CUDA's packages are loaded."""
    if device.kind in ("CUDA", "Tensorrt"):
        _preload()


@cache
def _preload() -> None:
    """Once a process."""
    if hasattr(onnxruntime(), "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # where it says at length what it does not find
            onnxruntime().preload_dlls()
