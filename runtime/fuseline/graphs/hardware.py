"""The devices that there are here, as far as that shows without opening a graph: what each is, and who drives it."""

from __future__ import annotations

import platform
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from .devices import ON_CPU, SUFFIX, brought, built_in, devices
from .installed import onnxruntime, openvino_parts, wheels
from .plugins import hardware_of, listed


@dataclass(frozen=True)
class Seen:
    """A device by the name that it is asked for. hardware, driver: empty where they do not show; reason: why it cannot
    be had, empty where that shows only when it is opened."""

    name: str
    provider: str
    hardware: str
    package: str
    driver: str = ""
    reason: str = ""


def seen(names: Collection[str] | None = None) -> Iterator[Seen]:
    """The CPU, the providers that onnxruntime has built in, and those of packages; or those of some names, as `devices`
    has them. Raises DeviceError."""
    wanted = devices() if names is None else names
    package = ", ".join(wheels()) or f"onnxruntime {onnxruntime().__version__}"
    if ON_CPU.name in wanted:
        yield Seen(ON_CPU.name, ON_CPU.provider, cpu_model(), package)
    for name, provider in sorted(built_in().items()):
        if provider != ON_CPU.provider and name in wanted:
            driver = driver_of(provider)
            for which, hardware in _of_built_in(provider):
                yield Seen(f"{name}:{which}" if which else name, provider, hardware, package, driver)
    for name, plugin in sorted(brought().items()):
        if name not in wanted:
            continue
        found = listed(plugin)
        if not found.handles:
            yield Seen(name, plugin.provider, "", plugin.package, reason=found.reason)
        for number, handle in enumerate(found.handles):
            one = f"{name}:{number}" if number else name
            yield Seen(one, plugin.provider, hardware_of(handle), plugin.package, driver_of(plugin.provider))


def _of_built_in(provider: str) -> list[tuple[str, str]]:
    """What stands behind the colon, and what that is; of most providers one device, of which nothing is told."""
    kind = provider.removesuffix(SUFFIX)
    if kind == "OpenVINO":
        return [(each, cpu_model() if each == "CPU" else f"Intel {each}") for each in openvino_parts()] or [("", "")]
    if kind in ("CUDA", "Tensorrt"):
        names = _nvidia()
        return [(str(number) if number else "", name) for number, name in enumerate(names)] or [("", "")]
    return [("", f"Apple, {platform.machine()}" if kind == "CoreML" else "")]


def _nvidia(system: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """The names of NVIDIA's GPUs, as its driver for Linux tells them."""
    found = []
    for file in sorted(system.glob("*/information")):
        match = re.search(r"^Model:\s*(.+)$", file.read_text(errors="replace"), re.MULTILINE)
        found.append(match[1].strip() if match else "NVIDIA")
    return found


def driver_of(provider: str, system: Path = Path("/")) -> str:
    """Who drives a provider's hardware, as far as Linux tells."""
    kind = provider.removesuffix(SUFFIX)
    if kind in ("CUDA", "Tensorrt", "NvTensorRTRTX"):
        file = system / "proc/driver/nvidia/version"
        found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", file.read_text(errors="replace")) if file.is_file() else None
        return f"NVIDIA {found[0]}" if found else ""
    if kind == "WebGpu":
        folders = ("etc/vulkan/icd.d", "usr/share/vulkan/icd.d")
        names = {file.stem.split(".")[0] for folder in folders for file in (system / folder).glob("*.json")}
        return f"Vulkan: {', '.join(sorted(names))}" if names else ""
    return ""


def cpu_model() -> str:
    """The CPU's name, or on ARM its implementer and part, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    names = [said[key] for key in ("model name", "CPU implementer", "CPU part", "CPU variant") if key in said]
    return " ".join(names) or platform.processor() or platform.machine()


def adapters(system: Path = Path("/sys/class")) -> list[str]:
    """The GPUs and NPUs of this machine by vendor and device, "0x10de:0x2230", as Linux tells them without a driver's
    help; none elsewhere."""
    folders = [*system.glob("drm/card[0-9]*/device"), *system.glob("accel/accel[0-9]*/device")]
    found = set[tuple[str, str]]()
    for folder in folders:
        try:
            found.add((str(folder.resolve()), ":".join((folder / name).read_text().strip() for name in _BY)))
        except OSError:  # what is on no bus that has such numbers
            continue
    return sorted(name for _, name in found)


_BY = ("vendor", "device")
