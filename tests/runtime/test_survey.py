"""What each device is worth for a model, which is the fastest, and the command that shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fuseline import Model, cli
from fuseline.folders.open import open_folder
from fuseline.graphs import devices
from fuseline.graphs.devices import ON_CPU, Device, Placement, placed
from fuseline.graphs.hardware import Seen
from fuseline.trials import fastest, survey
from tests import tiny
from tests.bodies import BODIES


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def with_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the CPU there are its bodies, and a plugin that finds nothing."""
    real = devices.device_of

    def named(device: object = "cpu", options: object = None) -> Device:
        return BODIES if device == BODIES.name else real(device, options)

    def seen() -> Iterator[Seen]:
        yield Seen("cpu", ON_CPU.provider, "a CPU", "onnxruntime 1")
        yield Seen(BODIES.name, BODIES.provider, "the same", "onnxruntime 1")
        yield Seen("novel", "NovelExecutionProvider", "", "onnxruntime-ep-novel 1", reason="it finds nothing")

    for module, name, value in (
        (devices, "device_of", named),
        (survey, "device_of", named),
        (survey, "seen", seen),
        (fastest, "seen", seen),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("with_bodies")
def test_every_device_is_tried_and_told_of(tiny_path: Path) -> None:
    cpu, bodies, novel = survey.survey(open_folder(tiny_path), 1)
    assert (cpu.same, cpu.speed, cpu.reason) == (True, 1.0, "")
    assert (bodies.same, bodies.layout, bodies.reason) == (True, "fused", "")
    assert bodies.speed is not None
    assert bodies.speed < 1  # hundreds of nodes take longer than a few
    assert bodies.nodes is None or bodies.nodes[0] == bodies.nodes[1] > 0
    assert (novel.same, novel.speed, novel.reason) == (None, None, "it finds nothing")


def test_here_the_cpu_is_first_and_as_fast_as_itself(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["devices", str(tiny_path), "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first = found["devices"][0]
    assert found["variant"] == "fp32"
    assert (first["name"], first["tokens"], first["layout"], first["speed"]) == ("cpu", True, "fused", 1.0)
    assert first["milliseconds"] > 0
    for other in found["devices"][1:]:
        assert other["tokens"] is True or other["reason"]


@pytest.mark.usefixtures("with_bodies")
def test_the_table_has_a_line_a_device_and_then_the_reasons(
    tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["devices", str(tiny_path), "--threads", "1"]) == 0
    head, cpu, bodies, novel, reason = capsys.readouterr().out.splitlines()
    assert head.split() == ["device", "hardware", "package", "driver", "graphs", "nodes", "tokens", "speed"]
    assert cpu.startswith("cpu ")
    assert cpu.endswith("1.00")
    assert "the CPU's" in bodies
    assert novel.split()[0] == "novel"
    assert reason == "novel: it finds nothing"


@pytest.mark.usefixtures("with_bodies")
def test_auto_stays_on_the_cpu_where_it_is_the_fastest_and_remembers(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.from_pretrained(tiny_path, "fp32", "auto", 1)
    assert model.device == "cpu"
    monkeypatch.setattr(fastest, "_measured", None)  # is not called again
    assert Model.from_pretrained(tiny_path, "fp32", "auto", 1).device == "cpu"
    expected = Model.from_pretrained(tiny_path, "fp32", threads=1).generate(tiny.photos(1), max_length=8)
    assert model.generate(tiny.photos(1), max_length=8).sequences.tolist() == expected.sequences.tolist()


# Milliseconds of the encoder and of all steps on the CPU and on the device, None where it cannot run a part.
@pytest.mark.parametrize(
    ("cpu", "device", "chosen"),
    [
        ((50, 50), (49, 48), "cpu"),  # not faster by far
        ((50, 50), (10, 20), BODIES.name),
        ((90, 10), (9, 90), {"encoder": BODIES.name, "decoder": "cpu"}),
        ((10, 90), (90, 9), {"encoder": "cpu", "decoder": BODIES.name}),
        ((90, 10), (9, None), {"encoder": BODIES.name, "decoder": "cpu"}),
        ((50, 50), (None, None), "cpu"),
    ],
)
@pytest.mark.usefixtures("with_bodies")
def test_auto_takes_the_fastest_also_of_encoder_and_decoder_apart(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: Any, device: Any, chosen: Any
) -> None:
    class Parts:
        def __init__(self, encoder: float, steps: float) -> None:
            self.encoder, self.steps, self.milliseconds = encoder, steps, encoder + steps

    def run(folder: object, asked: object, threads: object, end: float) -> Parts | None:
        where = placed(asked)
        parts = [(device if part == BODIES else cpu)[at] for at, part in enumerate((where.encoder, where.decoder))]
        return None if None in parts else Parts(*parts)

    monkeypatch.setattr(fastest, "_run", run)
    monkeypatch.setattr(fastest, "_Parts", lambda timed: Parts(*cpu))
    found = fastest.fastest(open_folder(tiny_path), 1)
    assert found.asked == chosen
    assert isinstance(found, Placement)
