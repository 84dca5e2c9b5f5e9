"""How sure a model is of what it says, where its folder says how.

The reference of the log-probabilities is torch: the checkpoint that the folder is made of, asked for all tokens of the
returned texts at once, in float64. Weights and confidences are those of the formula in docs/design.md.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fuseline import InputError, Model, ensemble, pipeline
from fuseline.export import write_confidence
from fuseline.folders.confidence import FEATURES, Confidence, features_of
from tests import tiny
from tests.fused_folders import hinted

SURE = {
    "intercept": 0.75,
    "weights": {
        "mean_log_prob": 1.5,
        "min_log_prob": 0.25,
        "sum_log_prob": -0.125,
        "tokens": -0.5,
        "first_log_prob": 0.5,
        "second_lowest_log_prob": 0.0625,
    },
    "unsure_below": 0.1,
}
# top_candidates promises its sum of exponentials within 1e-5; the rest is float32 arithmetic of the graph.
TOLERANCE = 5e-5


def sure_folder(out: Path, **changes: Any) -> Path:
    folder = tiny.tiny_folder(out, 0)
    write_confidence(folder, SURE | changes)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.from_pretrained(sure_folder(tmp_path_factory.mktemp("sure")), threads=1)


def by_torch(photos: Any, sequences: Any) -> Any:
    """float64[N, T - 1]: what the checkpoint finds of every token after the first."""
    checkpoint, each = tiny.tiny_model(0), len(sequences) // len(photos)
    tokens = torch.from_numpy(np.where(sequences < 0, 0, sequences))
    with torch.inference_mode():
        pixels = torch.from_numpy(photos).repeat_interleave(each, 0)
        logits = checkpoint(pixel_values=pixels, decoder_input_ids=tokens[:, :-1]).logits.double()
    return torch.log_softmax(logits, -1).gather(2, tokens[:, 1:, None])[..., 0].numpy()


def by_hand(row: Any) -> float:
    """The formula, term by term."""
    ordered = sorted(row.tolist())
    features = [
        sum(ordered) / len(ordered), ordered[0], sum(ordered), len(ordered), row[0], ordered[min(1, len(ordered) - 1)]
    ]  # fmt: skip
    score = SURE["intercept"] + sum(w * f for w, f in zip(SURE["weights"].values(), features, strict=True))  # type: ignore[attr-defined, operator]
    return 1 / (1 + math.exp(-score))


OPTIONS: list[dict[str, Any]] = [
    {"num_beams": 1},
    {"num_beams": 4, "num_return_sequences": 3},
    {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True},
    {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0, "num_return_sequences": 3},
    {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0, "eos_token_id": [2, 9, 11, 12]},
    {"num_beams": 3, "eos_token_id": [2, 9, 11, 12]},
    {"num_beams": 1, "do_sample": True, "temperature": 0.3, "seed": 1, "num_return_sequences": 2},
    {"num_beams": 3, "do_sample": True, "temperature": 2.0, "top_k": 5, "seed": 1},
    {"num_beams": 1, "no_repeat_ngram_size": 1, "repetition_penalty": 1.4},
    {"num_beams": 3, "min_length": 6, "bad_words_ids": [[10], [12]], "renormalize_logits": True},
    {"num_beams": 3, "forced_bos_token_id": 40, "forced_eos_token_id": 2, "max_length": 5},
    {"num_beams": 2, "max_length": 2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_log_probabilities_are_those_of_the_model_itself(model: Model, options: dict[str, Any]) -> None:
    photos = tiny.photos(7)  # some end early, so that the batch is narrowed
    made = model.generate(photos, output_sequences_confidences=True, **options)
    assert made.model_logprobs is not None and made.sequences_confidences is not None
    expected = by_torch(photos, made.sequences)
    lengths = [
        1 + max((place for place, value in enumerate(row) if value != 0), default=-1) for row in made.token_logprobs
    ]
    for row, length, values, sure in zip(
        made.model_logprobs, lengths, expected, made.sequences_confidences.tolist(), strict=True
    ):
        assert row.dtype == np.float64 and length <= len(row) <= made.token_logprobs.shape[1]
        np.testing.assert_allclose(row, values[: len(row)], atol=TOLERANCE)
        assert sure == pytest.approx(by_hand(row), abs=1e-6)
    assert made.sequences_confidences.dtype == np.float32
    plain = model.generate(photos, **options)
    np.testing.assert_array_equal(made.sequences, plain.sequences)
    assert plain.model_logprobs is None and plain.sequences_confidences is None
    assert made.timings.steps == plain.timings.steps


def test_a_text_ends_with_its_end_token(model: Model) -> None:
    photos = tiny.photos(12)
    made = model.generate(photos, output_model_logprobs=True)
    assert made.model_logprobs is not None and made.sequences_confidences is None
    reasons = set(made.finish_reasons)
    assert reasons == {"eos_token", "max_length"}
    for row, tokens, reason in zip(made.model_logprobs, made.sequences, made.finish_reasons, strict=True):
        assert len(row) == len(tiny.ended(tokens, tiny.END)) - 1
        assert (tokens[len(row)] == tiny.END) == (reason == "eos_token")


def test_a_prompt_does_not_count(model: Model) -> None:
    photos = tiny.photos(3)
    prompt = np.array([[tiny.START, 20, 30]] * 3)
    made = model.generate(photos, prompt, output_model_logprobs=True, num_beams=2)
    assert made.model_logprobs is not None
    for row, values in zip(made.model_logprobs, by_torch(photos, made.sequences), strict=True):
        np.testing.assert_allclose(row, values[2 : 2 + len(row)], atol=TOLERANCE)


@pytest.mark.parametrize("beams", [1, 4])
def test_a_photo_is_as_sure_alone_as_beside_others(model: Model, beams: int) -> None:
    photos = tiny.photos(5)
    whole = model.generate(photos, output_sequences_confidences=True, num_beams=beams).sequences_confidences
    assert whole is not None and len(set(whole.tolist())) > 2
    for index in range(5):
        alone = model.generate(photos[index : index + 1], output_sequences_confidences=True, num_beams=beams)
        np.testing.assert_allclose(alone.sequences_confidences, whole[index : index + 1], rtol=1e-5)
    *_, last = model.stream(photos, output_sequences_confidences=True, num_beams=beams)
    assert last.generation is not None
    np.testing.assert_array_equal(last.generation.sequences_confidences, whole)


def test_a_text_without_tokens_is_not_sure_at_all(model: Model) -> None:
    cancelled = threading.Event()
    cancelled.set()
    made = model.generate(tiny.photos(2), output_sequences_confidences=True, cancel=cancelled, partial=True)
    assert made.sequences.shape == (2, 1) and made.sequences_confidences is not None
    assert made.sequences_confidences.tolist() == [0, 0] and made.model_logprobs is not None
    assert [len(row) for row in made.model_logprobs] == [0, 0]


def test_features_are_what_their_names_say() -> None:
    row = np.array([-0.5, -3.0, -0.25, -2.0])
    expected = {
        "mean_log_prob": -1.4375,
        "min_log_prob": -3.0,
        "sum_log_prob": -5.75,
        "tokens": 4.0,
        "first_log_prob": -0.5,
        "second_lowest_log_prob": -2.0,
    }
    assert dict(zip(FEATURES, features_of(row).tolist(), strict=True)) == expected
    assert features_of(row[:1]).tolist() == [-0.5, -0.5, -0.5, 1.0, -0.5, -0.5]
    for name, value in expected.items():
        assert Confidence(0.25, {name: 0.5}, 0).of(row) == pytest.approx(1 / (1 + math.exp(-0.25 - value / 2)))


@pytest.mark.parametrize(
    ("row", "weight", "sure"),
    [
        ([-1000.0], 1e9, 0.0),
        ([-1000.0], -1e9, 1.0),
        ([-np.inf], 1.0, 0.0),
        ([-np.inf, np.nan], 1.0, 0.0),
        ([-np.inf], 0.0, 0.5),
        ([], 1.0, 0.0),
    ],
)
def test_confidences_are_numbers_whatever_there_is(row: list[float], weight: float, sure: float) -> None:
    assert Confidence(0.0, {"mean_log_prob": weight}, 0.5).of(np.array(row, np.float64)) == sure


def test_it_is_asked_for_where_there_is_none(model: Model, tmp_path: Path) -> None:
    plain = Model.from_pretrained(tiny.tiny_folder(tmp_path, 0), threads=1)
    assert plain.folder.confidence is None
    photos = tiny.photos(2)
    for other in (plain, ensemble([model, model])):
        with pytest.raises(
            InputError, match='^output_sequences_confidences needs a model whose fuseline.json has "conf'
        ):
            other.generate(photos, output_sequences_confidences=True)
        made = other.generate(photos, output_model_logprobs=True, num_beams=1)
        assert made.model_logprobs is not None
        np.testing.assert_allclose(
            made.model_logprobs[0], by_torch(photos, made.sequences)[0][: len(made.model_logprobs[0])], atol=1e-4
        )
    photo = Image.new("RGB", (32, 32), "red")
    assert plain.unsure_below is None and ensemble([model, model]).unsure_below is None
    assert "unsure" not in pipeline("image-to-text", plain)(photo)[0]
    assert "confidence" not in pipeline("image-to-text", plain)(photo)[0]
    assert "confidence" not in pipeline("image-to-text", ensemble([model, model]))(photo)[0]


def test_guidance_leaves_nothing_that_the_model_says_by_itself(tmp_path: Path) -> None:
    folder = hinted(tmp_path)
    write_confidence(folder, SURE)
    guided = Model.from_pretrained(folder, threads=1)
    inputs = {"image": tiny.photos(1), "hint": guided.inputs_of("hint")(["word5"])}
    assert (
        guided.generate(inputs, output_sequences_confidences=True, max_new_tokens=3).sequences_confidences is not None
    )
    with pytest.raises(InputError, match="is of what the model says by itself; leave guidance out"):
        guided.generate(inputs, output_sequences_confidences=True, guidance={"hint": 1.5})
    (with_hint,) = pipeline("image-to-text", guided, max_new_tokens=6)(Image.new("RGB", (32, 32)), hint="word5")
    (without,) = pipeline("image-to-text", guided, max_new_tokens=6)(Image.new("RGB", (32, 32)))
    assert 0 < with_hint["confidence"] != without["confidence"] > 0 and with_hint["words"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    random, folder = np.random.default_rng(3), tmp_path_factory.mktemp("photos")
    for number in range(6):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    return sorted(str(each) for each in folder.iterdir())


def test_a_pipeline_says_how_sure_it_is(model: Model, files: list[str]) -> None:
    from fuseline.images import load_image

    caption = pipeline("image-to-text", model, batch_size=4)
    pixels = model.image_processor([load_image(file) for file in files])
    made = model.generate(pixels, output_sequences_confidences=True, num_return_sequences=2)
    assert made.sequences_confidences is not None
    found = caption(files, generate_kwargs={"num_return_sequences": 2})
    np.testing.assert_allclose(
        [one["confidence"] for each in found for one in each], made.sequences_confidences, rtol=1e-5
    )
    assert model.unsure_below == SURE["unsure_below"]
    assert all(one["unsure"] is (one["confidence"] < model.unsure_below) for each in found for one in each)
    (looked,) = caption(files[0], heat_map=True)
    assert looked["confidence"] == pytest.approx(found[0][0]["confidence"], rel=1e-5) and looked["heat_map"]
    assert "".join(caption(files[0], stream=True)) == looked["generated_text"]


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fuseline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_says_what_it_is_unsure_of(tmp_path: Path, files: list[str]) -> None:
    told = pipeline("image-to-text", Model.from_pretrained(sure_folder(tmp_path / "a"), threads=1))(files)
    texts, sure = zip(*((each["generated_text"], each["confidence"]) for (each,) in told), strict=True)
    border = sorted(sure)[len(sure) // 2]
    folder = sure_folder(tmp_path / "b", unsure_below=border)
    unsure = [each["unsure"] for (each,) in pipeline("image-to-text", folder, threads=1)(files)]
    assert unsure == [each < border for each in sure] and len({*unsure}) == 2
    options = ["caption", "--model", str(folder), "--threads", "1"]

    def lines(below: float, mark: str) -> list[str]:
        return [
            f"{file}: {mark.format(text)}" if confidence < below else f"{file}: {text}"
            for file, text, confidence in zip(files, texts, sure, strict=True)
        ]

    plain = lines(border, "unsure: {}")
    assert 0 < sum(": unsure: " in line for line in plain) < len(files)
    assert program(*options, *files).stdout.splitlines() == plain
    assert program(*options, "--stream", *files).stdout.splitlines() == lines(border, "{} (unsure)")
    assert program(*options, "--min-confidence", "0", *files).stdout.splitlines() == lines(0, "")
    assert program(*options, "--min-confidence", "1", *files).stdout.splitlines() == lines(1, "unsure: {}")
    alone = program(*options, "--min-confidence", "1", files[0]).stdout
    assert alone == f"unsure: {texts[0]}\n"
    records = list(map(json.loads, program(*options, "--json", *files).stdout.splitlines()))
    np.testing.assert_allclose([each["confidence"] for each in records], sure, rtol=1e-6)
    assert [each["unsure"] for each in records] == [each < border for each in sure]
    for wrong in ("1.5", "-0.1", "nan"):
        refused = program(*options, "--min-confidence", wrong, files[0])
        assert refused.returncode == 2 and re.search("--min-confidence must be from 0 to 1, not", refused.stderr)
    told_of = program("info", str(folder)).stdout
    assert f"says how sure it is: unsure where confidence is below {border:g}" in told_of
    described = json.loads(program("info", "--json", str(folder)).stdout)["model"]["confidence"]
    assert described == SURE | {"unsure_below": border}


def test_a_model_that_does_not_say_has_no_border(tmp_path: Path, files: list[str]) -> None:
    folder = str(tiny.tiny_folder(tmp_path, 0))
    refused = program("caption", "--model", folder, "--min-confidence", "0.5", files[0])
    assert refused.returncode == 2
    assert "--min-confidence: this model does not say how sure it is; leave it out" in refused.stderr
    (record,) = map(json.loads, program("caption", "--model", folder, "--json", files[0]).stdout.splitlines())
    assert "confidence" not in record and "unsure" not in record
    assert "says how sure" not in program("info", folder).stdout


def test_texts_made_of_texts_have_confidences_too(text_model_made: Callable[[str], Any], tmp_path: Path) -> None:
    folder = shutil.copytree(text_model_made("T5").folder, tmp_path / "sure")
    rewrite = pipeline("text2text-generation", folder, threads=1, max_new_tokens=8)
    lines = ["Two dogs run.", "A cat."]
    assert all("confidence" not in each for each in rewrite(lines))
    write_confidence(folder, SURE)
    sure = pipeline("text2text-generation", folder, threads=1, max_new_tokens=8)
    made = sure.model.generate(
        sure.model.inputs(lines), output_sequences_confidences=True, max_new_tokens=8, num_beams=4
    )
    assert made.sequences_confidences is not None
    found = sure(lines, batch_size=2, num_beams=4)
    np.testing.assert_allclose([each["confidence"] for each in found], made.sequences_confidences, rtol=1e-5)
    assert [each["unsure"] for each in found] == [each["confidence"] < SURE["unsure_below"] for each in found]
    assert "".join(sure(lines[0], stream=True, num_beams=4)) == found[0]["generated_text"]
    (tmp_path / "lines.txt").write_text("\n".join([lines[0], "", lines[1]]))
    options = ["--model", str(folder), "--threads", "1", "--num-beams", "4", "--json", str(tmp_path / "lines.txt")]
    first, empty, last = map(json.loads, program("text", *options).stdout.splitlines())
    assert 0 < first["confidence"] < 1 and 0 < last["confidence"] < 1 and "confidence" not in empty
    assert all(each["unsure"] is (each["confidence"] < SURE["unsure_below"]) for each in (first, last))
