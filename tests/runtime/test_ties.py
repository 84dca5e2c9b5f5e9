"""Equal scores, NaN, -0.0, infinities and subnormal numbers: the library and the definitions in numpy choose alike.

So a search says the same with and without the library: of equal sums the lower row, then its larger logit, then its
lower token.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fuseline.errors import InputError
from fuseline.generation.config import GenerationConfig
from fuseline.kernels import definitions
from fuseline.kernels.library import Portable, kernels
from fuseline.search import search

INF, NAN = np.inf, np.nan
# Few values, so that most rows have ties; the last ones are subnormal, or swallowed by a sum.
VALUES = [0.0, -0.0, 1.0, -1.0, 2.5, INF, -INF, NAN, 1e-45, -1e-45, 1e-39, 3.4e38, -3.4e38, 1e-8, 1.0000001]
POOL = st.sampled_from([np.float32(value) for value in VALUES])
ORDINARY = st.sampled_from([np.float32(value) for value in VALUES if np.isfinite(value)])

needs_library = pytest.mark.skipif(isinstance(kernels(), Portable), reason="there is no library here to compare with")


def same(ours: Any, theirs: Any) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        if one.dtype == np.float32:
            np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)
        else:
            np.testing.assert_array_equal(one, other)


@needs_library
@settings(max_examples=300, deadline=None)
@given(data=st.data(), rows=st.integers(1, 4), vocab=st.integers(1, 70))
def test_top_candidates(data: Any, rows: int, vocab: int) -> None:
    logits = data.draw(arrays(np.float32, (rows, vocab), elements=POOL, fill=POOL))
    k = data.draw(st.integers(1, vocab))
    ours, theirs = kernels().top_candidates(logits, k), definitions.top_candidates(logits, k)
    same(ours, theirs)
    np.testing.assert_array_equal(ours[0].view(np.uint32), theirs[0].view(np.uint32))  # -0.0 too


@needs_library
@settings(max_examples=300, deadline=None)
@given(data=st.data(), photos=st.integers(1, 3), beams=st.integers(1, 4), vocab=st.integers(1, 40))
def test_beam_candidates(data: Any, photos: int, beams: int, vocab: int) -> None:
    normalized = data.draw(st.booleans())
    # Sums of log-probabilities that differ by a rounding of their logarithm may rank either way, so those are given.
    values = POOL if normalized else ORDINARY
    logits = data.draw(arrays(np.float32, (photos * beams, vocab), elements=values, fill=values))
    scores = data.draw(arrays(np.float32, (photos, beams), elements=POOL, fill=POOL))
    keep = data.draw(st.integers(1, 2 * beams + 2))
    if not normalized:
        scores[...] = data.draw(st.sampled_from([np.float32(0), np.float32(-1e9), np.float32(-INF)]))
        logits[...] = logits[:1]  # rows alike have logarithms alike
    ours = kernels().beam_candidates(logits, scores, keep, normalized)
    same(ours, definitions.beam_candidates(logits, scores, keep, normalized))


def decoder_of(table: np.ndarray[Any, Any]) -> Any:
    """Logits by the last token alone, from a table float32[V, V]."""

    class Decoder:
        def start(self, *_: Any, **__: Any) -> Any:
            return None

        def step(self, state: Any, tokens: np.ndarray[Any, Any], parents: Any) -> np.ndarray[Any, Any]:
            return table[tokens[:, -1]]

    return Decoder()


# Beams of several lengths are compared by their sums as they are: divided by their lengths, three times a logarithm and
# once that logarithm rank as its last bit has it, which the library's need not share.
SUMS = {"length_penalty": 0.0}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_beams": 3, "num_return_sequences": 3, **SUMS},
    {"num_beams": 2, "repetition_penalty": 1.5, **SUMS},
    {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0, **SUMS},
    {"do_sample": True, "seed": 1, "remove_invalid_values": True},
]


@needs_library
@settings(max_examples=60, deadline=None)
@given(data=st.data(), options=st.sampled_from(OPTIONS))
def test_searches_among_ties_say_the_same_with_and_without_the_library(data: Any, options: dict[str, Any]) -> None:
    values = st.sampled_from([np.float32(value) for value in (0.0, -0.0, 1.0, 2.0, 1e-45, -INF)])
    row = data.draw(arrays(np.float32, (1, 12), elements=values, fill=values))
    row[0, 3] = 0  # something is possible
    table = np.repeat(row, 12, axis=0)  # alike, so that sums tie
    config = GenerationConfig(decoder_start_token_id=1, eos_token_id=2, pad_token_id=0, max_length=6, **options)
    found = [told(table, config)]
    real = kernels()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("top_candidates", "beam_candidates"):
            patch.setattr(real, name, getattr(definitions, name))
        found.append(told(table, config))
    assert found[0] == found[1]


def told(table: np.ndarray[Any, Any], config: GenerationConfig) -> Any:
    """The sequences and why they ended, or what was wrong."""
    try:
        result = search(decoder_of(table), None, config.prompt(2), config)  # type: ignore[arg-type]
    except InputError as error:
        return str(error)
    return result.sequences.tolist(), result.finish_reasons
