"""Systems that do not fit the memory together run in heats, and no ratio compares figures of two heats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import heats, models, report, systems
from benchmarks.compare import compare
from benchmarks.environments import start
from benchmarks.models import MODELS, SHIPPED
from benchmarks.plan import Plan, Turns, in_full_and_brief
from benchmarks.records import Record, Recorder, median, pick, read
from benchmarks.run import ModelRun

pytest.importorskip("skimage", reason="the photos come from scikit-image")
ANCHOR, OTHERS = "onnxruntime-int8", ("fuseline-fp32", "fuseline-int8")
CONDITIONS = {"num_beams": 4, "max_length": 16, "threads": 2, "photos": 1}


@pytest.fixture
def measured(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[Record]]:
    """What a run of three systems on a tiny model with two variants records, by the bytes that a heat may have."""
    monkeypatch.setenv("FUSELINE_BENCHMARKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "checkpoint", lambda model: tiny_path)

    def run(memory_bytes: int) -> list[Record]:
        specs = [systems.specs()[name] for name in (*OTHERS, ANCHOR)]
        plan = Plan(specs, [MODELS[SHIPPED]], 1, True, Turns(2, 1.0, 0.01), starts=1, memory_bytes=memory_bytes)
        recorder = Recorder(tmp_path / f"{memory_bytes}.jsonl", quick=True)
        ModelRun(plan, MODELS[SHIPPED], recorder, lambda what: None, lambda what: None).run()
        return read(recorder.path)

    return run


def heats_of(records: list[Record], system: str) -> list[int]:
    """The heats of a system's captions."""
    return [record["conditions"]["heat"] for record in pick(records, system=system, metric="caption")]


def rows(page: Path) -> dict[str, list[str]]:
    """The main table of a report: a system's cells."""
    found: dict[str, list[str]] = {}
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found.setdefault(cells[0].removesuffix(" (wrong tokens)"), cells)
    return found


def test_the_anchor_runs_in_every_heat_and_ratios_are_of_one(
    measured: Callable[[int], list[Record]], tmp_path: Path
) -> None:
    records = measured(1)  # so the anchor and one more are all that a heat holds
    assert heats_of(records, ANCHOR) == [1, 2]
    assert [heats_of(records, system) for system in OTHERS] == [[1], [2]]
    for metric in ("folder_size", "agreement", "start", "rest_cpu"):
        assert len(pick(records, system=ANCHOR, metric=metric)) == 1, f"{metric} does not depend on the heat"
    [again] = pick(records, metric="same_again")
    assert again["conditions"]["heat"] in heats_of(records, again["system"])
    page = report.write(records, tmp_path / "results")
    assert "2 heats" in page.read_text()
    for heat, system in enumerate(OTHERS, 1):
        wanted = {"metric": "caption", "heat": heat}
        base, caption = (median(records, system=name, **wanted) for name in (ANCHOR, system))
        assert base and caption
        assert rows(page)[system][3] == f"{base / caption:.2f}"


def test_where_memory_suffices_there_is_one_heat(measured: Callable[[int], list[Record]], tmp_path: Path) -> None:
    records = measured(heats.memory())
    assert [heats_of(records, system) for system in (ANCHOR, *OTHERS)] == [[1], [1], [1]]
    assert "heats" not in report.write(records, tmp_path / "results").read_text()


def test_a_ratio_takes_the_anchor_of_its_own_heat(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "results.jsonl")
    for heat, anchor in ((1, 1000.0), (2, 1200.0)):  # the machine got slower
        recorder.add("transformers-fp32", "vit-gpt2", "caption", [anchor], **CONDITIONS, heat=heat)
        recorder.add(f"optimum-{heat}", "vit-gpt2", "caption", [600.0], **CONDITIONS, heat=heat)
    page = report.write(read(recorder.path), tmp_path / "results")
    ratios = {system: cells[3] for system, cells in rows(page).items() if len(cells) > 3}
    assert ratios["optimum-1"] == "1.67"
    assert ratios["optimum-2"] == "2.00"
    assert ratios["transformers-fp32"] == "1.00", "its row is that of the first heat"
    assert "(caption: 1,000, 1,200 ms)" in page.read_text()


def test_results_of_other_heats_or_none_can_be_compared(tmp_path: Path) -> None:
    before, after = Recorder(tmp_path / "a"), Recorder(tmp_path / "b")
    before.add("transformers-fp32", "vit-gpt2", "caption", [1000.0], **CONDITIONS)
    for heat, anchor in ((1, 1000.0), (2, 1200.0)):
        after.add("transformers-fp32", "vit-gpt2", "caption", [anchor], **CONDITIONS, heat=heat)
    [change] = compare(read(before.path), read(after.path))
    assert (change.before, change.after, change.verdict) == (1000.0, 1000.0, "same")


def test_a_process_tells_its_memory_while_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_path: Path
) -> None:
    monkeypatch.setenv("FUSELINE_BENCHMARKS_CACHE", str(tmp_path))
    with start(systems.specs()["fuseline-int8"], 1) as worker:
        worker.ask("open", folder=str(tiny_path), threads=1)
        peak = worker.ask("memory")["peak"]
        assert 1e7 < heats.resident([worker]) <= heats.needed([worker]) <= peak


def test_the_anchor_comes_first_then_what_is_drawn_together() -> None:
    specs = heats.in_order(list(systems.specs().values()), "transformers-fp32")
    assert specs[0].name == "transformers-fp32"
    scaling = [spec.scaling for spec in specs]
    assert scaling == sorted(scaling, reverse=True)
    assert {spec.name for spec in specs} == set(systems.specs())


def test_a_run_of_everything_measures_in_full_what_quick_measures_at_all() -> None:
    full, brief = in_full_and_brief(list(systems.specs().values()), list(MODELS.values()), 2)
    assert {model.name for model in (*full.models, *brief.models)} == set(MODELS)
    assert all(model.quick for model in full.models)
    assert len(full.specs) == len(systems.specs())
    assert all(spec.quick for spec in brief.specs)
    assert brief.turns.captions < full.turns.captions
