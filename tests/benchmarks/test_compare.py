"""What compare calls a regression: a whole interval beyond the noise that the runs measured of themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.compare import compare, interval, lost
from benchmarks.records import Recorder, read

CONDITIONS = {"num_beams": 4, "max_length": 16, "threads": 2, "photos": 1}


def result(path: Path, captions: list[float], same_again: float = 0.01, **more: Any) -> Path:
    recorder = Recorder(path)
    recorder.add("fuseline-int8", "vit-gpt2", "caption", captions, more.get("status", "ok"), **CONDITIONS)
    recorder.add("fuseline-int8", "vit-gpt2", "same_again", [same_again], **CONDITIONS)
    recorder.add("fuseline-int8", "vit-gpt2", "folder_size", [more.get("folder", 1e8)])
    recorder.add("fuseline-int8", "vit-gpt2", "throughput", [1000 / value for value in captions], **CONDITIONS)
    return path


STEADY = [100.0, 101.0, 99.0, 100.5, 99.5, 100.0, 100.2, 99.8, 100.1, 99.9]
SPREAD = [80.0, 130.0, 95.0, 105.0, 120.0, 85.0, 90.0, 140.0, 100.0, 110.0]


@pytest.mark.parametrize(
    ("before", "after", "same_again", "verdict"),
    [
        (STEADY, STEADY, 0.01, "same"),
        (STEADY, [value * 1.02 for value in STEADY], 0.01, "same"),  # below 3 %, the least noise there is
        (STEADY, [value * 1.2 for value in STEADY], 0.01, "slower"),
        (STEADY, [value / 1.2 for value in STEADY], 0.01, "faster"),
        (STEADY, [value * 1.2 for value in STEADY], 0.25, "same"),  # the same system twice differed by more
        (SPREAD, [value * 1.1 for value in SPREAD], 0.01, "same"),  # the interval reaches below the noise
    ],
)
def test_a_change_counts_when_its_whole_interval_is_beyond_noise(
    tmp_path: Path, before: list[float], after: list[float], same_again: float, verdict: str
) -> None:
    files = result(tmp_path / "a", before), result(tmp_path / "b", after, same_again)
    found = {change.metric: change.verdict for change in compare(read(files[0]), read(files[1]))}
    assert found == {"caption": verdict, "throughput": verdict, "folder_size": "same"}
    assert main(["compare", *map(str, files)]) == (1 if verdict == "slower" else 0)


def test_tokens_that_became_wrong_are_a_regression_however_fast(tmp_path: Path) -> None:
    a = result(tmp_path / "a", STEADY)
    b = result(tmp_path / "b", [value / 2 for value in STEADY], status="wrong")
    assert main(["compare", str(a), str(b)]) == 1


def test_a_larger_folder_is_worse_without_any_noise(tmp_path: Path) -> None:
    a, b = result(tmp_path / "a", STEADY), result(tmp_path / "b", STEADY, folder=1.05e8)
    assert {c.metric for c in compare(read(a), read(b)) if c.verdict == "worse"} == {"folder_size"}


def test_what_no_longer_runs_is_said_and_is_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = result(tmp_path / "a", STEADY)
    recorder = Recorder(tmp_path / "b")
    recorder.refuse("fuseline-int8", "vit-gpt2", "caption", "it has gone", **CONDITIONS)
    recorder.add("fuseline-int8", "vit-gpt2", "folder_size", [1e8])
    assert list(lost(read(a), read(tmp_path / "b"))) == ["fuseline-int8 no longer runs vit-gpt2: it has gone"]
    assert main(["compare", str(a), str(tmp_path / "b")]) == 1
    assert "it has gone" in capsys.readouterr().out


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    """95 % of intervals for 20 runs of 10 % noise; a bootstrap of medians is close to that, so 85 % of 200 must do."""
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        before, after = random.lognormal(0, 0.1, 20), random.lognormal(np.log(1.3), 0.1, 20)
        low, high = interval(before.tolist(), after.tolist())
        inside += low <= 1.3 <= high
    assert inside >= 170


def test_files_that_are_no_results_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = result(tmp_path / "a", STEADY), tmp_path / "b"
    record = json.loads(good.read_text().splitlines()[0])
    for text, said in [
        ("", "is empty"),
        ("{", "line 1 is not JSON"),
        (json.dumps({**record, "metric": "speed"}), "line 1: metric is not as schema.json has it"),
        (json.dumps({**record, "values": []}), "line 1: values is not as schema.json has it"),
    ]:
        bad.write_text(text)
        assert main(["compare", str(good), str(bad)]) == 2
        assert said in capsys.readouterr().err
    assert main(["compare", str(good), str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err
