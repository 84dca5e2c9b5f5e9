"""`python -m benchmarks.memory_growth PHOTO`: whether memory stays flat over many captions by the shipped captioner."""

from __future__ import annotations

import argparse
import gc
import json
import os
from pathlib import Path

CAPTIONS, WARM_UP = 1000, 50
LIMIT_MB = 5.0


def resident_mb() -> float:
    """What of this process is in memory now, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Print one line of JSON: MB after the warm-up, the most and the last, and the growth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--captions", type=int, default=CAPTIONS)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    import fuseline

    captioner = fuseline.pipeline("image-to-text", threads=options.threads)
    seen = []
    for number in range(options.captions):
        # Shapes and ways of asking change, as in a program that runs for long.
        fields = {"num_beams": 1 + number % 4, "max_length": 12 + number % 3}
        if number % 5:
            captioner(options.photo, generate_kwargs=fields)
        else:
            list(captioner(options.photo, generate_kwargs=fields, stream=True))
        if number + 1 == WARM_UP:
            gc.collect()
        if number + 1 >= WARM_UP:
            seen.append(resident_mb())
    growth = seen[-1] - seen[0]
    found = {"captions": options.captions, "after the first 50": seen[0], "most": max(seen), "last": seen[-1]}
    print(json.dumps({key: round(value, 2) for key, value in (found | {"growth": growth}).items()}))
    print(f"growth {growth:.2f} MB: {'within' if growth < LIMIT_MB else 'beyond'} {LIMIT_MB} MB")


if __name__ == "__main__":
    main()
