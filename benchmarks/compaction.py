"""When giving up the rows of finished photos pays: `python -m benchmarks.compaction PHOTO ... [--model FOLDER]`.

A batch of the photos is captioned with different values of fuseline.search.steps.MOST_LEFT, the share of the photos
that must be left at most before the rows of the others are given up; 0 is never. All values take turns.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

import numpy as np

from fuseline import Model
from fuseline.inputs.images import load_image
from fuseline.search import steps

SHARES, ROUNDS = (0.0, 0.5, 0.75, 0.99), 7


def main() -> None:
    """Print milliseconds in the decoder for each share, number of beams and size of the batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--max-length", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = Model.from_pretrained(options.model, threads=options.threads)
    pixels = np.concatenate([model.image_processor([load_image(photo)]) for photo in options.photos])
    for batch in sorted({min(size, len(pixels)) for size in (2, 4, 8, 16, 32)}):
        for beams in (1, 4):
            times: dict[float, list[float]] = {share: [] for share in SHARES}
            lengths: list[int] = []
            for _ in range(ROUNDS):
                for share in SHARES:
                    steps.MOST_LEFT = share
                    found = model.generate(pixels[:batch], num_beams=beams, max_length=options.max_length)
                    times[share].append(found.timings.decoder)
                    lengths = (found.token_logprobs != 0).sum(axis=1).tolist()
            result = {str(share): round(median(each), 2) for share, each in times.items()}
            record = {"batch": batch, "beams": beams, "decoder ms": result, "tokens": lengths}
            print(
                json.dumps(record) if options.json else f"{batch:3} photos, {beams} beams: {result}, tokens {lengths}"
            )


if __name__ == "__main__":
    main()
