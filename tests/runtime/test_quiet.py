"""Nothing leaves the machine and nothing is written where nobody asked: whole commands, watched by strace.

Every system call of the process and its threads that has to do with the network, or that makes, changes or removes a
file, is written down. strace is a package of Debian's; without it the commands are not watched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import tiny

PHOTOS = 300  # what onnxruntime has to report goes out after some minutes or many runs, if it does
CHANGES = "creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat"
CHANGES += ",truncate,ftruncate,chmod,fchmod,fchmodat,mknod,mknodat"
WATCHED = f"%network,open,openat,{CHANGES}"
FOR_WRITING = re.compile(r'open(?:at)?\((?:[^"]*, )?"([^"]*)", [^)]*O_(?:WRONLY|RDWR|CREAT|TMPFILE)')
NOT_ON_DISK = ("/dev/null", "/dev/tty", "/proc/self/")

watched = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def calls(home: Path, *command: str, status: int = 0) -> list[str]:
    """The watched calls of a command with a home of its own, without those that only read."""
    log = home / "calls"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "ORT_", "HF_"))}
    environment |= {"HOME": str(home), "TMPDIR": str(home / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    (home / "tmp").mkdir(parents=True)
    tracer = ["strace", "-f", "-qq", "-s", "300", "-e", f"trace={WATCHED}", "-o", str(log)]
    done = subprocess.run([*tracer, *command], env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    lines = log.read_text(errors="replace").splitlines()
    assert any("onnxruntime" in line for line in lines), "strace has seen nothing"
    log.unlink()
    return [line for line in lines if changes(line)]


def changes(line: str) -> bool:
    """Whether a line of strace is a call that uses the network, or changes files on a disk, and did not fail."""
    if " = -1 " in line or "+++" in line or "---" in line or "resumed>" in line:
        return False
    if re.search(r"\bopen(at)?\(", line):
        found = FOR_WRITING.search(line)
        return found is not None and not found[1].startswith(NOT_ON_DISK)
    return True


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(PHOTOS):
        Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)).save(folder / f"{number}.jpg")
    return folder


@watched
def test_captions_of_hundreds_of_photos(photos: Path, tmp_path: Path) -> None:
    assert calls(tmp_path / "home", sys.executable, "-m", "fuseline", "caption", str(photos)) == []
    assert sorted(path.name for path in (tmp_path / "home").rglob("*")) == ["tmp"]


@watched
def test_the_api_and_a_model_that_has_to_be_measured(photos: Path, tmp_path: Path) -> None:
    folder = tiny.tiny_folder(tmp_path, seed=0, variants=("fp32", "int8"))
    code = "import sys, fuseline; fuseline.pipeline(model=sys.argv[1])(sys.argv[2:])"
    some = [str(photos / f"{number}.jpg") for number in range(3)]
    seen = calls(tmp_path / "home", sys.executable, "-c", code, str(folder), *some)
    # What was measured is kept in the cache, as README says; nothing else is.
    assert [line for line in seen if "/home/.cache/fuseline/" not in line and '.cache"' not in line] == []


@watched
def test_what_strace_would_see(tmp_path: Path) -> None:
    code = "import onnxruntime, socket; open('written', 'w'); socket.socket()"
    seen = calls(tmp_path / "home", sys.executable, "-c", code)
    assert any('"written"' in line for line in seen)
    assert any("socket(AF_INET" in line for line in seen)


@pytest.mark.parametrize("package", ["fuseline", "fuseline.kernels", "fuseline.export", "fuseline.cli", "benchmarks"])
def test_telemetry_is_off_before_onnxruntime_loads(package: str) -> None:
    code = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
sys.meta_path.insert(0, Watch())
import {package}
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "0"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()


# Stands for onnxruntime, which would begin to report here.
LOADED = "import sys, types; sys.modules['onnxruntime'] = types.ModuleType('onnxruntime'); "
LOADED += "sys.modules['onnxruntime'].__version__ = '1.32.0'"


@pytest.mark.parametrize(("first", "said"), [("", 0), (LOADED, 1)])
def test_a_report_that_cannot_be_stopped_any_more_is_said(first: str, said: int, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", f"{first}\nimport fuseline"]
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.count("import fuseline first") == said
    assert done.stderr.count("<string>:2: RuntimeWarning") == said
