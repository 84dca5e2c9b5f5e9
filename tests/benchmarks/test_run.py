"""A small run from end to end, with systems that need no environment of their own, and the report that comes of it."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import environments, report, systems
from benchmarks.__main__ import main
from benchmarks.client import ROOT, as_installed
from benchmarks.errors import first_sentence
from benchmarks.models import SHIPPED
from benchmarks.plan import Turns
from benchmarks.profile import GLUE, PYTHON, Span, chrome_trace, table
from benchmarks.records import Recorder, median, pick, read
from benchmarks.run import Contestant, agreement

pytest.importorskip("skimage", reason="the photos come from scikit-image")
STORED = Path(__file__).with_name("small_result.jsonl")


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems and one that has no such variant, on the captioner that ships."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSELINE_BENCHMARKS_CACHE", str(folder / "cache"))
        patch.setattr("benchmarks.machine._SECONDS", 0.1)
        chosen = ["--systems", "fuseline-int8", "onnxruntime-int8", "fuseline-fp32"]
        out = folder / "results.jsonl"
        assert main(["run", "--quick", *chosen, "--models", "default-captioner", "--out", str(out)]) == 0
    return out


def test_starts_are_of_systems_that_are_compiled() -> None:
    assert as_installed({"PYTHONDONTWRITEBYTECODE": "1", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_a_run_measures_every_system_and_says_why_one_could_not(small_run: Path) -> None:
    records = read(small_run)  # which validates every line
    for system in ("fuseline-int8", "onnxruntime-int8"):
        for metric in ("caption", "encoder", "first_step", "step", "photo", "start", "start_import", "start_open"):
            assert median(records, system=system, metric=metric) is not None, metric
        assert pick(records, system=system, metric="caption")[0]["conditions"]["num_beams"] == 4
        # Without the library the last bits of sums flip codes of 8 bits, and now and then a word; all that follows is
        # another text then, and a quick run has few photos.
        assert (median(records, system=system, metric="agreement") or 0) > 0.4
        assert (median(records, system=system, metric="peak_memory") or 0) > 2e7
    assert pick(records, metric="same_again")
    assert (median(records, system="machine", metric="read_bandwidth", threads=1) or 0) > 1e6
    [refused] = pick(records, status="refused")
    assert refused["system"] == "fuseline-fp32"
    assert "has no variant 'fp32'" in refused["reason"]
    assert "/" not in refused["reason"].split()[1][:1], "a path of this machine says nothing elsewhere"


def test_a_run_can_be_reported(small_run: Path, tmp_path: Path) -> None:
    page = report.write(read(small_run), tmp_path / "results").read_text()
    assert "onnxruntime-int8" in page
    assert "has no variant 'fp32'" in page


def test_the_report_of_a_stored_result(tmp_path: Path) -> None:
    records = read(STORED)
    page = report.write(records, tmp_path)
    text = page.read_text()
    rows: dict[str, list[str]] = {}
    for cells in [line.split("|") for line in text.splitlines() if line.startswith("|")]:
        rows.setdefault(cells[1].strip(), cells)  # the main table comes first
    # 1,000 ms of transformers over 200 ms; a step of 10 ms over 138 MB at 34.5 GB a second, 4 ms.
    assert [cell.strip() for cell in rows["fuseline-int8"][2:5]] == ["**200**", "208", "5.00"]
    assert "| 2.5 |" in text
    assert "optimum-fp32-merged (wrong tokens)" in text
    assert "the process was ended by SIGSEGV" in text
    for picture in tmp_path.glob("*.svg"):
        assert picture.name in text
        drawn = ElementTree.parse(picture).getroot()
        assert drawn.tag.endswith("svg")
        assert "#ffffff" not in picture.read_text(), "a white ground is glaring in dark mode"
    assert read(tmp_path / "speed.jsonl") == records


def test_a_report_takes_each_models_last_run_on_the_same_cpu(tmp_path: Path) -> None:
    path, runs = tmp_path / "results.jsonl", []
    for model, caption in (("vit-gpt2", 900.0), ("vit-gpt2", 1000.0), (SHIPPED, 10.0)):
        recorder = Recorder(path)
        recorder.add("fuseline-int8", model, "caption", [caption], num_beams=4, max_length=16, threads=2, photos=1)
        for step in () if model == SHIPPED else (-3.0,):  # compiled anew for each length
            recorder.add("fuseline-int8", model, "first_step", [5000.0])
            recorder.add("fuseline-int8", model, "step", [step])
        for system in ("optimum-a", "optimum-b"):
            recorder.refuse(system, model, "caption", "the export fails")
        runs.append(recorder.run)
    found = read(path)
    assert [median(found, model=model, metric="caption") for model in ("vit-gpt2", SHIPPED)] == [1000.0, 10.0]
    assert {record["run"] for record in found} == set(runs[1:])
    assert median(read(path, runs[0]), metric="caption") == 900.0
    text = report.write(found, tmp_path / "out").read_text()
    assert "| optimum-a, optimum-b | the export fails |" in text
    assert "5,000" not in text
    last = json.loads(path.read_text().splitlines()[-1])
    last["machine"]["cpu"] = "another"
    path.write_text(path.read_text() + json.dumps({**last, "run": "there"}) + "\n")
    assert {record["run"] for record in read(path)} == {"there"}, "figures of two machines have no common page"


def test_a_fast_system_has_more_than_one_turn() -> None:
    turns = Turns(captions=10, seconds=15.0)
    fast = Contestant(systems.specs()["fuseline-int8"], None, "fuseline-int8", 22, found={"16": [10.0] * 25})  # type: ignore[arg-type]
    assert not fast.enough(turns, 1)
    assert fast.enough(turns, turns.least)
    fast.found = {"16": [8000.0, 8000.0]}
    assert fast.enough(turns, 2), "15 s are enough"


def test_the_readme_gets_the_main_table_between_its_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.into_readme(read(STORED), readme, tmp_path / "docs" / "results")
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "(docs/results/speed-vit-gpt2.svg)" in text
    assert "optimum-fp32-merged" not in text, "what is wrong is no competition"


@pytest.mark.parametrize(
    ("right", "found", "share"),
    [
        ([[1, 2, 3, 4, 5]], [[1, 2, 3, 4, 5]], 1.0),
        ([[1, 2, 3, 4, 5]], [[1, 2, 3, 9, 9]], 0.5),
        ([[1, 2, 3, 4, 5]], [[1, 2, 3]], 0.5),  # what is missing is wrong
        ([[1, 2, 3]], [[1, 2, 3, 4, 5]], 0.5),  # and so is what is too much
        ([[1, 2], [1, 3]], [[1, 2], [1, 4]], 0.5),
    ],
)
def test_the_start_token_is_no_merit(right: list[list[int]], found: list[list[int]], share: float) -> None:
    assert agreement(right, found) == share


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--systems", "tensorflow"], "there is no system tensorflow; there are "),
        (["run", "--models", "gpt-5"], "there is no model gpt-5; there are vit-gpt2, "),
        (["run", "--threads", "0"], "--threads must be at least 1, not 0"),
        (["report", "nowhere.jsonl"], "nowhere.jsonl cannot be read: No such file"),
        (["profile", "--model", "nowhere"], "nowhere is no folder, and no model of vit-gpt2, "),
    ],
)
def test_a_mistake_gets_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("one\ntwo", "ValueError: one"),
        ("", "ValueError: without a message"),
        ("Exception from a.cpp:2:\nCaught: Exception from b.cpp:7:\nshapes differ\n", "ValueError: shapes differ"),
    ],
)
def test_a_refusal_says_what_was_wrong_and_not_where(message: str, said: str) -> None:
    assert first_sentence(ValueError(message)) == said


def test_every_system_has_what_its_file_promises() -> None:
    for name, spec in systems.specs().items():
        file = systems.module(spec.module)
        assert callable(file.imports), name
        assert callable(file.System), name
        assert spec.reads == systems.CHECKPOINT or spec.reads in systems.exports(), name
        requirements = systems.requirements(spec.module)
        if requirements is not None:
            lines = requirements.read_text().split()
            assert all("==" in line for line in lines), f"{requirements} must pin every version"
            assert "torch==2.13.0" in lines or not any(line.startswith("torch==") for line in lines)


def test_systems_are_listed_where_nothing_is_installed() -> None:
    """As in the environments of other systems, which have no fuseline."""
    listing = "from benchmarks import systems; print(*systems.specs())"
    done = subprocess.run([sys.executable, "-S", "-c", listing], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == list(systems.specs()), done.stderr


def test_an_environment_without_fuseline_is_given_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSELINE_BENCHMARKS_CACHE", str(tmp_path))
    path = environments._fuseline_path()
    code = f"""if True:
        import pkgutil, sys
        from importlib import import_module

        sys.meta_path = [each for each in sys.meta_path if "editable" not in type(each).__module__]
        sys.path.insert(0, {str(path)!r})
        import fuseline
        names = [each.name for each in pkgutil.walk_packages(fuseline.__path__, "fuseline.")]
        for name in names:
            if not name.endswith(("__main__", "hook-fuseline", "libfuseline_kernels")):
                import_module(name)
        print(fuseline.__file__, *names)
    """
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    file, *names = done.stdout.split()
    assert file == str(path / "fuseline" / "__init__.py"), done.stderr
    here = {"fuseline.": ROOT / "runtime" / "fuseline", "fuseline.kernels.": ROOT / "kernels"}
    whole = {each.name for name, folder in here.items() for each in pkgutil.walk_packages([str(folder)], name)}
    assert set(names) ^ whole <= {"fuseline.kernels", "fuseline.kernels.libfuseline_kernels"}  # the latter no module


def test_a_profile_adds_up() -> None:
    spans = [
        Span("caption", "caption", 0, 10_000),
        Span("encoder", "encoder", 100, 4_000),
        Span("MatMul", "node", 200, 3_000),
        Span("step 1", "decoder", 5_000, 3_000),
        Span("MatMul", "node", 5_100, 2_000),
        Span("Add", "node", 7_200, 500),
    ]
    rows = {row.name: (row.calls, row.milliseconds) for row in table(spans)}
    assert rows == {"MatMul": (2, 5.0), "Add": (1, 0.5), GLUE: (2, 1.5), PYTHON: (2, 3.0)}
    trace = json.loads(json.dumps(chrome_trace(spans)))
    assert sum(event["ph"] == "X" for event in trace["traceEvents"]) == len(spans)
