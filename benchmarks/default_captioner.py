"""`python -m benchmarks.default_captioner PHOTO`: what a caption by the captioner that ships costs on this machine.

Measured: one caption after loading (median and 95th percentile, and where the time goes), from process start to the
first caption, peak memory, from the file of a photo of 12 megapixels to its text, read exactly and fast, and with
--sizes the wheel and the whole installation in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .client import as_installed

RUNS = 60
WARM_UP = 8
STARTS = 9
LARGE_RUNS = 15
LARGE = (4000, 3000)  # what phones make: 12 megapixels
# What the project set itself, by what the CPU has: milliseconds a caption, and seconds from start to first caption.
LIMITS = {"with VNNI": (40.0, 0.6), "AVX2 only": (90.0, 1.2)}
PEAK_LIMIT_MB, WHEEL_LIMIT_MB, INSTALL_LIMIT_MB, PYTHON_LIMIT = 250, 15, 240, 0.10

FIRST_CAPTION = """
import time; began = time.perf_counter()
import sys, resource
import fuseline
from fuseline.images import load_image
imported = time.perf_counter()
captioner = fuseline.pipeline("image-to-text", threads=int(sys.argv[2]))
opened = time.perf_counter()
captioner(sys.argv[1])
done = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(imported - began, opened - imported, done - opened, peak)
"""


def machine() -> dict[str, Any]:
    """What the figures are from."""
    import onnxruntime

    from fuseline.kernels import library_info

    info = library_info()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(names),
        "kernels": info.isa,
        "features": list(info.features),
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


def one_caption(photo: Path, threads: int) -> dict[str, Any]:
    """Milliseconds of one caption after loading: all of it, and its parts."""
    import fuseline
    from fuseline.inputs.images import load_image

    model = fuseline.Model.from_pretrained(threads=threads)
    rows: list[dict[str, float]] = []
    for _ in range(WARM_UP + RUNS):
        began = time.perf_counter()
        pixel_values = model.image_processor([load_image(photo)])
        prepared = time.perf_counter()
        generation = model.generate(pixel_values, num_beams=4)
        generated = time.perf_counter()
        text = model.decode(generation.sequences)[0]
        ended = time.perf_counter()
        timings = generation.timings
        rows.append(
            {
                "caption": (ended - began) * 1000,
                "photo": (prepared - began) * 1000,
                "encoder": timings.encoder,
                "decoder": timings.decoder,
                "search and Python": (generated - prepared) * 1000 - timings.encoder - timings.decoder,
                "tokenizer": (ended - generated) * 1000,
            }
        )
    rows = rows[WARM_UP:]
    medians = {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
    python = medians["search and Python"] + medians["tokenizer"]
    return {
        "text": text,
        "steps": timings.steps,
        "median": medians,
        "p95": round(float(np.percentile([row["caption"] for row in rows], 95)), 3),
        "python share": round(python / medians["caption"], 4),
    }


def first_caption(photo: Path, threads: int) -> dict[str, Any]:
    """Seconds from process start to the first caption, its parts, and peak memory, in a new process each time."""
    seconds, command_line, parts = [], [], []
    environment = as_installed(os.environ)
    for _ in range(STARTS):
        began = time.perf_counter()
        script = [sys.executable, "-c", FIRST_CAPTION, str(photo), str(threads)]
        found = subprocess.run(script, check=True, capture_output=True, text=True, env=environment).stdout
        seconds.append(time.perf_counter() - began)
        parts.append([float(value) for value in found.split()])
        began = time.perf_counter()
        script = [sys.executable, "-m", "fuseline", "caption", str(photo), "--threads", str(threads)]
        subprocess.run(script, check=True, capture_output=True, env=environment)
        command_line.append(time.perf_counter() - began)
    imported, opened, run, peak = (statistics.median(column) for column in zip(*parts, strict=True))
    return {
        "seconds": round(statistics.median(seconds), 3),
        "command line seconds": round(statistics.median(command_line), 3),
        "import": round(imported, 3),
        "open": round(opened, 3),
        "first run": round(run, 3),
        "peak MB": round(peak, 1),
    }


def large_photo(photo: Path, threads: int) -> dict[str, Any]:
    """Milliseconds from the file of a large photo to its text, read exactly and fast, in turns.

    The photo is enlarged, with grain on it, so that its JPEG file has as many bytes as one of a phone.
    """
    import fuseline

    captioner = fuseline.pipeline("image-to-text", threads=threads)
    ways = {"exact": False, "fast": True}
    milliseconds: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        enlarged = np.asarray(Image.open(photo).convert("RGB").resize(LARGE, Image.Resampling.BICUBIC), np.float32)
        grain = np.random.default_rng(0).normal(0, 8, enlarged.shape)
        Image.fromarray((enlarged + grain).clip(0, 255).astype(np.uint8)).save(file.name, quality=92)
        for _ in range(2 + LARGE_RUNS):
            for way, fast in ways.items():
                began = time.perf_counter()
                captioner(file.name, fast=fast)
                milliseconds[way].append((time.perf_counter() - began) * 1000)
        found: dict[str, Any] = {"megabytes": round(Path(file.name).stat().st_size / 1e6, 1)}
    return found | {way: round(statistics.median(each[2:]), 1) for way, each in milliseconds.items()}


def sizes(source: Path) -> dict[str, float]:
    """Megabytes of the wheel, and of all that `pip install` brings beyond pip itself."""
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", scratch, str(source)]
        subprocess.run(pip, check=True)
        wheel = next(Path(scratch).glob("fuseline-*.whl"))
        environment = Path(scratch) / "venv"
        venv.create(environment, with_pip=True)
        packages = next((environment / "lib").iterdir()) / "site-packages"
        before = _bytes_below(packages)
        install = [str(environment / "bin" / "pip"), "install", "--quiet", "--no-compile", str(wheel)]
        subprocess.run(install, check=True)
        installed = _bytes_below(packages) - before
        return {"wheel MB": round(wheel.stat().st_size / 1e6, 2), "installed MB": round(installed / 1e6, 1)}


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def table(result: dict[str, Any]) -> str:
    """The figures beside their limits, as Markdown."""
    kind = "with VNNI" if any("vnni" in feature for feature in result["machine"]["features"]) else "AVX2 only"
    caption_limit, start_limit = LIMITS[kind]
    caption, first = result["caption"], result["first"]
    rows = [
        ("one caption, median (ms)", caption["median"]["caption"], caption_limit),
        ("one caption, 95th percentile (ms)", caption["p95"], ""),
        *((f"- {part} (ms)", value, "") for part, value in caption["median"].items() if part != "caption"),
        ("search and Python, share", caption["python share"], PYTHON_LIMIT),
        ("process start to first caption (s)", first["seconds"], start_limit),
        ("the same by the command line (s)", first["command line seconds"], ""),
        ("- import / open / first run (s)", f"{first['import']} / {first['open']} / {first['first run']}", ""),
        ("peak memory (MB)", first["peak MB"], PEAK_LIMIT_MB),
        *((f"12 megapixels, {way}: file to text (ms)", result["large"][way], "") for way in ("exact", "fast")),
    ]
    if "sizes" in result:
        rows.append(("wheel (MB)", result["sizes"]["wheel MB"], WHEEL_LIMIT_MB))
        rows.append(("installed, with all it depends on (MB)", result["sizes"]["installed MB"], INSTALL_LIMIT_MB))
    lines = ["| what | measured | at most |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    cpu = result["machine"]
    head = (
        f"{cpu['cores']} cores of {cpu['cpu']} ({kind}, kernels {cpu['kernels']}), {result['threads']} threads, beam 4"
    )
    return f"{head}, {caption['steps']} steps\n\n" + "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.default_captioner", description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", action="store_true", help="build the wheel and install it too (a minute)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the figures as one line of JSON")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "threads": options.threads}
    result["caption"] = one_caption(options.photo, options.threads)
    result["first"] = first_caption(options.photo, options.threads)
    result["large"] = large_photo(options.photo, options.threads)
    if options.sizes:
        result["sizes"] = sizes(Path(__file__).parent.parent)
    print(table(result))
    if options.json:
        with open(options.json, "a", encoding="utf-8") as log:
            log.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
