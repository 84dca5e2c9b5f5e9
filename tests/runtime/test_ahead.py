"""Inputs are read while those before them are worked on: in order, a few ahead, and nothing is left behind."""

from __future__ import annotations

import gc
import io
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseline import Model, pipeline
from fuseline.errors import InputError
from fuseline.inputs.ahead import AHEAD, ReadAhead
from fuseline.pipelines.image_to_text import ImageToText
from fuseline.warning import warn
from tests.runtime.test_cli import program

LONG = 20.0  # seconds, for what must happen at some time; nothing here waits for all of it unless it fails


def until(happened: Callable[[], bool]) -> bool:
    end = time.monotonic() + LONG
    while not happened() and time.monotonic() < end:
        time.sleep(0.002)
    return happened()


def readers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "fuseline reads ahead"]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    assert readers() == []
    yield
    gc.collect()
    assert until(lambda: readers() == [])


@pytest.mark.parametrize("most", [0, 1, 2, 5])
def test_results_come_in_the_order_of_the_items(most: int) -> None:
    random = np.random.default_rng(most)
    pauses = random.uniform(0, 0.004, 30)

    def make(number: int) -> int:
        time.sleep(pauses[number])
        return number * number

    with ReadAhead(make, most) as reading:
        assert [(each.item, each.get()) for each in reading.over(range(30))] == [(n, n * n) for n in range(30)]


@pytest.mark.parametrize("most", [0, 2])
def test_an_error_belongs_to_its_item_and_the_rest_goes_on(most: int) -> None:
    found: list[object] = []
    with ReadAhead(lambda number: 12 // number, most) as reading:
        for each in reading.over([3, 0, 4]):
            try:
                found.append(each.get())
            except ZeroDivisionError as error:
                found.append(type(error))
    assert found == [4, ZeroDivisionError, 3]


@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_what_the_items_raise_comes_after_the_items_before_it(most: int) -> None:
    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        raise LookupError("no more")

    found = []
    with ReadAhead(str, most) as reading, pytest.raises(LookupError, match="no more"):
        for each in reading.over(items()):
            found.append(each.get())
    assert found == ["1", "2", "3"]


@pytest.mark.parametrize("most", [1, 2, 4])
def test_no_more_is_read_than_is_allowed(most: int) -> None:
    """While one is worked on, `most` others are asked for and made, and never one more."""
    asked, made = [], []

    def items() -> Iterator[int]:
        for number in range(12):
            asked.append(number)
            yield number

    def make(number: int) -> int:
        made.append(number)
        return number

    with ReadAhead(make, most) as reading:
        for count, _ in enumerate(reading.over(items()), start=1):
            expected = min(count + most, 12)
            assert until(lambda expected=expected: len(made) == expected)
            time.sleep(0.01)
            assert len(asked) == len(made) == expected


def test_results_are_let_go_of() -> None:
    """Only so many are in memory together: the one that was given, those ahead, and none of before."""

    class Large:
        pass

    alive: weakref.WeakSet[Large] = weakref.WeakSet()

    def make(number: int) -> Large:
        large = Large()
        alive.add(large)
        assert len(alive) <= 2 + AHEAD  # that which was given last is still held when the next is under way
        return large

    with ReadAhead(make, AHEAD) as reading:
        for each in reading.over(range(50)):
            each.get()


def test_nothing_is_asked_for_before_the_first_is() -> None:
    with ReadAhead(str, 2) as reading:
        reading.over(iter([1, 2]))
        assert readers() == []


def test_an_item_that_is_awaited_holds_up_none_that_is_ready() -> None:
    more = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert more.wait(LONG)
        yield 2

    with ReadAhead(str, 2) as reading:
        coming = reading.over(items())
        assert next(coming).get() == "1"  # before there is a second one
        more.set()
        assert [each.get() for each in coming] == ["2"]


@pytest.mark.parametrize("where", ["an item", "the making"])
def test_an_end_waits_for_nobody_who_does_not_come(where: str) -> None:
    more, stuck = threading.Event(), threading.Event()

    def wait(number: int) -> int:
        if number == 2:
            stuck.set()
            assert more.wait(LONG)
        return number

    items = (wait(number) for number in range(5)) if where == "an item" else iter(range(5))
    began = time.monotonic()
    with ReadAhead(wait if where == "the making" else abs, 2) as reading:
        assert next(reading.over(items)).get() == 0
        assert stuck.wait(LONG)
    assert time.monotonic() - began < LONG / 2
    assert len(readers()) == 1
    more.set()  # it ends then, and asks for nothing more
    assert until(lambda: readers() == [])
    assert next(items, None) == (None if where == "an item" and items.gi_frame is None else 3)  # type: ignore[union-attr]


def test_warnings_blame_whoever_asked() -> None:
    def make(number: int) -> int:
        warn(f"number {number}")
        return number

    with ReadAhead(make, 2) as reading, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert [each.get() for each in reading.over(range(3))] == [0, 1, 2]
    assert [str(each.message) for each in told] == ["number 0", "number 1", "number 2"]
    assert {Path(each.filename).name for each in told} == {Path(__file__).name}


def test_what_is_set_for_the_caller_is_set_for_the_items() -> None:
    mine: ContextVar[str] = ContextVar("mine")
    mine.set("here")
    with ReadAhead(lambda number: mine.get(), 2) as reading:
        assert [each.get() for each in reading.over(range(2))] == ["here", "here"]


# --- the pipeline ---


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model.from_pretrained(tiny_path, threads=1)


@pytest.fixture
def captioner(model: Model) -> ImageToText:
    return pipeline("image-to-text", model)


def encoded(number: int, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_lists_say_what_their_photos_say_alone(captioner: ImageToText, size: int) -> None:
    photos = [encoded(number) for number in range(7)]
    expected = [captioner(photo) for photo in photos]
    assert captioner(photos, batch_size=size) == expected
    assert list(captioner(iter(photos), batch_size=size)) == expected


@pytest.mark.parametrize("size", [1, 2])
def test_a_bad_photo_is_named_where_it_stands(captioner: ImageToText, size: int) -> None:
    photos = [*(encoded(number) for number in range(4)), b"none", b"nor this"]
    captions = captioner(iter(photos), batch_size=size)
    assert [next(captions) for _ in range(4)] == captioner(photos[:4])
    with pytest.raises(InputError, match="photo 5: "):
        next(captions)
    with pytest.raises(InputError, match="photo 5: "):
        captioner(photos, batch_size=size)


@pytest.mark.parametrize("size", [1, 4])
def test_a_stream_is_asked_for_little_more_than_is_wanted(captioner: ImageToText, size: int) -> None:
    asked = []

    def photos() -> Iterator[bytes]:
        for number in range(40):
            asked.append(number)
            yield encoded(number)

    captions = captioner(photos(), batch_size=size)
    next(captions)
    time.sleep(0.1)
    assert size <= len(asked) <= size + max(AHEAD, size)
    captions.close()  # type: ignore[attr-defined]
    assert readers() == []
    assert len(asked) <= size + max(AHEAD, size)


def test_a_stream_of_files_that_are_closed_behind_it(captioner: ImageToText, tmp_path: Path) -> None:
    """A photo is read whole before the next is asked for."""
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded(number))

    def photos() -> Iterator[Any]:
        for path in paths:
            with path.open("rb") as file:
                yield file

    def frames() -> Iterator[Any]:
        frame = np.empty((40, 50, 3), np.uint8)
        for path in paths:
            frame[...] = np.asarray(Image.open(path))
            yield frame

    expected = captioner(paths)
    assert list(captioner(photos())) == expected
    assert list(captioner(frames())) == expected


def test_pages_that_are_left_out_are_said_at_the_callers_line(captioner: ImageToText) -> None:
    pages = encoded(0, "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    with pytest.warns(UserWarning, match="2 pages, of which only the first is read") as told:
        captioner([encoded(0), pages])
    assert [Path(each.filename).name for each in told] == [Path(__file__).name]


def test_one_photo_needs_no_thread(captioner: ImageToText, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise AssertionError("a thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert captioner([encoded(0)]) == [captioner(encoded(0))]


# --- the command ---


def test_a_folder_is_captioned_in_order_and_what_fails_costs_nothing_else(tiny_path: Path, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(encoded(number) if number % 3 else b"no photo")
    done = program("caption", "--model", tiny_path, tmp_path)
    assert done.returncode == 2
    names = [line.partition(": ")[0] for line in done.stdout.splitlines()]
    assert names == [str(tmp_path / f"{number}.png") for number in (1, 2, 4, 5)]
    assert [f"{number}.png" in done.stderr for number in range(6)] == [True, False, False, True, False, False]
