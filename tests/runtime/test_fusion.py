"""Several sources in one decoder, as folders have it: what docs/fusion.md promises of every mode.

The class that the folders are made of is the reference; tests/export/test_fusion_class.py holds that one to the
formulas.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fuseline import FolderError, InputError, Model, pipeline
from fuseline.export import export
from fuseline.export.fusion import MODES
from fuseline.graphs.contract import Encoded
from tests.fused_folders import described, exported, save
from tests.fusion_models import FAMILIES, TEXT_SIZE, fusion_model, given
from tests.tiny import photos, tiny_folder

WEIGHTS: list[Any] = [
    None,
    {"image": 0.7, "hint": 0.3, "other": 2.0},
    {"image": [1, 0, 1], "hint": [0, 1, 0.5], "other": 0.25},
]
Made = tuple[Any, Model]
Make = Callable[..., Made]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    kept: dict[tuple[str, str], Made] = {}

    def made(mode: str, writer: str = "gpt2") -> Made:
        if (mode, writer) not in kept:
            model, folder = exported(tmp_path_factory.mktemp("fused"), mode, writer)
            kept[mode, writer] = model, Model.from_pretrained(folder, "fp32", threads=1)
        return kept[mode, writer]

    return made


def arrays(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """As the runtime takes them."""
    return {
        name: {key: each.numpy() for key, each in value.items()} if isinstance(value, dict) else value.numpy()
        for name, value in inputs.items()
    }


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fuseline", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def padded(sequences: Any, width: int) -> np.ndarray[Any, Any]:
    rows = np.asarray(sequences)
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def steps(model: Model, encoded: Encoded, beams: int = 1, length: int = 5) -> np.ndarray[Any, Any]:
    """Logits of some steps with fixed tokens, float32[T, R, V]."""
    random, decoder = np.random.default_rng(3), model.decoder
    state, rows = decoder.start(encoded, beams, length), encoded.batch * beams
    tokens = np.repeat(random.integers(3, 97, (length, encoded.batch, 1)), beams, axis=1)
    logits = [decoder.step(state, tokens[step], None).copy() for step in range(length)]
    return np.stack(logits).reshape(length, rows, -1)


@pytest.mark.parametrize("writer", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_a_folder_says_what_the_class_says(make: Make, mode: str, writer: str) -> None:
    theirs, model = make(mode, writer)
    inputs = given(3)
    for beams, weights in zip((4, 1, 4), WEIGHTS, strict=True):
        options: dict[str, Any] = {"num_beams": beams, "max_new_tokens": 10}
        found = model.generate(arrays(inputs), source_weights=weights, **options).sequences
        expected = theirs.generate(inputs, source_weights=weights, **options).numpy()
        width = max(found.shape[1], expected.shape[1])
        np.testing.assert_array_equal(padded(found, width), padded(expected, width), f"{beams} beams, {weights}")


@pytest.mark.parametrize("mode", MODES)
def test_shares_are_those_of_the_class(make: Make, mode: str) -> None:
    theirs, model = make(mode)
    inputs = given(3)
    for beams in (1, 4):
        found = model.generate(arrays(inputs), num_beams=beams, max_new_tokens=8)
        assert found.source_attention is not None and found.sources == ("image", "hint", "other")
        expected = theirs.source_attention(inputs, torch.from_numpy(found.sequences[:, :-1])).numpy()
        for row, logprobs in enumerate(found.token_logprobs):
            count = int(np.count_nonzero(logprobs))
            np.testing.assert_allclose(found.source_attention[row, :count], expected[row, :count], atol=1e-5)
            np.testing.assert_allclose(found.source_attention[row, :count].sum(axis=1), 1, atol=1e-5)
            assert not found.source_attention[row, count:].any()


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_a_mapping_changes_no_bit(make: Make, mode: str) -> None:
    model, inputs = make(mode)[1], arrays(given(2))
    other = dict(reversed(inputs.items()))
    np.testing.assert_array_equal(steps(model, model.encode(inputs)), steps(model, model.encode(other)))


@pytest.mark.parametrize("writer", ["gpt2", "bart"])
@pytest.mark.parametrize("mode", MODES)
def test_weight_0_is_absent_whatever_lies_there(make: Make, mode: str, writer: str) -> None:
    model, inputs = make(mode, writer)[1], arrays(given(2))
    without = {name: inputs[name] for name in ("image", "other")}
    expected = steps(model, model.encode(without))
    encoded = model.encode(inputs, source_weights={"hint": 0})
    np.testing.assert_array_equal(steps(model, encoded), expected)
    whole = model.encode(inputs)
    assert whole.lengths is not None and whole.weights is not None and whole.starts is not None
    off, lengths = whole.weights.copy(), whole.lengths.copy()
    off[:, 1], lengths[:, 1] = 0, 0
    for name, value in whole.values.items():
        value.numpy()[:, whole.starts[1] : whole.starts[2]] = np.nan
        assert np.isnan(value.numpy()).any(), name
    np.testing.assert_array_equal(steps(model, replace(whole, weights=off, lengths=lengths)), expected)
    listed = dict(inputs, hint=[None, None])
    np.testing.assert_array_equal(steps(model, model.encode(listed)), expected)


@pytest.mark.parametrize("mode", MODES)
def test_a_source_that_some_of_a_batch_have(make: Make, mode: str) -> None:
    model, inputs = make(mode)[1], arrays(given(3))
    ids, mask = inputs["hint"]["input_ids"], inputs["hint"]["attention_mask"]
    rows = [ids[row][mask[row] > 0] for row in range(3)]
    listed = dict(inputs, hint=[{"input_ids": rows[0]}, None, {"input_ids": rows[2]}])
    for beams in (1, 4):
        together = model.generate(listed, num_beams=beams, max_new_tokens=8)
        for row in range(3):
            alone = {name: inputs[name][row : row + 1] for name in ("image", "other")}
            if row != 1:
                alone["hint"] = {"input_ids": rows[row][None]}
            said = model.generate(alone, num_beams=beams, max_new_tokens=8)
            length = said.sequences.shape[1]
            np.testing.assert_array_equal(together.sequences[row, :length], said.sequences[0])
            np.testing.assert_allclose(together.sequences_scores[row], said.sequences_scores[0], atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_only_ratios_of_weights_count(make: Make, mode: str) -> None:
    model, inputs = make(mode)[1], arrays(given(2))
    plain = steps(model, model.encode(inputs))
    alike = steps(model, model.encode(inputs, source_weights=dict.fromkeys(inputs, 0.3)))
    np.testing.assert_array_equal(alike, plain)
    some = {"image": 0.7, "hint": 0.2}
    twice = {"image": 2.8, "hint": 0.8, "other": 4}
    one, other = (steps(model, model.encode(inputs, source_weights=each)) for each in (some, twice))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, plain)


def alike(mode: str) -> Any:
    """A model whose two photos go through the same encoder and the same projection."""
    model = fusion_model(mode)
    model.enc_to_dec_proj["other"].load_state_dict(model.enc_to_dec_proj["image"].state_dict())
    return model


def test_weights_multiply_the_odds_in_flat_and_are_the_shares_in_mix(make: Make, tmp_path: Path) -> None:
    save(alike("flat"), tmp_path / "checkpoint")
    export(tmp_path / "checkpoint", tmp_path / "folder")
    inputs = arrays(given(2))
    twice = {"image": inputs["image"], "other": inputs["image"]}
    with Model.from_pretrained(tmp_path / "folder", threads=1) as model:
        one = model.generate({"image": inputs["image"]}, num_beams=4, max_new_tokens=6)
        found = model.generate(twice, num_beams=4, max_new_tokens=6)
        np.testing.assert_array_equal(found.sequences, one.sequences)
        assert found.source_attention is not None
        np.testing.assert_allclose(found.source_attention[:, 0], [[0.5, 0, 0.5]] * 2, atol=1e-6)
        found = model.generate(twice, max_new_tokens=3, source_weights={"image": 0.7, "other": 0.3})
        assert found.source_attention is not None
        np.testing.assert_allclose(found.source_attention[:, 0, 0] / found.source_attention[:, 0, 2], 7 / 3, rtol=1e-4)
    weights = {"image": 0.7, "other": 0.3, "hint": 1}
    shares = make("mix")[1].generate(inputs, max_new_tokens=3, source_weights=weights).source_attention
    assert shares is not None
    np.testing.assert_allclose(shares[:, 0], [[0.35, 0.5, 0.15]] * 2, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_what_lies_beyond_a_length_changes_no_bit(make: Make, mode: str) -> None:
    model, inputs = make(mode)[1], arrays(given(2))
    expected = steps(model, model.encode(inputs))
    encoded = model.encode(inputs)
    assert encoded.lengths is not None and encoded.starts is not None
    for value in encoded.values.values():
        for row, length in enumerate(encoded.lengths[:, 1]):
            value.numpy()[row, encoded.starts[1] + length : encoded.starts[2]] = np.nan
    np.testing.assert_array_equal(steps(model, encoded), expected)


@pytest.mark.parametrize("mode", MODES)
def test_beams_share_what_was_encoded_and_a_search_narrows(make: Make, mode: str) -> None:
    model, inputs = make(mode)[1], arrays(given(3))
    encoded = model.encode(inputs, source_weights={"hint": [1, 0, 2]})
    before = sum(value.numpy().nbytes for value in encoded.values.values())
    model.generate(encoded, num_beams=8, max_new_tokens=4)
    assert sum(value.numpy().nbytes for value in encoded.values.values()) == before
    decoder, tokens = model.decoder, np.full((6, 1), 5, np.int64)
    state = decoder.start(encoded, 2, 6)
    decoder.step(state, tokens, None)
    narrow = decoder.narrow(state, np.array([0, 2]))
    logits = decoder.step(narrow, tokens[:4], None).copy()
    shares = decoder.shares(narrow)
    alone = decoder.start(encoded, 2, 6)
    decoder.step(alone, tokens, None)
    np.testing.assert_array_equal(logits, decoder.step(alone, tokens, None)[[0, 1, 4, 5]])
    np.testing.assert_array_equal(shares, decoder.shares(alone)[[0, 1, 4, 5]])


@pytest.mark.parametrize("writer", FAMILIES)
def test_gates_at_0_are_the_decoder_without_sources(make: Make, tmp_path: Path, writer: str) -> None:
    theirs = fusion_model("gated", writer, gate=0.0)
    with torch.no_grad():
        for layer in theirs.fusion:
            for source in layer.sources.values():
                source.gate.zero_()
    save(theirs, tmp_path / "zero")
    export(tmp_path / "zero", tmp_path / "folder0")
    inputs = arrays(given(2))
    with Model.from_pretrained(tmp_path / "folder0", threads=1) as model:
        one = steps(model, model.encode(inputs))
        other = steps(model, model.encode({"hint": inputs["hint"]}))
    np.testing.assert_array_equal(one, other)
    open_gates = make("gated", writer)[1]
    assert not np.array_equal(steps(open_gates, open_gates.encode(inputs)), one)


@pytest.mark.parametrize("mode", MODES)
def test_zeros_are_zeros_that_are_read(tmp_path: Path, mode: str) -> None:
    _, folder = exported(tmp_path, mode, absent={"other": "zeros", "image": "refuse"})
    inputs = arrays(given(2))
    without = {name: inputs[name] for name in ("image", "hint")}
    with Model.from_pretrained(folder, threads=1) as model:
        zeros = steps(model, model.encode(without))
        np.testing.assert_array_equal(zeros, steps(model, model.encode(dict(inputs, other=inputs["other"] * 0))))
        assert not np.array_equal(zeros, steps(model, model.encode(without, source_weights={"other": 0})))
        with pytest.raises(InputError, match="input 1 is without image, and this model needs it"):
            model.generate({"hint": inputs["hint"]})


@pytest.mark.parametrize("mode", MODES)
def test_options_of_a_search_streams_and_scores(make: Make, mode: str) -> None:
    model, inputs = make(mode)[1], arrays(given(2))
    weights = {"hint": 0.4}
    found = model.generate(inputs, source_weights=weights, num_beams=3, num_return_sequences=2, no_repeat_ngram_size=2)
    assert len(found.sequences) == 4 and found.source_attention is not None and len(found.source_attention) == 4
    *_, last = model.stream(inputs, source_weights=weights, num_beams=3, no_repeat_ngram_size=2)
    assert last.generation is not None
    (streamed,) = last.generation.sequences[:1]
    np.testing.assert_array_equal(streamed, found.sequences[0, : len(streamed)])
    texts = ["word7 word9 word11", "word5"]
    told, other = (model.score(inputs, texts, source_weights=each) for each in (weights, None))
    assert np.isfinite(told.cross_entropy).all() and not np.array_equal(told.cross_entropy, other.cross_entropy)


@pytest.mark.parametrize("mode", ["flat", "mix", "parallel", "hierarchical"])
def test_attentions_are_shares_times_those_of_each_source(make: Make, mode: str) -> None:
    model, inputs = make(mode)[1], arrays(given(2))
    found = model.generate(inputs, num_beams=1, max_new_tokens=4, output_attentions=True)
    encoded = model.encode(inputs)
    assert found.cross_attentions is not None and found.source_attention is not None and encoded.starts is not None
    by_source = np.add.reduceat(found.cross_attentions, encoded.starts[:-1], axis=-1).mean(axis=(2, 3))
    np.testing.assert_allclose(by_source, found.source_attention, atol=1e-5)


def test_attentions_of_sources_that_come_one_after_the_other_are_refused(make: Make) -> None:
    for mode in ("serial", "gated"):
        with pytest.raises(InputError, match="this one reads them one after the other"):
            make(mode)[1].generate(arrays(given(1)), output_attentions=True)


@pytest.mark.parametrize("mode", ["flat", "hierarchical"])
def test_attentions_where_a_source_is_absent(make: Make, mode: str) -> None:
    model, inputs = make(mode)[1], arrays(given(2))
    found = model.generate({"hint": inputs["hint"]}, max_new_tokens=3, num_beams=1, output_attentions=True)
    assert found.cross_attentions is not None and found.source_starts[:2] == (0, 0)
    sums = found.cross_attentions.sum(axis=-1)
    np.testing.assert_allclose(sums[:, 0], 1, atol=1e-5)


def test_heat_maps_show_the_photo_among_sources(make: Make) -> None:
    from PIL import Image

    from fuseline.outputs.heat_maps import heat_map

    model, photo = make("flat")[1], Image.new("RGB", (40, 30), "red")
    inputs = {"image": model.inputs([photo]), "hint": model.inputs_of("hint")(["word5 word9"])}
    found = model.generate(inputs, max_new_tokens=4, num_beams=1, output_attentions=True)
    shown = heat_map(found, photo, model)
    np.testing.assert_allclose(shown.maps.sum(axis=(1, 2)), 1, atol=1e-4)
    alone = model.generate({"hint": inputs["hint"]}, max_new_tokens=4, output_attentions=True)
    with pytest.raises(InputError, match="this text was made without image"):
        heat_map(alone, photo, model)
    (said,) = pipeline("image-to-text", model, max_new_tokens=4)(photo, sources={"hint": "word5"}, heat_map=True)
    assert said["heat_map"].words and said["words"]
    with pytest.raises(InputError, match=r"reads its sources one after the other \(gated fusion\)"):
        pipeline("image-to-text", make("gated")[1])(photo, heat_map=True)


def test_an_ensemble_takes_sources_by_name(make: Make) -> None:
    from PIL import Image

    import fuseline

    photo, both = Image.new("RGB", (40, 30), "red"), fuseline.ensemble([make("flat")[1], make("mix")[1]])
    (said,) = pipeline("image-to-text", both, max_new_tokens=4)(photo, sources={"hint": "word5"})
    inputs = {"image": both.inputs([photo]), "hint": both.inputs_of("hint")(["word5"])}
    assert both.decode(both.generate(inputs, max_new_tokens=4).sequences) == [said["generated_text"]]


def test_info_says_what_is_fused(make: Make) -> None:
    told = program("info", str(make("gated")[1].folder.path)).stdout
    assert "the hint reads input_ids and attention_mask, at most 40 tokens; without it: skip" in told
    assert "sources are fused by gated" in told
    record = json.loads(program("info", "--json", str(make("gated")[1].folder.path)).stdout)
    assert record["model"]["fusion"] == "gated" and list(record["model"]["sources"]) == ["image", "hint", "other"]


def test_inputs_are_made_source_by_source(make: Make) -> None:
    from PIL import Image

    model = make("flat")[1]
    hint = model.inputs_of("hint")(["word5 word7", "word9"])
    np.testing.assert_array_equal(hint["input_ids"], [[5, 7], [9, 0]])
    photos = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    pixels = model.inputs_of("image")(photos)["pixel_values"]
    np.testing.assert_array_equal(pixels, model.inputs(photos)["pixel_values"])
    found = model.generate({"image": pixels, "hint": hint}, max_new_tokens=4)
    assert len(model.decode(found.sequences)) == 2
    alone = model.generate(pixels, max_new_tokens=4)  # an array is of the source that the task is about
    np.testing.assert_array_equal(alone.sequences, model.generate({"image": pixels}, max_new_tokens=4).sequences)
    with pytest.raises(InputError, match="no source 'sound'; it has image, hint, other"):
        model.inputs_of("sound")


def test_sources_that_share_an_encoder_share_its_graph_where_they_can(tmp_path: Path) -> None:
    """In flat and mix an encoder with the same projection gives the same keys and values."""
    model = alike("flat")
    save(model, tmp_path / "checkpoint")
    export(tmp_path / "checkpoint", tmp_path / "folder")
    graphs = described(tmp_path / "folder")["variants"]["fp32"]["encoders"]
    assert graphs["image"] == graphs["other"] != graphs["hint"]
    inputs = arrays(given(2))
    with Model.from_pretrained(tmp_path / "folder", threads=1) as opened:
        found = opened.generate(inputs, max_new_tokens=8, num_beams=4).sequences
    expected = model.generate(given(2), max_new_tokens=8, num_beams=4).numpy()
    np.testing.assert_array_equal(padded(found, 9), padded(expected, 9))


def test_a_pipeline_and_the_command_take_sources_by_name(make: Make, tmp_path: Path) -> None:
    from PIL import Image

    model = make("flat")[1]
    files = []
    for name, colour in (("a", "red"), ("b", "blue")):
        files.append(tmp_path / f"{name}.png")
        Image.new("RGB", (40, 30), colour).save(files[-1])
    weights = {"image": 0.7, "hint": 0.3}
    pixels = model.inputs([Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")])
    inputs = {"image": pixels, "hint": model.inputs_of("hint")(["word5 word9"] * 2)}
    expected = model.generate(inputs, source_weights=weights, max_new_tokens=5, num_beams=2)
    texts = model.decode(expected.sequences)
    caption = pipeline("image-to-text", model, max_new_tokens=5, batch_size=2)
    said = caption(files, sources={"hint": "word5 word9"}, source_weights=weights, generate_kwargs={"num_beams": 2})
    assert [each[0]["generated_text"] for each in said] == texts
    for (each,) in said:
        assert "".join(word["text"] for word in each["words"]).replace(" ", "") == each["generated_text"].replace(
            " ", ""
        )
        assert all(abs(sum(word["shares"].values()) - 1) < 1e-3 for word in each["words"])
    options = [
        "--model",
        str(model.folder.path),
        "--source",
        "hint=word5 word9",
        "--num-beams",
        "2",
        "--max-length",
        "6",
    ]
    more = ["--source-weights", "image=0.7, hint=0.3", "--json", "--threads", "1"]
    done = program("caption", *options, *more, *map(str, files))
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["text"] for each in records] == texts, done.stderr
    assert records[0]["words"] == said[0][0]["words"]
    for wrong, sentence in (
        (["--source", "hint"], "--source takes NAME=VALUE, not 'hint'"),
        (["--source", "sound=a.wav"], "this model has no source sound beside; it has hint, other"),
        (["--source", f"other={tmp_path / 'none.png'}"], "source other: "),
        (["--source-weights", "image=much"], "--source-weights: 'much' is no number"),
        (["--source", "hint=word5", "--source", "hint=word6"], "--source names a source twice"),
    ):
        refused = program("caption", "--model", str(model.folder.path), *wrong, str(files[0]))
        assert refused.returncode == 2 and sentence in refused.stderr and refused.stderr.count("\n") == 1
    plain = ["--model", str(tiny_folder(tmp_path / "plain", 0)), "--source", "hint=a text"]
    refused = program("caption", *plain, str(files[0]))
    assert refused.returncode == 2 and "this model has no source hint beside; it has none" in refused.stderr


@pytest.mark.parametrize(
    ("inputs", "weights", "sentence"),
    [
        ({}, None, "all sources are absent; give one of image, hint, other"),
        ({"image": None, "hint": None}, None, "all sources are absent; give one of image, hint, other"),
        ("image", {"image": 0}, "input 1 has no source that counts; give it one of image, hint, other"),
        ("image", {"image": -1}, "source_weights of image must be a number of at least 0"),
        ("image", {"image": float("nan")}, "source_weights of image must be a number of at least 0"),
        ("image", {"image": [1, 2, 3]}, "source_weights of image must be a number of at least 0, or 2 of them"),
        ("image", {"image": "much"}, "source_weights of image must be a number of at least 0"),
        ("image", {"sound": 1}, "source_weights has sound, and this model's sources are image, hint, other"),
        ("image", 0.5, "source_weights must be numbers by source"),
        ("sound", None, "this model has no source sound; it has image, hint, other"),
        ("image", "", "source_weights must be numbers by source"),
        ("image", 0, "source_weights must be numbers by source"),
        ("nobody", None, "there are no inputs; give at least one"),
        ("counts", None, "every source must have as many inputs, not 2 of image and 1 of hint"),
        ("long", None, "text 1 has 60 tokens and this model reads 40"),
        ("vocabulary", None, f"outside the vocabulary, whose ids are 0 to {TEXT_SIZE - 1}"),
        ("nan", None, "pixel_values hold NaN"),
    ],
)
def test_bad_inputs_are_refused(make: Make, inputs: Any, weights: Any, sentence: str) -> None:
    model, good = make("flat")[1], arrays(given(2))
    ids = np.full((2, 60), 7)
    kinds = {
        "image": {"image": good["image"]},
        "sound": {"image": good["image"], "sound": good["image"]},
        "counts": {"image": good["image"], "hint": ids[:1, :5]},
        "nobody": {"image": good["image"][:0]},
        "long": {"image": good["image"], "hint": ids},
        "vocabulary": {"image": good["image"], "hint": ids[:, :5] + 90},
        "nan": {"image": good["image"] * np.float32("nan")},
    }
    with pytest.raises(InputError) as error:
        model.generate(kinds[inputs] if isinstance(inputs, str) else inputs, source_weights=weights)
    assert sentence in str(error.value)


def test_inputs_by_keyword_are_told_where_they_go(make: Make) -> None:
    model, inputs = make("flat")[1], arrays(given(1))
    for keyword in ("pixel_values", "image"):
        with pytest.raises(InputError, match=f"{keyword}: this model has several sources; give inputs as one mapping"):
            model.generate(**{keyword: inputs["image"]})
    with pytest.raises(InputError, match="guidance must be a number of at least 0 by source and at most 1000000"):
        model.generate(inputs, guidance={"hint": 1e38})
    with pytest.raises(InputError, match="this model has no source"):
        model.inputs_of(["hint"])  # type: ignore[arg-type]


def test_a_list_of_named_arrays_is_one_an_input(make: Make) -> None:
    model, inputs = make("flat")[1], arrays(given(2))
    ids, mask = inputs["hint"]["input_ids"], inputs["hint"]["attention_mask"]
    rows = [{"input_ids": ids[row][mask[row] > 0]} for row in range(2)]
    expected = model.generate(inputs, max_new_tokens=6).sequences
    np.testing.assert_array_equal(model.generate(dict(inputs, hint=rows), max_new_tokens=6).sequences, expected)
    flags = model.generate(inputs, max_new_tokens=6, source_weights={"hint": [True, True]}).sequences
    np.testing.assert_array_equal(flags, expected)


def test_the_order_of_keys_in_a_file_means_nothing(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, "gated")
    inputs = arrays(given(2))
    with Model.from_pretrained(folder, threads=1) as model:
        expected = model.generate(inputs, max_new_tokens=8).sequences
    about = described(folder)
    (folder / "fuseline.json").write_text(json.dumps(about, sort_keys=True))
    with Model.from_pretrained(folder, threads=1) as model:
        np.testing.assert_array_equal(model.generate(inputs, max_new_tokens=8).sequences, expected)


def test_a_source_may_count_more_where_a_call_does_not_say(tmp_path: Path) -> None:
    """As if the call had said it, and not where it says something else."""
    _, folder = exported(tmp_path, "flat")
    inputs, shares = arrays(given(2)), {}
    with Model.from_pretrained(folder, threads=1) as model:
        for weight in (1, 3):
            found = model.generate(inputs, source_weights={"hint": weight}, max_new_tokens=8)
            shares[weight] = (found.sequences, found.source_attention)
    about = described(folder)
    about["sources"]["hint"]["weight"] = 3
    (folder / "fuseline.json").write_text(json.dumps(about))
    with Model.from_pretrained(folder, threads=1) as model:
        for weights, expected in ((None, 3), ({}, 3), ({"hint": 1}, 1), ({"image": 1}, 3)):
            found = model.generate(inputs, source_weights=weights, max_new_tokens=8)
            np.testing.assert_array_equal(found.sequences, shares[expected][0])
            np.testing.assert_array_equal(found.source_attention, shares[expected][1])
    assert (shares[1][1] != shares[3][1]).any()
    for wrong in (0, -1, "3", True, 1e9, None):
        about["sources"]["hint"]["weight"] = wrong
        (folder / "fuseline.json").write_text(json.dumps(about))
        with pytest.raises(FolderError, match=r"'weight' is wrong; it must be a number from 0.001 to 1000"):
            Model.from_pretrained(folder, threads=1)


def test_weights_are_for_several_sources(tmp_path: Path) -> None:
    with Model.from_pretrained(tiny_folder(tmp_path, 0), threads=1) as captioner:
        pixels = photos(1)
        with pytest.raises(InputError, match="source_weights are for models with several sources"):
            captioner.generate(pixels, source_weights={"encoder": 1})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda about: about.update(fusion="blend"), "'fusion' is wrong; it must be one of flat"),
        (lambda about: about.update(fusion=None), "'sources' is wrong; it must be one, called encoder"),
        (lambda about: about["sources"].pop("other"), "'order' is wrong; it must be a list of the sources, image"),
        (lambda about: about["sources"]["hint"].update(absent="zeros"), "'absent' is wrong; it must be 'skip' or 'ref"),
        (lambda about: about["sources"]["hint"].update(inputs=["pixel_values"]), "does not list hint/preproc"),
        (lambda about: about.update(task="automatic-speech-recognition"), "'task' is wrong"),
        (lambda about: about.pop("order"), "'order' is missing; it must be a list"),
        (lambda about: about.update(order=["image", "hint", "hint"]), "'order' is wrong; it must be a list"),
        (lambda about: about["files"].pop("image/preprocessor_config.json"), "does not list image/preprocessor_config"),
        (lambda about: about["variants"]["fp32"]["encoders"].pop("hint"), "'encoders' is wrong"),
    ],
)
def test_a_description_that_does_not_fit(tmp_path: Path, change: Callable[[Any], Any], sentence: str) -> None:
    _, folder = exported(tmp_path, "flat")
    about = described(folder)
    change(about)
    (folder / "fuseline.json").write_text(json.dumps(about))
    with pytest.raises(FolderError) as error:
        Model.from_pretrained(folder)
    assert sentence in str(error.value)
