"""`python -m benchmarks run --device cuda`: a captioner on a device beside transformers there, and beside its memory.

ViT-GPT2 in halves, of random weights that say varied things (on the CPU in floats). Of CUDA our operators are built
first and tried one by one, and the captioner runs with them and without. Each part runs in a process of its own with a
time limit, and what it finds is in the file before it goes on, so that one that fails or hangs takes nothing with it.
The whole takes less than 10 minutes. The floor of a step is the time of reading the weights that it reads, as fast as
the device sums a large array.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from .client import ROOT

if TYPE_CHECKING:
    from fuseline import Model

BEAMS, LENGTH, SHORT = 4, 16, 2
# Seconds of each part, in the order in which they matter; together with what is between them below 600.
LIMITS = {
    **{
        "build": 45,
        "operators": 50,
        "make": 140,
        "cpu": 40,
        "fuseline": 75,
        "eager": 50,
        "bodies": 60,
        "compiled": 115,
    },
    "floor": 20,
}
_OF_CUDA = ("build", "operators", "bodies")  # of other devices there is nothing to do
SIZES = {"large": ("vit-gpt2", 32, 1 << 30), "small": ("vit-gpt2-small", 6, 1 << 24)}  # model, batch, bytes read
_SECONDS = 4.0  # for the captions of one photo, and of a batch
_MODEL = "model"

Found = Iterator[Mapping[str, Any]]


def run(device: str, out: Path, size: str, tell: Callable[[str], None], patience: float = 1.0) -> list[dict[str, Any]]:
    """Every part in turn; what was found, which is in the file too. patience: by what the limits are multiplied. Raises
    DeviceError for a device that is not there."""
    from fuseline.graphs.devices import device_of

    provider = device_of(device).provider
    folder = out.with_name(f"{out.stem}-{_MODEL}-{size}")
    out.parent.mkdir(parents=True, exist_ok=True)
    start = out.stat().st_size if out.is_file() else 0

    def keep(record: Mapping[str, Any]) -> None:
        with out.open("a") as file:
            file.write(json.dumps(record) + "\n")

    keep({"part": "run", "device": device, "provider": provider, "size": size, "began": time.strftime("%FT%TZ")})
    lost = ""
    for part, limit in LIMITS.items():
        if part in _OF_CUDA and not on_cuda(device):
            continue
        began = time.monotonic()
        error = lost or _part(part, limit * patience, [device, size, str(folder)], out)
        tell(f"{part}: {error or 'done'}, {time.monotonic() - began:.0f} s")
        if error:
            keep({"part": part, "error": error})
            if part == "make":
                lost = "the model was not made"
    with out.open() as file:
        file.seek(start)
        return [json.loads(line) for line in file if line.startswith("{")]


def _part(part: str, limit: float, arguments: Sequence[str], out: Path) -> str:
    """Run it; what it says is in the file line by line. Returns why it failed, or nothing."""
    command = [sys.executable, "-m", "benchmarks.on_device", part, *arguments]
    environment = {**os.environ, "FUSELINE_KERNELS": "off"} if part == "bodies" else None
    # A session of its own, so that what it has started, as torch's compiler does, ends with it and holds no pipe.
    with (
        out.open("a") as file,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process,
    ):
        try:
            _, wrote = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return f"it took longer than {limit:.0f} s"
        finally:  # also where Ctrl-C came
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    last = [line.strip() for line in wrote.splitlines() if line.strip()]
    return "" if process.returncode == 0 else (last or [f"it ended with {process.returncode}"])[-1][:500]


def summary(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line a system, how many times the others and the floor, and what went wrong."""
    values = {(record["part"], record.get("metric")): record.get("value") for record in found}
    heads = ("caption, ms", "step, ms", "batch, photos/s", "tokens as the CPU's", "recorded")
    metrics = ("caption", "step", "throughput", "same", "recorded")
    yield f"{'':10}" + "".join(f"{head:>21}" for head in heads)
    for part in ("cpu", "fuseline", "bodies", "eager", "compiled"):
        cells = [values.get((part, metric)) for metric in metrics]
        if any(cell is not None for cell in cells):
            yield f"{part:10}" + "".join(f"{'-' if cell is None else f'{cell:.3g}':>21}" for cell in cells)
    for part in ("build", "operators"):
        if said := values.get((part, "said")):
            yield f"{part}: {said}"
    floor, step = values.get(("floor", "step")), values.get(("fuseline", "step"))
    if floor and step:
        yield f"a step is {step / floor:.2f} times the time of reading its weights, {floor:.3g} ms"
    for other in ("eager", "compiled", "bodies"):
        for metric, more in (("caption", False), ("throughput", True)):
            mine, its = values.get(("fuseline", metric)), values.get((other, metric))
            if mine and its:
                whose = "what bodies alone do" if other == "bodies" else f"transformers {other}"
                yield f"{metric}: {mine / its if more else its / mine:.2f} times {whose}"
    yield from (f"{record['part']} failed: {record['error']}" for record in found if "error" in record)


# What runs in a process of its own


def on_cuda(device: str) -> bool:
    """Whether it is a GPU of NVIDIA's."""
    return device.startswith("cuda")


def build(device: str, size: str, folder: Path) -> Found:
    """Our operators, where they are looked for."""
    from fuseline.kernels.cuda.build import build as built

    path, kernels = built()
    yield {"metric": "said", "value": f"{path.name}, {len({kernel.name for kernel in kernels})} kernels"}


def operators(device: str, size: str, folder: Path) -> Found:
    """Each of them on the GPU beside its body and float64."""
    from fuseline.graphs.devices import device_of, prepare
    from fuseline.kernels.cuda import cuda_operators

    prepare(device_of(device))
    found = cuda_operators()
    if found.path is None:
        raise SystemExit(found.reason)
    os.environ |= {
        "FUSELINE_TEST_CUDA_LIBRARY": str(found.path),
        "FUSELINE_TEST_CUDA_PROVIDER": "CUDAExecutionProvider",
    }
    import pytest

    wrote = io.StringIO()
    with redirect_stdout(wrote):  # in this process, which has loaded CUDA's libraries
        failed = pytest.main(["-q", "-p", "no:cacheprovider", str(ROOT / "tests/cuda/test_cuda_operators.py")])
    last = [line for line in wrote.getvalue().splitlines() if line.strip()]
    yield {"metric": "said", "value": last[-1]}
    if failed:
        raise SystemExit("; ".join(line for line in last if line.startswith(("FAILED", "ERROR"))) or last[-1])


def make(device: str, size: str, folder: Path) -> Found:
    """The checkpoint, the folder of it, and the layout that the device runs; kept for the next run."""
    from fuseline.export import export, layouts
    from fuseline.graphs.devices import device_of

    from .checkpoints import build

    layout, done = device_of(device).layout, folder / f"{device.partition(':')[0]}.json"
    if not done.is_file():
        if not (folder / "fuseline" / "fuseline.json").is_file():
            facts = build(SIZES[size][0], folder / "checkpoint")
            (folder / "facts.json").write_text(json.dumps(facts))
            export(folder / "checkpoint", folder / "fuseline", ("fp32",))
        if layout != "fused":
            report = layouts(folder / "fuseline", [layout], format=_format(device))
            yield {"metric": "nodes", "value": sum(report.nodes.values())}
        done.write_text("{}")
    yield {"metric": "step_weights", "value": json.loads((folder / "facts.json").read_text())["step_weights"]}


def cpu(device: str, size: str, folder: Path) -> Found:
    """Fused, in floats on the CPU: the tokens that the device is to say."""
    _, captions, pixels = _fuseline(folder, "cpu", size)
    for record in _measured(captions, pixels):
        if record["metric"] == "tokens":  # before anything that a time limit may end
            (folder / "tokens.json").write_text(json.dumps(record["value"]))
        else:
            yield record


def fuseline(device: str, size: str, folder: Path) -> Found:
    """On the device."""
    began = time.perf_counter()
    model, captions, batch = _fuseline(folder, device, size)
    yield {"metric": "open", "value": time.perf_counter() - began}
    yield from _compared(_measured(captions, batch), folder)
    graph = getattr(model.decoder, "_graph", None)  # of what reads a cache of ours
    yield {"metric": "recorded", "value": 0 if graph is None else len(graph.recorded)}


def bodies(device: str, size: str, folder: Path) -> Found:
    """The same without our operators, which the environment has switched off."""
    yield from fuseline(device, size, folder)


def _fuseline(folder: Path, device: str, size: str) -> tuple[Model, Callable[..., list[list[int]]], Any]:
    from fuseline import Model

    model = Model.from_pretrained(folder / "fuseline", "fp32", device)

    def captions(pixels: Any, length: int) -> list[list[int]]:
        tokens: list[list[int]] = model.generate(pixels, num_beams=BEAMS, max_length=length).sequences.tolist()
        return tokens

    return model, captions, _pixels(folder, SIZES[size][1])


def floor(device: str, size: str, folder: Path) -> Found:
    """How fast the device reads its memory: the sum of a large array, the best of 20."""
    import torch

    where, count = _torch_device(device), SIZES[size][2]
    values, times = torch.ones(count // 4, device=where), []
    for _ in range(20):
        began = time.perf_counter()
        float(values.sum())  # which waits
        times.append(time.perf_counter() - began)
    speed = count / min(times)
    weights = json.loads((folder / "facts.json").read_text())["step_weights"] * (2 if _format(device) == "fp16" else 4)
    yield {"metric": "read_bandwidth", "value": speed, "bytes": count, "hardware": _hardware(where)}
    yield {"metric": "step", "value": weights / speed * 1000, "bytes": weights}


def eager(device: str, size: str, folder: Path) -> Found:
    """transformers' generate."""
    yield from _compared(_measured(*_transformers(device, size, folder, compiles=False)), folder)


def compiled(device: str, size: str, folder: Path) -> Found:
    """With a static cache and torch.compile; one length, since each is compiled anew."""
    captions, pixels = _transformers(device, size, folder, compiles=True)
    yield from _compared(_measured(captions, pixels, steps=False), folder)


def _transformers(
    device: str, size: str, folder: Path, *, compiles: bool
) -> tuple[Callable[..., list[list[int]]], Any]:
    import torch
    from transformers import VisionEncoderDecoderModel

    where = _torch_device(device)
    dtype = torch.float16 if _format(device) == "fp16" else torch.float32
    model: Any = VisionEncoderDecoderModel.from_pretrained(folder / "checkpoint", dtype=dtype).to(where).eval()
    if compiles:
        mode = "reduce-overhead" if where.type == "cuda" else None
        model.encoder.forward = torch.compile(model.encoder.forward)
        model.decoder.forward = torch.compile(model.decoder.forward, mode=mode)
        model.generation_config.cache_implementation = "static"

    def captions(pixels: Any, length: int) -> list[list[int]]:
        given = torch.from_numpy(pixels).to(where, dtype)
        with torch.inference_mode():
            tokens: list[list[int]] = model.generate(given, num_beams=BEAMS, max_length=length).cpu().tolist()
        return tokens

    return captions, _pixels(folder, SIZES[size][1])


def _measured(captions: Callable[..., list[list[int]]], pixels: Any, steps: bool = True) -> Found:
    """The texts of a batch, medians of one photo's captions, and of the batch."""
    yield {"metric": "tokens", "value": captions(pixels, LENGTH)}
    whole = _median(lambda: captions(pixels[:1], LENGTH))
    yield {"metric": "caption", "value": whole, "num_beams": BEAMS, "max_length": LENGTH}
    if steps:
        short = _median(lambda: captions(pixels[:1], SHORT))
        yield {"metric": "step", "value": (whole - short) / (LENGTH - SHORT)}
    yield {"metric": "throughput", "value": len(pixels) / _median(lambda: captions(pixels, LENGTH)) * 1000}


def _median(work: Callable[[], object]) -> float:
    """Milliseconds, of as many runs as fit, at least three; two before them do not count."""
    times: list[float] = []
    work(), work()
    began = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < _SECONDS and len(times) < 100):
        before = time.perf_counter()
        work()
        times.append((time.perf_counter() - before) * 1000)
    return median(times)


def _compared(found: Found, folder: Path) -> Found:
    """The share of texts that are the CPU's in the place of tokens."""
    file = folder / "tokens.json"
    for record in found:
        if record["metric"] != "tokens":
            yield record
        elif file.is_file():
            expected = json.loads(file.read_text())
            same = [mine == its for mine, its in zip(expected, record["value"], strict=True)]
            yield {"metric": "same", "value": sum(same) / len(same), "texts": len(same)}


def _pixels(folder: Path, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Made-up photos: a few colours that run into each other."""
    size = json.loads((folder / "checkpoint" / "preprocessor_config.json").read_text())["size"]["height"]
    coarse = np.random.default_rng(1).standard_normal((count, 3, 8, 8))
    return np.kron(coarse, np.ones((size // 8, size // 8))).clip(-1, 1).astype(np.float32)


def _format(device: str) -> str:
    return "fp16" if on_cuda(device) else "fp32"


def _torch_device(device: str) -> Any:
    import torch

    if on_cuda(device) and not torch.cuda.is_available():
        raise SystemExit("torch has no CUDA here, so transformers and the floor are not measured")
    return torch.device(device if on_cuda(device) else "cpu")


def _hardware(where: Any) -> str:
    import torch

    from fuseline.graphs.hardware import cpu_model

    return str(torch.cuda.get_device_name(where)) if where.type == "cuda" else cpu_model()


PARTS: Mapping[str, Callable[[str, str, Path], Found]] = {
    each.__name__: each for each in (build, operators, make, cpu, floor, fuseline, bodies, eager, compiled)
}

if __name__ == "__main__":
    part, asked, of_size, where_to = sys.argv[1:]
    for line in PARTS[part](asked, of_size, Path(where_to)):
        print(json.dumps({"part": part, **line}), flush=True)
