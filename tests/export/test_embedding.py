"""Embedded graphs beside Model.generate: every returned sequence, its score and its text, with the kernels and without.

The search is written twice, in fuseline.search and in standard operators. These tests hold the two together.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

pytest.importorskip("torch")

from fuseline import Error, Generation, Model, cli
from fuseline.errors import ExportError
from fuseline.export import embed
from fuseline.kernels import library_info, to_halves
from tests import exported_folders, speech_models, text_models, tiny
from tests.embedded import Host
from tests.fused_folders import hinted

EARLY = {False: 0, True: 1, "never": 2}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of options that change nothing

# Scores are sums of float32 in another order, divided by up to 18 ** -1.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@dataclass(frozen=True)
class Case:
    """A model, the hosts of what was embedded of it (with the kernels, without, and in standard operators alone), and
    inputs drawn by chance: what a host is given and what Model.generate is."""

    model: Model
    hosts: tuple[Host, Host, Host]
    inputs: Callable[[np.random.Generator, int], tuple[dict[str, Any], Any]]


def _case(folder: Path, out: Path, inputs: Callable[..., Any], variant: str | None = None) -> Case:
    embed(folder, out, variant=variant)
    embed(folder, out.with_name("inlined"), variant=variant, inline=True)
    model = Model.from_pretrained(folder, variant=variant, threads=1)
    hosts = Host(out, library_info().path), Host(out), Host(out.with_name("inlined"))
    return Case(model, hosts, lambda draw, count: inputs(model, draw, count))


def _photos(model: Model, draw: np.random.Generator, count: int) -> tuple[dict[str, Any], Any]:
    """Photos of the model's own size, of which the pixels are the same to the bit."""
    height, width = model.folder.encoder_signatures[next(iter(model.folder.sources))].inputs[0].shape[2:]
    photos = draw.integers(0, 256, (count, height, width, 3), np.uint8)
    return {"image": photos}, model.inputs([Image.fromarray(photo) for photo in photos])


def _texts(model: Model, draw: np.random.Generator, count: int) -> tuple[dict[str, Any], Any]:
    """Tokens of texts of several lengths."""
    ids = draw.integers(8, text_models.VOCAB_SIZE, (count, draw.integers(1, 30)))
    for row in ids[1:]:
        row[draw.integers(1, len(row) + 1) :] = model.generation_config.pad_token_id
    return {"input_ids": ids}, {"input_ids": ids}


def _clips(model: Model, draw: np.random.Generator, count: int) -> tuple[dict[str, Any], Any]:
    """Sounds of several lengths."""
    sounds = speech_models.clips(count, int(draw.integers(1 << 30)))
    samples = np.zeros((count, max(map(len, sounds))), np.float32)
    for row, sound in zip(samples, sounds, strict=True):
        row[: len(sound)] = sound
    return {"samples": samples, "sample_lengths": [len(sound) for sound in sounds]}, model.inputs(sounds)


def _options(choose: random.Random, vocab_size: int = 97) -> tuple[dict[str, Any], int]:
    """Options of a call, and how many tokens its prompt has."""
    beams, prompt = choose.randint(1, 5), choose.choice([1, 1, 2, 3])
    options = {
        "num_beams": beams,
        "num_return_sequences": choose.randint(1, beams),
        "max_length": choose.randint(prompt + 1, 18),
        "min_length": choose.choice([0, 0, 4, 9]),
        "length_penalty": choose.choice([-1.0, 0.0, 0.5, 1.0, 2.0]),
        "early_stopping": choose.choice(list(EARLY)),
        "no_repeat_ngram_size": choose.choice([0, 0, 1, 2, 3]),
        "repetition_penalty": choose.choice([1.0, 1.0, 1.3, 0.8]),
    }
    if choose.random() < 0.3:
        options["eos_token_id"] = [2, *choose.sample(range(3, vocab_size), choose.randint(0, 6))]
    if choose.random() < 0.2:
        options["forced_bos_token_id"] = choose.randint(3, vocab_size - 1)
    if choose.random() < 0.2:
        options["forced_eos_token_id"] = 2
    return options, prompt


def _for_host(options: dict[str, Any]) -> dict[str, Any]:
    return options | {"early_stopping": EARLY[options["early_stopping"]]}


def _prompt(model: Model, draw: np.random.Generator, count: int, length: int) -> Any:
    more = draw.integers(4, model.folder.decoder.vocab_size, (count, length - 1))
    return np.concatenate([model.generation_config.prompt(count), more], axis=1)


def _assert_same(found: dict[str, Any], expected: Generation, model: Model) -> None:
    assert found["sequences"].tolist() == expected.sequences.tolist()
    np.testing.assert_allclose(found["sequences_scores"], expected.sequences_scores, **CLOSE)
    if "text" in found:
        assert found["text"].tolist() == model.decode(expected.sequences)


def _compare(case: Case, calls: int, seed: int = 0) -> None:
    """As many calls of options drawn by chance say what Model.generate says."""
    choose, draw = random.Random(seed), np.random.default_rng(seed)
    for _ in range(calls):
        options, length = _options(choose)
        count = choose.randint(1, 3)
        given, inputs = case.inputs(draw, count)
        prompt = _prompt(case.model, draw, count, length)
        expected = case.model.generate(inputs, decoder_input_ids=prompt, **options)
        call = given | _for_host(options) | {"decoder_input_ids": prompt}
        for found in (*(host.at_once(**call) for host in case.hosts), case.hosts[2].steps(**call)[-1]):
            _assert_same(found, expected, case.model)


@pytest.fixture(scope="module")
def captioner(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A small captioner in fp32."""
    return _case(tiny_path, tmp_path_factory.mktemp("embedded") / "out", _photos)


def test_a_call_says_what_generate_says(captioner: Case) -> None:
    """All options, batches and prompts."""
    _compare(captioner, 60)


def test_caches_that_are_made_larger_say_the_same(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one call, every second step."""
    monkeypatch.setattr("fuseline.export.embedding.graphs._ROOM", 2)
    _compare(_case(tiny_path, tmp_path / "out", _photos), 8, seed=5)


def test_steps_say_what_a_call_says(captioner: Case) -> None:
    """The last of them; the first step has seen the whole prompt."""
    choose, draw = random.Random(1), np.random.default_rng(1)
    for _ in range(12):
        options, length = _options(choose)
        given, _ = captioner.inputs(draw, 2)
        call = given | _for_host(options) | {"decoder_input_ids": _prompt(captioner.model, draw, 2, length)}
        for host in captioner.hosts:
            whole, last = host.at_once(**call), host.steps(**call)[-1]
            assert last["sequences"].tolist() == whole["sequences"].tolist()
            np.testing.assert_allclose(last["sequences_scores"], whole["sequences_scores"], **CLOSE)
            assert not any(step["sequences"].size for step in host.steps(**call)[:-1])


def test_what_a_step_has_so_far_is_what_a_search_that_ends_there_returns(captioner: Case) -> None:
    """A host that stops between two steps has the best sequences so far, as with partial=True."""
    choose, draw = random.Random(2), np.random.default_rng(2)
    for _ in range(8):
        options, length = _options(choose)
        given, inputs = captioner.inputs(draw, 2)
        prompt = _prompt(captioner.model, draw, 2, length)
        host, call = captioner.hosts[0], given | _for_host(options) | {"decoder_input_ids": prompt}
        for count, step in enumerate(host.steps(**call, partial=True), start=1):
            cancel = _After(count)
            expected = captioner.model.generate(
                inputs, decoder_input_ids=prompt, cancel=cancel, partial=True, **options
            )
            assert step["sequences"].tolist() == expected.sequences.tolist()
            np.testing.assert_allclose(step["sequences_scores"], expected.sequences_scores, **CLOSE)


class _After:
    """A cancel token that is set after so many steps. It is asked before each step, and while nodes run."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def is_set(self) -> bool:
        asking = sys._getframe(1).f_code
        if asking.co_name == "step" and "search" in asking.co_filename:
            self.left -= 1
        return self.left < 0


def test_eight_bits_say_what_generate_says(tiny_path: Path, tmp_path: Path) -> None:
    """Of the same keys and values, by the same kernels: what rounds otherwise, as bodies do now and then, makes other
    texts of a model without meaning."""
    case = _case(tiny_path, tmp_path / "out", _photos, "int8")
    choose, draw, sizes = random.Random(3), np.random.default_rng(3), case.model.folder.decoder
    for _ in range(20):
        options, length = _options(choose)
        given, inputs = case.inputs(draw, 2)
        call = _for_host(options) | {"decoder_input_ids": _prompt(case.model, draw, 2, length)}
        encoded = case.model.encode(inputs)
        halves = {}
        for name, value in encoded.values.items():
            floats = value.numpy()
            halves[f"given.{name}"] = np.empty((2, sizes.heads, floats.shape[1], sizes.head_size), np.float16)
            to_halves(floats, halves[f"given.{name}"])
        expected = case.model.generate(encoded, decoder_input_ids=call["decoder_input_ids"], **options)
        _assert_same(case.hosts[0].steps(given=halves, **given, **call)[-1], expected, case.model)


@pytest.mark.parametrize("name", ["trocr, learned", "donut", "blip"])
def test_captioners_of_other_architectures(name: str, tmp_path: Path) -> None:
    """With their own start, end and pad tokens."""
    _compare(_case(exported_folders.photos(name, tmp_path), tmp_path / "out", _photos), 6)


@pytest.mark.parametrize("name", ["bart", "t5", "camembert, gpt2"])
def test_models_that_read_texts(name: str, tmp_path: Path) -> None:
    """Texts of several lengths in a batch."""
    case = _case(exported_folders.texts(name, tmp_path), tmp_path / "out", _texts)
    _compare(case, 6)
    pad = case.model.generation_config.pad_token_id
    for wrong, rule in (([[pad, 9]], "only behind the others"), ([[9], [pad]], "must have a token in every row")):
        with pytest.raises(Exception, match=f"input_ids.*{rule}"):
            case.hosts[0].at_once(input_ids=wrong)


@pytest.mark.parametrize("name", ["whisper", "moonshine", "moonshine biased"])
def test_models_of_speech(name: str, tmp_path: Path) -> None:
    """Clips of several lengths in a batch."""
    case = _case(exported_folders.speech(name, tmp_path), tmp_path / "out", _clips)
    _compare(case, 8)
    if name == "moonshine":
        with pytest.raises(Exception, match="a clip must have at least 895 samples"):
            case.hosts[0].at_once(samples=np.zeros(894))


@pytest.mark.parametrize(
    "suppressed",
    [
        {"suppress_tokens": [5, 9, 40], "begin_suppress_tokens": [2, 11, 33]},
        {"suppress_tokens": [5]},
        {"begin_suppress_tokens": [2, 11, 33]},
    ],
    ids=" ".join,
)
def test_tokens_that_never_come(suppressed: dict[str, Any], tiny_path: Path, tmp_path: Path) -> None:
    """Or never first, after any prompt, and after a token that is forced."""
    folder = _changed(tiny_path, tmp_path / "folder", **suppressed)
    _compare(_case(folder, tmp_path / "out", _photos), 12)


def test_a_hint_may_be_there_or_not(tmp_path: Path) -> None:
    """Of one photo of a batch too; with weights of the caller's."""
    case = _case(hinted(tmp_path), tmp_path / "out", _photos)
    draw, pad = np.random.default_rng(0), 0
    images, inputs = case.inputs(draw, 2)
    pixels = inputs["pixel_values"]
    ids = np.array([[5, 9, 11, 6], [7, 8, pad, pad]])
    hints = {"input_ids": ids, "attention_mask": (ids != pad).astype(np.int64)}
    without = ids * [[1], [0]]
    partly = {"input_ids": without, "attention_mask": (without != pad).astype(np.int64)}
    for given, by_source, weights in (
        ({}, {"image": pixels}, None),
        ({"hint_ids": ids}, {"image": pixels, "hint": hints}, None),
        ({"hint_ids": without}, {"image": pixels, "hint": partly}, None),
        ({"hint_ids": ids, "source_weights": [1, 2]}, {"image": pixels, "hint": hints}, {"hint": 2.0}),
    ):
        expected = case.model.generate(by_source, source_weights=weights, num_beams=3, num_return_sequences=3)
        for host in case.hosts:
            call = images | given | {"num_beams": 3, "num_return_sequences": 3}
            for found in (host.at_once(**call), host.steps(**call)[-1]):
                _assert_same(found, expected, case.model)
    for weights in ([-1, 2], [0, 2]):
        with pytest.raises(
            Exception, match="source_weights must be finite, 0 or more, and above 0 for a source that is there"
        ):
            case.hosts[0].at_once(**images, source_weights=weights)
    for wrong in ([[0, 5, 6]], [[5, 0, 6]]):
        with pytest.raises(Exception, match="hint_ids may have pad tokens only behind the others"):
            case.hosts[0].at_once(**images, hint_ids=wrong)


def test_inlined_graphs_have_standard_operators_alone(tiny_path: Path, tmp_path: Path) -> None:
    """And say the same."""
    embed(tiny_path, tmp_path / "out", variant="int8", inline=True)
    embed(tiny_path, tmp_path / "with functions", variant="int8")
    inlined, other = Host(tmp_path / "out"), Host(tmp_path / "with functions")
    photo = np.random.default_rng(6).integers(0, 256, (32, 32, 3), np.uint8)
    expected = other.at_once(image=photo, num_return_sequences=4)
    for found in (
        inlined.at_once(image=photo, num_return_sequences=4),
        inlined.steps(image=photo, num_return_sequences=4)[-1],
    ):
        assert found["sequences"].tolist() == expected["sequences"].tolist()
        np.testing.assert_allclose(found["sequences_scores"], expected["sequences_scores"], **CLOSE)
    for path in (tmp_path / "out").glob("*.onnx"):
        model = onnx.load(path, load_external_data=False)
        assert not model.functions and {entry.domain for entry in model.opset_import} == {""}
        assert _domains(model.graph) == {""}


def _domains(graph: onnx.GraphProto) -> set[str]:
    """Of all nodes, those of graphs inside it too."""
    inner = (each.g for node in graph.node for each in node.attribute if each.HasField("g"))
    return {node.domain for node in graph.node}.union(*map(_domains, inner))


def test_the_command_shows_what_it_wrote(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And refuses what is of exporting a checkpoint."""
    assert cli.main(["export", "--embed", "--variants", "int8", "--json", str(tiny_path), str(tmp_path / "out")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["files"].keys() == {path.name for path in (tmp_path / "out").iterdir()}
    assert json.loads((tmp_path / "out" / "fuseline-embed.json").read_text())["variant"] == "int8"
    for wrong in (["--embed", "--max-length", "9"], ["--embed", "--variants", "int8,fp32"], ["--inline"]):
        assert cli.main(["export", *wrong, str(tiny_path), str(tmp_path / "other")]) == 2
    assert "--inline is of --embed" in capsys.readouterr().err


def test_defaults_are_the_models(captioner: Case) -> None:
    """And are said in the description."""
    given, inputs = captioner.inputs(np.random.default_rng(4), 1)
    expected = captioner.model.generate(inputs)
    for host in captioner.hosts:
        _assert_same(host.at_once(**given), expected, captioner.model)
    graph = captioner.hosts[0].description["graphs"]["caption"]
    defaults = {each["name"]: each.get("default") for each in graph["inputs"]}
    assert defaults["num_beams"] == tiny.NUM_BEAMS and defaults["max_length"] == tiny.MAX_LENGTH
    assert defaults["eos_token_id"] == [tiny.END] and defaults["image"] is None


def test_files_are_listed_and_no_larger_than_the_folder(captioner: Case, tiny_path: Path) -> None:
    """Weights lie in one file for all graphs."""
    folder = captioner.hosts[0]._folder
    listed = captioner.hosts[0].description["files"]
    assert {*listed, "fuseline-embed.json", "fuseline-embed.bin"} == {path.name for path in folder.iterdir()}
    assert all((folder / name).stat().st_size == about["bytes"] for name, about in listed.items())


@cache
def _shipped() -> Model:
    return Model.from_pretrained(threads=1)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The captioner that ships, with the kernels."""
    out = tmp_path_factory.mktemp("shipped") / "out"
    embed(_shipped().folder.path, out)
    yield Host(out, library_info().path)


def _parts_of_a_photo() -> list[Image.Image]:
    photo = Image.open(Path(__file__).parents[2] / "examples" / "cat.jpg").convert("RGB")
    return [photo.crop(box) for box in ((0, 0, 512, 512), (0, 100, 512, 400), (120, 0, 430, 512), (200, 200, 260, 300))]


@pytest.mark.parametrize("hint", ["", "a kitten"])
def test_the_captioner_that_ships_says_the_same(hint: str, shipped: Host) -> None:
    """All four sequences, of photos that have the model's size already, so that their pixels are the same."""
    model = _shipped()
    for part in _parts_of_a_photo():
        photo = part.resize((240, 240), Image.Resampling.BICUBIC)
        by_source: dict[str, Any] = {"image": model.inputs([photo])["pixel_values"]}
        given: dict[str, Any] = {"image": np.asarray(photo)}
        if hint:
            by_source["hint"] = model.inputs_of("hint")([hint])
            given["hint_ids"] = by_source["hint"]["input_ids"]
        expected = model.generate(by_source, num_return_sequences=4)
        found = shipped.at_once(**given, num_return_sequences=4)
        assert found["text"].tolist() == model.decode(expected.sequences)
        np.testing.assert_allclose(found["sequences_scores"], expected.sequences_scores, atol=2e-3)


def test_the_captioner_that_ships_resizes_itself(shipped: Host) -> None:
    """Landscape and portrait: a pixel in a thousand is another by 1, and texts that are as good may change places."""
    model = _shipped()
    for part in _parts_of_a_photo():
        expected = model.generate(model.inputs([part], fast=False)["pixel_values"], num_return_sequences=4)
        found = shipped.at_once(image=np.asarray(part), num_return_sequences=4)
        scores = dict(zip(model.decode(expected.sequences), expected.sequences_scores, strict=True))
        assert abs(found["sequences_scores"][0] - expected.sequences_scores[0]) < 0.05
        assert scores[found["text"][0]] > expected.sequences_scores[0] - 0.05


def test_the_captioner_that_ships_grows_by_a_tenth_at_most(shipped: Host) -> None:
    """All files of it beside the graphs of the folder."""
    graphs = sum(path.stat().st_size for path in (_shipped().folder.path / "onnx").iterdir())
    assert sum(path.stat().st_size for path in shipped._folder.iterdir()) <= 1.1 * graphs


def _changed(tiny_path: Path, folder: Path, **options: Any) -> Path:
    """The small captioner with other options in its generation_config.json."""
    import hashlib
    import shutil

    shutil.copytree(tiny_path, folder)
    content = json.dumps(json.loads((folder / "generation_config.json").read_text()) | options).encode()
    (folder / "generation_config.json").write_bytes(content)
    description = json.loads((folder / "fuseline.json").read_text())
    listed = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    description["files"]["generation_config.json"] = listed
    (folder / "fuseline.json").write_text(json.dumps(description))
    return folder


def test_options_that_no_machine_has_memory_for_are_refused(tiny_path: Path, tmp_path: Path) -> None:
    """A host that gives none would begin such a search."""
    folder = _changed(tiny_path, tmp_path / "folder", num_beams=10**12)
    with pytest.raises(ExportError, match=r"1000000000000 beams of up to \d+ tokens.* need .*; lower num_beams"):
        embed(folder, tmp_path / "out")


def test_options_that_graphs_do_not_have_are_refused_by_name(tiny_path: Path, tmp_path: Path) -> None:
    """None is ignored."""
    folder = _changed(tiny_path, tmp_path / "folder", bad_words_ids=[[5, 6]], do_sample=True, top_k=7)
    with pytest.raises(ExportError, match=r"bad_words_ids=\(\(5, 6\),\), do_sample=True, which"):
        embed(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_of_others_are_left_alone(tiny_path: Path, tmp_path: Path) -> None:
    """An embedded one is replaced where that is asked for."""
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ExportError, match="holds something else than an embedded model"):
        embed(tiny_path, tmp_path, force=True)
    embed(tiny_path, tmp_path / "out")
    with pytest.raises(ExportError, match="is an embedded model already; replace it with --force"):
        embed(tiny_path, tmp_path / "out")
    assert embed(tiny_path, tmp_path / "out", variant="int8", force=True).files["weights.bin"]
    with pytest.raises(Error, match="no variant 'int3'"):
        embed(tiny_path, tmp_path / "other", variant="int3")
