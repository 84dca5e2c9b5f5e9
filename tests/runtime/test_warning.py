"""A warning names the caller's own line, whichever way the call goes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fuseline import Model, pipeline
from fuseline.warning import warn
from tests import tiny


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model.from_pretrained(tiny_path, threads=1)


BOTH: dict[str, Any] = {"max_new_tokens": 3, "max_length": 9}
PHOTO = (tiny.photos(1)[0].transpose(1, 2, 0) * 40 + 120).clip(0, 255).astype("uint8")
CALLS: dict[str, Callable[[Model], object]] = {
    "generate": lambda model: model.generate(tiny.photos(1), **BOTH),
    "stream": lambda model: list(model.stream(tiny.photos(1), **BOTH)),
    "pipeline": lambda model: pipeline(model=model)(PHOTO, generate_kwargs=BOTH),
    "pipeline of a list": lambda model: pipeline(model=model)([PHOTO], generate_kwargs=BOTH),
    "pipeline of an iterator": lambda model: list(pipeline(model=model)(iter([PHOTO]), generate_kwargs=BOTH)),
    "without an effect": lambda model: model.generate(tiny.photos(1), top_k=3),
    "too short": lambda model: model.generate(tiny.photos(1), min_length=30),
    "itself": lambda _: warn("said"),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_callers_line_is_blamed(name: str, model: Model) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CALLS[name](model)
    assert len(caught) >= 1
    for each in caught:
        assert (each.filename, each.category) == (__file__, UserWarning)
        assert each.lineno == inspect.getsourcelines(CALLS[name])[1]


def test_a_warning_that_is_an_error_is_raised(model: Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="max_new_tokens is used"):
            CALLS["generate"](model)


def test_said_once_a_line_unless_asked_otherwise() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            warn("the same")
    assert len(caught) == 1
