"""On a device every architecture says the CPU's tokens: greedy, four beams, batches, and what goes on from a prompt.

The reference is the fused layout on the CPU, whose tokens are those of transformers.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fuseline import Model
from fuseline.errors import DeviceError
from fuseline.export import layouts
from fuseline.folders.open import open_folder
from fuseline.graphs.bound import BoundOnDevice, elsewhere
from fuseline.graphs.decoder import CachedDecoder
from fuseline.graphs.devices import device_of, placed
from fuseline.graphs.open import open_graphs
from fuseline.graphs.resident import Resident
from fuseline.trials import device_check
from tests import tiny
from tests.layouts import NAMES, case, said

# A GPU in software makes a program for every operator and shape, which takes minutes for all of these: one of each kind
# is tried, of which few tokens. Qualcomm's NPU computes in halves, so that of models that were never trained some say
# other words; see the test of logits.
SLOW = {
    "webgpu": ("gpt2: vit", "texts: bart", "texts: t5", "speech: whisper", "speech: moonshine", "fusion: flat"),
    "qnn": ("gpt2: vit", "photos: trocr, learned"),
}
FEW: Mapping[str, Any] = {"webgpu": {"batches": (2,), "count": 2, "max_length": 6}, "qnn": {"batches": (1, 3)}}
STEPS = {"webgpu": 4}  # of the comparison when a model is opened, for the same reason
HALVES = {"qnn"}
MOST_COPIES = 7  # a step
NEAR = 0.02  # of the largest logit, in halves
FLOATS = 2e-4  # the same in floats, which are added up in another order
# What a provider cannot run, and what it says: that is an error when the model is opened, and no other text.
REFUSED = {
    ("qnn", "photos: trocr, learned"): "says other tokens than the CPU",
    ("webgpu", "fp16"): "requires f16 but the device does not support it",  # SwiftShader
}


@pytest.fixture(autouse=True)
def _cache(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(device_check, "_STEPS", STEPS.get(device, device_check._STEPS))
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
    few = FEW.get(device, {})
    with Model.from_pretrained(made[0], "fp32", threads=1) as on_cpu:
        expected = said(on_cpu, made, **few)
    with Model.from_pretrained(made[0], "fp32", device, 1, device_options=device_options) as model:
        assert model.device == device
        found = said(model, made, **few)
    assert found == expected


@pytest.mark.parametrize("format", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", ["gpt2: vit", "texts: bart", "texts: t5", "fusion: flat"])
def test_logits_are_near_the_cpus(
    name: str, format: str, device: str, device_options: Mapping[str, str], layout: str, tmp_path: Path
) -> None:
    """Of halves the CPU's fused floats are what they should be near; of 8 bits what the CPU makes of the same graphs,
    which tests/export/test_layouts.py holds to the numbers that the codes stand for."""
    if device == "webgpu" and name != "gpt2: vit":
        pytest.skip("takes minutes on hardware in software")
    if format == "fp32" and device not in HALVES:
        pytest.skip("computes in floats, so that its tokens are compared")
    folder, inputs, _ = case(name, tmp_path)
    layouts(folder, [layout], format=format)
    opened = open_folder(folder, "fp32")
    if sentence := REFUSED.get((device, format)):
        with pytest.raises(DeviceError, match=sentence):
            open_graphs(opened, placed(device, device_options), 1)
        return
    expected = opened.using("fp32", layout) if format == "int8" else opened
    near = FLOATS if format == "int8" and device not in HALVES else NEAR
    both = [open_graphs(expected, "cpu", 1), open_graphs(opened, placed(device, device_options), 1)]
    states = []
    for each in both:
        encoded = each.encoder.encode(each.encoder.checked(inputs(slice(0, 1))))
        states.append(each.decoder.start(encoded, 2, 6))
    random = np.random.default_rng(0)
    for _ in range(5):
        tokens = random.integers(3, opened.decoder.vocab_size, (2, 1))
        mine, its = (each.decoder.step(state, tokens, None) for each, state in zip(both, states, strict=True))
        assert np.abs(mine - its).max() <= near * np.abs(mine).max()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny.tiny_folder(tmp_path_factory.mktemp("tiny"), 1)
    layouts(made, ["standard", "static", "contrib"])
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
    bound = state._buffers._binding
    if isinstance(bound, Resident):
        assert all(value.device_name() != "cpu" for value in bound._values.values())
        return
    assert isinstance(bound, BoundOnDevice)
    caches = bound._device_caches
    assert all(value.device_name() != "cpu" for cache in caches for value in cache.values)
    assert not any(cache.hosts for cache in caches)
    assert all(cache.bound for cache in caches) is decoder.in_place


@pytest.mark.parametrize("name", ["gpt2: vit", "texts: t5", "speech: whisper", "speech: moonshine", "fusion: flat"])
def test_what_moves_in_a_step_is_small(
    name: str,
    device: str,
    device_options: Mapping[str, str],
    layout: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the CPU's memory and the device's onnxruntime copies by nodes of its own, which its profile tells of:
    what is made of tokens, position and table, never keys, values or caches."""
    if placed(device, device_options).decoder.memory is None:
        pytest.skip("this device has no memory of its own")
    plain = onnxruntime.SessionOptions

    def profiled() -> onnxruntime.SessionOptions:
        options = plain()
        options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "step")
        return options

    path, inputs, _ = case(name, tmp_path)
    layouts(path, [layout])
    monkeypatch.setattr(onnxruntime, "SessionOptions", profiled)
    opened, steps = open_folder(path, "fp32"), 3
    graphs = open_graphs(opened, placed(device, device_options), 1)
    decoder = graphs.decoder
    assert isinstance(decoder, CachedDecoder)
    assert elsewhere(decoder._graph)
    state = decoder.start(graphs.encoder.encode(graphs.encoder.checked(inputs(slice(0, 1)))), 2, 6)
    for step in range(steps):
        decoder.step(state, np.full((2, 1), step), None)
    events = json.loads(Path(decoder._graph.session.end_profiling()).read_text())
    of_nodes = [event["args"] for event in events if event.get("cat") == "Node" and "op_name" in event["args"]]
    copies = [each for each in of_nodes if each["op_name"].startswith("Memcpy")]
    assert len(of_nodes) > 20 * steps, "the profile should tell of all nodes, or the test shows nothing"
    assert len(copies) <= MOST_COPIES * steps
    cache = 6 * 2 * opened.decoder.width * 4  # bytes of one, which is less than what was encoded
    assert all(int(each["output_size"]) < cache for each in copies)


@pytest.mark.parametrize("decoder_first", [True, False])
def test_memory_may_go_in_any_order(
    decoder_first: bool, device: str, device_options: Mapping[str, str], folder: Path
) -> None:
    """What a text has left in a circle, such as an error with its frames, is emptied in any order, the session's
    objects too. If memory went after its session, the process would crash here."""
    graphs = open_graphs(open_folder(folder, "fp32"), placed(device, device_options), 1)
    encoded = graphs.encoder.encode(graphs.encoder.checked(tiny.photos(1)))
    state = graphs.decoder.start(encoded, 2, 6)
    for step in range(2):
        graphs.decoder.step(state, np.full((2, 1), step), None)
    circle: list[Any] = [graphs.decoder, graphs, encoded, state] if decoder_first else [state, encoded, graphs]
    circle.append(circle)
    graphs.close()
    del circle, graphs, encoded, state
    gc.collect()
