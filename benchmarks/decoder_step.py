"""One decoder step of every variant beside the time that reading its weights once takes on this machine.

`python -m benchmarks.decoder_step FOLDER [--beams 1 4 8] [--json]`. All variants take turns, so that a busy moment hits
each alike; the plain read loop is one of those that take turns. The loop's figure is its best one, the steps' are
medians, with their best beside them. `without kernels` runs the same graph on the bodies; `onnxruntime int8` is the
graph in standard operators as onnxruntime's own quantize_dynamic makes it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import onnxruntime

from fuseline.export.plain.operators import plain
from fuseline.export.writing.graphs import load_graph
from fuseline.folders.open import open_folder
from fuseline.folders.own import Folder
from fuseline.graphs.contract import Encoded
from fuseline.graphs.decoder import CachedDecoder
from fuseline.graphs.running import Graph
from fuseline.graphs.session import open_graph
from fuseline.kernels import library_info
from fuseline.model import Model

from .machine import Floors
from .quality import quantized_by_onnxruntime

POSITION = 8  # tokens before the step that is timed, about the middle of a caption
ROUNDS, WARM_UP = 30, 3
BODIES, BODIES_EACH = "without kernels", 10  # a step on the bodies takes up to a second, so they take every tenth turn


def without_kernels(folder: Folder, threads: int) -> CachedDecoder:
    """The variant's decoder on the bodies of its operators."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(folder.decoder_path), options, providers=["CPUExecutionProvider"])
    return CachedDecoder(Graph(folder.decoder_path, session), folder.decoder)


def stock_int8(folder: Folder, threads: int) -> CachedDecoder:
    """onnxruntime's own 8 bits, made of the fp32 variant."""
    graph = quantized_by_onnxruntime(plain(load_graph(folder.path / folder.variants["fp32"].decoder)))
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(graph, Path(scratch) / "stock.onnx")
        return CachedDecoder(open_graph(Path(scratch) / "stock.onnx", "cpu", threads), folder.decoder)


def step_of(decoder: CachedDecoder, encoded: Encoded, beams: int) -> Callable[[], float]:
    """A function that makes one step at POSITION and returns its milliseconds."""
    state = decoder.start(encoded, beams, 2 * POSITION)
    tokens = np.arange(5, 5 + beams)[:, None]
    parents = np.arange(beams)[::-1].copy()
    for _ in range(POSITION):
        decoder.step(state, tokens, parents)

    def step() -> float:
        # As in a caption, where a step follows another of the same weights: what other cases have driven out is back.
        state.position = POSITION
        decoder.step(state, tokens, parents)
        state.position = POSITION
        began = perf_counter()
        decoder.step(state, tokens, parents)
        return (perf_counter() - began) * 1000

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bodies", action="store_true", help="also run each variant without the kernels")
    parser.add_argument("--stock", action="store_true", help="also onnxruntime's own int8; the folder must have fp32")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases: dict[tuple[str, int], Callable[[], float]] = {}
    weights: dict[str, int] = {}
    for name in open_folder(options.folder).variants:
        model = Model.from_pretrained(options.folder, name, threads=options.threads)
        decoder_file = model.folder.variants[name].decoder
        weights[name] = sum(size for file, size in model.folder.sizes.items() if file.startswith(decoder_file))
        shape = [2 if isinstance(size, str) else size for size in model._graphs.encoder.pixels.shape]
        encoded = model.encode(np.zeros([1, *shape[1:]], np.float32))
        assert isinstance(model.decoder, CachedDecoder)
        for beams in options.beams:
            cases[name, beams] = step_of(model.decoder, encoded, beams)
            if options.bodies:
                slow = without_kernels(model.folder, options.threads)
                cases[f"{name} {BODIES}", beams] = step_of(slow, encoded, beams)
    if options.stock:
        stock = stock_int8(open_folder(options.folder, "fp32"), options.threads)
        weights["onnxruntime"] = weights["int8"]
        for beams in options.beams:
            cases["onnxruntime int8", beams] = step_of(stock, encoded, beams)
    times: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    floors, bandwidths = Floors(), []
    for turn in range(WARM_UP + ROUNDS):
        if turn % 10 == 0:
            bandwidths.append(floors.read(256 << 20, options.threads))
        for case, step in cases.items():
            if turn % BODIES_EACH and case[0].endswith(BODIES):
                continue
            milliseconds = step()
            if turn >= WARM_UP:
                times[case].append(milliseconds)
    bandwidth = float(np.median(bandwidths))
    rows = []
    for (name, beams), found in times.items():
        floor = weights[name.split()[0]] / bandwidth * 1000
        median = float(np.median(found))
        ratios = {"ratio": round(median / floor, 2), "best_ratio": round(min(found) / floor, 2)}
        figures = {"ms": round(median, 2), "floor_ms": round(floor, 2), **ratios}
        rows.append({"variant": name, "beams": beams, **figures})
    speed = round(bandwidth / 1e9, 1)
    result = {"isa": library_info().isa, "threads": options.threads, "read_GB_per_s": speed, "steps": rows}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['isa']}, {options.threads} threads, reads {result['read_GB_per_s']} GB/s")
    for row in rows:
        print(
            "{variant:24} beams {beams}: {ms:7.2f} ms, {ratio:5.2f} x the {floor_ms} ms of reading its weights, "
            "at best {best_ratio:.2f} x".format(**row)
        )


if __name__ == "__main__":
    main()
