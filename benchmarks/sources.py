"""Cross-attention to several sources beside cross-attention to one with as many positions in all.

`python -m benchmarks.sources [--positions 197 577] [--rows 4] [--threads 1] [--floats] [--json]`. Each case is a graph
of 12 such operators, each with keys and values of its own, as the layers of a decoder have them (12 heads of 64). All
cases take turns, so that a busy moment hits each alike; the figures are of one operator, medians, with the best beside
them. `weighed`: with other weights than 1; `1 of 3`: where two of three sources are absent, beside `a third padded`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from fuseline.kernels import library_info
from fuseline.kernels.bodies import DOMAIN, OPSET, VERSION

Array = np.ndarray[Any, Any]
LAYERS, HEADS, SIZE = 12, 12, 64
WIDTH = HEADS * SIZE
ROUNDS, WARM_UP = 400, 20
SOURCES = (1, 2, 3)


def keys_and_values(positions: int, halves: bool) -> dict[str, Array]:
    """Of every layer, of one input."""
    random = np.random.default_rng(0)
    shape = (1, HEADS, positions, SIZE) if halves else (1, positions, WIDTH)
    kind = np.float16 if halves else np.float32
    names = [f"{part}_{layer}" for layer in range(LAYERS) for part in ("key", "value")]
    return {name: random.normal(size=shape).astype(kind) for name in names}


def fused(positions: int, sources: int, weighed: bool) -> dict[str, Array]:
    """What the operators for several sources also read: all of `positions`, in sources of about the same size."""
    starts = np.arange(sources + 1) * positions // sources
    weights = np.full((1, sources), 0.3 if weighed else 1, np.float32)
    weights[0, 0] = 1
    return {"lengths": np.diff(starts)[None], "starts": starts, "weights": weights}


def case(operator: str, feed: Mapping[str, Array], outputs: int, threads: int) -> Callable[[], float]:
    """A function that runs the graph of this operator once and returns the microseconds of one layer."""
    shared = [name for name in feed if not name.startswith(("key", "value", "query"))]
    graph = onnx.GraphProto(name="layers")
    for layer in range(LAYERS):
        inputs, found = ["query", f"key_{layer}", f"value_{layer}", *shared], [f"{layer}_{i}" for i in range(outputs)]
        attributes = {"heads": HEADS, "scale": SIZE**-0.5}
        graph.node.append(helper.make_node(operator, inputs, found, f"layer.{layer}", domain=DOMAIN, **attributes))
        graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in found)
    for name, array in feed.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(library_info().path))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for each in graph.output:
        binding.bind_output(each.name)

    def run() -> float:
        # Twice, since what other cases have driven out of the caches is not what is asked.
        session.run_with_iobinding(binding)
        began = perf_counter()
        session.run_with_iobinding(binding)
        return (perf_counter() - began) * 1e6 / LAYERS

    return run


def cases(positions: int, rows: int, halves: bool, threads: int) -> dict[str, Callable[[], float]]:
    query = {"query": np.random.default_rng(1).normal(size=(rows, WIDTH)).astype(np.float32)}
    feed, form = query | keys_and_values(positions, halves), "Half" if halves else ""
    lengths = {"lengths": np.array([[positions]])}
    made = {
        "one": case(f"{form}CrossAttention", feed, 1, threads),
        "one padded": case(f"{form}PaddedCrossAttention", feed | lengths, 1, threads),
    }
    third = fused(positions, 3, False)
    third["lengths"][0, 1:] = 0
    shorter = {"lengths": third["lengths"][:, :1]}
    made["a third padded"] = case(f"{form}PaddedCrossAttention", feed | shorter, 1, threads)
    made["flat 1 of 3"] = case(f"{form}CrossAttentionFlat", feed | third, 2, threads)
    for kind in ("flat", "separate"):
        for sources in SOURCES:
            for weighed in (False, True) if sources > 1 else (False,):
                operator = f"{form}CrossAttention{kind.capitalize()}"
                name = f"{kind} {sources}{' weighed' if weighed else ''}"
                made[name] = case(operator, feed | fused(positions, sources, weighed), 2, threads)
    return made


def measured(running: Mapping[str, Callable[[], float]]) -> dict[str, dict[str, float]]:
    """By case: microseconds of an operator, median and best, and both beside those of one padded source."""
    times: dict[str, list[float]] = {name: [] for name in running}
    names = list(running)
    for turn in range(WARM_UP + ROUNDS):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            microseconds = running[name]()
            if turn >= WARM_UP:
                times[name].append(microseconds)
    medians = {name: float(np.median(found)) for name, found in times.items()}
    best = {name: min(found) for name, found in times.items()}
    return {
        name: {
            "us": round(medians[name], 1),
            "best_us": round(best[name], 1),
            "ratio": round(medians[name] / medians["one padded"], 3),
            "best_ratio": round(best[name] / best["one padded"], 3),
        }
        for name in running
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, nargs="+", default=[197, 577], help="of all sources together")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--floats", action="store_true", help="keys and values in float32, not in halves")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {n: measured(cases(n, options.rows, not options.floats, options.threads)) for n in options.positions}
    if options.json:
        conditions = {"isa": library_info().isa, "threads": options.threads, "rows": options.rows}
        print(json.dumps({**conditions, "halves": not options.floats, "positions": found}, indent=2))
        return
    for positions, rows in found.items():
        print(f"{positions} positions, {options.rows} rows, {library_info().isa}, {options.threads} threads")
        for name, row in rows.items():
            print(f"  {name:20} {row['us']:7.1f} us, {row['ratio']:.3f} x; at best {row['best_ratio']:.3f} x")


if __name__ == "__main__":
    main()
