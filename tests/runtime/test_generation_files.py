"""What generation_config.json and config.json say about generation: taken as transformers takes it, never as a call."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fuseline import Model
from fuseline.errors import FolderError, InputError
from fuseline.generation.config import GenerationConfig
from fuseline.generation.files import ABOUT_RUNNING
from fuseline.generation.options import CHECKS, UNSUPPORTED
from tests import tiny

TOKENS = {"decoder_start_token_id": tiny.START, "eos_token_id": tiny.END, "pad_token_id": tiny.PAD}
VOCABULARY = {"decoder": {"vocab_size": 97}}

# What public files have, and scripts write. Each must open, and give the tokens that transformers gives.
FILES: dict[str, dict[str, Any]] = {
    "no cache": {"use_cache": False},
    "another cache": {"cache_implementation": "static", "cache_config": None},
    "of speech": {"alignment_heads": [[5, 3], [5, 9]]},
    "what is returned": {"output_attentions": True, "output_scores": True, "return_dict_in_generate": False},
    "of assisted decoding": {"num_assistant_tokens": 5, "num_assistant_tokens_schedule": "heuristic", "max_length": 9},
    "of the encoder's tokens": {"encoder_no_repeat_ngram_size": 3, "encoder_repetition_penalty": 1.5, "max_length": 9},
    "compiled": {"disable_compile": True},
    "no length": {"max_length": None, "max_new_tokens": 7},
    "nulls": dict.fromkeys(("min_length", "temperature", "top_k", "top_p", "typical_p", "no_repeat_ngram_size")),
    "more nulls": dict.fromkeys(("repetition_penalty", "bad_words_ids", "suppress_tokens", "forced_eos_token_id")),
    "a left-over bos token": {"bos_token_id": 50256},
    "a bos token of -1": {"bos_token_id": -1},
    "a pad token of -1": {"pad_token_id": -1},
    "a pad token outside": {"pad_token_id": 50257},
    "one end token outside": {"eos_token_id": [tiny.END, 50256], "num_beams": 3},
    "the end token in a list": {"eos_token_id": [tiny.END]},
    "suppressed tokens outside": {"suppress_tokens": [5, 50256, -1], "begin_suppress_tokens": [220, 50256]},
    "no temperature": {"temperature": 0.0},
    "sampling without sampling": {"top_k": -1, "top_p": 1.5, "typical_p": 0, "min_p": 3.0, "epsilon_cutoff": 1.0},
    "early_stopping as 1": {"early_stopping": 1, "num_beams": 4, "length_penalty": 2.0},
    "early_stopping as 0": {"early_stopping": 0, "num_beams": 4},
    "a forced token in a list": {"forced_bos_token_id": [7]},
    "the start token in a list": {"decoder_start_token_id": [tiny.START]},
    "floats for whole numbers": {"eos_token_id": 2.0, "decoder_start_token_id": 1.0, "pad_token_id": 0.0},
    "a float for a length": {"max_length": 9.0, "num_beams": 1},
    "do_sample as 0": {"do_sample": 0},
    "flags as 1": {"renormalize_logits": 1, "remove_invalid_values": 1, "num_beams": 3, "repetition_penalty": 1.3},
    "lengths below 0": {"min_length": -1, "no_repeat_ngram_size": -1},
    "diversity without groups": {"diversity_penalty": 0.5, "num_beams": 3},
    "guidance of 1": {"guidance_scale": 1.0},
    "no contrastive search": {"penalty_alpha": 0.0},
}


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model.from_pretrained(tiny_path, "fp32", threads=1)


def theirs(content: dict[str, Any], folder: Path) -> list[tuple[int, ...]]:
    """The texts of three photos, each for itself: a pad token that there is not breaks transformers' batches."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    (folder / "generation_config.json").write_text(json.dumps(content))
    reference = tiny.tiny_model(0)
    before, reference.generation_config = (
        reference.generation_config,
        transformers.GenerationConfig.from_pretrained(folder),
    )
    try:
        with torch.no_grad():
            photos = torch.from_numpy(tiny.photos(3))
            found = [reference.generate(photos[at : at + 1]) for at in range(3)]
    finally:
        reference.generation_config = before
    return [tiny.ended(row.numpy()[0], tiny.END) for row in found]


@pytest.mark.parametrize("name", FILES)
def test_a_file_says_what_it_says_to_transformers(model: Model, tmp_path: Path, name: str) -> None:
    content = TOKENS | {"max_length": 12} | FILES[name]
    with quiet():
        config = GenerationConfig.from_folder(content, VOCABULARY, tmp_path)
        ours = model.generate(tiny.photos(3), generation_config=config).sequences
    assert [tiny.ended(row, tiny.END) for row in ours] == theirs(content, tmp_path)


@pytest.mark.parametrize(
    ("own", "config"),
    [
        ({"_from_model_config": True}, {"max_length": 5}),
        ({"_from_model_config": True}, {"no_repeat_ngram_size": 1, "num_beams": 3}),
        ({"_from_model_config": True}, {"num_beams": 1, "max_length": 20}),  # the defaults: nothing was changed
        ({"_from_model_config": False}, {"max_length": 5}),
        ({}, {"max_length": 5}),
    ],
)
def test_config_json_counts_where_it_was_changed_since(
    model: Model, tmp_path: Path, own: dict[str, Any], config: dict[str, Any]
) -> None:
    """What generate of transformers 4 does with a generation_config.json that says it was made of config.json."""
    folder = tiny.write_checkpoint(tiny.tiny_model(0), tmp_path / "checkpoint")
    contents = {"config.json": config, "generation_config.json": own}
    for name, more in contents.items():
        contents[name] = json.loads((folder / name).read_text()) | more
        (folder / name).write_text(json.dumps(contents[name]))
    photos = tiny.photos(3, seed=5)
    with quiet():
        reference = type(tiny.tiny_model(0)).from_pretrained(folder)
        theirs = reference.generate(torch.from_numpy(photos)).numpy()
        found = GenerationConfig.from_folder(contents["generation_config.json"], contents["config.json"], folder)
        ours = model.generate(photos, generation_config=found).sequences
    assert [tiny.ended(row, tiny.END) for row in ours] == [tiny.ended(row, tiny.END) for row in theirs]


def test_a_length_of_a_file_is_that_of_the_decoder_at_most(model: Model, tmp_path: Path) -> None:
    """Texts mostly end before, so the folder works in transformers too; a call's length is refused."""
    config = GenerationConfig.from_folder(TOKENS | {"max_length": 64}, VOCABULARY, tmp_path)
    assert config.total_length(1, 40) == 41
    assert GenerationConfig.from_folder(TOKENS | {"max_new_tokens": 64}, VOCABULARY, tmp_path).total_length(1, 40) == 41
    for length in ({"max_length": 64}, {"max_new_tokens": 64}):
        with pytest.raises(InputError, match="has 40 positions"):
            config.override(**length).total_length(1, 40)
        with pytest.raises(InputError, match="has 40 positions"):
            config.over(length).total_length(1, 40)


@pytest.mark.parametrize("name", FILES)
def test_config_json_says_it_too(name: str) -> None:
    content = TOKENS | FILES[name]
    with quiet():
        expected = GenerationConfig.from_folder(content, VOCABULARY, "here")
        outside = GenerationConfig.from_folder({}, VOCABULARY | content, "here")
        inside = GenerationConfig.from_folder({}, {"decoder": VOCABULARY["decoder"] | content}, "here")
    # A null that config.json has is no value at all there, as in transformers.
    expected = expected.override(top_k=50) if content.get("top_k", 1) is None else expected
    assert outside == expected and inside == expected


@pytest.mark.parametrize("name", sorted(ABOUT_RUNNING))
def test_what_is_about_running_changes_nothing_and_is_not_mentioned(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert GenerationConfig.from_folder(TOKENS | {name: 7}, {}, "here") == GenerationConfig(**TOKENS)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"penalty_alpha": 0.6}, "penalty_alpha=0.6 is not supported"),
    ({"guidance_scale": 1.5}, "guidance_scale=1.5 is not supported"),
    ({"constraints": [1]}, "constraints="),
    ({"force_words_ids": [[1]]}, "force_words_ids="),
    ({"dola_layers": "high"}, "dola_layers="),
    ({"watermarking_config": {}}, "watermarking_config="),
    ({"token_healing": True}, "token_healing=True"),
    ({"num_beams": 0}, "num_beams must be a whole number of at least 1, not 0"),
    ({"num_beams": "4"}, "num_beams must be a whole number of at least 1, not '4'"),
    ({"num_beams": 2.5}, "num_beams must be a whole number of at least 1, not 2.5"),
    ({"max_new_tokens": 0}, "max_new_tokens must be a whole number of at least 1, not 0"),
    ({"num_return_sequences": 2}, "num_return_sequences=2 is more than num_beams=1"),
    ({"early_stopping": "always"}, "early_stopping must be True, False or 'never', not 'always'"),
    ({"decoder_start_token_id": 97}, "decoder_start_token_id=97 is outside the vocabulary, whose ids are 0 to 96"),
    ({"decoder_start_token_id": [1, 2]}, "decoder_start_token_id must be a whole number"),
    ({"decoder_start_token_id": None, "bos_token_id": 50256}, "bos_token_id=50256 is outside the vocabulary"),
    ({"forced_bos_token_id": 50256}, "forced_bos_token_id=50256 is outside the vocabulary"),
    ({"forced_eos_token_id": 50256}, "forced_eos_token_id=50256 is outside the vocabulary"),
    ({"bad_words_ids": [[50256]]}, "bad_words_ids=50256 is outside the vocabulary"),
    ({"do_sample": True, "temperature": 0.0}, "temperature must be more than 0, not 0.0"),
    ({"do_sample": True, "top_k": -1}, "top_k must be a whole number of at least 0, not -1"),
    ({"do_sample": "yes"}, "do_sample must be True or False, not 'yes'"),
    ({"eos_token_id": [2, "3"]}, "eos_token_id must be a whole number of at least 0, not '3'"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=str)
def test_what_would_change_the_text_and_cannot_be_done_is_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(FolderError) as caught:
        GenerationConfig.from_folder(TOKENS | content, VOCABULARY, "here")
    assert str(caught.value).startswith(f"here/generation_config.json: {message}")
    if "decoder_start_token_id" not in content:
        with pytest.raises(FolderError) as caught:
            GenerationConfig.from_folder({}, {"decoder": {"vocab_size": 97} | TOKENS | content}, "here")
        assert str(caught.value).startswith(f"here/config.json: {message}")


def test_every_option_of_transformers_is_taken_left_alone_or_refused() -> None:
    """At another value; nothing passes that is neither read nor known to be about running."""
    arguments = {"assistant_model", "streamer", "negative_prompt_ids", "negative_prompt_attention_mask"}
    for name in set(UNSUPPORTED) - ABOUT_RUNNING - {"custom_generate"}:
        with pytest.raises(FolderError, match=f"{name}="):
            GenerationConfig.from_folder(TOKENS | {name: {"a": 1}}, {}, "here")
    assert arguments <= set(UNSUPPORTED) and not ABOUT_RUNNING & (set(CHECKS) - RETURNED)


RETURNED = {
    *("output_attentions", "output_scores", "output_logits", "output_confidences"),
    *("output_model_logprobs", "output_sequences_confidences"),
    "return_dict_in_generate",
}


def test_unknown_keys_are_named_once_in_one_warning() -> None:
    content = TOKENS | {"num_beam": 4, "is_multilingual": True, "lang_id": {"a": 1}, "unset": None}
    with pytest.warns(UserWarning) as told:
        config = GenerationConfig.from_folder(content, {}, "here")
    assert config == GenerationConfig(**TOKENS)
    assert [str(each.message) for each in told] == [
        "here/generation_config.json: num_beam (did you mean num_beams?), lang_id are no generation options and are "
        "left alone"
    ]
    with pytest.warns(UserWarning, match="a, a1, a2, a3, a4 and 2 more are no"):
        GenerationConfig.from_folder({"a": 1} | {f"a{n}": n for n in range(1, 7)}, {}, "here")


def test_an_end_that_cannot_come_is_warned_about() -> None:
    with pytest.warns(UserWarning, match=r"eos_token_id=50256 is outside the vocabulary, whose ids are 0 to 96, so no"):
        config = GenerationConfig.from_folder(TOKENS | {"eos_token_id": 50256}, VOCABULARY, "here")
    assert config.ends == ()


def test_a_value_without_effect_counts_once_a_call_samples() -> None:
    config = GenerationConfig.from_folder(TOKENS | {"temperature": 0.0, "top_p": 0.9}, {}, "here")
    assert config.override(num_beams=2).temperature == 1.0
    with pytest.raises(InputError, match="temperature must be more than 0, not 0.0"):
        config.override(do_sample=True)
    assert config.override(do_sample=True, temperature=0.5).top_p == 0.9


@pytest.mark.parametrize("name", FILES)
def test_what_transformers_writes_of_it_opens_again(tmp_path: Path, name: str) -> None:
    """Export writes to_json_string of what transformers has read."""
    transformers = pytest.importorskip("transformers")
    (tmp_path / "generation_config.json").write_text(json.dumps(TOKENS | FILES[name]))
    text = transformers.GenerationConfig.from_pretrained(tmp_path).to_json_string()
    with quiet():
        again = GenerationConfig.from_folder(json.loads(text), VOCABULARY, "here")
        assert again == GenerationConfig.from_folder(TOKENS | FILES[name], VOCABULARY, "here")


def test_a_file_nested_without_end_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(FolderError, match="bad_words_ids"):
        GenerationConfig.from_folder({"bad_words_ids": deep}, {}, "here")
    assert np.array_equal(GenerationConfig.from_folder({"eos_token_id": []}, {}, "here").ends, ())
