"""fallback="cpu": a device that fails at any moment of a text, or is not to be had, is the CPU from then on."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fuseline import Model
from fuseline.errors import DeviceError, InputError
from fuseline.export import layouts
from fuseline.folders.description import CONTRIB, STATIC
from fuseline.folders.open import open_folder
from fuseline.graphs.bound import BoundOnDevice
from fuseline.graphs.contract import gives_best, narrows
from fuseline.graphs.decoder import CachedDecoder
from fuseline.graphs.devices import CPU, Placement
from fuseline.graphs.open import open_graphs
from fuseline.graphs.running import NOT_RECORDED, Graph
from fuseline.trials import device_check
from fuseline.trials.device_check import open_checked
from fuseline.trials.timing import Timed
from tests import tiny
from tests.bodies import ON_BODIES, Bodies

MAX_LENGTH = 9


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def breaks(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """The device is lost after so many runs of its graphs; it does not come back."""
    real, runs = Graph._run, list[str]()

    def run(self: Graph, call: Any, size: int, recorded: str = NOT_RECORDED) -> Any:
        if self.device.is_cpu:
            return real(self, call, size, recorded)
        runs.append(str(self.path))
        if len(runs) > after:
            raise self._failure(RuntimeError("device lost"))
        return real(self, call, size, recorded)

    monkeypatch.setattr(Graph, "_run", run)
    return runs


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_a_device_lost_at_any_step_leaves_the_cpus_text(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch, beams: int, after: int
) -> None:
    pixels = tiny.photos(3)
    expected = Model.from_pretrained(tiny_path, threads=1).generate(pixels, num_beams=beams, max_length=MAX_LENGTH)
    model = Model(open_folder(tiny_path), ON_BODIES, 1, fallback="cpu")
    breaks(monkeypatch, after)
    with pytest.warns(RuntimeWarning, match="the device bodies failed while it ran .* device lost.* is used instead"):
        found = model.generate(pixels, num_beams=beams, max_length=MAX_LENGTH)
    assert found.sequences.tolist() == expected.sequences.tolist()
    again = model.generate(pixels, num_beams=beams, max_length=MAX_LENGTH)
    assert again.sequences.tolist() == expected.sequences.tolist()
    model.close()


@pytest.mark.parametrize("layout", [CONTRIB, STATIC])
def test_a_device_of_other_graphs_leaves_the_cpus_text(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it tells the best of its logits alone, as CUDA does: a search that goes on reads them of the CPU."""
    path = tiny.tiny_folder(tmp_path, 0)
    layouts(path, (layout,), capacity=12)
    folder, device = open_folder(path), Bodies("bodies", CPU, graphs=layout)
    pixels, asked = tiny.photos(3), {"num_beams": 3, "max_length": MAX_LENGTH}
    expected = Model(folder, threads=1).generate(pixels, **asked)
    model = Model(folder, Placement(device, device), 1, fallback="cpu")
    assert (gives_best(model.decoder) is not None, narrows(model.decoder)) == (layout == CONTRIB, layout == STATIC)
    read = list[object]()
    real = CachedDecoder.best

    def noted(self: CachedDecoder, *given: Any) -> Any:
        read.append(self)
        return real(self, *given)

    monkeypatch.setattr(CachedDecoder, "best", noted)
    before = model.generate(pixels, **asked)
    assert bool(read) is (layout == CONTRIB)
    breaks(monkeypatch, 3)
    with pytest.warns(RuntimeWarning, match="device lost"):
        found = model.generate(pixels, **asked)
    assert gives_best(model.decoder) is None
    again = model.generate(pixels, **asked)
    for each in (before, found, again):
        assert each.sequences.tolist() == expected.sequences.tolist()
        np.testing.assert_allclose(each.sequences_scores, expected.sequences_scores, atol=1e-5)


def test_a_static_graph_of_few_rows_and_tokens_is_tried_and_timed_within_them(tmp_path: Path) -> None:
    path = tiny.tiny_folder(tmp_path, 0)
    layouts(path, (STATIC,), rows=2, capacity=5)
    device = Bodies("bodies", CPU, graphs=STATIC)
    timed = Timed(open_checked(open_folder(path), Placement(device, device), 1), open_folder(path))
    timed.run()
    assert 0 < timed.milliseconds < np.inf


def test_what_was_encoded_before_goes_on(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(open_folder(tiny_path), ON_BODIES, 1, fallback="cpu")
    encoded = model.encode(tiny.photos(2))
    before = model.generate(encoded, max_length=MAX_LENGTH)
    breaks(monkeypatch, 0)
    with pytest.warns(RuntimeWarning, match="device lost"):
        after = model.generate(encoded, max_length=MAX_LENGTH)
    assert after.sequences.tolist() == before.sequences.tolist()


def test_a_stream_goes_on_where_it_was(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = tiny.photos(1)
    expected = [each.text for each in Model.from_pretrained(tiny_path, threads=1).stream(pixels, max_length=MAX_LENGTH)]
    model = Model(open_folder(tiny_path), ON_BODIES, 1, fallback="cpu")
    breaks(monkeypatch, 3)
    with pytest.warns(RuntimeWarning, match="device lost"):
        assert [each.text for each in model.stream(pixels, max_length=MAX_LENGTH)] == expected


def test_without_it_the_error_is_the_devices_and_each_call_tries_again(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(open_folder(tiny_path), ON_BODIES, 1)
    expected = model.generate(tiny.photos(1), max_length=MAX_LENGTH)
    with monkeypatch.context() as patch:
        breaks(patch, 2)
        with pytest.raises(DeviceError, match='bodies failed while it ran .*: device lost; .* by fallback="cpu"'):
            model.generate(tiny.photos(1), max_length=MAX_LENGTH)
    assert model.generate(tiny.photos(1), max_length=MAX_LENGTH).sequences.tolist() == expected.sequences.tolist()


def test_a_device_that_is_not_to_be_had_is_the_cpu(tiny_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="there is no device 'tpu' here; .*; the CPU is used instead"):
        model = Model.from_pretrained(tiny_path, "fp32", "tpu", 1, fallback="cpu")
    assert model.device == "cpu"
    assert len(model.generate(tiny.photos(1), max_length=MAX_LENGTH).sequences) == 1


@pytest.mark.parametrize("missing", ["layout", "file"])
def test_a_layout_that_cannot_be_used_is_the_cpu(missing: str, tmp_path: Path) -> None:
    path = tiny.tiny_folder(tmp_path, 0)
    if missing == "file":
        layouts(path, (STATIC,), rows=2, capacity=5)
        next(path.rglob("decoder*_static.onnx")).unlink()
    device = Bodies("bodies", CPU, graphs=STATIC)
    sentence = {"layout": "has no static layout", "file": "_static.onnx is missing"}[missing]
    with pytest.warns(RuntimeWarning, match=f"{sentence}.*; the CPU is used instead"):
        model = Model(open_folder(path), Placement(device, device), 1, fallback="cpu")
    assert model.device == "cpu"
    assert len(model.generate(tiny.photos(1), max_length=MAX_LENGTH).sequences) == 1


def test_a_device_that_says_something_else_is_the_cpu(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> Any:
        raise DeviceError("it says other tokens")

    monkeypatch.setattr(device_check, "open_checked", refused)
    with pytest.warns(RuntimeWarning, match="it says other tokens; the CPU is used instead"):
        model = Model(open_folder(tiny_path), ON_BODIES, 1, fallback="cpu")
    assert model.device == "cpu"


@pytest.mark.parametrize("fallback", ["cuda", "", True, 1])
def test_there_is_no_other_fallback(tiny_path: Path, fallback: Any) -> None:
    with pytest.raises(InputError, match='fallback must be "cpu" or None, not'):
        Model.from_pretrained(tiny_path, fallback=fallback)


def test_a_model_that_fell_back_has_the_same_scores(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of the steps that were done again are the CPU's own."""
    asked = {"num_beams": 2, "max_length": MAX_LENGTH, "output_scores": True}
    expected = Model.from_pretrained(tiny_path, threads=1).generate(tiny.photos(2), **asked)
    model = Model(open_folder(tiny_path), ON_BODIES, 1, fallback="cpu")
    breaks(monkeypatch, 4)
    with pytest.warns(RuntimeWarning, match="device lost"):
        found = model.generate(tiny.photos(2), **asked)
    np.testing.assert_allclose(found.sequences_scores, expected.sequences_scores, atol=1e-5)


def test_a_device_that_does_not_give_its_memory_leaves_the_cpus_attentions(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that were encoded on the device are read there when it is told where the model looked."""
    asked = {"num_beams": 2, "max_length": 6, "output_attentions": True}
    expected = Model.from_pretrained(tiny_path, threads=1).generate(tiny.photos(1), **asked)
    model = Model(open_folder(tiny_path), ON_BODIES, 1, fallback="cpu")
    real = CachedDecoder.attentions

    def attentions(self: CachedDecoder, state: Any) -> Any:
        if self._graph.device.is_cpu:
            return real(self, state)
        with self._graph.telling():
            raise RuntimeError("device lost")

    monkeypatch.setattr(CachedDecoder, "attentions", attentions)
    with pytest.warns(RuntimeWarning, match="device lost"):
        found = model.generate(tiny.photos(1), **asked)
    assert found.sequences.tolist() == expected.sequences.tolist()
    assert found.cross_attentions is not None
    assert expected.cross_attentions is not None
    np.testing.assert_allclose(found.cross_attentions, expected.cross_attentions, atol=1e-5)


def test_what_a_provider_raises_while_memory_is_bound_is_a_device_error(tiny_path: Path) -> None:
    """Such as for the copy of an input that does not fit on it any more. The CPU's memory always takes it."""

    class Full:
        def bind_ortvalue_input(self, name: str, value: object) -> None:
            raise MemoryError("std::bad_alloc")

        bind_ortvalue_output = bind_ortvalue_input

    graphs = open_graphs(open_folder(tiny_path), ON_BODIES, 1)
    assert isinstance(graphs.decoder, CachedDecoder)
    bound: Any = BoundOnDevice(graphs.decoder._graph, True)
    bound._binding = Full()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32))
    for bind in (bound.input, bound.output):
        with pytest.raises(DeviceError, match=r"the device bodies failed while .*: there is not enough memory for it"):
            bind("position", value)


def test_what_holds_a_devices_memory_keeps_the_session_that_made_it(tiny_path: Path) -> None:
    """The session of C++ itself, which no collection of garbage can empty before."""
    graphs = open_graphs(open_folder(tiny_path), ON_BODIES, 1)
    encoded = graphs.encoder.encode(graphs.encoder.checked(tiny.photos(1)))
    state = graphs.decoder.start(encoded, 1, 4)
    assert isinstance(graphs.decoder, CachedDecoder)
    session = weakref.ref(graphs.decoder._graph.session._sess)
    graphs.close()
    gc.collect()
    assert session() is not None
    del state, graphs
    gc.collect()
    assert session() is None
