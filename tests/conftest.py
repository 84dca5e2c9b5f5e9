"""Fixtures that several rooms use. What needs torch imports it when asked for: the runtime is tested without it too."""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # some tests import onnxruntime first

import gc
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# A shell that runs this in the background, or nohup, has Ctrl-C ignored, and tests of it would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # a process of pytest-xdist has the folder of the one that started it
        from tests import made_once

        config.add_cleanup(made_once.begin().cleanup)


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays. Each of the hundreds of exports collects garbage twice, and looking
    through these 700,000 objects takes half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _nothing_fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What whoever runs the tests has fetched is nothing to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSELINE_DATA", str(tmp_path_factory.mktemp("fetched")))
        yield


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fuseline folder of tests.tiny.tiny_model(0), fp32 (the default) and int8. Shared: copy it to change it."""
    pytest.importorskip("torch")
    from tests import tiny

    return tiny.tiny_folder(tmp_path_factory.mktemp("model"), seed=0, variants=("fp32", "int8"))


@pytest.fixture(scope="session")
def tiny_reference() -> Any:
    """The transformers model that tiny_path was made of. Shared, so not to be changed."""
    pytest.importorskip("torch")
    from tests import tiny

    return tiny.tiny_model(0)


@pytest.fixture(scope="session")
def text_model_made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """tests.text_folders.made, each model once: its checkpoint and its folder. Shared: copy them to change them."""
    pytest.importorskip("torch")
    pytest.importorskip("sentencepiece")
    from tests import text_folders

    return cache(lambda name: text_folders.made(name, tmp_path_factory.mktemp("text_model")))
