"""Devices are tried in processes of their own: what crashes or hangs there is a sentence here.

What crashes is a real library that onnxruntime registers as a plugin's: its constructor does it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fuseline.errors import DeviceError
from fuseline.trials import apart
from tests.processes import in_python
from tests.runtime.test_plugins import PLUGIN, plugin

COMPILER = shutil.which("c++") or shutil.which("g++")
needs_compiler = pytest.mark.skipif(COMPILER is None or sys.platform == "win32", reason="needs a C++ compiler")

# What the library does when it is loaded, and what is said of it.
CRASHES = {
    "a null pointer": (
        "volatile int *nothing = nullptr; *nothing = 1;",
        "its provider crashes: the process that tried it was ended by SIGSEGV",
    ),
    "an exception that nobody catches": (
        'throw std::runtime_error("no adapter answers");',
        "its provider crashes: the process that tried it was ended by SIGABRT: no adapter answers",
    ),
    "the end of the program": (
        'fprintf(stderr, "licence expired\\n"); _exit(3);',
        "its provider crashes: the process that tried it ended with exit status 3: licence expired",
    ),
    "a loop": ("for (;;) sleep(1);", "it did not answer within 4 s, and its process was ended"),
}


def crashing(root: Path, does: str) -> Path:
    """The folder of a plugin whose library does that when it is loaded."""
    source, library = root / "crash.cpp", root / "libcrash.so"
    begin = (
        "#include <cstdio>\n#include <stdexcept>\n#include <unistd.h>\nnamespace { struct Crash { Crash() noexcept {"
    )
    source.write_text(f"{begin} {does} }} }} crash; }}\n")
    assert COMPILER is not None
    subprocess.run([COMPILER, "-shared", "-fPIC", "-w", "-o", library, source], check=True)
    return plugin(root, PLUGIN.format(str(library)))


def devices(path: Path, folder: Path, seconds: float = 180.0) -> list[dict[str, Any]]:
    """What `fuseline devices --json` says with packages at the path; seconds: for what lists devices."""
    code = (
        "import sys; from fuseline.cli import main; from fuseline.trials import apart; "
        f"apart.LOOKING = {seconds}; sys.exit(main(['devices', {str(folder)!r}, '--threads', '1', '--json']))"
    )
    done = in_python(code, path, XDG_CACHE_HOME=str(path / "cache"))
    assert done.stderr == ""
    found: list[dict[str, Any]] = json.loads(done.stdout)["devices"]
    return found


@needs_compiler
@pytest.mark.parametrize("name", CRASHES)
def test_a_provider_that_crashes_is_a_line_with_the_reason(name: str, tmp_path: Path, tiny_path: Path) -> None:
    does, sentence = CRASHES[name]
    cpu, novel = devices(crashing(tmp_path, does), tiny_path, 4.0 if name == "a loop" else 180.0)
    assert (cpu["name"], cpu["tokens"], cpu["reason"]) == ("cpu", True, None)
    assert (novel["name"], novel["package"], novel["tokens"]) == ("novel", "onnxruntime-ep-novel 0.4.0", None)
    assert novel["reason"] == sentence


@needs_compiler
def test_auto_survives_a_provider_that_crashes_and_remembers(tmp_path: Path, tiny_path: Path) -> None:
    """The second time nothing is tried, nor is the provider loaded."""
    path = crashing(tmp_path, CRASHES["a null pointer"][0])
    code = (
        "import fuseline, fuseline.trials.apart as apart\n"
        "asked, run = [], apart.run\n"
        "apart.run = lambda *given: asked.append(given[0]) or run(*given)\n"
        f"model = fuseline.Model.from_pretrained({str(tiny_path)!r}, device='auto', threads=1)\n"
        "print(model.device, asked)\n"
    )
    said = [in_python(code, path, XDG_CACHE_HOME=str(tmp_path / "cache")).stdout for _ in range(2)]
    assert said == ["cpu ['listed']\n", "cpu []\n"]


def test_an_answer_and_an_error_come_back() -> None:
    (found,) = apart.run("listed", {"names": ["cpu"]})
    assert (found["name"], found["provider"]) == ("cpu", "CPUExecutionProvider")
    facts = {"folder": "nowhere", "variant": "fp32", "threads": 1, "options": None}
    assert "there is no device 'tpu' here" in apart.run("tried", {**facts, "device": "tpu"})["reason"]
    assert "nowhere" in apart.run("tried", {**facts, "device": "cpu"})["reason"]


def test_a_process_that_takes_too_long_is_ended() -> None:
    with pytest.raises(DeviceError, match="it did not answer within 0 s, and its process was ended"):
        apart.run("listed", {"names": ["cpu"]}, 0.001)


def test_a_program_that_is_no_python_tries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that PyInstaller has made would start itself again."""
    for name, value in (("executable", "/opt/captions/app"), ("executable", ""), ("frozen", True)):
        with monkeypatch.context() as patched:
            patched.setattr(sys, name, value, raising=False)
            with pytest.raises(DeviceError, match="this program has no Python that could try it apart; name it to use"):
                apart.run("listed", {"names": ["cpu"]})


def test_a_module_of_the_current_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a file of the current folder was run')")
    monkeypatch.chdir(tmp_path)
    assert apart.run("listed", {"names": ["cpu"]})[0]["name"] == "cpu"


def test_a_trial_that_has_no_folder_for_its_files_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "it is not tried, since a trial needs a folder that can be written to .No such file .*; TMPDIR names one"
    with monkeypatch.context() as patch, pytest.raises(DeviceError, match=sentence):
        patch.setattr(tempfile, "tempdir", "/nowhere")
        apart.run("listed", {"names": []})
