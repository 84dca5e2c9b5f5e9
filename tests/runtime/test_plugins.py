"""Providers that are packages of their own: found without importing anything else, and what hinders them is said."""

from __future__ import annotations

from pathlib import Path

from tests.processes import in_python

PLUGIN = """
def get_ep_names():
    return ["NovelExecutionProvider"]
def get_library_path():
    return {!r}
"""


def plugin(root: Path, source: str, name: str = "onnxruntime_ep_novel") -> Path:
    """A package as pip leaves one."""
    (root / name).mkdir()
    (root / name / "__init__.py").write_text(source)
    (root / f"{name}-0.4.0.dist-info").mkdir()
    return root


def test_a_plugin_is_found_by_its_folder_and_what_it_lists_nothing_for_is_said(tmp_path: Path) -> None:
    library = tmp_path / "libnovel.so"
    library.write_text("no library")
    done = in_python(
        "from fuseline.graphs.devices import devices, device_of\n"
        "print(devices()['novel'])\n"
        "try:\n    device_of('novel:GPU')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n",
        plugin(tmp_path, PLUGIN.format(str(library))),
    )
    provider, error = done.stdout.splitlines()
    assert provider == "NovelExecutionProvider"
    assert error.startswith("DeviceError the device novel:GPU cannot be used: onnxruntime-ep-novel 0.4.0 cannot be ")
    assert "libnovel.so" in error
    assert done.stderr == ""


def test_a_plugin_that_cannot_be_imported_is_none(tmp_path: Path) -> None:
    done = in_python(
        "from fuseline.graphs.plugins import plugins; print(plugins())", plugin(tmp_path, "raise OSError('broken')")
    )
    assert done.stdout == "()\n"


def test_a_package_without_a_folder_of_its_own_is_no_plugin(tmp_path: Path) -> None:
    """As the onnxruntime-qnn of old, which brought a whole onnxruntime."""
    (tmp_path / "onnxruntime_qnn-1.20.0.dist-info").mkdir()
    assert in_python("from fuseline.graphs.plugins import plugins; print(plugins())", tmp_path).stdout == "()\n"


def test_the_cpu_imports_no_plugin(tmp_path: Path) -> None:
    done = in_python(
        "import sys, fuseline; fuseline.Model.from_pretrained(threads=1); print('onnxruntime_ep_novel' in sys.modules)",
        plugin(tmp_path, PLUGIN.format("nowhere")),
    )
    assert done.stdout == "False\n"
