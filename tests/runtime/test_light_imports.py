"""The runtime alone: what it may not import, and what it does not import before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests import tiny

FORBIDDEN = ("torch", "transformers", "onnx", "fuseline.export", "onnxscript", "ml_dtypes", "huggingface_hub")
REFUSE = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if any(name == each or name.startswith(each + ".") for each in {FORBIDDEN!r}):
            raise ImportError("the runtime asked for " + name)

sys.meta_path.insert(0, Refuse())
"""
CAPTION = """
import json
import fuseline
text = fuseline.pipeline("image-to-text", sys.argv[1])(sys.argv[2])[0]["generated_text"]
from fuseline import cli
assert cli.main(["caption", "--model", sys.argv[1], sys.argv[2]]) == 0
modules = sorted(sys.modules)
assert cli.main(["info", sys.argv[1]]) == 0
print(json.dumps([text, modules]))
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_folder(tmp_path_factory.mktemp("light"), seed=0)


def test_a_caption_needs_the_runtime_only(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "green").save(tmp_path / "photo.jpg")
    text, modules = json.loads(run(REFUSE + CAPTION, str(folder), str(tmp_path / "photo.jpg")).splitlines()[-1])
    assert text.startswith("word")
    for name in FORBIDDEN:
        assert name not in modules
    for name in (
        "tqdm",
        "PIL.PngImagePlugin",
        "PIL.TiffImagePlugin",
        "asyncio",
        "urllib.request",
        "fuseline.speech.transcriber",
        "fuseline.inputs.audio",
        "fuseline.inputs.texts",
        "fuseline.inputs.photos.tiff",
        "fuseline.tokens.hf",
        "fuseline.folders.foreign",
        "fuseline.graphs.foreign",
        "fuseline.graphs.static",
        "fuseline.graphs.fallback",
        "fuseline.trials.device_check",
        "fuseline.cli.transcribe",
        "importlib.resources",
    ):
        assert name not in modules, f"{name} takes time and a JPEG photo does not need it"


BLAS = "OPENBLAS_NUM_THREADS"


@pytest.mark.parametrize(
    ("before", "threads"),
    [("", "1"), ("import numpy", "None"), (f"import os; os.environ[{BLAS!r}] = '3'", "3")],
    ids=["command", "numpy is there", "asked for"],
)
def test_a_caption_starts_no_threads_of_blas(
    before: str, threads: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (40, 30), "green").save(tmp_path / "photo.jpg")
    monkeypatch.delenv(BLAS, raising=False)
    command = "import sys; from fuseline import cli; cli.main(['caption', '--model', *sys.argv[1:]])"
    said = f"import os; print(os.environ.get({BLAS!r}))"
    code = f"{before}\n{command}\n{said}"
    assert run(code, str(folder), str(tmp_path / "photo.jpg")).splitlines()[-1] == threads


def test_the_refusal_works() -> None:
    done = subprocess.run([sys.executable, "-c", REFUSE + "import torch"], capture_output=True, text=True, check=False)
    assert "the runtime asked for torch" in done.stderr


@pytest.mark.parametrize("code", ["import fuseline", "import fuseline; fuseline.Error, dir(fuseline)"])
def test_importing_the_package_imports_nothing_heavy(code: str) -> None:
    modules = run(f"{code}\nimport sys; print(*sys.modules)").split()
    assert "fuseline" in modules
    for name in ("numpy", "onnxruntime", "PIL", "tokenizers", "tqdm"):
        assert name not in modules


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_the_command_line_answers_without_the_heavy_ones(argument: str) -> None:
    code = f"import sys, fuseline.cli\ntry: fuseline.cli.main([{argument!r}])\nexcept SystemExit: print(*sys.modules)"
    modules = run(code).splitlines()[-1].split()
    assert "fuseline.cli" in modules
    for name in ("numpy", "onnxruntime", "PIL", "tokenizers", "tqdm"):
        assert name not in modules


def test_the_public_names() -> None:
    import fuseline

    assert (
        {"pipeline", "Model", "GenerationConfig", "Generation", "Error"} <= set(fuseline.__all__) <= set(dir(fuseline))
    )
    for name in fuseline.__all__:
        assert getattr(fuseline, name).__module__.startswith("fuseline.")
    with pytest.raises(AttributeError, match="no_such_name"):
        fuseline.no_such_name  # noqa: B018
