"""A provider that does not start: what onnxruntime says of it in an exception, in its log, or in both."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DeviceError
from .installed import onnxruntime, several
from .reasons import SILENT, reason

HELD_BACK = "said-"  # what the names of files begin with that hold what was written to standard error
_WARNINGS = 2  # onnxruntime's severity, and all above it


# What a provider says, or all that it may say (""), by its name, and what would help.
_HELP = (
    ("CUDA", "libcuda.so", "that is of NVIDIA's driver, which the system has where there is a GPU"),
    ("CUDA", "cannot open shared object", "pip install 'onnxruntime-gpu[cuda,cudnn]' brings the libraries of CUDA"),
    (
        "Tensorrt",
        "cannot open shared object",
        "pip install tensorrt 'onnxruntime-gpu[cuda,cudnn]' brings its libraries",
    ),
    ("CUDA", "driver", "install or update NVIDIA's driver; nvidia-smi shows whether it works"),
    ("CUDA", "no CUDA-capable device", "nvidia-smi shows which GPUs there are"),
    (
        "WebGpu",
        "adapter",
        "it needs a GPU and a driver for Vulkan, Direct3D 12 or Metal; vulkaninfo shows what there is",
    ),
    ("WebGpu", "requires f16", "this GPU has no halves; fuseline layouts FOLDER standard --format fp32 makes floats"),
    (
        "OpenVINO",
        "",
        "fuseline devices lists what OpenVINO finds; a GPU or an NPU needs Intel's driver",
    ),
    ("QNN", "", "it needs Qualcomm's NPU and driver; its simulator wants htp_arch and soc_model as device_options"),
)


def not_started(name: str, provider: str, error: BaseException | None, said: list[str]) -> DeviceError:
    """Why the provider of a device did not start: onnxruntime says it in an exception, in its log, or in both."""
    errors = [line for line in said if ":onnxruntime:" in line and re.search(r"\[[EF]:", line)]
    others = [line for line in said if ":onnxruntime:" in line]
    told = reason(_LOG.sub("", errors[0])) if errors else reason(error) if error is not None else ""
    told = told or (reason(_LOG.sub("", others[0])) if others else "onnxruntime does not say why")
    help = next((f"; {how}" for of, says, how in _HELP if provider.startswith(of) and says in told), "")
    return DeviceError(f"the device {name} cannot be used: {provider} did not start: {told}{help}{several()}")


_LOG = re.compile(r"^.*?\[[A-Z]:onnxruntime:[^\]]*\] ")


@contextmanager
def standard_error() -> Iterator[list[str]]:
    """Hold back what is written to standard error meanwhile; the lines are there at the end.

    onnxruntime says only there why a provider does not start. What is not its own is written on afterwards.
    """
    lines: list[str] = []
    onnxruntime().set_default_logger_severity(_WARNINGS)
    try:
        yield from _held_back(lines)
    finally:
        onnxruntime().set_default_logger_severity(SILENT)


def _held_back(lines: list[str]) -> Iterator[list[str]]:
    try:
        sys.stderr.flush()
        before = os.dup(2)
    except (OSError, ValueError, AttributeError):  # closed, or none
        yield lines
        return
    try:
        held = tempfile.NamedTemporaryFile(prefix=HELD_BACK)  # noqa: SIM115 - a name, so that a crash leaves what was said
    except OSError:  # no folder can be written to: what is said is seen
        os.close(before)
        yield lines
        return
    with held as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            written = kept.read()
            lines += written.decode("utf-8", "replace").splitlines()
            rest = [line for line in written.splitlines(keepends=True) if not _is_log(line)]
            with os.fdopen(os.dup(2), "wb", buffering=0) as stream:
                stream.write(b"".join(rest))


def _is_log(line: bytes) -> bool:
    return b":onnxruntime:" in line or line.strip() in (b"", b"\x1b[m", b"\x1b[0m")
