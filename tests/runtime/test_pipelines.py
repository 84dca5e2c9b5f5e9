"""pipeline("image-to-text") against transformers' pipeline of that name, and every form in which photos may come."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from fuseline import Model, pipeline
from fuseline.errors import FolderError, InputError
from fuseline.pipelines.image_to_text import ImageToText
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_folder(tmp_path_factory.mktemp("pipelines"), seed=1)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model.from_pretrained(folder, threads=1)


@pytest.fixture
def captioner(model: Model) -> ImageToText:
    return pipeline("image-to-text", model)


def pictures(count: int) -> list[Image.Image]:
    """Coloured patches, 50 x 40 pixels."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 4, 5, 3), np.uint8)
    return [Image.fromarray(picture.repeat(10, axis=0).repeat(10, axis=1)) for picture in coarse]


def encoded(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("fields", [{}, {"num_beams": 1}, {"num_return_sequences": 2}, {"max_length": 9}], ids=str)
def test_texts_equal_transformers(captioner: ImageToText, folder: Path, fields: dict[str, Any]) -> None:
    """max_length is always given: without it transformers' pipeline has a default of its own."""
    kwargs = {"max_length": tiny.MAX_LENGTH} | fields
    hf: Any = transformers  # its pipeline is typed for one kind of tokenizer only
    theirs = hf.pipeline(
        "image-to-text",
        model=tiny.tiny_model(1),
        tokenizer=hf.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", bos_token="<s>", eos_token="</s>"
        ),
        image_processor=hf.ViTImageProcessor.from_pretrained(folder),
    )
    photos = pictures(4)
    assert captioner(photos, generate_kwargs=kwargs) == theirs(photos, generate_kwargs=kwargs)
    assert captioner(photos[0], generate_kwargs=kwargs) == theirs(photos[0], generate_kwargs=kwargs)


def test_every_form_of_a_photo_gives_the_same_text(captioner: ImageToText, tmp_path: Path) -> None:
    picture = pictures(1)[0]
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(picture))
    expected = captioner(picture)
    assert [list(caption) for caption in expected] == [["generated_text"]]
    assert expected[0]["generated_text"]
    for photo in (path, str(path), path.read_bytes(), np.asarray(picture)):
        assert captioner(photo) == expected


def test_lists_give_lists_in_order(captioner: ImageToText) -> None:
    photos = pictures(5)
    expected = [captioner(photo) for photo in photos]
    assert len({caption[0]["generated_text"] for caption in expected}) > 1
    assert captioner(photos) == expected
    assert captioner(tuple(photos)) == expected
    assert captioner([]) == []
    assert captioner(photos[:1]) == expected[:1]


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_batches_change_nothing(captioner: ImageToText, model: Model, size: int) -> None:
    photos = pictures(5)
    expected = captioner(photos)
    assert captioner(photos, batch_size=size) == expected
    assert pipeline("image-to-text", model, batch_size=size)(photos) == expected


def test_streams_are_read_as_they_are_asked_for(captioner: ImageToText) -> None:
    read = []

    def stream() -> Iterator[Image.Image]:
        for index, picture in enumerate(pictures(6)):
            read.append(index)
            yield picture

    captions = captioner(stream(), batch_size=2)
    assert read == []
    first = next(captions)
    assert read[:2] == [0, 1]
    assert len(read) <= 4  # those of the next batch, which are read meanwhile
    assert [first, *captions] == captioner(pictures(6))


def test_several_texts_of_a_photo(captioner: ImageToText) -> None:
    kwargs = {"num_return_sequences": 3}
    captions = captioner(pictures(2), generate_kwargs=kwargs, batch_size=2)
    assert [len(caption) for caption in captions] == [3, 3]
    assert captions[1] == captioner(pictures(2)[1], generate_kwargs=kwargs)
    assert captions[0][:1] == captioner(pictures(2)[0])


def test_options_of_the_pipeline_and_of_a_call(model: Model) -> None:
    photo = pictures(1)[0]

    def words(captions: list[dict[str, str]]) -> int:
        return len(captions[0]["generated_text"].split())

    captioner = pipeline("image-to-text", model, max_new_tokens=3, generate_kwargs={"num_beams": 1})
    assert words(captioner(photo)) == 3
    assert words(captioner(photo, max_new_tokens=5)) == 5
    assert words(captioner(photo, generate_kwargs={"max_new_tokens": 2})) == 2
    with pytest.raises(InputError, match="max_new_tokens is given twice"):
        captioner(photo, max_new_tokens=3, generate_kwargs={"max_new_tokens": 3})


def test_a_bad_photo_in_a_list_is_named(captioner: ImageToText, tmp_path: Path) -> None:
    good = pictures(1)[0]
    with pytest.raises(InputError, match=r"photo 3: .*nothing\.jpg"):
        captioner([good, good, tmp_path / "nothing.jpg"])
    captions = captioner(iter([good, b"no photo"]))
    assert next(captions) == captioner(good)
    with pytest.raises(InputError, match="photo 2: "):
        next(captions)


def test_a_bad_photo_alone_is_not_numbered(captioner: ImageToText) -> None:
    with pytest.raises(InputError, match=r"^the image bytes: "):
        captioner(b"no photo")


def test_wrong_use_is_refused_before_a_photo_is_read(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no task 'text-generation'; there is image-to-text"):
        pipeline("text-generation", model)
    with pytest.raises(InputError, match="penalty_alpha"):
        pipeline("image-to-text", model, generate_kwargs={"penalty_alpha": 0.6})
    with pytest.raises(FolderError, match="no model folder"):
        pipeline("image-to-text", tmp_path / "nothing")
    for size in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="batch_size must be a whole number"):
            pipeline("image-to-text", model, batch_size=size)  # type: ignore[arg-type]


def test_a_folder_opens_by_its_path(folder: Path, captioner: ImageToText) -> None:
    photo = pictures(1)[0]
    assert pipeline("image-to-text", model=str(folder), threads=1)(photo) == captioner(photo)
