"""`python record_groups.py`: what transformers 4.50.3 says for groups of beams, into beam_groups.json beside this file.

Later versions have moved num_beam_groups out of generate, so this runs in an environment of its own, which needs no
fuseline: pip install torch==2.13.0 transformers==4.50.3. test_groups.py compares with what it wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tables import START, Tables, generate

CASES = 120
RECORD = Path(__file__).with_name("beam_groups.json")


def random_case(rng: np.random.Generator) -> dict[str, Any]:
    """A model by its seed and vocabulary, one row of prompt a photo, and options, all as JSON has them."""
    vocab, photos, start = int(rng.choice([12, 40])), int(rng.integers(1, 4)), int(rng.integers(1, 3))
    prompt = [[START, *rng.integers(0, vocab, start - 1).tolist()] for _ in range(photos)]
    groups, size = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    options: dict[str, Any] = {
        "num_beams": groups * size,
        "num_beam_groups": groups,
        "diversity_penalty": float(rng.choice([0.3, 1.0, 5.0])),
        "num_return_sequences": int(rng.integers(1, groups * size + 1)),
        "length_penalty": float(rng.choice([-1.0, 0.0, 1.0, 2.0])),
        "early_stopping": [True, False, "never"][rng.integers(3)],
        "max_length": start + int(rng.integers(1, 12)),
    }
    ends = rng.choice(vocab, int(rng.integers(0, 4)), replace=False).tolist()
    if ends:
        options |= {"eos_token_id": ends, "pad_token_id": int(rng.choice([0, ends[0], vocab - 1]))}
    more = {
        "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 2,
        "min_length": start + 4,
        "suppress_tokens": rng.choice(vocab, 2, replace=False).tolist(),
        "forced_bos_token_id": 3,
        "renormalize_logits": True,
    }
    names = rng.choice(list(more), int(rng.integers(0, 3)), replace=False).tolist()
    options |= {name: more[name] for name in names}
    return {"seed": int(rng.integers(10**6)), "vocab": vocab, "prompt": prompt, "options": options}


def main() -> None:
    """Record all cases."""
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    rng, cases = np.random.default_rng(6), []
    for _ in range(CASES):
        case = random_case(rng)
        prompt = np.array(case["prompt"], np.int64)
        found = generate(Tables.of(case["seed"], case["vocab"]), prompt, case["options"])
        scores = [round(float(score), 6) for score in found.sequences_scores]
        cases.append(case | {"sequences": found.sequences.tolist(), "scores": scores})
    lines = ",\n".join(json.dumps(case) for case in cases)
    versions = f'"transformers": "{transformers.__version__}", "made_by": "record_groups.py"'
    RECORD.write_text(f'{{{versions}, "cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
