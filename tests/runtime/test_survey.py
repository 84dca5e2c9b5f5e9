"""What each device is worth for a model, which is the fastest, and the command that shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fuseline import Model, cli
from fuseline.folders.open import open_folder
from fuseline.graphs import devices, installed
from fuseline.graphs.devices import ON_CPU, Device, Placement, placed
from fuseline.graphs.hardware import Seen
from fuseline.trials import apart, fastest, survey, trial
from fuseline.trials.trial import Times
from tests import tiny
from tests.bodies import BODIES


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def with_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the CPU there are its bodies, and a plugin that finds nothing."""
    real = devices.device_of
    names = {"cpu": ON_CPU.provider, BODIES.name: BODIES.provider, "novel": "NovelExecutionProvider"}

    def here(task: str, given: Any, seconds: float | None = None) -> Any:
        return json.loads(json.dumps(trial.TASKS[task](**given)))

    def named(device: object = "cpu", options: object = None) -> Device:
        return BODIES if device == BODIES.name else real(device, options)

    def seen(wanted: Any) -> Iterator[Seen]:
        every = (
            Seen("cpu", ON_CPU.provider, "a CPU", "onnxruntime 1"),
            Seen(BODIES.name, BODIES.provider, "the same", "onnxruntime 1"),
            Seen("novel", "NovelExecutionProvider", "", "onnxruntime-ep-novel 1", reason="it finds nothing"),
        )
        return (each for each in every if each.name in wanted)

    for module, name, value in (
        (devices, "device_of", named),
        (apart, "run", here),
        (survey, "seen", seen),
        (trial, "seen", seen),
        (survey, "devices", lambda: names),
        (trial, "devices", lambda: names),
        (fastest, "devices", lambda: names),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("with_bodies")
def test_every_device_is_tried_and_told_of(tiny_path: Path) -> None:
    cpu, bodies, novel = survey.survey(open_folder(tiny_path), 1)
    assert (cpu.trial.same, cpu.speed, cpu.trial.reason) == (True, 1.0, "")
    assert (bodies.trial.same, bodies.trial.layout, bodies.trial.reason) == (True, "fused", "")
    assert bodies.speed is not None
    assert bodies.speed < 1  # hundreds of nodes take longer than a few
    assert bodies.trial.nodes is None or bodies.trial.nodes[0] == bodies.trial.nodes[1] > 0
    assert (novel.trial.same, novel.speed, novel.trial.reason) == (None, None, "it finds nothing")


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
def test_one_device_is_tried_alone_and_packages_that_overwrite_each_other_are_told_of(
    tiny_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "wheels", lambda: ["onnxruntime 1.32.0", "onnxruntime-openvino 1.24.1"])
    monkeypatch.setattr(survey, "kind_of", lambda device: device)
    monkeypatch.setattr(devices, "kind_of", lambda device: device)
    assert cli.main(["devices", str(tiny_path), "--threads", "1", "--device", "novel"]) == 2
    out, err = capsys.readouterr()
    _, cpu, novel, mixed = out.splitlines()
    assert (cpu.split()[0], novel.split()[0], err) == ("cpu", "novel", "fuseline: novel: it finds nothing\n")
    assert mixed.startswith(
        "onnxruntime 1.32.0, onnxruntime-openvino 1.24.1 overwrite each other's files: pip uninstall"
    )


@pytest.mark.usefixtures("with_bodies")
def test_one_device_that_can_be_used_is_no_failure_and_one_that_cannot_is(
    tiny_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (survey, devices):
        monkeypatch.setattr(module, "kind_of", lambda device: device)
    asked = ["devices", str(tiny_path), "--threads", "1", "--json", "--device"]
    for name, status in (("cpu", 0), (BODIES.name, 0), ("novel", 2)):
        assert cli.main([*asked, name]) == status
        said = capsys.readouterr()
        assert said.err.endswith("fuseline: novel: it finds nothing\n") == (status == 2)
        assert [each["name"] for each in json.loads(said.out)["devices"]] == list(dict.fromkeys(["cpu", name]))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--device", "tpu"], "there is no device 'tpu' here; available: cpu"),
        (["--device-option", "a=b"], "--device-option is told to one device; name it with --device"),
        (["--device", "cpu", "--device-option", "a"], "--device-option must be KEY=VALUE, not 'a'"),
        (["--device", "cpu", "--device-option", "a=b"], "device_options are of another device than cpu"),
        (["--device", "auto"], "is one device's name, not 'auto'; auto and encoder=NAME,decoder=NAME are for commands"),
        (["--device", "encoder=qnn,decoder=cpu"], "is one device's name, not 'encoder=qnn,decoder=cpu'; auto and"),
    ],
)
def test_what_is_wrong_with_what_is_asked_is_said(
    tiny_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], sentence: str
) -> None:
    assert cli.main(["devices", str(tiny_path), *given]) == 2
    assert sentence in capsys.readouterr().err


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
    def run(folder: object, asked: object, threads: object, end: float) -> Times | None:
        where = placed(asked)
        parts = [(device if part == BODIES else cpu)[at] for at, part in enumerate((where.encoder, where.decoder))]
        return None if None in parts else Times(*parts)

    monkeypatch.setattr(fastest, "_run", run)
    monkeypatch.setattr(fastest, "on_cpu", lambda *_: (None, Times(*cpu)))
    found = fastest.fastest(open_folder(tiny_path), 1)
    assert found.asked == chosen
    assert isinstance(found, Placement)
