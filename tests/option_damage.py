"""Damaged options of generation, one set a seed: as a call's arguments, and as the contents of generation_config.json.

The same seed gives the same set, but for functions, which are new ones. Needs numpy only.
"""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np

# Values that JSON can hold; the whole numbers have up to 400 digits, and json.dumps writes NaN and Infinity.
FROM_FILES: list[Any] = [
    None, True, False, 0, 1, 2, 3, -1, 96, 97, 2**24, 2**31, 2**63, 10**13, 10**400, -(10**400), 0.0, -0.0, 0.5,
    1.0, 2.0, -1.5, 1e-45, 1e-320, 1e30, 1e39, 1e308, float("inf"), float("-inf"), float("nan"), "", "1", "never",
    "\x00", "\ud800", "x" * 10_000, [], [[]], [1], [1, 2], [1, -1], [1, "2"], [[1], [2, 3]], [[1], []], [[[1]]],
    [[[1], 0.5]], [[[1, 2], -1e400]], [[1, 2], 3], {}, {"a": 1}, {"1": {"2": [3]}}, [None] * 3, [1e400], [10**400],
    [5, 1.5], [5, 0], [[2], [10**13]],
]  # fmt: skip
# Whole numbers that are far too large, for options that take them.
HUGE = [10**6, 10**9, 10**12, 2**63 - 1, 2**63, 10**30]

# What options may have, so that what is wrong meets what is right, and searches run that ask for much.
RIGHT: dict[str, list[Any]] = {
    "max_length": [2, 5, 10, 10**12],
    "max_new_tokens": [1, 3, 10**12],
    "num_beams": [1, 2, 4, 97, 10**9],
    "num_return_sequences": [1, 2, 3, 10**9],
    "num_beam_groups": [1, 2],
    "diversity_penalty": [0.5, 1e38],
    "length_penalty": [-2.0, 0.0, 1e3, 1e308],
    "early_stopping": [True, False, "never"],
    "eos_token_id": [2, [2, 3], 96],
    "pad_token_id": [0, None],
    "min_length": [3, 10**9],
    "max_time": [1e-9, 1e300],
    "stop_strings": ["word5", ["d5", "x" * 10_000]],
    "repetition_penalty": [1.5, 1e-38, 1e38],
    "no_repeat_ngram_size": [1, 2, 10**9],
    "bad_words_ids": [[[5]], [[5, 6], [7]], [[2]]],
    "sequence_bias": [[[[5], 2.0], [[5, 6], -1e38]]],
    "suppress_tokens": [[], [5, 6], list(range(97))],
    "begin_suppress_tokens": [[5]],
    "forced_bos_token_id": [5],
    "forced_eos_token_id": [2, [2, 3]],
    "exponential_decay_length_penalty": [[0, 1.5], [10**9, 1e30], [1, 1e38]],
    "remove_invalid_values": [True],
    "renormalize_logits": [True],
    "do_sample": [True, True, False],
    "temperature": [0.5, 1e-38, 1e38],
    "top_k": [0, 1, 10**12],
    "top_p": [0.0, 0.5],
    "min_p": [0.1, 1.0],
    "typical_p": [0.2],
    "epsilon_cutoff": [0.1],
    "eta_cutoff": [0.1],
    "seed": [0, 2**200],
    "output_scores": [True],
    "output_logits": [True],
    "output_attentions": [True],
}

# Keywords that calls have elsewhere, and values that snippets give them.
COPIED: dict[str, list[Any]] = {
    "generation_config": [{"num_beams": 2}, {"max_new_tokens": 3, "use_cache": False}, {"num_beam": 2}, 5, [1]],
    "inputs": [None],
    "attention_mask": [None, [[1, 1]], [[1, 0]], "x"],
    "labels": [None, [[1]]],
    "tokenizer": [None, "gpt2"],
    "use_cache": [True, False],
    "trust_remote_code": [True, None],
    "interpolate_pos_encoding": [False, True],
}


class NoRepr:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class FromCaller(Exception):
    """What a caller's own function raises."""


def _raises(*_: Any) -> Any:
    raise FromCaller("of the caller")


def from_calls() -> list[Any]:
    """Values that only a call can give."""
    return [
        *FROM_FILES, (), (1, 2), ((1,), (2, 3)), {(1,): 2.0}, {(1, 2): 10**400}, {1: 2}, {(): 1.0}, np.int64(3),
        np.float32(0.5), np.float64("nan"), np.bool_(True), np.array(3), np.array([1, 2]), np.array([[1], [2]]),
        Decimal("0.5"), Decimal("NaN"), Fraction(1, 3), Fraction(10**400, 3), 1j, b"1", NoRepr(), [NoRepr()],
        object(), range(3), {1, 2}, (each for each in (1, 2)), iter([1]), lambda *_: None, _raises, [_raises],
        [lambda *_: None], [lambda *_: True], [lambda ids, scores: scores], [lambda ids, scores: scores[:1]],
        [lambda ids, scores: scores * np.nan], [lambda ids, scores: "x"], [lambda ids, scores: [[1], [1, 2]]],
        lambda photo, ids: [1, 5], lambda photo, ids: [], lambda photo, ids: [10**400], lambda photo, ids: [[1], [2,
        3]], lambda photo, ids: "ab", lambda photo, ids: [-1], lambda photo, ids: np.array([[1]]),
        np.random.default_rng(0), 10**5000, [10**5000], "word5", ["word5", "word6"], ["x" * 1_000_000],
        ["word5"] * 2000, [[5, 6]] * 20_000, [5] * 100_000,
    ]  # fmt: skip


def _functions() -> dict[str, list[Any]]:
    """What functions of the caller's may be and return."""
    criteria = [lambda *_: True, lambda *_: False, lambda ids, _: [False] * len(ids), lambda *_: np.zeros(99, bool)]
    criteria += [lambda *_: None, lambda *_: [[True], [True, False]], lambda *_: 1, lambda *_: "True", _raises]
    processors = [lambda ids, scores: scores, lambda ids, scores: scores * -np.inf, lambda ids, scores: scores * np.nan]
    processors += [lambda ids, scores: scores[:, :5], lambda ids, scores: scores.tolist(), lambda ids, scores: None]
    processors += [
        lambda ids, scores: scores.astype(np.float64) * 1e300,
        lambda ids, scores: scores.astype(int),
        _raises,
    ]
    allowed = [lambda photo, ids: [1, 2, 5], lambda photo, ids: [], lambda photo, ids: [97], lambda photo, ids: None]
    allowed += [lambda photo, ids: [[1], [2, 3]], lambda photo, ids: [1.5], lambda photo, ids: np.array([[1]]), _raises]
    return {
        "stopping_criteria": [[each] for each in criteria],
        "logits_processor": [[each] for each in processors],
        "prefix_allowed_tokens_fn": allowed,
    }


def damaged_call(seed: int, names: list[str]) -> dict[str, Any]:
    """One to four options of a call, by name; names: of all that there are."""
    random = Random(seed)
    values, functions = from_calls(), _functions()
    found: dict[str, Any] = {}
    for _ in range(random.choice((1, 2, 3, 4, 6))):
        name = (
            random.choice(names) if random.random() < 0.97 else random.choice(("", "num_beam", "\x1b[31m", "x" * 5000))
        )
        if random.random() < 0.05:
            name = random.choice(list(COPIED))
        right = functions.get(name) or RIGHT.get(name) or COPIED.get(name) or values
        found[name] = random.choice(right if random.random() < 0.7 else values)
    return found


def _from_scripts(random: Random) -> dict[str, Any]:
    """Sometimes what files have beside options, and ids that are no tokens."""
    if random.random() < 0.7:
        return {}
    found: dict[str, Any] = {"use_cache": False, "alignment_heads": [[1, 2]], "max_length": None, "bos_token_id": 50256}
    found |= {"pad_token_id": -1, "eos_token_id": [2, 50256], "forced_bos_token_id": [1], "temperature": 0.0}
    return dict(random.sample(sorted(found.items()), 2))


def damaged_generation_config(seed: int, names: list[str]) -> bytes:
    """The contents of a generation_config.json whose values are wrong, or that is no JSON at all."""
    random = Random(seed)
    options: dict[str, Any] = {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    for _ in range(random.choice((1, 2, 3, 4, 6))):
        name = random.choice(names) if random.random() < 0.95 else random.choice(("", "_from", "num_beam", "x" * 5000))
        options[name] = random.choice(RIGHT.get(name, HUGE) if random.random() < 0.6 else FROM_FILES)
    raw = json.dumps(options | _from_scripts(random)).encode()
    if random.random() < 0.1:
        at = random.randrange(len(raw))
        raw = raw[:at] + random.choice((b"", bytes([random.randrange(256)]) + raw[at + 1 :]))
    return raw
