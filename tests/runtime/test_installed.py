"""The onnxruntime that is installed: what is wrong with it is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from fuseline.graphs import installed
from tests.processes import in_python

_OPEN = """
from fuseline import Model
from fuseline.errors import Error
try:
    Model.from_pretrained(device={!r})
except Error as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            "raise ImportError('libgomp.so.1: cannot open shared object file')",
            "cannot be loaded: ImportError: libgomp.so.1",
        ),
        ("import no_such_part", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_part'"),
        ("", "cannot be loaded: AttributeError: "),
        ("__version__ = '1.32.0'", "cannot be loaded: AttributeError: "),
        ("__version__ = '1.19.2'\nInferenceSession = 1", "onnxruntime 1.19.2 is too old; fuseline needs 1.20 or later"),
    ],
)
def test_an_onnxruntime_that_cannot_be_used_is_said_in_a_sentence(source: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(source)
    done = in_python(_OPEN.format("cpu"), tmp_path)
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)
    assert done.stdout.startswith("DeviceError onnxruntime")
    assert sentence in done.stdout


def test_there_is_no_onnxruntime(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['onnxruntime'] = None\n"
    assert (
        "cannot be loaded: it is not installed; pip install onnxruntime"
        in in_python(hidden + _OPEN.format("cpu")).stdout
    )


def test_two_packages_in_one_place_are_recognised(tmp_path: Path) -> None:
    """Real folders as pip leaves them, beside a package that is whole."""
    (tmp_path / "onnxruntime").symlink_to(Path(onnxruntime.__file__).parent)
    names = [
        "onnxruntime-1.32.0",
        "onnxruntime_gpu-1.31.1",
        "onnxruntime_ep_webgpu-0.4.0",
        "onnxruntime_extensions-0.14.0",
    ]
    for name in names:
        (tmp_path / f"{name}.dist-info").mkdir()
    done = in_python("from fuseline.graphs.installed import wheels; print(wheels())\n" + _OPEN.format("cuda"), tmp_path)
    found, error = done.stdout.splitlines()
    assert found == "['onnxruntime 1.32.0', 'onnxruntime-gpu 1.31.1']"
    assert error.startswith("DeviceError there is no device 'cuda' here; available: cpu")
    assert "onnxruntime 1.32.0, onnxruntime-gpu 1.31.1 overwrite each other's files: pip uninstall" in error


_EMPTIED = """
import sys
from importlib.machinery import ModuleSpec

class Emptied:
    def find_spec(self, name, path=None, target=None):
        if name != "onnxruntime":
            return None
        spec = ModuleSpec(name, None, is_package=True)  # a folder without a module, as Python finds it
        spec.submodule_search_locations.append({!r})
        return spec

sys.meta_path.insert(0, Emptied())
"""


def test_a_package_whose_files_another_took_along_is_said_with_what_mends_it(tmp_path: Path) -> None:
    """As pip leaves it where onnxruntime-openvino was installed beside onnxruntime, and that was uninstalled."""
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    (tmp_path / "onnxruntime_openvino-1.24.1.dist-info").mkdir()
    done = in_python(_EMPTIED.format(str(tmp_path / "onnxruntime")) + _OPEN.format("cpu"))
    assert done.stdout == (
        "DeviceError onnxruntime cannot be loaded: most files of onnxruntime-openvino are gone, as after another "
        "package that shares its folder was uninstalled; pip install --force-reinstall --no-deps onnxruntime-openvino\n"
    ), done.stderr


def test_here_is_one_package() -> None:
    assert installed.wheels() in ([f"onnxruntime {onnxruntime.__version__}"], [])  # none where it was built here


def test_telemetry_is_off_also_where_onnxruntime_was_loaded_before() -> None:
    code = """
import onnxruntime
calls = []
onnxruntime.disable_telemetry_events = lambda: calls.append(1)
from fuseline.graphs.installed import onnxruntime as ours
assert ours() is onnxruntime and ours() is onnxruntime
print(calls)
"""
    assert in_python(code).stdout == "[1]\n"
