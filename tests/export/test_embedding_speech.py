"""Speech in embedded graphs: features beside LogMel, and what a Whisper of several languages begins its texts with.

That searches say what Model.generate says is in test_embedding.py, for speech too.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

pytest.importorskip("torch")

import torch

from fuseline import Model, pipeline
from fuseline.errors import ExportError
from fuseline.export import embed, export
from fuseline.export.embedding.nodes import Nodes, Value
from fuseline.export.embedding.samples import LENGTHS, LENGTHS_WHAT, SAMPLES, WHOLE, clips, input_features
from fuseline.export.graphs.weights_file import WeightsFile
from fuseline.inputs.audio import LogMel, load_audio
from fuseline.kernels import library_info
from fuseline.speech.vocabulary import Vocabulary
from tests import small_whisper, speech_models
from tests.embedded import Host

# A sum of 400 products in another order, of which the logarithm is taken: the bands far from a pure tone, 8 decades
# below it, differ most. Of speech it is 4e-5; transformers' own features differ from LogMel's by 2e-5.
CLOSE, CLOSE_IN_THE_MEAN = 3e-4, 2e-6

EXTRACTORS = {
    "whisper": LogMel(),
    "128 bands": LogMel(128, 5),
    "odd": LogMel(13, 1, 402, 90),
}
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[LogMel], Run]]:
    """The input_features of samples in a graph of nothing else."""

    def open_graph(log_mel: LogMel) -> Run:
        with WeightsFile(tmp_path / "weights") as outside:
            g = Nodes.new("samples", 20, outside)
            lengths = g.default(LENGTHS, LENGTHS_WHAT, np.array([WHOLE]))
            heard = clips(g, g.input(SAMPLES, TensorProto.FLOAT, None), lengths, least=3, most=log_mel.samples)
            g.give(input_features(g, heard, log_mel), "input_features", Value(TensorProto.FLOAT, ["B", "M", "F"]))
        (tmp_path / "graph.onnx").write_bytes(g.model.SerializeToString())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # some runs are to fail
        session = onnxruntime.InferenceSession(tmp_path / "graph.onnx", options)

        def run(samples: Any, **given: Any) -> Any:
            return session.run(None, {SAMPLES: np.asarray(samples, np.float32), **given})[0]

        return run

    yield open_graph


def _sound(count: int, seed: int) -> Any:
    """A tone, noise and silence."""
    draw = np.random.default_rng(seed)
    tone = draw.uniform(0, 0.9) * np.sin(np.arange(count) * draw.uniform(0.01, 2))
    noise = draw.choice([0, 0.001, 0.1]) * draw.normal(0, 1, count)
    return ((tone + noise) * (np.arange(count) % 9000 < 7000)).astype(np.float32)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_features_are_those_of_log_mel(name: str, run: Callable[[LogMel], Run]) -> None:
    """Of clips of a few samples, nearly a window, and a whole one."""
    log_mel = EXTRACTORS[name]
    graph = run(log_mel)
    whole = log_mel.samples
    for seed, count in enumerate(
        [3, 159, 161, 400, 5_000, whole // 2 + 77, whole - 201, whole - 199, whole - 1, whole]
    ):
        sound = _sound(count, seed)
        expected = log_mel([sound])["input_features"]
        found = graph(sound)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < CLOSE, count
        assert np.abs(found - expected).mean() < CLOSE_IN_THE_MEAN, count
    silence = log_mel([np.zeros(500, np.float32)])["input_features"]
    # On some CPUs onnxruntime's logarithm of several numbers at once is the float beside numpy's.
    np.testing.assert_allclose(graph(np.zeros(500)), silence, rtol=2e-7, atol=0)


def test_clips_of_several_lengths_are_a_batch(run: Callable[[LogMel], Run]) -> None:
    """What stands after the end of a clip is not heard."""
    log_mel = EXTRACTORS["odd"]
    graph = run(log_mel)
    sounds = [_sound(count, count) for count in (9_000, 3, 700, 16_000)]
    samples = np.full((4, 20_000), np.nan, np.float32)
    for row, sound in zip(samples, sounds, strict=True):
        row[: len(sound)] = sound
    found = graph(samples, sample_lengths=np.array([len(each) for each in sounds]))
    assert np.abs(found - log_mel(sounds)["input_features"]).max() < CLOSE
    together = graph(samples[:, :3], sample_lengths=np.array([3]))
    assert np.abs(together - log_mel([each[:3] for each in sounds])["input_features"]).max() < CLOSE


WRONG: dict[str, tuple[Any, Any, str]] = {
    "too long": (np.zeros(16_001), None, "a clip may have 16000 samples, which are 1 s; cut longer sounds"),
    "too short": (np.zeros(2), None, "a clip must have at least 3 samples"),
    "empty": (np.zeros(0), None, r"samples must be float32\[n\] or float32\[B, n\], and not empty"),
    "one number": (np.zeros(()), None, r"samples must be float32\[n\] or float32\[B, n\]"),
    "channels apart": (np.zeros((1, 2, 500)), None, r"samples must be float32\[n\] or float32\[B, n\]"),
    "not a number": ([0, np.nan, 0, 0], None, "samples must be finite"),
    "without end": ([0, 0, 0, -np.inf], None, "samples must be finite"),
    "more than there are": (np.zeros(500), [501], "sample_lengths must be from 1 to as many samples as there are"),
    "nothing of them": (np.zeros((2, 500)), [0, 9], "sample_lengths must be from 1 to as many samples as there are"),
    "lengths of others": (np.zeros((2, 500)), [9, 9, 9], "sample_lengths must be one, or one for each clip"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused_by_a_node_of_that_name(name: str, run: Callable[[LogMel], Run]) -> None:
    """onnxruntime's error has the rule."""
    samples, lengths, rule = WRONG[name]
    given = {} if lengths is None else {LENGTHS: np.array(lengths)}
    with pytest.raises(Exception, match=rule):
        run(EXTRACTORS["odd"])(samples, **given)


class Several(NamedTuple):
    """A small Whisper of several languages, and hosts of what was embedded of it: with the kernels, and without."""

    model: Model
    hosts: tuple[Host, Host]
    folder: Path


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Several:
    root = tmp_path_factory.mktemp("several")
    model, _ = small_whisper.written(root / "source")
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "embed_positions" in name:
                tensor.mul_(0.1)  # so that the first token hangs on the sound
    model.save_pretrained(root / "source")
    folder = root / "folder"
    export(root / "source", folder)
    embed(folder, root / "out")
    return Several(
        Model.from_pretrained(folder, threads=1), (Host(root / "out", library_info().path), Host(root / "out")), folder
    )


def _given(sounds: list[Any]) -> dict[str, Any]:
    """What a host is given of them."""
    samples = np.zeros((len(sounds), max(map(len, sounds))), np.float32)
    for row, sound in zip(samples, sounds, strict=True):
        row[: len(sound)] = sound
    return {"samples": samples, "sample_lengths": [len(sound) for sound in sounds]}


def test_each_clip_has_the_language_that_is_heard_in_it(several: Several) -> None:
    """As the pipeline hears it: with one beam and with four, in a call and step by step."""
    vocabulary = Vocabulary.of(several.model)
    tones = [(0.3 * np.sin(np.arange(20_000) * pitch)).astype(np.float32) for pitch in (0.02, 0.3)]
    sounds = [*speech_models.clips(2), *tones]
    given = _given(sounds)
    recognizer = pipeline("automatic-speech-recognition", several.model)
    heard = []
    for beams in (1, 4):
        results = [recognizer.transcribe(sound, return_timestamps=False, num_beams=beams) for sound in sounds]
        languages = [vocabulary.languages[str(each.language)] for each in results]
        heard += languages
        for host in several.hosts:
            found = host.at_once(**given, num_beams=beams)
            assert found["sequences"][:, 1].tolist() == languages
            for row, result in zip(found["sequences"].tolist(), results, strict=True):
                begin = vocabulary.begin(None, None, row[1], timestamps=False)
                said = [token for segment in result.segments for token in segment.tokens]
                assert row[: len(begin) + len(said)] == [*begin, *said]
            last = host.steps(**given, num_beams=beams)[-1]
            assert last["sequences"].tolist() == found["sequences"].tolist()
    assert len(set(heard)) > 1


def test_language_and_task_may_be_said(several: Several) -> None:
    """By their tokens, which the description has."""
    vocabulary = Vocabulary.of(several.model)
    sounds = speech_models.clips(2, seed=1)
    given = _given(sounds)
    description = several.hosts[0].description["speech"]
    assert description == {
        "sampling_rate": 16_000,
        "languages": dict(vocabulary.languages),
        "tasks": dict(vocabulary.tasks),
    }
    code = list(vocabulary.languages)[1]
    for language, task in ((code, None), (code, "translate"), (None, "translate")):
        said = {"language": language and vocabulary.languages[language], "task": task and vocabulary.tasks[task]}
        for host in several.hosts:
            found = host.at_once(**given, **{name: token for name, token in said.items() if token is not None})
            for row, sound in zip(found["sequences"].tolist(), sounds, strict=True):
                begin = vocabulary.begin(language, task, row[1] if language is None else None, timestamps=False)
                expected = several.model.generate(several.model.inputs([sound]), decoder_input_ids=[begin])
                tokens = expected.sequences[0].tolist()
                assert row[: len(tokens)] == tokens
    prompt = [[vocabulary.start, vocabulary.languages[code]]]
    found = several.hosts[0].at_once(samples=sounds[0], decoder_input_ids=prompt)
    expected = several.model.generate(several.model.inputs(sounds[:1]), decoder_input_ids=prompt)
    assert found["sequences"].tolist() == expected.sequences.tolist()


@pytest.mark.parametrize("name", ["language", "task"])
def test_another_token_is_no_language_and_no_task(name: str, several: Several) -> None:
    with pytest.raises(Exception, match=f"{name} must be a {name}'s token, or -1"):
        several.hosts[0].at_once(samples=np.zeros(500), **{name: 5})


def test_shapes_and_limits_of_samples_are_in_the_description(several: Several) -> None:
    """In both graphs that read them; one sample more is refused."""
    longest = several.model.inputs.features.samples
    for name in ("start", "speech"):
        inputs = {each["name"]: each for each in several.hosts[0].description["graphs"][name]["inputs"]}
        samples = inputs[SAMPLES]
        assert samples["shapes"] == [["samples"], ["B", "samples"]] and "shape" not in samples
        assert f"a clip has at least 1, at most {longest}, which are" in samples["limits"]
        assert "-1 for all of them" in inputs[LENGTHS]["limits"]
    with pytest.raises(Exception, match=f"a clip may have {longest} samples"):
        several.hosts[0].at_once(samples=np.zeros(longest + 1, np.float32))


def test_a_model_that_is_to_say_times_is_refused(tmp_path: Path) -> None:
    """By the name of the option."""
    small_whisper.written(tmp_path / "source")
    path = tmp_path / "source" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"return_timestamps": True}))
    export(tmp_path / "source", tmp_path / "folder")
    with pytest.raises(ExportError, match="return_timestamps=True, which .* yet; export it again from files whose"):
        embed(tmp_path / "folder", tmp_path / "out")


CLIPS = sorted(Path("/usr/share/pocketsphinx/test/data/librivox").glob("*.wav"))
ROOT = Path(os.environ.get("FUSELINE_SPEECH", ""))
REAL = [name for name in ("tiny.en", "base") if "FUSELINE_SPEECH" in os.environ and (ROOT / "folders" / name).is_dir()]


@pytest.mark.skipif(not CLIPS, reason="no clips, which Debian's pocketsphinx-testdata has")
@pytest.mark.parametrize("name", REAL or [pytest.param("", marks=pytest.mark.skip(reason="no real weights"))])
def test_real_models_say_what_the_pipeline_says(name: str, tmp_path: Path) -> None:
    """With one beam and with five, of clips of a window at most."""
    model = Model.from_pretrained(ROOT / "folders" / name, "fp32", threads=1)
    embed(ROOT / "folders" / name, tmp_path / "out", variant="fp32")
    host, recognizer = Host(tmp_path / "out", library_info().path), pipeline("automatic-speech-recognition", model)
    for clip in CLIPS:
        samples = load_audio(clip)[: 30 * 16_000]
        for beams in (1, 5):
            expected = recognizer(samples, generate_kwargs={"num_beams": beams})
            assert host.at_once(samples=samples, num_beams=beams)["text"][0] == expected["text"]
