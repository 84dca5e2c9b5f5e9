"""What there is here, as Linux tells it."""

from __future__ import annotations

from pathlib import Path

from fuseline.graphs.hardware import _nvidia, cpu_model, driver_of, seen


def test_the_cpu_is_seen_first_by_its_name() -> None:
    first, *others = seen()
    assert (first.name, first.hardware) == ("cpu", cpu_model())
    assert first.hardware
    assert first.package.startswith("onnxruntime")
    assert all(each.name != "cpu" for each in others)


def test_gpus_and_drivers_of_nvidia(tmp_path: Path) -> None:
    """As driver 570 writes these files."""
    for number, name in enumerate(("NVIDIA H200", "NVIDIA RTX A4000")):
        folder = tmp_path / "proc/driver/nvidia/gpus" / f"0000:0{number}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t {name}\nIRQ:   \t\t 40\n")
    version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build  (gcc 12)\n"
    (tmp_path / "proc/driver/nvidia/version").write_text(version)
    assert _nvidia(tmp_path / "proc/driver/nvidia/gpus") == ["NVIDIA H200", "NVIDIA RTX A4000"]
    assert driver_of("CUDAExecutionProvider", tmp_path) == "NVIDIA 570.124.06"
    assert driver_of("CUDAExecutionProvider", tmp_path / "none") == ""


def test_drivers_of_vulkan(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/vulkan/icd.d"
    folder.mkdir(parents=True)
    for name in ("radeon_icd.x86_64.json", "intel_icd.x86_64.json"):
        (folder / name).write_text("{}")
    assert driver_of("WebGpuExecutionProvider", tmp_path) == "Vulkan: intel_icd, radeon_icd"
    assert driver_of("CoreMLExecutionProvider", tmp_path) == ""
