"""fallback="cpu": a device that fails at any moment of a text, or is not to be had, is the CPU from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Model
from fuseline.errors import DeviceError, InputError
from fuseline.folders.open import open_folder
from fuseline.graphs.running import Graph
from fuseline.trials import placing
from tests import tiny
from tests.bodies import ON_BODIES

MAX_LENGTH = 9


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def breaks(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """The device is lost after so many runs of its graphs; it does not come back."""
    real, runs = Graph._run, list[str]()

    def run(self: Graph, call: Any, size: int) -> Any:
        if self.device.is_cpu:
            return real(self, call, size)
        runs.append(str(self.path))
        if len(runs) > after:
            raise self._failure(RuntimeError("device lost"))
        return real(self, call, size)

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


def test_a_device_that_says_something_else_is_the_cpu(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> Any:
        raise DeviceError("it says other tokens")

    monkeypatch.setattr(placing, "open_checked", refused)
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
