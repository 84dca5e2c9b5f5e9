"""Processors against transformers' classes, one by one on random scores; what callers' functions may return."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.generation.config import GenerationConfig
from fuseline.generation.processors import PROCESSORS, SAMPLING, Lengths, processors
from tests.names import case_name

VOCAB, ROWS, LONGEST = 12, 4, 9
# Tokens of the inputs, one a row, as the encoder has read them.
INPUTS = np.array([[3, 4, 5, 3, 4], [4, 4, 5, 5, 3], [9, 3, 5, 4, 0], [5, 4, 3, 5, 4]])


def allow(photo: int, sequence: Any) -> list[int]:
    return [photo, (int(sequence[-1]) + 3) % VOCAB, 3]


# Options, and the class of transformers with its arguments; {prompt} tokens of prompt, {eos} end tokens.
CASES: list[tuple[dict[str, Any], str, Any]] = [
    ({"sequence_bias": {(1,): 2.0, (3, 4): -1.5, (5, 5, 4): 0.25, (4,): -3.0}}, "SequenceBiasLogitsProcessor", None),
    ({"encoder_repetition_penalty": 1.4}, "EncoderRepetitionPenaltyLogitsProcessor", (1.4,)),
    ({"encoder_repetition_penalty": 0.6}, "EncoderRepetitionPenaltyLogitsProcessor", (0.6,)),
    ({"repetition_penalty": 1.7}, "RepetitionPenaltyLogitsProcessor", (1.7,)),
    ({"repetition_penalty": 0.6}, "RepetitionPenaltyLogitsProcessor", (0.6,)),
    ({"no_repeat_ngram_size": 1}, "NoRepeatNGramLogitsProcessor", (1,)),
    ({"no_repeat_ngram_size": 2}, "NoRepeatNGramLogitsProcessor", (2,)),
    ({"no_repeat_ngram_size": 3}, "NoRepeatNGramLogitsProcessor", (3,)),
    ({"encoder_no_repeat_ngram_size": 1}, "EncoderNoRepeatNGramLogitsProcessor", (1,)),
    ({"encoder_no_repeat_ngram_size": 2}, "EncoderNoRepeatNGramLogitsProcessor", (2,)),
    ({"encoder_no_repeat_ngram_size": 3}, "EncoderNoRepeatNGramLogitsProcessor", (3,)),
    ({"bad_words_ids": [[1], [2, 3], [7], [4, 4, 5]]}, "NoBadWordsLogitsProcessor", None),
    ({"min_length": 4}, "MinLengthLogitsProcessor", (4, [7, 9])),
    ({"min_new_tokens": 3}, "MinNewTokensLengthLogitsProcessor", (2, 3, [7, 9])),
    ({"prefix_allowed_tokens_fn": allow, "num_beams": 2}, "PrefixConstrainedLogitsProcessor", (allow, 2)),
    ({"forced_bos_token_id": 5}, "ForcedBOSTokenLogitsProcessor", (5,)),
    ({"forced_eos_token_id": [7, 2]}, "ForcedEOSTokenLogitsProcessor", (LONGEST, [7, 2])),
    ({"remove_invalid_values": True}, "InfNanRemoveLogitsProcessor", ()),
    ({"exponential_decay_length_penalty": (1, 1.3)}, "ExponentialDecayLengthPenalty", ((1, 1.3), [7, 9], 2)),
    ({"suppress_tokens": [0, 11]}, "SuppressTokensLogitsProcessor", ([0, 11],)),
    ({"begin_suppress_tokens": [0, 11]}, "SuppressTokensAtBeginLogitsProcessor", ([0, 11], 2)),
    ({"temperature": 0.7, "top_k": 0}, "TemperatureLogitsWarper", (0.7,)),
    ({"top_k": 5}, "TopKLogitsWarper", (5,)),
    ({"top_k": 1}, "TopKLogitsWarper", (1,)),
    ({"top_p": 0.8, "top_k": 0}, "TopPLogitsWarper", (0.8,)),
    ({"top_p": 0.0, "top_k": 0}, "TopPLogitsWarper", (0.0,)),
    ({"min_p": 0.2, "top_k": 0}, "MinPLogitsWarper", (0.2,)),
    ({"typical_p": 0.6, "top_k": 0}, "TypicalLogitsWarper", (0.6,)),
    ({"typical_p": 0.01, "top_k": 0}, "TypicalLogitsWarper", (0.01,)),
    ({"epsilon_cutoff": 0.05, "top_k": 0}, "EpsilonLogitsWarper", (0.05,)),
    ({"epsilon_cutoff": 0.9, "top_k": 0}, "EpsilonLogitsWarper", (0.9,)),
    ({"eta_cutoff": 0.2, "top_k": 0}, "EtaLogitsWarper", (0.2,)),
    ({"renormalize_logits": True}, "LogitNormalization", ()),
]


def theirs(options: dict[str, Any], name: str, arguments: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    made = getattr(transformers.generation.logits_process, name)
    if name == "SequenceBiasLogitsProcessor":
        return made(options["sequence_bias"])
    if name == "NoBadWordsLogitsProcessor":
        return made(options["bad_words_ids"], [7, 9])
    if name.startswith("Encoder"):
        return made(*arguments, pytest.importorskip("torch").from_numpy(INPUTS))
    return made(*arguments)


WITH_BEAMS = [(options | {"num_beams": 3}, *rest) for options, *rest in CASES if set(options) & set(SAMPLING)]


@pytest.mark.parametrize(
    ("options", "name", "arguments"), CASES + WITH_BEAMS, ids=[case_name(case[0]) for case in CASES + WITH_BEAMS]
)
def test_a_processor_does_what_transformers_class_does(options: dict[str, Any], name: str, arguments: Any) -> None:
    torch = pytest.importorskip("torch")
    sampling = bool(set(options) & set(SAMPLING))
    if sampling and options.get("num_beams") and not name.startswith("Temperature"):
        keep = {"min_tokens_to_keep": 3}
        reference = getattr(pytest.importorskip("transformers").generation.logits_process, name)(*arguments, **keep)
    else:
        reference = theirs(options, name, arguments)
    ours = processors(
        GenerationConfig(eos_token_id=[7, 9], do_sample=sampling, **options), Lengths(2, LONGEST, list(INPUTS))
    )
    assert ours is not None
    rng = np.random.default_rng(0)
    changed = 0
    for length in range(1, LONGEST):
        for _ in range(5):
            scores = rng.normal(0, 3, (ROWS, VOCAB)).astype(np.float32)
            scores[rng.random(scores.shape) < 0.1] = -np.inf if name != "ExponentialDecayLengthPenalty" else 0
            if name == "InfNanRemoveLogitsProcessor":
                scores[0, :2] = np.nan, np.inf
            sequences = rng.integers(3, 6, (ROWS, length))
            expected = reference(torch.from_numpy(sequences), torch.from_numpy(scores.copy())).numpy()
            found = ours(sequences, scores.copy())
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
            changed += not np.array_equal(found, scores)
    assert changed


def test_the_table_has_every_processor_in_transformers_order() -> None:
    """The order of `_get_logits_processor`, by building all of them at once."""
    transformers = pytest.importorskip("transformers")
    options = {name: value for case in CASES for name, value in case[0].items() if name != "num_beams"} | {"top_k": 5}
    generation_config = transformers.GenerationConfig(
        eos_token_id=[7, 9],
        max_length=LONGEST,
        do_sample=True,
        **{name: value for name, value in options.items() if name != "prefix_allowed_tokens_fn"},
    )
    torch = pytest.importorskip("torch")
    generation_config._eos_token_tensor = torch.tensor([7, 9])
    built = transformers.GenerationMixin()._get_logits_processor(
        generation_config,
        2,
        encoder_input_ids=torch.from_numpy(INPUTS),
        prefix_allowed_tokens_fn=allow,
        logits_processor=[lambda sequences, scores: scores],
    )
    classes = {next(iter(case[0])): case[1] for case in CASES} | {"logits_processor": "function"}
    # 4.50 has diversity_penalty after sequence_bias; of timestamps see test_timestamps.
    names = [name for name, _, _ in PROCESSORS if name not in ("diversity_penalty", "timestamps")]
    assert [type(each).__name__ for each in built] == [classes[name] for name in names]


def test_tokens_of_an_input_count_for_all_its_rows_and_padding_for_none() -> None:
    """Where there are beams transformers' penalty is for the first rows only, whosever they are."""
    inputs = [np.array([1, 2]), np.array([3])]
    options = {"encoder_repetition_penalty": 2.0, "encoder_no_repeat_ngram_size": 2, "num_beams": 2}
    process = processors(GenerationConfig(**options), Lengths(1, 9, inputs))
    assert process is not None
    found = process(np.array([[1], [4], [1], [4]]), np.full((4, 5), -1, np.float32))
    assert found.tolist() == [
        [-1, -0.5, -np.inf, -1, -1],
        [-1, -0.5, -0.5, -1, -1],
        [-1, -1, -1, -0.5, -1],
        [-1, -1, -1, -0.5, -1],
    ]


def test_nothing_to_do_is_no_processor() -> None:
    assert processors(GenerationConfig(eos_token_id=3, num_beams=4), Lengths(1, 9)) is None


def test_an_end_that_is_excluded_stays_so_whatever_its_length_penalty() -> None:
    config = GenerationConfig(eos_token_id=1, min_length=8, exponential_decay_length_penalty=(0, 2.0))
    process = processors(config, Lengths(1, 9))
    assert process is not None
    assert process(np.zeros((1, 4), np.int64), np.zeros((1, 3), np.float32))[0, 1] == -np.inf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logits_processor": [lambda sequences, scores: None]}, r"must return scores float32\[2, 5\], not object\[\]"),
        ({"logits_processor": [lambda sequences, scores: scores[:1]]}, r"not float32\[1, 5\]"),
        (
            {"prefix_allowed_tokens_fn": lambda photo, sequence: []},
            r"allows no token after \[0, 0, 0\]; allow at least",
        ),
        ({"prefix_allowed_tokens_fn": lambda photo, sequence: [5]}, r"must return token ids from 0 to 4, not \[5\]"),
        ({"prefix_allowed_tokens_fn": lambda photo, sequence: [0.5]}, "must return token ids"),
    ],
)
def test_what_a_callers_function_returns_is_checked(options: dict[str, Any], message: str) -> None:
    process = processors(GenerationConfig(**options), Lengths(1, 9))
    assert process is not None
    with pytest.raises(InputError, match=message):
        process(np.zeros((2, 3), np.int64), np.zeros((2, 5), np.float32))
