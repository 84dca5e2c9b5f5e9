"""Two models combined at their outputs beside one: `python -m benchmarks.ensemble [--model FOLDER] [--threads 1]`.

The same folder is opened twice, so that both write texts of the same length; all searches take turns, so that a busy
moment hits each alike. Milliseconds are medians of whole calls of one input of random pixels, with the decoder's part,
and `times` the ratio to the model alone. A search with a fixed length is asked of each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from fuseline import Model, ensemble
from fuseline.inputs.images import load_image

ROUNDS, WARM_UP = 25, 3


def main() -> None:
    """Print a line for greedy search and one for beams."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="of one that reads photos; the captioner that ships if left out")
    parser.add_argument("--variant")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    models = [Model.from_pretrained(options.model, options.variant, threads=options.threads) for _ in range(2)]
    cases: dict[str, Model] = {
        "one": models[0],
        "two": ensemble(models),
        "two, not normalised": ensemble(models, normalize=False),
        "two, linear": ensemble(models, rule="linear"),
    }
    pixels = _pixels(models[0])
    for beams in (1, 4):
        record: dict[str, Any] = {"beams": beams, "variant": models[0].variant}
        found = _measured(cases, pixels, beams, options.new_tokens)
        for name, (call, decoder) in found.items():
            times = {"times": round(call / found["one"][0], 3)} if name != "one" else {}
            record[name] = {"ms": round(call, 2), "decoder ms": round(decoder, 2)} | times
        print(json.dumps(record) if options.json else f"{beams} beams: {record}")


def _pixels(model: Model) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32[1, 3, height, width]."""
    photo = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    return model.image_processor([load_image(photo)])


def _measured(cases: dict[str, Model], pixels: Any, beams: int, tokens: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of the calls, and of their decoders."""
    calls: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for number in range(ROUNDS + WARM_UP):
        for name, model in cases.items():
            began = perf_counter()
            made = model.generate(pixels, num_beams=beams, min_new_tokens=tokens, max_new_tokens=tokens)
            took = (perf_counter() - began) * 1000
            if number >= WARM_UP:
                calls[name].append((took, made.timings.decoder))
    return {name: (median(a for a, _ in each), median(b for _, b in each)) for name, each in calls.items()}


if __name__ == "__main__":
    main()
