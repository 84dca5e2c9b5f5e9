"""On a device every architecture says the CPU's tokens: greedy, four beams, batches, and what goes on from a prompt.

The reference is the fused layout on the CPU, whose tokens are those of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fuseline import Model
from fuseline.errors import DeviceError
from fuseline.export import layouts
from fuseline.folders.open import open_folder
from fuseline.graphs.bound import elsewhere
from fuseline.graphs.decoder import CachedDecoder
from fuseline.graphs.devices import device_of, placed
from fuseline.graphs.open import open_graphs
from fuseline.trials import device_check
from tests import tiny
from tests.layouts import NAMES, case, said

# A GPU in software makes a program for every operator and shape, which takes minutes for all of these. Qualcomm's NPU
# computes in halves, so that of models that were never trained some say other words; see the test of logits.
SLOW = {
    "webgpu": ("gpt2: vit", "texts: bart", "speech: whisper", "fusion: flat"),
    "qnn": ("gpt2: vit", "photos: trocr, learned"),
}
HALVES = {"qnn"}
NEAR = 0.02  # of the largest logit, in halves
# What a provider cannot run, and what it says: that is an error when the model is opened, and no other text.
REFUSED = {
    ("openvino", "fusion: parallel"): "Output names mismatch between OpenVINO and ONNX",
    ("qnn", "photos: trocr, learned"): "says other tokens than the CPU",
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(device_check, "SECONDS", 600.0)  # of hardware in software, on a machine that others use too


@pytest.fixture
def layout(device: str, device_options: Mapping[str, str]) -> str:
    return device_of(device, device_options).layout


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_the_cpus(
    name: str, device: str, device_options: Mapping[str, str], layout: str, tmp_path: Path
) -> None:
    if device in SLOW and name not in SLOW[device]:
        pytest.skip("takes minutes on hardware in software, or says other words where two are as probable")
    made = case(name, tmp_path)
    layouts(made[0], [layout])
    if sentence := REFUSED.get((device, name)):
        with pytest.raises(DeviceError, match=sentence):
            Model.from_pretrained(made[0], "fp32", device, 1, device_options=device_options)
        return
    batches = (1, 3) if device in SLOW else (1, 4)
    with Model.from_pretrained(made[0], "fp32", threads=1) as on_cpu:
        expected = said(on_cpu, made, batches)
    with Model.from_pretrained(made[0], "fp32", device, 1, device_options=device_options) as model:
        assert model.device == device
        found = said(model, made, batches)
    assert found == expected


@pytest.mark.parametrize("name", ["gpt2: vit", "texts: bart", "texts: t5"])
def test_logits_are_near_the_cpus(
    name: str, device: str, device_options: Mapping[str, str], layout: str, tmp_path: Path
) -> None:
    """Of devices that compute in halves, whose tokens may differ where two are as probable."""
    if device not in HALVES:
        pytest.skip("computes in floats, so that its tokens are compared")
    folder, inputs, _ = case(name, tmp_path)
    layouts(folder, [layout])
    opened = open_folder(folder, "fp32")
    both = [open_graphs(opened, where, 1) for where in ("cpu", placed(device, device_options))]
    states = []
    for each in both:
        encoded = each.encoder.encode(each.encoder.checked(inputs(slice(0, 1))))
        states.append(each.decoder.start(encoded, 2, 6))
    random = np.random.default_rng(0)
    for _ in range(5):
        tokens = random.integers(3, opened.decoder.vocab_size, (2, 1))
        mine, its = (each.decoder.step(state, tokens, None) for each, state in zip(both, states, strict=True))
        assert np.abs(mine - its).max() <= NEAR * np.abs(mine).max()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny.tiny_folder(tmp_path_factory.mktemp("tiny"), 1)
    layouts(made, ["standard", "static"])
    return made


@pytest.mark.parametrize("apart", ["encoder", "decoder"])
def test_encoder_and_decoder_may_be_apart(
    apart: str, device: str, device_options: Mapping[str, str], folder: Path
) -> None:
    where = {"encoder": "cpu", "decoder": "cpu"} | {apart: device}
    pixels = tiny.photos(2)
    expected = Model.from_pretrained(folder, threads=1).generate(pixels, num_beams=3, max_length=9)
    model = Model.from_pretrained(folder, "fp32", where, 1, device_options={apart: device_options})
    assert model.device == where
    assert model.generate(pixels, num_beams=3, max_length=9).sequences.tolist() == expected.sequences.tolist()


def test_caches_stay_on_the_device(device: str, device_options: Mapping[str, str], folder: Path) -> None:
    """Of a device with memory of its own keys, values and caches are there; what moves in a step is the rest."""
    model = Model.from_pretrained(folder, "fp32", device, 1, device_options=device_options)
    decoder = model.decoder
    if not isinstance(decoder, CachedDecoder) or not elsewhere(decoder._graph):
        pytest.skip("this device has no memory of its own")
    encoded = model.encode(tiny.photos(1))
    assert {value.device_name() for value in encoded.values.values()} != {"cpu"}
    state = decoder.start(encoded, 2, 6)
    for step in range(3):
        decoder.step(state, np.full((2, 1), step), None)
    caches = state._buffers._binding._device_caches
    assert all(value.device_name() != "cpu" for cache in caches for value in cache.values)
    assert not any(cache.hosts for cache in caches)
    assert all(cache.bound for cache in caches) is decoder.in_place
