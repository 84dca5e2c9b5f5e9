"""What no option may do: ask for more than the machine has, or hold a number that ends in anything but a sentence."""

from __future__ import annotations

import copy
import pickle
import threading
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fuseline import Model, memory
from fuseline.errors import FolderError, InputError
from fuseline.generation.config import GenerationConfig
from fuseline.generation.options import CHECKS, UNSUPPORTED
from fuseline.generation.processors import Own, SequenceBias
from fuseline.generation.result import Generation
from fuseline.memory import in_units, machine_bytes
from tests.option_damage import FROM_FILES, FromCaller, NoRepr, damaged_call, damaged_generation_config, from_calls

NAMES = [*CHECKS, *UNSUPPORTED]


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model.from_pretrained(tiny_path, variant=None)


@pytest.fixture(scope="module")
def encoded(model: Model) -> Any:
    return model.encode(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_every_option_is_taken_or_refused_in_a_sentence(name: str) -> None:
    for value in from_calls():
        try:
            GenerationConfig(**{name: value})
        except InputError as error:
            assert "\n" not in str(error)
    for value in FROM_FILES:
        for file, config in (({name: value}, {}), ({}, {name: value}), ({}, {"decoder": {name: value}})):
            try:
                GenerationConfig.from_folder(file, config, "here", 97)
            except FolderError as error:
                assert str(error).startswith("here/")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 10**400}, "temperature must be a finite number, not 1000000000"),
        ({"temperature": Fraction(10**400, 3)}, "temperature must be a finite number"),
        ({"temperature": 10**5000}, "temperature must be a finite number, not a int that cannot be shown"),
        ({"temperature": 1e39}, "temperature must be a finite number, not 1e+39"),
        ({"temperature": 1e-320}, "temperature must be more than 0"),
        ({"temperature": Decimal("0.5")}, "temperature must be a finite number"),
        ({"top_k": 10**400}, "top_k must be a whole number of at least 0 and at most 9223372036854775807"),
        ({"max_length": np.float64(3)}, "max_length must be a whole number"),
        ({"eos_token_id": 10**13}, "eos_token_id must be a whole number of at least 0 and at most 16777215"),
        ({"num_beams": NoRepr()}, "num_beams must be a whole number of at least 1"),
        ({"sequence_bias": {(1,): np.array([1.0, 2.0])}}, "sequence_bias must be a finite number"),
    ],
)
def test_numbers_that_cannot_be_used(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        GenerationConfig(**options)
    assert str(error.value).startswith(words)


def test_numbers_of_numpy_and_fractions_are_numbers() -> None:
    config = GenerationConfig(num_beams=np.int8(3), temperature=np.float16(0.5), top_p=Fraction(1, 2), seed=2**200)
    assert (config.num_beams, config.temperature, config.top_p, config.seed) == (3, 0.5, 0.5, 2**200)
    assert type(config.num_beams) is int
    assert type(config.top_p) is float


def test_ids_are_held_against_the_decoder_where_config_json_gives_no_vocabulary() -> None:
    with pytest.raises(FolderError, match="forced_bos_token_id=97 is outside the vocabulary, whose ids are 0 to 96"):
        GenerationConfig.from_folder({"forced_bos_token_id": 97}, {}, "here", 97)
    config = GenerationConfig.from_folder({}, {}, "here", 97)
    with pytest.raises(InputError, match="suppress_tokens=97 is outside the vocabulary"):
        config.override(suppress_tokens=[97])


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 10**9},
        {"num_beams": 2**62, "num_return_sequences": 2**62},
        {"num_beams": 1, "do_sample": True, "num_return_sequences": 10**9},
        {"num_beams": 10**9, "num_beam_groups": 10**9, "diversity_penalty": 1.0},
    ],
)
def test_rows_that_do_not_fit_into_memory_are_refused_before_the_search(
    options: dict[str, Any], model: Model, encoded: Any
) -> None:
    with pytest.raises(InputError, match=r"2 x \d+ sequences .* need .* of memory, and this machine has .* GB"):
        model.generate(encoded, **options)


@pytest.mark.parametrize("option", ["max_length", "max_new_tokens"])
def test_lengths_that_do_not_fit_are_refused_where_the_decoder_knows_no_bound(
    option: str, model: Model, encoded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    endless = replace(model.folder, decoder=replace(model.folder.decoder, max_positions=2**63 - 1))
    monkeypatch.setattr(model, "folder", endless)
    with pytest.raises(InputError, match=r"of up to \d+ tokens need .* of memory, .* or lower max_length"):
        model.generate(encoded, **{option: 10**12})


def test_what_is_kept_of_every_step_counts(model: Model, encoded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fuseline import memory

    monkeypatch.setattr(memory, "machine_bytes", lambda: 40_000)
    model.generate(encoded, num_beams=1, max_length=20)
    for kept in ("output_scores", "output_logits"):
        with pytest.raises(InputError, match="of memory"):
            model.generate(encoded, num_beams=1, max_length=20, **{kept: True})


def test_the_memory_of_this_machine_is_known() -> None:
    found = machine_bytes()
    assert found is not None
    assert 1 << 28 < found < 1 << 50
    assert in_units(24 * 10**9) == "24.0 GB"
    assert in_units(10**400).endswith("TB")
    assert in_units(5) == "5 bytes"


def test_a_container_may_have_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "memory.max").write_text("12345\n")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory.Path, "read_text", _read_as("0::/inner\n", memory.Path.read_text))
    assert [limit for limit in memory._of_container() if limit is not None] == [12345]


def _read_as(text: str, real: Any) -> Any:
    return lambda path, *more: text if str(path) == "/proc/self/cgroup" else real(path, *more)


def test_a_million_words_cost_a_step_little() -> None:
    rng = np.random.default_rng(0)
    words = [tuple(rng.integers(0, 97, 3)) for _ in range(20_000)] * 50
    bias = SequenceBias([(word, -1.0) for word in words])
    sequences, scores = rng.integers(0, 97, (4, 10)), np.zeros((4, 97), np.float32)
    expected = np.zeros((4, 97), np.float32)
    for word in words[:20_000]:
        for row in np.flatnonzero((sequences[:, -2:] == word[:2]).all(axis=1)):
            expected[row, word[2]] -= 50.0
    np.testing.assert_array_equal(bias(sequences, scores), expected)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (np.full((1, 3), np.nan, np.float32), "not NaN or inf"),
        (np.full((1, 3), 1e300), "not NaN or inf"),
        ([[1.0], [1.0, 2.0]], r"not object\[\]"),
        ("x", "must return scores"),
        (None, r"not object\[\]"),
        (np.zeros((1, 2), np.float32), r"float32\[1, 3\], not float32\[1, 2\]"),
    ],
)
def test_what_a_logits_processor_may_not_return(returned: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Own(lambda ids, scores: returned)(np.zeros((1, 1), np.int64), np.zeros((1, 3), np.float32))


@pytest.mark.parametrize(
    "options",
    [
        {"logits_processor": [lambda *_: 1 / 0]},
        {"stopping_criteria": [lambda *_: 1 / 0]},
        {"prefix_allowed_tokens_fn": lambda *_: 1 / 0},
    ],
)
def test_what_a_function_of_the_caller_raises_passes_as_it_is(options: Any, model: Model, encoded: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        model.generate(encoded, **options)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([[1], [1, 2]], "must be whole numbers"),
        ([[1.0], [2.0]], "not float64"),
        ([[True], [False]], "not bool"),
        (np.array([[1], [2]], object), "not object"),
        ([[10**400], [1]], "not object"),
        ([[97], [1]], "from 0 to 96"),
        (np.array([[2**64 - 1], [1]], np.uint64), "from 0 to 96"),
        ("ab", "must be whole numbers"),
        (iter([1]), "must be whole numbers"),
    ],
)
def test_prompts_that_are_none(given: Any, words: str, model: Model, encoded: Any) -> None:
    with pytest.raises(InputError, match=words):
        model.generate(encoded, given)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"cancel": object()}, "cancel must have is_set"),
        ({"cancel": SimpleNamespace(is_set=True)}, "cancel must have is_set"),
        ({"partial": "yes"}, "partial must be True or False"),
    ],
)
def test_what_is_no_cancel_token(more: Any, words: str, model: Model, encoded: Any) -> None:
    with pytest.raises(InputError, match=words):
        model.generate(encoded, **more)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a \ud800", "text 1 has half of a surrogate pair"),
        (["word5", "word5 \udfff"], "text 2 has half of a surrogate pair"),
        ("word5 " * 10**6, "text 1 has 6000000 characters"),
        ("", "text 1 has 0 tokens|must be as many texts"),
        (None, "text must be a text or a list of texts"),
        ((each for each in ["word5"]), "text must be a text or a list of texts"),
        ([b"word5"], "text must be a text or a list of texts"),
    ],
)
def test_texts_that_cannot_be_scored(text: Any, words: str, model: Model) -> None:
    pixels = np.zeros((1, 3, 32, 32), np.float32)
    if text == "":
        assert model.score(pixels, text).labels.tolist() == [[2]]  # the end alone
        return
    with pytest.raises(InputError, match=words):
        model.score(pixels, text)


def test_decoding_what_are_no_sequences(model: Model) -> None:
    assert model.decode([[4, 5, -1]]) == ["word4 word5"]
    for wrong in ([[97]], [[-2]], [1, 2], [[1.5]], [[1], [1, 2]], None):
        with pytest.raises(InputError):
            model.decode(wrong)  # type: ignore[arg-type]


def test_copies_and_pickles_are_the_same_and_what_they_print_is_short(model: Model, encoded: Any) -> None:
    config = model.generation_config.override(bad_words_ids=[[5, 6]] * 10_000, sequence_bias={(1,): 2.0})
    found = model.generate(encoded, output_scores=True)
    event = list(model.stream(encoded, num_beams=1))[-1]
    score = model.score(np.zeros((1, 3, 32, 32), np.float32), "word5")
    for each in (config, found, event, score):
        assert len(repr(each)) < 1000
        for made in (copy.deepcopy(each), pickle.loads(pickle.dumps(each))):
            assert repr(made) == repr(each)
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    again: Generation = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.sequences, found.sequences)
    with pytest.raises(InputError, match="outside the vocabulary"):
        copy.deepcopy(config).override(pad_token_id=97)
    assert repr(GenerationConfig(num_beams=3)) == "GenerationConfig(num_beams=3)"


@pytest.mark.parametrize("seed", range(400))
def test_damaged_options_end_in_a_caption_or_a_sentence(seed: int, model: Model, encoded: Any) -> None:
    import json
    import warnings

    stop = threading.Event()
    watch = threading.Timer(20, stop.set)
    watch.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.generate(encoded, cancel=stop, **damaged_call(seed, NAMES))
        options = json.loads(damaged_generation_config(seed, NAMES))
        GenerationConfig.from_folder(options, model.folder.config, "here", 97)
    except (InputError, FolderError, FromCaller, json.JSONDecodeError, UnicodeDecodeError) as error:
        assert isinstance(error, (FromCaller, ValueError)) or "\n" not in str(error)
    finally:
        watch.cancel()
