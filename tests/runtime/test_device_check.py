"""A device that says something else than the CPU is not used, and caches are in one memory only where that is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fuseline.arrays import Int64
from fuseline.errors import DeviceError
from fuseline.export import layouts
from fuseline.folders.description import CONTRIB, STANDARD
from fuseline.folders.open import open_folder
from fuseline.folders.own import Folder
from fuseline.graphs import session
from fuseline.graphs.bound import BoundOnDevice
from fuseline.graphs.contract import State
from fuseline.graphs.decoder import CachedDecoder
from fuseline.graphs.devices import ON_CPU, Device, Placement
from fuseline.graphs.open import Graphs, open_graphs
from fuseline.trials import device_check, machine
from fuseline.trials.probe import room
from tests import tiny
from tests.bodies import ON_BODIES


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Folder]:
    """Two models of the same sizes that say different things."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
    return [open_folder(tiny.tiny_folder(tmp_path / str(seed), seed)) for seed in (0, 1)]


def decoder_of(graphs: Graphs) -> CachedDecoder:
    assert isinstance(graphs.decoder, CachedDecoder)
    return graphs.decoder


def test_what_says_the_same_is_used_and_what_was_found_is_remembered(
    folders: list[Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bodies keep a cache right that is read and written in one memory."""
    folder, tried = folders[0], list[dict[str, bool]]()
    real = device_check._tried

    def counted(*arguments: Any) -> dict[str, bool]:
        tried.append(real(*arguments))
        return tried[-1]

    monkeypatch.setattr(device_check, "_tried", counted)
    for _ in range(2):
        assert decoder_of(device_check.open_checked(folder, ON_BODIES, threads=1)).in_place
    assert tried == [{"same": True, "in place": True, "as fused": True}]


def test_what_says_other_tokens_is_refused_and_remembered(
    folders: list[Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other model is what the device is made to say."""
    one, other = folders
    real = device_check.open_graphs

    def mistaken(folder: Folder, device: object = "cpu", threads: int | None = None) -> Graphs:
        return real(other if device == ON_BODIES else folder, device, threads)

    monkeypatch.setattr(device_check, "open_graphs", mistaken)
    sentence = "bodies says other tokens than the CPU for .*, so it is not used; use cpu"
    with pytest.raises(device_check.OtherTokens, match=sentence):
        device_check.open_checked(one, ON_BODIES, threads=1)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(one.path.parents[1] / "cache"))
    facts = machine.facts_of(one, ON_BODIES, 1) | {"variant": one.variant}
    assert machine.recall("devices", facts) == {"same": False, "in place": False, "as fused": False}


def test_caches_have_two_memories_where_one_does_not_stay_right(
    folders: list[Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that clears what it writes before it reads: in one memory nothing is left, in two all is right."""
    real = BoundOnDevice.run

    def clears(self: BoundOnDevice, size: int) -> None:
        for cache in self._device_caches:
            target = cache.hosts[0 if self._in_place else 1]
            target[...] = 0
        real(self, size)

    monkeypatch.setattr(BoundOnDevice, "run", clears)
    graphs = device_check.open_checked(folders[0], ON_BODIES, threads=1)
    assert not decoder_of(graphs).in_place


@pytest.mark.parametrize("in_place", [True, False])
def test_steps_are_the_cpus_with_one_memory_and_with_two(folders: list[Folder], in_place: bool) -> None:
    """Beams, prompts, batches, memory that is used again, and inputs that are done before others."""
    folder = folders[0]
    on_cpu, other = open_graphs(folder, "cpu", 1), open_graphs(folder, ON_BODIES, 1)
    decoder_of(other).in_place = in_place
    random = np.random.default_rng(0)

    def both(states: list[State], tokens: Int64, parents: Int64 | None) -> None:
        graphs = zip((on_cpu, other), states, strict=True)
        mine, its = (each.decoder.step(state, tokens, parents).copy() for each, state in graphs)
        np.testing.assert_allclose(its, mine, atol=2e-5)

    for batch, beams in [(1, 1), (2, 3), (2, 3), (3, 2)]:
        encoded = on_cpu.encoder.encode(on_cpu.encoder.checked(tiny.photos(batch)))
        rows = batch * beams
        states = [each.decoder.start(encoded, beams, 9) for each in (on_cpu, other)]
        parents = None
        for length in (3, 1, 1, 1):
            tokens = random.integers(0, folder.decoder.vocab_size, (rows, length))
            both(states, tokens, parents)
            parents = np.repeat(np.arange(batch) * beams, beams) + random.integers(0, beams, rows)
        kept = np.array([batch - 1])
        states = [g.decoder.narrow(s, kept) for g, s in zip((on_cpu, other), states, strict=True)]
        for _ in range(2):
            tokens = random.integers(0, folder.decoder.vocab_size, (beams, 1))
            both(states, tokens, None)


def test_a_comparison_that_takes_too_long_is_refused_and_not_remembered(
    folders: list[Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that is over its time returns what it has: that is no other text."""
    monkeypatch.setattr(device_check, "SECONDS", 0.0)
    monkeypatch.setattr("fuseline.graphs.running._TICK", 0.0001)
    found = []
    for _ in range(3):  # a quick machine may be through before anybody looks
        try:
            device_check.open_checked(folders[0], ON_BODIES, threads=1)
        except DeviceError as error:
            found.append(str(error))
    assert all("bodies could not be compared with the CPU for" in each for each in found)
    assert all(each.endswith("within 0 s; try again when less else runs, or use cpu") for each in found)


def test_a_step_that_fails_on_a_device_is_its_error_and_the_next_text_is_right(folders: list[Folder]) -> None:
    """Keys and values of a width that the graph does not have are what fails here."""
    folder = folders[0]
    graphs = open_graphs(folder, ON_BODIES, 1)
    encoded = graphs.encoder.encode(graphs.encoder.checked(tiny.photos(1)))
    state = graphs.decoder.start(encoded, 1, 5)
    narrow = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, 5, 3), np.float32))
    memory: Any = state
    for name in encoded.values:
        memory._buffers._binding.input(name, narrow)
    tokens = np.array([[1]])
    with pytest.raises(DeviceError, match=r"the device bodies failed while it ran .*decoder.*fallback=\"cpu\""):
        graphs.decoder.step(state, tokens, None)
    del state, memory
    expected = open_graphs(folder, "cpu", 1)
    again = replace(encoded)
    mine = expected.decoder.step(expected.decoder.start(again, 1, 5), tokens, None)
    its = graphs.decoder.step(graphs.decoder.start(again, 1, 5), tokens, None)
    np.testing.assert_allclose(its, mine, atol=2e-5)


@pytest.mark.parametrize("wrong", ["nothing", "beams", "best", "rounding", "words"])
def test_halves_that_say_other_tokens_must_be_near(
    wrong: str, halves: list[Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the CPU is the device, and is said to have said something else: beams that stay where they are, best tokens
    of another row, logits that are a little off, and another model are told apart."""
    one, other = halves
    cpu = Placement(ON_CPU, ON_CPU)
    graphs = open_graphs(other if wrong == "words" else one, "cpu", 1)
    most = room(graphs.decoder, one)
    expected = device_check._on_cpu(one, cpu, 1, most)
    decoder = decoder_of(graphs)
    assert decoder.halves and decoder.offers
    real = type(decoder)._stepped, type(decoder).best, type(decoder).step

    def in_place(self: CachedDecoder, state: State, tokens: Int64, parents: Int64 | None) -> Any:
        return real[0](self, state, tokens, None if self is decoder else parents)

    def of_another(self: CachedDecoder, state: State, tokens: Int64, parents: Int64 | None) -> Any:
        best = real[1](self, state, tokens, parents)
        return best._replace(tokens=best.tokens[::-1])

    def rounded(self: CachedDecoder, state: State, tokens: Int64, parents: Int64 | None) -> Any:
        logits = real[2](self, state, tokens, parents)
        return logits * np.float32(1.01) if self is decoder else logits

    changed = {"beams": ("_stepped", in_place), "best": ("best", of_another), "rounding": ("step", rounded)}
    if wrong in changed:
        monkeypatch.setattr(CachedDecoder, *changed[wrong])
    lies = [(tokens + 1) % one.decoder.vocab_size for tokens in expected[1:]]
    near = device_check._says([expected[0], *lies], one, graphs, cpu, 1, most)
    assert near is (wrong in ("nothing", "rounding"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, {"num_of_threads": "2", "load_config": '{"CPU": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}}'}),
        ({"load_config": "{}"}, {"load_config": "{}"}),
    ],
)
def test_openvino_rounds_nothing_unless_it_is_told_to(
    options: dict[str, str], told: dict[str, str], folders: list[Folder]
) -> None:
    """Then other tokens pass whose logits are near. Here the CPU is the device, and is said to have said others."""
    device = Device("openvino", "OpenVINOExecutionProvider", options)
    assert session._told(device, 2) == told
    layouts(folders[0].path, (STANDARD,))
    folder, placement = open_folder(folders[0].path).using("fp32", STANDARD), Placement(device, device)
    graphs = open_graphs(folder, "cpu", 1)
    most = room(graphs.decoder, folder)
    expected = device_check._on_cpu(folder, placement, 1, most)
    assert device_check._says(expected, folder, graphs, placement, 1, most)
    lies = [expected[0], *((tokens + 1) % folder.decoder.vocab_size for tokens in expected[1:])]
    assert device_check._says(lies, folder, graphs, placement, 1, most) is bool(options)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[Folder]:
    """Two models in the layout for CUDA, of halves."""
    made = [tiny.tiny_folder(tmp_path_factory.mktemp(f"halves{seed}"), seed) for seed in (0, 1)]
    for folder in made:
        layouts(folder, (CONTRIB,), format="fp16")
    return [open_folder(folder).using("fp32", CONTRIB) for folder in made]
