"""Whatever is given to a public name is used, or refused in one sentence of fuseline's."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fuseline
from fuseline import Model, pipeline
from fuseline.graphs.contract import Encoded
from tests import tiny


class Hostile:
    """Cannot even be looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def nested() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


ODD: dict[str, Callable[[], Any]] = {
    "a number": lambda: 5,
    "a number of 5,000 digits": lambda: 10**5000,
    "bytes": lambda: b"bytes",
    "an array": lambda: np.arange(3),
    "an array without dimensions": lambda: np.array(3),
    "memory of two dimensions": lambda: memoryview(np.zeros((3, 3))),  # type: ignore[arg-type]
    "a nested list": nested,
    "a mapping": lambda: {1: 2},
    "a list of one list": lambda: [[]],
    "a type": lambda: int,
    "a file of nothing": io.RawIOBase,
    "what cannot be shown": Hostile,
}

CALLS: dict[str, Callable[[Model, Any], object]] = {
    "folder": lambda model, odd: Model.from_pretrained(odd),
    "variant": lambda model, odd: Model.from_pretrained(model.folder.path, odd),
    "device": lambda model, odd: Model.from_pretrained(model.folder.path, None, odd),
    "threads": lambda model, odd: Model.from_pretrained(model.folder.path, None, threads=odd),
    "task": lambda model, odd: pipeline(odd, model),
    "model": lambda model, odd: pipeline(model=odd),
    "batch_size": lambda model, odd: pipeline(model=model, batch_size=odd),
    "generate_kwargs": lambda model, odd: pipeline(model=model, generate_kwargs=odd),
    "max_new_tokens": lambda model, odd: pipeline(model=model, max_new_tokens=odd),
    "generation_config": lambda model, odd: model.generate(tiny.photos(1), generation_config=odd),
    "prompt": lambda model, odd: pipeline(model=model, prompt=odd),
    "dtype": lambda model, odd: Model.from_pretrained(model.folder.path, dtype=odd),
    "provider": lambda model, odd: Model.from_pretrained(model.folder.path, None, provider=odd),
    "tokenizer": lambda model, odd: pipeline(model=model, tokenizer=odd),
    "device of an open model": lambda model, odd: pipeline(model=model, device=odd),
    "threads of an open model": lambda model, odd: pipeline(model=model, threads=odd),
    "device of a model": lambda model, odd: model.to(odd),
    "photo": lambda model, odd: pipeline(model=model)(odd),
    "image_processor": lambda model, odd: model.image_processor(odd),
    "image_processor of a list": lambda model, odd: model.image_processor([odd]),
    "pixel_values": lambda model, odd: model.generate(odd),
    "encoded values": lambda model, odd: model.generate(Encoded(1, odd)),
    "decoder_input_ids": lambda model, odd: model.generate(tiny.photos(1), odd),
    "num_return_sequences": lambda model, odd: model.stream(tiny.photos(1), num_return_sequences=odd),
    "cancel": lambda model, odd: model.generate(tiny.photos(1), cancel=odd),
    "text": lambda model, odd: model.score(tiny.photos(1), odd),
    "sequences": lambda model, odd: model.decode(odd),
}


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model.from_pretrained(tiny_path, "fp32")


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("call", CALLS)
def test_an_odd_argument(model: Model, call: str, odd: str) -> None:
    if (call, odd) in {("threads", "a number"), ("batch_size", "a number"), ("max_new_tokens", "a number")}:
        CALLS[call](model, ODD[odd]())
        return
    with pytest.raises(fuseline.Error) as caught:
        CALLS[call](model, ODD[odd]())
    assert "\n" not in str(caught.value)
