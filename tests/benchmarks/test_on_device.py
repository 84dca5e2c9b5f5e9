"""What is said of a device that was measured, and what becomes of a part that fails or takes too long."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import on_device
from benchmarks.__main__ import FAILED, main

FOUND = [
    {"part": "run", "device": "cuda", "provider": "CUDAExecutionProvider", "size": "large"},
    {"part": "cpu", "metric": "caption", "value": 400.0},
    {"part": "floor", "metric": "step", "value": 0.1},
    {"part": "fuseline", "metric": "caption", "value": 20.0},
    {"part": "fuseline", "metric": "step", "value": 0.25},
    {"part": "fuseline", "metric": "throughput", "value": 300.0},
    {"part": "fuseline", "metric": "same", "value": 31 / 32, "texts": 32},
    {"part": "fuseline", "metric": "recorded", "value": 2},
    {"part": "operators", "metric": "said", "value": "88 passed in 9.00s"},
    {"part": "bodies", "metric": "caption", "value": 30.0},
    {"part": "eager", "metric": "caption", "value": 130.0},
    {"part": "eager", "metric": "throughput", "value": 100.0},
    {"part": "compiled", "error": "it took longer than 120 s"},
]


def test_ratios_are_said_of_what_was_measured() -> None:
    said = list(on_device.summary(FOUND))
    assert "a step is 2.50 times the time of reading its weights, 0.1 ms" in said
    assert "caption: 6.50 times transformers eager" in said
    assert "throughput: 3.00 times transformers eager" in said
    assert "compiled failed: it took longer than 120 s" in said
    assert not any("transformers compiled" in line for line in said)
    assert "caption: 1.50 times what bodies alone do" in said
    assert "operators: 88 passed in 9.00s" in said
    assert any(line.split() == ["fuseline", "20", "0.25", "300", "0.969", "2"] for line in said)


def test_all_parts_together_take_less_than_ten_minutes() -> None:
    assert sum(on_device.LIMITS.values()) < 600


def test_what_a_part_said_before_it_was_ended_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the part is a program that says one line and then waits."""
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho \'{"part": "floor", "metric": "step", "value": 1}\'\nsleep 60\n')
    program.chmod(0o755)
    monkeypatch.setattr(on_device.sys, "executable", str(program))
    out = tmp_path / "found.jsonl"
    assert on_device._part("floor", 2.0, ["cpu", "small", str(tmp_path)], out) == "it took longer than 2 s"
    assert json.loads(out.read_text())["value"] == 1


@pytest.mark.parametrize("failing", ["eager", "make"])
def test_a_part_that_fails_does_not_stop_the_others(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a part is a program that hangs, fails or is done; without a model nothing else is begun."""
    program = tmp_path / "program"
    program.write_text(
        "#!/bin/sh\ncase $3 in\n"
        f"{failing}) echo it broke >&2; exit 3;;\n"
        'compiled) echo \'{"part": "compiled", "metric": "caption", "value": 9}\'; sleep 60;;\n'
        'esac\necho "{\\"part\\": \\"$3\\", \\"metric\\": \\"caption\\", \\"value\\": 5}"\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(on_device.sys, "executable", str(program))
    found = on_device.run("cpu", tmp_path / "found.jsonl", "small", print, patience=0.05)
    errors = {record["part"]: record["error"] for record in found if "error" in record}
    done = [record["part"] for record in found if record.get("value") == 5]
    if failing == "make":
        assert errors.pop("make") == "it broke"
        assert set(errors.values()) == {"the model was not made"} and not done
    else:
        assert errors == {"eager": "it broke", "compiled": "it took longer than 6 s"}
        assert done == ["make", "cpu", "fuseline", "floor"]
        assert any(record.get("value") == 9 for record in found), "what it said before is kept"


def test_a_part_that_fails_says_its_last_words(tmp_path: Path) -> None:
    """Here the model was never made."""
    out = tmp_path / "found.jsonl"
    said = on_device._part("cpu", 300.0, ["cpu", "small", str(tmp_path / "none")], out)
    assert "none" in said
    assert "Traceback" not in said


def test_a_device_that_is_not_there_is_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--device", "tpu", "--out", str(tmp_path / "found.jsonl")]) == FAILED
    assert "there is no device 'tpu' here; available: cpu" in capsys.readouterr().err


def test_made_up_photos_differ_and_are_what_a_processor_gives(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "preprocessor_config.json").write_text('{"size": {"height": 64}}')
    pixels = on_device._pixels(tmp_path, 3)
    assert (pixels.shape, pixels.dtype) == ((3, 3, 64, 64), np.float32)
    assert np.abs(pixels).max() <= 1
    assert len({photo.tobytes() for photo in pixels}) == 3
