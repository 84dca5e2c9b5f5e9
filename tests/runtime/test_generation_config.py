"""GenerationConfig: names, defaults, fallbacks and lengths against transformers' own; refusals by name."""

from __future__ import annotations

import dataclasses
import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline.errors import FolderError, InputError
from fuseline.generation.config import UNSUPPORTED, GenerationConfig
from fuseline.generation.options import CHECKS

FIELDS = {f.name for f in dataclasses.fields(GenerationConfig) if not f.name.startswith("_")}
ARGUMENTS = {"logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn"}  # of generate itself in transformers
# transformers takes torch's global generator, has a model of its own for timestamps, computes confidences elsewhere.
OWN = {"seed", "timestamps", "output_confidences", "output_model_logprobs", "output_sequences_confidences"}
SUPPORTED = FIELDS - ARGUMENTS - OWN
VISION = {"model_type": "vision-encoder-decoder", "encoder": {"model_type": "vit"}}

# Another value for every option that is refused.
OTHERS: dict[str, Any] = {
    "cache_implementation": "static",
    "num_assistant_tokens_schedule": "heuristic",
}


def another(name: str) -> Any:
    default = UNSUPPORTED[name]
    if name in OTHERS:
        return OTHERS[name]
    return (not default) if isinstance(default, bool) else 7 if default is None else default + 1


def test_every_option_of_transformers_is_known_with_its_default() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GenerationConfig()
    known = {name: getattr(theirs, name) for name in vars(theirs) if not name.startswith("_")}
    known.pop("transformers_version")
    ours = GenerationConfig()
    assert {name: getattr(ours, name) for name in SUPPORTED} == {name: known.pop(name) for name in SUPPORTED}
    assert known == {name: UNSUPPORTED[name] for name in known}


def test_every_argument_of_generate_is_known() -> None:
    transformers = pytest.importorskip("transformers")
    arguments = set(inspect.signature(transformers.GenerationMixin.generate).parameters)
    assert arguments - {"self", "inputs", "generation_config", "kwargs"} <= set(UNSUPPORTED) | ARGUMENTS


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_option_is_refused_by_name(name: str) -> None:
    value = another(name)
    with pytest.raises(InputError, match=f"^{name}=.* is not supported(, because .*| yet); leave it out"):
        GenerationConfig(**{name: value})
    with pytest.raises(InputError, match=f"^{name}="):
        GenerationConfig().override(**{name: value})


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_option_passes_at_its_default(name: str) -> None:
    assert GenerationConfig(**{name: UNSUPPORTED[name]}) == GenerationConfig()
    assert GenerationConfig(**{name: None}) == GenerationConfig()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("num_beam", "num_beam is not a generation option; did you mean num_beams?"),
        ("max_lenght", "max_lenght is not a generation option; did you mean max_length?"),
        ("temprature", "temprature is not a generation option; did you mean temperature?"),
        ("guidance", "guidance is not a generation option; of a model with several sources it is an argument of"),
        ("min_confidence", "min_confidence is not a generation option; Model.unsure_below is the model's border"),
        ("colour", "colour is not a generation option"),
        ("_vocab_size", "_vocab_size is not a generation option"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_name(name: str, message: str) -> None:
    for make in (GenerationConfig, GenerationConfig().override):
        with pytest.raises(InputError) as caught:
            make(**{name: 1})
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams must be a whole number of at least 1, not 0"),
        ({"num_beams": True}, "num_beams must be a whole number of at least 1, not True"),
        ({"num_beams": "4"}, "num_beams must be a whole number of at least 1, not '4'"),
        ({"num_beams": 4.0}, "num_beams must be a whole number of at least 1, not 4.0"),
        ({"num_beams": None}, "num_beams must be a whole number of at least 1, not None"),
        ({"max_length": 0}, "max_length must be a whole number of at least 1, not 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number of at least 1, not 0"),
        ({"num_return_sequences": 2}, "num_return_sequences=2 is more than num_beams=1"),
        ({"num_return_sequences": 5, "num_beams": 4}, "num_return_sequences=5 is more than num_beams=4"),
        ({"early_stopping": "always"}, "early_stopping must be True, False or 'never', not 'always'"),
        ({"early_stopping": 2}, "early_stopping must be True, False or 'never', not 2"),
        ({"early_stopping": None}, "early_stopping must be True, False or 'never', not None"),
        ({"length_penalty": "1"}, "length_penalty must be a finite number, not '1'"),
        ({"length_penalty": True}, "length_penalty must be a finite number, not True"),
        ({"length_penalty": float("nan")}, "length_penalty must be a finite number, not nan"),
        ({"pad_token_id": -1}, "pad_token_id must be a whole number of at least 0, not -1"),
        ({"eos_token_id": []}, "eos_token_id must be a token id or a list of at least one"),
        ({"eos_token_id": [1, "2"]}, "eos_token_id must be a whole number of at least 0, not '2'"),
        ({"decoder_start_token_id": [1, 2]}, "decoder_start_token_id must be a whole number"),
        ({"bos_token_id": False}, "bos_token_id must be a whole number of at least 0, not False"),
        ({"pad_token_id": 40}, "pad_token_id=40 is outside the vocabulary, whose ids are 0 to 39"),
        ({"eos_token_id": [3, 99]}, "eos_token_id=99 is outside the vocabulary"),
        ({"min_length": -1}, "min_length must be a whole number of at least 0, not -1"),
        ({"min_new_tokens": 1.5}, "min_new_tokens must be a whole number of at least 0, not 1.5"),
        ({"max_time": 0}, "max_time must be more than 0, not 0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be more than 0, not 0.0"),
        ({"bad_words_ids": []}, "bad_words_ids must be a list of lists of token ids, none of them empty, not []"),
        ({"bad_words_ids": [[1], []]}, "bad_words_ids must be a list of lists of token ids"),
        ({"bad_words_ids": [[1], [40]]}, "bad_words_ids=40 is outside the vocabulary"),
        ({"sequence_bias": {}}, "sequence_bias must be a list of lists of token ids, none of them empty, not []"),
        ({"sequence_bias": 3}, "sequence_bias must be a dict {tokens: bias} or a list of such pairs, not 3"),
        ({"sequence_bias": [[[1], "2"]]}, "sequence_bias must be a finite number, not '2'"),
        ({"sequence_bias": {(1, 41): 1.0}}, "sequence_bias=41 is outside the vocabulary"),
        ({"suppress_tokens": 3}, "suppress_tokens must be a list of token ids, not 3"),
        ({"begin_suppress_tokens": [77]}, "begin_suppress_tokens=77 is outside the vocabulary"),
        ({"forced_eos_token_id": []}, "forced_eos_token_id must be a token id or a list of at least one"),
        ({"exponential_decay_length_penalty": 5}, "exponential_decay_length_penalty must be a pair (start, factor)"),
        ({"remove_invalid_values": 1}, "remove_invalid_values must be True or False, not 1"),
        ({"prefix_allowed_tokens_fn": [1]}, "prefix_allowed_tokens_fn must be a function, not [1]"),
        ({"logits_processor": len}, "logits_processor must be a list of functions, not a builtin_function"),
        ({"stopping_criteria": ["stop"]}, "stopping_criteria must be a list of functions, not ['stop']"),
        ({"do_sample": 1}, "do_sample must be True or False, not 1"),
        ({"do_sample": np.array([1, 2])}, "do_sample must be True or False, not array([1, 2])"),
        ({"temperature": 0.0}, "temperature must be more than 0, not 0.0"),
        ({"top_k": -1}, "top_k must be a whole number of at least 0, not -1"),
        ({"top_p": 1.5}, "top_p must be from 0 to 1, not 1.5"),
        ({"min_p": -0.1}, "min_p must be from 0 to 1, not -0.1"),
        ({"typical_p": 0}, "typical_p must be more than 0, not 0"),
        ({"typical_p": 2}, "typical_p must be from 0 to 1, not 2"),
        ({"epsilon_cutoff": 1.0}, "epsilon_cutoff must be less than 1, not 1.0"),
        ({"eta_cutoff": "low"}, "eta_cutoff must be a finite number, not 'low'"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"num_return_sequences": 3, "num_beams": 2, "do_sample": True}, "num_return_sequences=3 is more than num"),
        ({"use_cache": 1}, "use_cache=1 is not supported yet; leave it out or at True"),
    ],
)
def test_an_impossible_value_is_refused_by_key_and_value(options: dict[str, Any], message: str) -> None:
    config = {"decoder": {"vocab_size": 40}}
    with pytest.raises(InputError) as caught:
        GenerationConfig.from_folder({}, config, "here").override(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("config", [{"decoder": 3}, {"decoder": {"vocab_size": "many"}}, {"vocab_size": 0}])
def test_a_config_of_another_form_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(FolderError, match=r"^here/config.json: (decoder|vocab_size) must be"):
        GenerationConfig.from_folder({}, config, "here")


def test_options_have_one_form_whatever_was_given() -> None:
    config = GenerationConfig(
        sequence_bias={(1, 2): 1, (3,): float("-inf")}, bad_words_ids=[[4], [5, 6]], logits_processor=[], top_k=None
    )
    assert config.sequence_bias == (((1, 2), 1.0), ((3,), float("-inf"))) and config.bad_words_ids == ((4,), (5, 6))
    assert config.logits_processor is None and config.override() == config and hash(config.override()) == hash(config)
    assert GenerationConfig(sequence_bias=[[[1, 2], 1.0], [[3], float("-inf")]]).sequence_bias == config.sequence_bias
    nothing = dict.fromkeys(("min_length", "repetition_penalty", "no_repeat_ngram_size", "renormalize_logits"))
    assert GenerationConfig(**nothing) == GenerationConfig()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_new_tokens": 2, "min_length": 5}, "both min_new_tokens=2 and min_length=5 are set; min_new_tokens is"),
        ({"min_new_tokens": 9, "max_length": 8}, "min_new_tokens=9 is more than the 7 new tokens"),
        ({"min_length": 9, "max_length": 8}, "min_length=9 is more than the longest length 8"),
    ],
)
def test_lengths_that_cannot_all_be_kept_are_warned_about(options: dict[str, Any], message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        GenerationConfig(**options).total_length(1)


def test_options_of_sampling_without_it_are_warned_about() -> None:
    with pytest.warns(
        UserWarning, match="without do_sample=True nothing is sampled, and temperature, seed have no effe"
    ):
        GenerationConfig(temperature=0.5, seed=3).total_length(1)
    with pytest.warns(UserWarning, match="is sampled, and temperature has no effect"):
        GenerationConfig(temperature=0.5).total_length(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GenerationConfig(temperature=0.5, seed=3, do_sample=True).total_length(1)
        GenerationConfig().total_length(1)


def test_numpy_numbers_are_numbers() -> None:
    config = GenerationConfig(num_beams=np.int64(3), length_penalty=np.float32(0.5), eos_token_id=[np.int32(2)])
    assert config == GenerationConfig(num_beams=3, length_penalty=0.5, eos_token_id=(2,))
    assert type(config.num_beams) is int and type(config.length_penalty) is float


def test_a_config_is_frozen_and_override_leaves_it_alone() -> None:
    config = GenerationConfig(num_beams=4)
    assert config.override(num_beams=2, max_length=9) == GenerationConfig(num_beams=2, max_length=9)
    assert config == GenerationConfig(num_beams=4) and hash(config) == hash(GenerationConfig(num_beams=4))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_beams = 2  # type: ignore[misc]


FOLDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all in generation_config.json": (
        {"max_length": 16, "num_beams": 4, "eos_token_id": [2, 3], "pad_token_id": 0, "decoder_start_token_id": 1},
        {"decoder": {"model_type": "gpt2", "vocab_size": 40, "num_beams": 2, "eos_token_id": 7}},
    ),
    "with processors": (
        {
            "min_length": 5,
            "no_repeat_ngram_size": 3,
            "repetition_penalty": 1.5,
            "suppress_tokens": [],
            "forced_eos_token_id": 2,
            "eos_token_id": 2,
            "renormalize_logits": True,
        },
        {"decoder": {"model_type": "gpt2", "vocab_size": 40}},
    ),
    "sampling": (
        {"do_sample": True, "temperature": 0.7, "top_k": 0, "top_p": 0.9, "num_return_sequences": 3, "eos_token_id": 2},
        {"decoder": {"model_type": "gpt2", "vocab_size": 40}},
    ),
    "with metadata": (
        {"_from_model_config": True, "transformers_version": "4.30.0", "bos_token_id": 5, "eos_token_id": 6},
        {"decoder": {"model_type": "gpt2"}},
    ),
    "all in config.json": (
        {},
        {
            "decoder_start_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 3,
            "max_length": 12,
            "decoder": {"model_type": "gpt2"},
        },
    ),
    "in the decoder section": (
        {},
        {
            "decoder_start_token_id": 1,
            "decoder": {
                "model_type": "gpt2",
                "bos_token_id": 4,
                "eos_token_id": 5,
                "num_beams": 3,
                "length_penalty": 2.0,
            },
        },
    ),
    "config.json before its decoder section": (
        {},
        {
            "eos_token_id": 9,
            "num_beams": 2,
            "decoder": {"model_type": "gpt2", "eos_token_id": 5, "num_beams": 3, "bos_token_id": 4},
        },
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_read_as_transformers_reads_it(tmp_path: Path, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    generation, config = FOLDERS[name]
    config = VISION | config
    if generation:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
        theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    else:
        (tmp_path / "config.json").write_text(json.dumps(config))
        loaded = transformers.VisionEncoderDecoderConfig.from_pretrained(tmp_path)
        theirs = transformers.GenerationConfig.from_model_config(loaded)
    ours = GenerationConfig.from_folder(generation, config, tmp_path)
    for field in SUPPORTED - {"bos_token_id", "eos_token_id"}:
        expected = getattr(theirs, field)
        assert getattr(ours, field) == (tuple(expected) if isinstance(expected, list) else expected), field
    # A decoder of a known type has token ids that its config.json need not spell out; only what is written counts here.
    written = json.dumps([generation, config])
    if "eos_token_id" in written:
        assert list(ours.ends) == np.atleast_1d(theirs.eos_token_id).tolist()
    if "bos_token_id" in written:
        assert ours.bos_token_id == theirs.bos_token_id


def test_the_start_token_is_looked_up_in_config_json_too() -> None:
    config = GenerationConfig.from_folder({"num_beams": 4}, {"decoder_start_token_id": 3, "num_beams": 2}, "here")
    assert (config.decoder_start_token_id, config.num_beams) == (3, 4)
    assert config.prompt(2).tolist() == [[3], [3]] and config.prompt(2).dtype == np.int64


def test_the_prompt_is_the_start_token_or_bos() -> None:
    assert GenerationConfig(decoder_start_token_id=0, bos_token_id=5).prompt(1).tolist() == [[0]]
    assert GenerationConfig(bos_token_id=5).prompt(1).tolist() == [[5]]
    with pytest.raises(InputError, match="decoder_start_token_id is not set"):
        GenerationConfig().prompt(1)


def test_what_says_how_to_run_is_no_option_in_config_json() -> None:
    config = {"output_hidden_states": True, "decoder": {"use_cache": False, "eos_token_id": 3}}
    assert GenerationConfig.from_folder({}, config, "here") == GenerationConfig(eos_token_id=3)


@pytest.mark.parametrize(
    ("eos", "pad", "ends", "padding"),
    [(None, None, (), None), (3, None, (3,), 3), ([4, 3], None, (4, 3), 4), (3, 0, (3,), 0)],
)
def test_ends_and_padding(eos: Any, pad: int | None, ends: tuple[int, ...], padding: int | None) -> None:
    config = GenerationConfig(eos_token_id=eos, pad_token_id=pad)
    assert (config.ends, config.pad) == (ends, padding)


LENGTHS: list[tuple[dict[str, Any], dict[str, Any], int, int | None]] = [
    # in the folder, in the call, prompt length -> longest sequence (None: refused)
    ({}, {}, 1, 21),
    ({"max_length": 20}, {}, 3, 23),  # transformers cannot tell a folder's 20 from none
    ({}, {"max_length": 20}, 3, 20),
    ({"max_length": 16}, {}, 3, 16),
    ({"max_length": 16}, {"num_beams": 2}, 1, 16),
    ({"max_length": 16}, {"max_new_tokens": 4}, 2, 6),
    ({"max_new_tokens": 4}, {}, 2, 6),
    ({"max_new_tokens": 4}, {"max_new_tokens": None}, 2, 22),
    ({"max_length": None, "max_new_tokens": 4}, {}, 2, 6),
    ({"max_length": 16}, {"max_length": None, "max_new_tokens": 4}, 2, 6),
    ({}, {"max_length": 2}, 2, None),
    ({"max_length": 3}, {}, 3, None),
]


@pytest.mark.parametrize(("folder", "call", "prompt", "expected"), LENGTHS)
def test_lengths_are_counted_as_in_transformers(
    folder: dict[str, Any], call: dict[str, Any], prompt: int, expected: int | None
) -> None:
    transformers = pytest.importorskip("transformers")
    ours = GenerationConfig.from_folder(folder, {}, "here").override(**call)
    theirs = transformers.GenerationConfig(**folder)
    theirs.update(**call)
    default = call.get("max_length") is None
    mixin = transformers.GenerationMixin()
    mixin.config = transformers.PretrainedConfig(is_encoder_decoder=True)
    prepared = mixin._prepare_generated_length(theirs, default, True, "pixel_values", prompt, None)
    if expected is None:
        with pytest.raises(ValueError, match="max_length"):
            mixin._validate_generated_length(prepared, prompt, default)
        with pytest.raises(InputError, match="max_length must be more than that"):
            ours.total_length(prompt)
    else:
        assert prepared.max_length == expected
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert ours.total_length(prompt) == expected


def test_max_new_tokens_wins_over_max_length_with_a_warning() -> None:
    for config in (
        GenerationConfig(max_length=9).override(max_new_tokens=5),
        GenerationConfig.from_folder({"max_new_tokens": 5}, {}, "here").override(max_length=9),
    ):
        with pytest.warns(UserWarning, match="both max_new_tokens=5 and max_length=9 are set; max_new_tokens is used"):
            assert config.total_length(1) == 6


def test_a_sequence_fits_the_positions_of_the_decoder() -> None:
    assert GenerationConfig().total_length(1, max_positions=16) == 16  # nobody asked for more
    assert GenerationConfig(max_length=17).total_length(1, max_positions=16) == 17  # the last token is never fed
    for options in ({"max_length": 18}, {"max_new_tokens": 17}):
        with pytest.raises(InputError, match="decoder has 16 positions, so a sequence can have 17 tokens, not 18"):
            GenerationConfig(**options).total_length(1, max_positions=16)


def test_the_page_of_options_has_them_all() -> None:
    page = (Path(__file__).parents[2] / "docs" / "options.md").read_text(encoding="utf-8")
    supported, refused = page.split("## Refused")
    assert [name for name in CHECKS if f"`{name}`" not in supported] == []
    assert [name for name in UNSUPPORTED if f"`{name}`" not in refused] == []
