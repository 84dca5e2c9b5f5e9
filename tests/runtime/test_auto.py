"""variant="auto": what is good enough, what is fastest of that, and what the cache folder holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fuseline import Model, auto, machine
from fuseline.auto import choose, loss
from fuseline.folder import Folder

FP32, INT8 = "onnx/{}_model_fp32.onnx", "onnx/{}_model_int8.onnx"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(auto, "SECONDS", 600.0)  # so that a busy machine measures everything too
    return tmp_path / "cache" / "fuseline" / "auto"


@pytest.fixture
def path(tiny_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_path, tmp_path / "tiny"))


def describe(path: Path, **changes: Any) -> Folder:
    file = path / "fuseline.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return Folder.open(path)


def cider(fp32: float, int8: float, **conditions: Any) -> dict[str, Any]:
    common = {"dataset": "d", "photos": 9, "num_beams": 4}
    return {"fp32": {**common, "CIDEr": fp32}, "int8": {**common, **conditions, "CIDEr": int8}}


GOOD = {"quality": cider(1.0, 0.99)}


@pytest.mark.parametrize(
    ("about", "lost"),
    [
        (GOOD, 0.01),
        ({"quality": cider(0.5, 0.52)}, -0.04),
        ({"quality": cider(1.0, 0.9, photos=8)}, None),  # not measured on the same
        ({"quality": cider(1.0, 0.9, photos=8), "agreement": {"int8": {"beam": 0.75}}}, 0.25),
        ({"agreement": {"int8": {"beam": 0.75, "tokens": 0.995}}}, 0.005),
        ({"quality": {"fp32": {"word error rate": 0.1}, "int8": {"word error rate": 0.13}}}, 0.03),
        ({"quality": {"fp32": {"CIDEr": "x"}, "int8": {"CIDEr": True}}}, None),
        ({}, None),
    ],
)
def test_what_a_variant_loses(about: dict[str, Any], lost: float | None, path: Path) -> None:
    found = loss(describe(path, **about), "int8")
    assert found is None if lost is None else found is not None and found[0] == pytest.approx(lost)


@pytest.mark.parametrize(
    ("about", "left_out"),
    [
        (GOOD, {}),
        (GOOD | {"max_loss": 0.005}, {"int8": "it loses 1.00% of CIDEr and may lose 0.50%"}),
        ({"quality": cider(1.0, 0.97)}, {"int8": "it loses 3.00% of CIDEr and may lose 2.00%"}),
        ({}, {"int8": "how good it is was not measured"}),
        ({"default_variant": "int8"}, {}),  # whoever made the folder chose it
    ],
)
def test_what_is_not_good_enough_is_left_out(about: dict[str, Any], left_out: Mapping[str, str], path: Path) -> None:
    assert choose(describe(path, **about)).left_out == left_out


@pytest.mark.parametrize(
    ("default", "encoder_ms", "decoder_ms", "expected"),
    [
        ("fp32", (5, 2), (3, 1), ("int8", "int8")),
        ("int8", (5, 9), (3, 1), ("fp32", "int8")),
        ("int8", (5, 4.9), (3, 2.9), ("fp32", "int8")),  # too close: the exact encoder, the default decoder
        ("fp32", (5, 4.9), (3, 2.9), ("fp32", "fp32")),
        ("int8", (5, None), (None, 1), ("fp32", "int8")),  # what was not measured is not chosen
        ("int8", (None, 2), (1, None), ("fp32", "int8")),  # without fp32's time no other encoder
    ],
)
def test_each_part_is_the_fastest(
    default: str,
    encoder_ms: tuple[float | None, float | None],
    decoder_ms: tuple[float | None, float | None],
    expected: tuple[str, str],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = describe(path, **GOOD, default_variant=default)
    pairs = [("encoder", encoder_ms), ("decoder", decoder_ms)]
    given = {of.format(part): ms for part, times in pairs for of, ms in zip((FP32, INT8), times, strict=True)}
    times = {graph: ms for graph, ms in given.items() if ms is not None}
    monkeypatch.setattr(auto, "_measured", lambda *arguments: times)
    choice = choose(folder)
    assert (choice.encoder, choice.decoder) == expected
    used = choice.applied(folder)
    assert used.encoder_path.name == f"encoder_model_{expected[0]}.onnx"
    assert used.decoder_path.name == f"decoder_model_{expected[1]}.onnx"
    assert used.variant == (expected[0] if len(set(expected)) == 1 else "fp32 encoder, int8 decoder")


def test_it_is_measured_once(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = describe(path, **GOOD)
    first = choose(folder, threads=1)
    assert set(first.times) == {of.format(part) for of in (FP32, INT8) for part in ("encoder", "decoder")}
    assert all(ms > 0 for ms in first.times.values())
    monkeypatch.setattr(auto, "_measured", lambda *arguments: pytest.fail("measured again"))
    assert choose(describe(path, quality=cider(1.0, 0.995)), threads=1) == first  # the weights are the same
    assert [file.suffix for file in cache.iterdir()] == [".json"]
    assert "ms for a step" in first.sentence(folder)
    with pytest.raises(pytest.fail.Exception):
        choose(folder, threads=2)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b'{"milliseconds": 3}', b'{"facts": 1, "milliseconds": {}}'])
def test_an_unreadable_cache_is_no_error(content: bytes, path: Path, cache: Path) -> None:
    folder = describe(path, **GOOD)
    choose(folder)
    (file,) = cache.iterdir()
    whole = json.loads(file.read_text())
    file.write_bytes(content)
    assert choose(folder).times.keys() == whole["milliseconds"].keys()
    assert json.loads(file.read_text())["facts"] == whole["facts"]


def test_a_cache_folder_that_cannot_be_written_is_no_error(path: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert choose(describe(path, **GOOD)).times


def test_wrong_times_in_the_cache_are_not_used(path: Path, cache: Path) -> None:
    folder = describe(path, **GOOD)
    choose(folder)
    (file,) = cache.iterdir()
    found = json.loads(file.read_text())
    for value in (-1, 0, "1", True, None, float("nan")):
        file.write_text(json.dumps(found | {"milliseconds": dict.fromkeys(found["milliseconds"], value)}))
        assert machine.recall(folder, "cpu", None) is None


def test_there_is_no_time_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the exact encoder and the default decoder run, measured or not."""
    monkeypatch.setattr(auto, "SECONDS", 0.0)
    choice = choose(describe(path, **GOOD, default_variant="int8"))
    assert (choice.encoder, choice.decoder) == ("fp32", "int8")


def test_where_there_is_nothing_to_choose_nothing_is_measured(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "_measured", lambda *arguments: pytest.fail("measured"))
    assert Model.from_pretrained(path).folder.variant == "fp32"  # int8 was not measured, so it is left out
    assert Model.from_pretrained().folder.variant == "int8"  # the captioner that ships has one variant
    assert Model.from_pretrained(path, variant="int8").folder.variant == "int8"
    assert not cache.exists()


def test_a_mixture_captions(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {FP32.format("encoder"): 1.0, INT8.format("encoder"): 2.0}
    times |= {FP32.format("decoder"): 2.0, INT8.format("decoder"): 1.0}
    monkeypatch.setattr(auto, "_measured", lambda *arguments: times)
    describe(path, **GOOD)
    model = Model.from_pretrained(path)
    assert model.folder.variant == "fp32 encoder, int8 decoder"
    from tests import tiny

    assert len(model.generate(tiny.photos(2)).sequences) == 2
