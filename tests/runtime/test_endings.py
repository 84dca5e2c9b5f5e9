"""Why sequences end: each reason alone, which of several counts, and stop strings against transformers' criterion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.generation.config import GenerationConfig
from fuseline.search.endings import REASONS, Endings, StopStrings
from tests.names import case_name

SEQUENCES = np.array([[1, 5, 6], [1, 6, 7], [1, 4, 9], [1, 6, 99]])
WORDS = {1: "<s>", 4: "a", 5: " dog", 6: " run", 7: "ning", 9: "!?", 99: ""}


def reasons(longest: int = 9, **options: Any) -> list[str]:
    endings = Endings(GenerationConfig(**options), longest, WORDS.__getitem__)
    return [REASONS[why] for why in endings(SEQUENCES[:, -1], SEQUENCES.shape[1], lambda: SEQUENCES)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["", "", "", ""]),
        ({"eos_token_id": 9}, ["", "", "eos_token", ""]),
        ({"eos_token_id": [6, 99]}, ["eos_token", "", "", "eos_token"]),
        ({"longest": 3}, ["max_length"] * 4),
        ({"longest": 3, "eos_token_id": 6}, ["eos_token", "max_length", "max_length", "max_length"]),
        ({"stop_strings": "running"}, ["", "stop_strings", "", ""]),
        ({"stop_strings": ["g r", "!"]}, ["stop_strings", "", "stop_strings", ""]),
        ({"stop_strings": " r", "eos_token_id": 6}, ["eos_token", "", "", ""]),
        ({"stopping_criteria": [lambda ids, _: ids[:, 1] == 6]}, ["", "stopping_criteria", "", "stopping_criteria"]),
        (
            {"stopping_criteria": [lambda ids, _: True], "eos_token_id": 9},
            ["stopping_criteria"] * 2 + ["eos_token", "stopping_criteria"],
        ),
        ({"max_time": 1e-9}, ["max_time"] * 4),
        ({"max_time": 1000.0}, ["", "", "", ""]),
        ({"max_time": 1e-9, "longest": 3}, ["max_time"] * 4),
    ],
    ids=case_name,
)
def test_reasons(options: dict[str, Any], expected: list[str]) -> None:
    assert reasons(**options) == expected


def test_a_stopping_criterion_returns_bools() -> None:
    with pytest.raises(InputError, match=r"must return a bool or bool\[4\], not int64\[\]"):
        reasons(stopping_criteria=[lambda sequences, _: 1])
    with pytest.raises(InputError, match=r"must return a bool or bool\[4\], not bool\[1\]"):
        reasons(stopping_criteria=[lambda sequences, _: np.array([True])])


def test_stop_strings_need_a_tokenizer() -> None:
    with pytest.raises(InputError, match="stop_strings needs the text of tokens"):
        Endings(GenerationConfig(stop_strings="x"), 9, None)


@pytest.mark.parametrize("kind", ["ByteLevel", "Metaspace"])
def test_stop_strings_equal_transformers(kind: str) -> None:
    """200 random sequences and strings cut out of their texts, at their ends, across them and elsewhere."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from .test_text import text_of_token, tokenizer_of, tokens_of

    tokenizer = tokenizer_of(kind)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    rng = np.random.default_rng(0)
    stopped = 0
    for _ in range(200):
        sequences = rng.integers(0, tokenizer.get_vocab_size(), (6, 7))
        text = tokenizer.decode(sequences[0].tolist(), skip_special_tokens=False)
        end = len(text) - int(rng.integers(0, 3))
        strings = [text[max(0, end - int(rng.integers(1, 8))) : end] or "x", str(rng.choice(["a", "th", " d"]))]
        criterion = transformers.generation.StopStringCriteria(theirs, strings)
        expected = criterion(torch.from_numpy(sequences), None).numpy()
        found = StopStrings(strings, text_of_token(tokens_of(tokenizer)))(sequences)
        np.testing.assert_array_equal(found, expected, err_msg=f"{strings} in {sequences.tolist()}")
        stopped += int(found.sum())
    assert stopped > 100
