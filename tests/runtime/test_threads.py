"""One Model used by 8 threads at once says what it says to one.

FUSELINE_THREADS_SECONDS says for how long; 10 unless it is set, to keep the tests quick. The full test is 60.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Model
from tests import tiny

THREADS = 8
SECONDS = float(os.environ.get("FUSELINE_THREADS_SECONDS", "10"))
OPTIONS: list[dict[str, Any]] = [
    {"num_beams": 1},
    {"num_beams": 4},
    {"num_beams": 4, "max_length": 9, "repetition_penalty": 1.3},
    {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 2.0},
    {"num_beams": 2, "do_sample": True, "seed": 5},
]


@pytest.mark.slow
def test_eight_threads_say_what_one_says(tiny_path: Path) -> None:
    model = Model.from_pretrained(tiny_path, threads=1)
    photos = tiny.photos(8)
    work = [(photos[first : first + 1 + first % 3], options) for first in range(6) for options in OPTIONS]
    expected = [model.generate(pixels, **options) for pixels, options in work]
    end = time.monotonic() + SECONDS
    counts, problems = [0] * THREADS, []

    def run(thread: int) -> None:
        rng = np.random.default_rng(thread)
        while time.monotonic() < end and not problems:
            index = int(rng.integers(len(work)))
            pixels, options = work[index]
            if rng.random() < 0.2:
                [*_, last] = model.stream(pixels, **options | {"num_return_sequences": 1})
                same = (
                    last.generation.sequences[0].tolist()
                    == expected[index].sequences[0].tolist()[: len(last.generation.sequences[0])]
                )
                if not same and len(pixels) == 1:
                    problems.append(f"stream of {index}")
            else:
                found = model.generate(pixels, **options)
                same = np.array_equal(found.sequences, expected[index].sequences)
                if not same or not np.array_equal(found.sequences_scores, expected[index].sequences_scores):
                    problems.append(f"generate of {index}")
            counts[thread] += 1

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(timeout=SECONDS + 120)
    assert not any(each.is_alive() for each in threads)
    assert not problems
    assert min(counts) > 0
