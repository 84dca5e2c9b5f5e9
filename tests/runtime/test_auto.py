"""variant="auto": what is good enough, and the default unless another of that is faster by far."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fuseline import Model
from fuseline.folders.open import open_folder
from fuseline.folders.own import Folder
from fuseline.trials import auto
from fuseline.trials.auto import choose, loss
from tests import tiny


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
    return open_folder(path)


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
    ("default", "fp32", "int8", "expected"),
    [
        ("fp32", 50, 30, "int8"),
        ("int8", 30, 50, "fp32"),
        ("fp32", 50, 38, "fp32"),  # a quarter and less is not enough, whichever is the default
        ("int8", 38, 50, "int8"),
        ("fp32", 50, None, "fp32"),  # what was not measured is not chosen
        ("int8", 10, None, "int8"),
        ("fp32", None, None, "fp32"),
    ],
)
def test_the_default_stays_unless_another_is_faster_by_far(
    default: str,
    fp32: float | None,
    int8: float | None,
    expected: str,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = describe(path, **GOOD, default_variant=default)
    times = {name: ms for name, ms in (("fp32", fp32), ("int8", int8)) if ms is not None}
    monkeypatch.setattr(auto, "_measured", lambda *arguments: times)
    choice = choose(folder)
    assert choice.variant == expected
    used = choice.applied(folder)
    assert (used.variant, used.encoder_path.name, used.decoder_path.name) == (
        expected,
        f"encoder_model_{expected}.onnx",
        f"decoder_model_{expected}.onnx",
    )


def test_of_two_that_are_faster_by_far_the_better_one_is_chosen_whatever_their_times(path: Path) -> None:
    order = ["fp32", "int8", "int4"]
    for times in ((50, 20, 18), (50, 20, 22), (50, 20, 16)):
        assert auto._chosen(order, dict(zip(order, times, strict=True))) == "int8"
    assert auto._chosen(order, {"fp32": 50, "int8": 20, "int4": 9}) == "int4"


def test_it_is_measured_once(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = describe(path, **GOOD)
    first = choose(folder, threads=1)
    assert set(first.times) == {"fp32", "int8"}
    assert all(ms > 0 for ms in first.times.values())
    monkeypatch.setattr(auto, "_measured", lambda *arguments: pytest.fail("measured again"))
    assert choose(describe(path, quality=cider(1.0, 0.995)), threads=1) == first  # the weights are the same
    assert [file.suffix for file in cache.iterdir()] == [".json"]
    assert "ms for a caption" in first.sentence(folder)
    assert choose(folder, threads=2) == first, "the answer does not change with the threads"


def test_fresh_caches_give_one_answer(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both variants of the tiny model take about the same time, so chance would choose."""
    folder, chosen = describe(path, **GOOD), set()
    for number in range(20):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache {number}"))
        chosen.add(choose(folder, threads=1).variant)
    assert chosen == {"fp32"}


def test_wrong_times_in_the_cache_are_not_used(path: Path, cache: Path) -> None:
    folder = describe(path, **GOOD)
    choose(folder)
    (file,) = cache.iterdir()
    found = json.loads(file.read_text())
    for wrong in (*({"fp32": value} for value in (-1, 0, "1", True, None, float("nan"))), {"int3": 1.0}):
        file.write_text(json.dumps(found | {"found": wrong}))
        assert choose(folder).times.keys() == {"fp32", "int8"}


def test_there_is_no_time_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "SECONDS", 0.0)
    choice = choose(describe(path, **GOOD, default_variant="int8"))
    assert (choice.variant, choice.times) == ("int8", {})


@pytest.mark.parametrize("variant", ["auto", "int8"])
def test_a_model_of_one_position_opens(variant: str, tmp_path: Path) -> None:
    path = tiny.tiny_folder(tmp_path, 0, ("fp32", "int8"))
    file = path / "fuseline.json"
    description = json.loads(file.read_text())
    description["decoder"]["max_positions"] = 1
    file.write_text(json.dumps(description | GOOD))
    generation = Model.from_pretrained(path, variant).generate(tiny.photos(1), max_new_tokens=1)
    assert generation.sequences.shape == (1, 2)


def test_where_there_is_nothing_to_choose_nothing_is_measured(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "_measured", lambda *arguments: pytest.fail("measured"))
    assert Model.from_pretrained(path).folder.variant == "fp32"  # int8 was not measured, so it is left out
    assert Model.from_pretrained().folder.variant == "int8"  # the captioner that ships has one variant
    assert Model.from_pretrained(path, variant="int8").folder.variant == "int8"
    assert not cache.exists()


def test_a_generation_names_its_variant(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "_measured", lambda *arguments: {"fp32": 2.0, "int8": 1.0})
    describe(path, **GOOD)
    model = Model.from_pretrained(path)
    assert model.variant == model.generate(tiny.photos(1)).variant == "int8"
    *_, last = model.stream(tiny.photos(1))
    assert last.generation is not None
    assert last.generation.variant == "int8"
