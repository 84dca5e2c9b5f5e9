"""Sounds as models read them: log-mel features and raw samples beside transformers, and what open_sound takes."""

from __future__ import annotations

import io
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank
from transformers.models.whisper import feature_extraction_whisper

from fuseline.errors import FolderError, InputError
from fuseline.inputs import audio
from fuseline.inputs.audio import SAMPLING_RATE, LogMel, RawSamples, Sound, load_audio, open_sound
from fuseline.inputs.log_mel import mel_filters
from tests import sounds

Float32 = npt.NDArray[np.float32]

EXACT = 2e-5
LENGTHS = [1, 2, 159, 160, 201, 1_600, 33_333, 479_759, 479_999, 480_000, 480_001, 700_000]


class Recorded:
    """A recording of an array that counts what is read of it."""

    name, sampling_rate = "the recording", SAMPLING_RATE

    def __init__(self, samples: Float32, sizes: tuple[int, ...] = (4_000,)) -> None:
        self.samples, self.sizes, self.read = samples, sizes, 0
        self.frames: int | None = len(samples)

    def blocks(self, start: int) -> Iterator[Float32]:
        at, turn = start, 0
        while at < len(self.samples):
            block = self.samples[at : at + self.sizes[turn % len(self.sizes)]]
            self.read += len(block)
            yield block[:, None]
            at, turn = at + len(block), turn + 1


def reference(bands: int = 80) -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=bands)


def features_of(clips: list[Float32], bands: int = 80, torch: bool = False) -> Float32:
    """torch: by torch in float32, which is what transformers does if it can; else by numpy in float64."""
    with mock.patch.object(feature_extraction_whisper, "is_torch_available", lambda: torch):
        made: Float32 = reference(bands)(clips, sampling_rate=SAMPLING_RATE, return_tensors="np")["input_features"]
    return made


def whole_features(clip: Float32, bands: int = 80, torch: bool = False) -> Float32:
    options: dict[str, Any] = {"truncation": False, "padding": "longest", "return_tensors": "np"}
    with mock.patch.object(feature_extraction_whisper, "is_torch_available", lambda: torch):
        made: Float32 = reference(bands)(clip, sampling_rate=SAMPLING_RATE, **options)["input_features"][0]
    return made


def check(clips: list[Float32], bands: int = 80) -> None:
    """Beside both of transformers' ways, which are up to 5e-5 apart: of bands far below a loud tone, what is left in
    float32 is its rounding."""
    ours = LogMel(bands)(clips)["input_features"]
    assert ours.shape == (len(clips), bands, 3000) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, features_of(clips, bands), atol=1e-5, rtol=0)
    np.testing.assert_allclose(ours, features_of(clips, bands, torch=True), atol=6e-5, rtol=0)


@pytest.mark.parametrize("bands", [80, 128, 1, 40])
def test_mel_filters_are_those_of_transformers(bands: int) -> None:
    theirs = mel_filter_bank(201, bands, 0.0, 8000.0, SAMPLING_RATE, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filters(201, bands, SAMPLING_RATE), theirs, atol=1e-15)


@pytest.mark.parametrize(("length", "bands"), [*((length, 80) for length in LENGTHS), (16_001, 128), (500_000, 128)])
def test_log_mel_is_that_of_transformers(length: int, bands: int) -> None:
    check([sounds.speech_like(length, seed=length)], bands)


def test_log_mel_of_a_batch_is_that_of_its_members() -> None:
    clips = [sounds.speech_like(length, seed=1) for length in (5_000, 480_000, 16_000, 600_000)]
    clips[2] *= np.float32(1e-3)
    check(clips)
    batch = LogMel()(clips)["input_features"]
    for clip, features in zip(clips, batch, strict=True):
        np.testing.assert_array_equal(features, LogMel()([clip])["input_features"][0])


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-4, 1e3])
def test_log_mel_of_silence_and_of_any_loudness(scale: float) -> None:
    clip = sounds.speech_like(50_000) * np.float32(scale)
    check([clip])


@pytest.mark.parametrize("hertz", [50.0, 440.0, 1_000.0, 7_900.0])
def test_log_mel_of_a_tone(hertz: float) -> None:
    clip = sounds.sine(hertz, 100_000, SAMPLING_RATE)
    check([clip])


def test_log_mel_of_a_click_and_of_noise() -> None:
    click = np.zeros(20_000, np.float32)
    click[19_990] = 1
    noise = np.random.default_rng(0).standard_normal(480_000).astype(np.float32) * np.float32(0.01)
    check([click, noise])


def test_log_mel_of_other_windows() -> None:
    config = {"feature_size": 24, "chunk_length": 2, "n_fft": 400, "hop_length": 100, "mel_filters": [[1.0]]}
    theirs = WhisperFeatureExtractor(feature_size=24, chunk_length=2, n_fft=400, hop_length=100)
    clip = sounds.speech_like(20_000)
    ours = LogMel.from_config(config, "x.json")([clip])["input_features"]
    made = theirs(clip, sampling_rate=SAMPLING_RATE, return_tensors="np")["input_features"]
    np.testing.assert_allclose(ours, made, atol=EXACT, rtol=0)
    windows = LogMel.from_config(config, "x.json").windows(open_sound(clip))
    whole = theirs(clip, sampling_rate=SAMPLING_RATE, truncation=False, padding="longest", return_tensors="np")
    np.testing.assert_allclose(windows.at(0, windows.frames), whole["input_features"][0], atol=EXACT, rtol=0)


@pytest.mark.parametrize(("length", "bands"), [(201, 80), (240, 80), (16_000, 128), (479_999, 80), (700_123, 80)])
@pytest.mark.parametrize("sizes", [(1_000_000,), (1, 7, 3_333, 160)])
def test_windows_are_slices_of_the_whole(length: int, bands: int, sizes: tuple[int, ...]) -> None:
    clip = sounds.speech_like(length, seed=length)
    clip[length // 2 :] *= np.float32(0.01)
    whole = whole_features(clip, bands)
    windows = LogMel(bands).windows(Sound(Recorded(clip, sizes)))
    assert windows.frames == whole.shape[1] == length // 160
    padded = np.pad(whole, ((0, 0), (0, 8_000)))
    for frame in (0, 1, 2, 99, windows.frames - 1, windows.frames, 5_000):
        window = windows.at(frame)
        assert window.shape == (bands, 3000) and window.dtype == np.float32
        np.testing.assert_allclose(window, padded[:, frame : frame + 3000], atol=EXACT, rtol=0)
    assert windows.at(10, 7).shape == (bands, 7)


def test_windows_of_a_long_sound_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forwards each sample is read twice in all; backwards works too."""
    monkeypatch.setattr(audio, "_KEPT_FRAMES", 1_000)
    monkeypatch.setattr(audio, "_BEHIND", 200)
    clip = sounds.speech_like(1_000_000)
    whole = np.pad(whole_features(clip), ((0, 0), (0, 6_000)))
    recorded = Recorded(clip)
    windows = LogMel().windows(Sound(recorded))
    for frame in (0, 0, 1_500, 1_400, 2_900, 5_000, 6_249, 9_000):
        np.testing.assert_allclose(windows.at(frame), whole[:, frame : frame + 3_000], atol=EXACT, rtol=0)
    assert recorded.read == 2 * len(clip)
    for frame in (3_000, 1, 5_100, 2):
        np.testing.assert_allclose(windows.at(frame, 900), whole[:, frame : frame + 900], atol=EXACT, rtol=0)


def test_an_hour_is_never_whole_in_memory() -> None:
    second = sounds.speech_like(SAMPLING_RATE)

    class Hour(Recorded):
        def blocks(self, start: int) -> Iterator[Float32]:
            for _ in range(start // SAMPLING_RATE, 3_600):
                yield second[:, None]

    tracemalloc.start()
    windows = LogMel().windows(Sound(Hour(second)))
    for frame in range(0, windows.frames, 30_000):
        windows.at(frame)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert windows.frames == 360_000
    assert most < 40e6


def test_windows_of_less_than_a_frame() -> None:
    windows = LogMel().windows(open_sound(np.ones(159, np.float32)))
    assert windows.frames == 0
    np.testing.assert_array_equal(windows.at(0), 0)


@pytest.mark.parametrize("length", [160, 199, 200])
def test_windows_of_a_single_frame(length: int) -> None:
    """Shorter than what is mirrored, which torch refuses."""
    clip = sounds.speech_like(length)
    windows = LogMel().windows(open_sound(clip))
    np.testing.assert_allclose(windows.at(0, 1), whole_features(clip), atol=EXACT, rtol=0)


@pytest.mark.parametrize("normalize", [False, True])
def test_raw_samples_are_those_of_transformers(normalize: bool) -> None:
    config = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "padding_side": "right"}
    config |= {"do_normalize": normalize, "padding_value": 0.0, "return_attention_mask": True, "sampling_rate": 16000}
    theirs = Wav2Vec2FeatureExtractor.from_dict(config)
    clips = [sounds.speech_like(length, seed=length) for length in (1_600, 16_000, 333)]
    made = theirs(clips, sampling_rate=SAMPLING_RATE, padding=True, return_tensors="np")
    ours = RawSamples.from_config(config, "x.json")(clips)
    assert ours["input_values"].dtype == np.float32 and ours["attention_mask"].dtype == np.int64
    np.testing.assert_allclose(ours["input_values"], made["input_values"], atol=1e-6 * normalize, rtol=0)
    np.testing.assert_array_equal(ours["attention_mask"], made["attention_mask"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"feature_extractor_type": "SeamlessM4TFeatureExtractor"}, "it must be WhisperFeatureExtractor"),
        ({"sampling_rate": 8000}, "sampling_rate is 8000; it must be 16000"),
        ({"feature_size": 0}, "feature_size is 0; it must be a whole number from 1 to 512"),
        ({"feature_size": True}, "feature_size is True"),
        ({"feature_size": "80"}, "feature_size is '80'"),
        ({"n_fft": 401}, "n_fft is 401; it must be even"),
        ({"hop_length": 300}, "hop_length is 300; it must be a whole number from 1 to 200"),
        ({"chunk_length": 10**9}, "chunk_length is 1000000000"),
        ({"dither": 0.1}, "dither is 0.1; it must be 0.0"),
        ({"padding_side": "left"}, "padding_side is 'left'; it must be 'right'"),
    ],
)
def test_configurations_that_are_not_whispers(change: dict[str, Any], said: str) -> None:
    with pytest.raises(FolderError) as caught:
        LogMel.from_config({"feature_size": 80, **change}, "preprocessor_config.json")
    assert said in str(caught.value) and str(caught.value).startswith("preprocessor_config.json: ")


def test_whispers_own_configurations_are_read() -> None:
    for bands in (80, 128):
        config = reference(bands).to_dict()
        assert LogMel.from_config(config, "x").bands == bands
        assert LogMel.from_config({**config, "mel_filters": [[0.0]], "extra": None}, "x").frames == 3000


# What open_sound takes.


def test_arrays_at_the_models_rate_are_their_own_samples() -> None:
    clip = sounds.speech_like(10_000)
    mapping = {"raw": clip, "sampling_rate": 16_000}
    for given in (clip, clip.astype(np.float64), clip.tolist(), torch.from_numpy(clip), mapping):
        np.testing.assert_array_equal(load_audio(given), clip)  # type: ignore[arg-type]
    sound = open_sound({"path": "x.wav", "array": clip, "sampling_rate": 16_000.0})
    assert open_sound(sound) is sound
    assert sound.duration == 0.625
    np.testing.assert_array_equal(load_audio(sound), clip)


@pytest.mark.parametrize("start", [0, 1, 65_536, 70_001, 99_999, 100_000, 200_000])
def test_blocks_from_anywhere(start: int) -> None:
    clip = sounds.speech_like(100_000)
    sound = open_sound(clip)
    blocks = list(sound.blocks(start))
    np.testing.assert_array_equal(np.concatenate([clip[:0], *blocks]), clip[start:])
    assert all(0 < len(block) <= 65_536 for block in blocks)


def test_integers_are_scaled() -> None:
    np.testing.assert_array_equal(load_audio(np.array([-32768, 0, 16384], np.int16)), [-1, 0, 0.5])
    np.testing.assert_array_equal(load_audio(np.array([-(2**31), 2**30], np.int32)), [-1, 0.5])
    np.testing.assert_array_equal(load_audio(np.array([0, 128, 192], np.uint8)), [-1, 0, 0.5])
    np.testing.assert_array_equal(load_audio(np.array([-128, 64], np.int8)), [-1, 0.5])
    np.testing.assert_array_equal(load_audio(np.array([-32768, 16384], ">i2")), [-1, 0.5])
    np.testing.assert_array_equal(load_audio(np.array([0.25, -1], np.float16)), [0.25, -1])


def test_channels_are_averaged() -> None:
    frames = np.random.default_rng(0).uniform(-1, 1, (1_000, 5)).astype(np.float32)
    for given in (frames, frames.T, np.asfortranarray(frames)):
        np.testing.assert_allclose(load_audio(given), frames.mean(axis=1), atol=1e-7)
    np.testing.assert_array_equal(load_audio(np.array([[1, 0], [0.5, 0.25]])), [0.5, 0.375])


def refusal(given: Any, *arguments: Any) -> str:
    """The sentence with which a sound is refused, with no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as caught:
            load_audio(given, *arguments)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros(0), "the array: there is no sound in it"),
        (np.zeros((0, 2)), "the array: there is no sound in it"),
        ([], "there is no sound in it"),
        (np.float32(1), "its shape is []"),
        (np.zeros((2, 3, 4)), "its shape is [2, 3, 4]; give samples as [N] or [N, channels]"),
        (np.zeros((80, 3000)), "an array of shape [80, 3000] is no sound; give [N, channels] with at most 64 channels"),
        (np.zeros(9, np.int64), "its samples are int64; give float from -1 to 1, or int16"),
        (np.zeros(9, bool), "its samples are bool"),
        (np.zeros(9, complex), "its samples are complex128"),
        (np.array(["a"]), "a sound cannot be read from"),
        (None, "a sound cannot be read from None; give a path"),
        (object(), "a sound cannot be read from a object; give a path"),
        ([[1.0], [1.0, 2.0]], "a sound cannot be read from [[1.0], [1.0, 2.0]]"),
        ({"array": np.zeros(9)}, "a mapping with ['array'] is no sound; give \"array\""),
        ({"sampling_rate": 16_000}, "is no sound"),
        ({}, "is no sound"),
        ({"array": np.zeros(9), "sampling_rate": "fast"}, "sampling_rate must be a whole number of samples a"),
    ],
)
def test_what_is_no_sound(given: Any, said: str) -> None:
    assert said in refusal(given)


@pytest.mark.parametrize("rate", [0, -1, 999, 768_001, 10**9])
def test_absurd_rates(rate: int) -> None:
    assert refusal(np.zeros(100), rate) == (
        f"the array: its rate is {rate:,} samples a second; from 1,000 to 768,000 can be read"
    )
    assert "its rate is" in refusal({"array": np.zeros(100), "sampling_rate": rate or np.int64(0)})


@pytest.mark.parametrize("rate", [16_000.5, "16000", True, float("nan")])
def test_rates_that_are_no_whole_number(rate: Any) -> None:
    assert "sampling_rate must be a whole number" in refusal(np.zeros(100), rate)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e7, 1e300])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_samples_that_are_no_numbers(value: float, rate: int) -> None:
    clip = np.zeros(rate * 3)
    clip[rate * 2] = value
    assert "the array: the sample at 2.000 s is" in refusal(clip, rate)
    stereo = np.stack([clip, -clip], axis=1)
    assert value == 1e7 or "the array: the sample at 2.000 s is nan" in refusal(stereo, rate)


def test_floats_on_the_scale_of_integers() -> None:
    with pytest.warns(UserWarning, match="the array: samples reach 20000 and are meant to lie from -1 to 1") as caught:
        load_audio(np.array([20_000.0, -3.0]))
    assert caught[0].filename == __file__


def test_a_rate_is_not_taken_for_what_says_its_own(tmp_path: Path) -> None:
    data = sounds.wav(sounds.speech_like(100))
    (tmp_path / "a.wav").write_bytes(data)
    mapping = {"array": [0.0], "sampling_rate": 16_000}
    for given in (data, io.BytesIO(data), tmp_path / "a.wav", open_sound(data), mapping):
        assert "sampling_rate=8000 is for an array of samples" in refusal(given, 8_000)


def test_a_tenth_of_a_second_works() -> None:
    clip = sounds.speech_like(1_600)
    assert load_audio(sounds.wav(clip)).shape == (1_600,)
    check([clip])
