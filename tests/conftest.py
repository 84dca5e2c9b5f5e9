"""Fixtures that several rooms use. What needs torch imports it when asked for: the runtime is tested without it too."""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # some tests import onnxruntime first

import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# A shell that runs this in the background, or nohup, has Ctrl-C ignored, and tests of it would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
