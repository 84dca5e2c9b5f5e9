"""Groups of beams against what transformers 4.50.3 said, the last version that has them; see record_groups.py.

Scores within 1e-4, or one part in a million. Equal scores of different texts do not occur in the record.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.generation.config import GenerationConfig
from fuseline.generation.result import Generation
from fuseline.search import Search, search

pytest.importorskip("torch")
pytest.importorskip("transformers")

from .tables import START, Tables, TablesDecoder

CASES = json.loads(Path(__file__).with_name("beam_groups.json").read_text(encoding="utf-8"))["cases"]
OPTIONS: dict[str, Any] = {"num_beams": 6, "num_beam_groups": 3, "diversity_penalty": 1.0, "eos_token_id": 2}


def ours(case: dict[str, Any], rows: slice = slice(None), **more: Any) -> Generation:
    prompt, tables = np.array(case["prompt"], np.int64), Tables.of(case["seed"], case["vocab"])
    decoder: Any = TablesDecoder(tables)
    config = GenerationConfig(decoder_start_token_id=START).override(**case["options"] | more)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return search(decoder, tables.photos(len(prompt))[rows], prompt[rows], config)


@pytest.mark.parametrize("first", range(0, len(CASES), 20))
def test_recorded_cases(first: int) -> None:
    for case in CASES[first : first + 20]:
        found = ours(case)
        assert found.sequences.tolist() == case["sequences"], case
        np.testing.assert_allclose(found.sequences_scores, case["scores"], rtol=1e-6, atol=1e-4)


def test_the_record_has_what_it_should() -> None:
    """Sequences that end and such that do not, several end tokens, and penalties that count."""
    assert len(CASES) >= 100
    assert sum(len(case["options"].get("eos_token_id", ())) > 1 for case in CASES) > 20
    without = [ours(case, diversity_penalty=1e-9).sequences.tolist() != case["sequences"] for case in CASES[:20]]
    assert sum(without) > 10


def test_a_batch_is_its_photos_one_by_one() -> None:
    for case in CASES[:30]:
        together, each = ours(case), case["options"]["num_return_sequences"]
        for photo in range(len(case["prompt"])):
            alone, rows = ours(case, slice(photo, photo + 1)), slice(photo * each, (photo + 1) * each)
            length = alone.sequences.shape[1]
            np.testing.assert_array_equal(together.sequences[rows, :length], alone.sequences)
            np.testing.assert_array_equal(together.sequences_scores[rows], alone.sequences_scores)


def test_scores_are_found_where_beam_indices_say() -> None:
    case = next(case for case in CASES if len(case["prompt"]) == 3 and "eos_token_id" not in case["options"])
    found, start = ours(case, output_scores=True), len(case["prompt"][0])
    assert found.scores is not None and found.beam_indices is not None
    for row, tokens in enumerate(found.sequences[:, start:]):
        picked = [found.scores[n][found.beam_indices[row, n], token] for n, token in enumerate(tokens)]
        np.testing.assert_array_equal(picked, found.token_logprobs[row])


def test_what_is_certain_stays() -> None:
    for case in CASES[:30]:
        prompt, tables = np.array(case["prompt"], np.int64), Tables.of(case["seed"], case["vocab"])
        decoder: Any = TablesDecoder(tables)
        config = GenerationConfig(decoder_start_token_id=START).override(**case["options"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            running = Search(decoder, tables.photos(len(prompt)), prompt, config)
        seen = []
        while running.step():
            seen.append(running.prefixes())
        best = running.generation().sequences[:: config.num_return_sequences]
        for prefixes in seen:
            for prefix, tokens in zip(prefixes, best, strict=True):
                assert tokens[: len(prefix.certain)].tolist() == prefix.certain.tolist()


def test_time_is_up() -> None:
    tables = Tables.of(0, 12)
    decoder: Any = TablesDecoder(tables)
    found = search(decoder, tables.photos(1), np.ones((1, 1), np.int64), GenerationConfig(**OPTIONS, max_time=1e-9))
    assert found.timings.steps == 1 and set(found.finish_reasons) <= {"max_time", "eos_token"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 5}, "num_beams=5 cannot be divided into num_beam_groups=3"),
        ({"diversity_penalty": 0.0}, "the groups would all be the same; give a diversity_penalty above 0"),
        ({"num_beam_groups": 1}, "diversity_penalty keeps groups of beams apart; give num_beam_groups too"),
        ({"do_sample": True}, "do_sample does not go together with num_beam_groups"),
        ({"stop_strings": "x"}, "stop_strings does not go together with num_beam_groups"),
        ({"stopping_criteria": [print]}, "stopping_criteria does not go together"),
    ],
)
def test_what_groups_do_not_go_together_with(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GenerationConfig(**OPTIONS | options)
