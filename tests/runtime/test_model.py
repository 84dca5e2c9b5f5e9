"""Model.generate against transformers' VisionEncoderDecoderModel.generate, token for token, and what it refuses.

The models are small, their weights random and large (see tests/tiny.py), so that captions differ and beams cross; fp32,
where no two candidates are so close that float rounding could exchange them.
"""

from __future__ import annotations

import copy
import gc
import pickle
import shutil
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fuseline import Model, pipeline
from fuseline.errors import DeviceError, FolderError, InputError
from tests import tiny

PHOTOS = 20
SEEDS = (0, 1, 2)
Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    out = tmp_path_factory.mktemp("model")
    for seed in SEEDS:
        (out / str(seed)).mkdir()
    return {seed: tiny.tiny_folder(out / str(seed), seed, variants=("fp32", "int8")) for seed in SEEDS}


@pytest.fixture(scope="module")
def models(folders: dict[int, Path]) -> dict[int, Model]:
    return {seed: Model.from_pretrained(folder, threads=1) for seed, folder in folders.items()}


@pytest.fixture(scope="module")
def model(models: dict[int, Model]) -> Model:
    return models[0]


def reference(seed: int, pixel_values: Array, ids: Array | None = None, **fields: Any) -> Array:
    model: Any = tiny.tiny_model(seed)
    prompt = {} if ids is None else {"decoder_input_ids": torch.from_numpy(ids)}
    with torch.no_grad():
        found: Array = model.generate(torch.from_numpy(pixel_values), **prompt, **fields).numpy()
    return found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("batch", [1, 3])
def test_tokens_equal_transformers(models: dict[int, Model], seed: int, beams: int, batch: int) -> None:
    photos = tiny.photos(PHOTOS, seed)
    captions: set[bytes] = set()
    for first in range(0, PHOTOS, batch):
        some = photos[first : first + batch]
        ours = models[seed].generate(some, num_beams=beams, max_length=16).sequences
        np.testing.assert_array_equal(ours, reference(seed, some, num_beams=beams, max_length=16))
        captions.update(row.tobytes() for row in ours)
    assert len(captions) > PHOTOS // 2, "the photos should be told apart, or the test shows nothing"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize(
    "ids",
    [
        pytest.param([[7, 9], [11, 13]], id="the start token goes before it"),
        pytest.param([[1, 9, 30, 4], [1, 13, 5, 60]], id="it begins with the start token"),
        pytest.param([[1, 9], [11, 13]], id="one row begins with it"),
    ],
)
def test_prompts_equal_transformers(models: dict[int, Model], seed: int, beams: int, ids: list[list[int]]) -> None:
    photos, prompt = tiny.photos(2, seed), np.array(ids)
    ours = models[seed].generate(photos, prompt, num_beams=beams, max_length=16).sequences
    np.testing.assert_array_equal(ours, reference(seed, photos, prompt, num_beams=beams, max_length=16))


@pytest.mark.parametrize(
    "fields",
    [
        {},  # the folder's own: 4 beams, 16 tokens
        {"num_return_sequences": 3},
        {"max_new_tokens": 5},
        {"num_beams": 2, "length_penalty": -1.0, "early_stopping": True},
        {"max_length": 40},  # as many as there are positions
    ],
    ids=str,
)
def test_options_reach_the_search(model: Model, fields: dict[str, Any]) -> None:
    photos = tiny.photos(3, 5)
    generation = model.generate(photos, **fields)
    np.testing.assert_array_equal(generation.sequences, reference(0, photos, **fields))
    assert generation.sequences_scores.shape == (len(generation.sequences),)


def test_timings_add_up(model: Model) -> None:
    generation = model.generate(tiny.photos(1), num_beams=1)
    timings = generation.timings
    assert timings.steps == generation.sequences.shape[1] - 1
    assert min(timings.encoder, timings.decoder, timings.search) > 0
    assert timings.total == pytest.approx(timings.encoder + timings.decoder + timings.search)


def test_int8_runs_and_is_near(folders: dict[int, Path], model: Model) -> None:
    photos = tiny.photos(1)
    int8 = Model.from_pretrained(folders[0], variant="int8")
    ours, exact = int8.encode(photos), model.encode(photos)
    assert int8.folder.variant == "int8"
    assert int8.generate(photos).sequences.shape[1] > 2
    for name, value in exact.values.items():
        difference = np.abs(ours.values[name].numpy() - value.numpy()).max()
        assert 0 < difference < 0.05 * np.abs(value.numpy()).max()


def test_encode_gives_every_layers_keys_and_values(model: Model) -> None:
    encoded = model.encode(tiny.photos(2))
    assert encoded.batch == 2
    assert sorted(encoded.values) == sorted(
        f"past_key_values.{layer}.encoder.{part}" for layer in range(3) for part in ("key", "value")
    )
    assert {tuple(value.shape()) for value in encoded.values.values()} == {(2, 17, 32)}


def test_what_is_encoded_serves_several_calls(model: Model) -> None:
    photos = tiny.photos(2)
    encoded = model.encode(photos)
    for num_beams in (1, 4):
        shared = model.generate(encoded, num_beams=num_beams)
        assert np.array_equal(shared.sequences, model.generate(photos, num_beams=num_beams).sequences)


def test_text_is_that_of_the_tokenizer(model: Model) -> None:
    sequences = np.array([[1, 5, 90, 2, 0], [1, 7, 2, 0, 0]])
    assert model.decode(sequences) == ["word5 word90", "word7"]
    assert model.decode(sequences, skip_special_tokens=False)[1] == "<s> word7 </s> <pad> <pad>"


def test_a_model_is_safe_to_share(model: Model) -> None:
    photos = tiny.photos(8, 3)
    expected = [model.generate(photo[None]).sequences for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = pool.map(lambda photo: model.generate(photo[None]).sequences, photos)
            for ours, alone in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, alone)


def test_pixels_need_not_be_contiguous(model: Model) -> None:
    photos = tiny.photos(2)
    strided = np.ascontiguousarray(photos.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not strided.flags.c_contiguous
    np.testing.assert_array_equal(model.generate(strided).sequences, model.generate(photos).sequences)


RIGHT = r"must be float32\[\w+, 3, 32, 32\]"


@pytest.mark.parametrize(
    ("pixel_values", "sentence"),
    [
        (tiny.photos(1).astype(np.float64), f"{RIGHT}, not float64"),
        (np.zeros((1, 3, 32, 32), np.uint8), f"{RIGHT}, not uint8"),
        ("photo.jpg", f"{RIGHT}, not <U9"),
        (tiny.photos(1)[0], rf"{RIGHT}, not of shape \[3, 32, 32\]"),
        (tiny.photos(1)[:, :, :31], rf"{RIGHT}, not of shape \[1, 3, 31, 32\]"),
        (tiny.photos(1)[:, :1], rf"{RIGHT}, not of shape \[1, 1, 32, 32\]"),
        (tiny.photos(1)[:0], rf"{RIGHT}, not of shape \[0, 3, 32, 32\]"),
        (tiny.photos(1) * np.float32(np.nan), "hold NaN or infinite values"),
        (tiny.photos(1) + np.float32(np.inf), "hold NaN or infinite values"),
    ],
    ids=["float64", "uint8", "text", "one photo", "height", "channels", "none", "NaN", "infinite"],
)
def test_other_pixels_are_refused(model: Model, pixel_values: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        model.generate(pixel_values)


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([[1.5]], r"whole numbers of shape \[1, T\], not float64"),
        ([1, 2], r"not int64 of shape \[2\]"),
        ([[1], [2]], r"not int64 of shape \[2, 1\]"),
        (np.zeros((1, 0), np.int64), r"not int64 of shape \[1, 0\]"),
        ([[1, 97]], "from 0 to 96, not 1 to 97"),
        ([[-1, 5]], "from 0 to 96, not -1 to 5"),
    ],
)
def test_other_prompts_are_refused(model: Model, ids: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        model.generate(tiny.photos(1), ids)


def test_unsupported_options_are_refused_by_name(model: Model) -> None:
    with pytest.raises(InputError, match="penalty_alpha"):
        model.generate(tiny.photos(1), penalty_alpha=0.6)
    with pytest.raises(InputError, match="num_beems is not a generation option; did you mean num_beams"):
        model.generate(tiny.photos(1), num_beems=4)


def test_more_tokens_than_positions_are_refused(model: Model) -> None:
    with pytest.raises(InputError, match="40 positions"):
        model.generate(tiny.photos(1), max_length=42)
    assert model.generate(tiny.photos(1), max_length=41).sequences.shape[1] <= 41


@pytest.mark.parametrize("device", ["tpu", "CUDAExecutionProvider", ""])
def test_other_devices_are_refused_and_the_available_named(folders: dict[int, Path], device: str) -> None:
    import onnxruntime

    if device in onnxruntime.get_available_providers():
        pytest.skip(f"{device} is available here")
    with pytest.raises(DeviceError, match=f"no device {device!r} here; available: .*cpu"):
        Model.from_pretrained(folders[0], device=device)


def test_a_provider_may_be_named(folders: dict[int, Path]) -> None:
    assert Model.from_pretrained(folders[0], device="CPUExecutionProvider").generate(tiny.photos(1)).timings.steps


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 5000])
def test_other_numbers_of_threads_are_refused(folders: dict[int, Path], threads: Any) -> None:
    with pytest.raises(InputError, match="threads must be a whole number from 1"):
        Model.from_pretrained(folders[0], threads=threads)


def test_an_unknown_variant_is_refused(folders: dict[int, Path]) -> None:
    with pytest.raises(FolderError, match="no variant 'fp16'; it has fp32, int8"):
        Model.from_pretrained(folders[0], variant="fp16")


def test_a_closed_model_is_refused_and_says_so(folders: dict[int, Path]) -> None:
    with Model.from_pretrained(folders[0], threads=1) as model:
        encoded = model.encode(tiny.photos(1))
        expected = model.generate(encoded).sequences
        session = weakref.ref(model._graphs.encoder.graph.session)
    assert "closed" in repr(model)
    gc.collect()
    assert session() is None
    model.close()  # once more does nothing
    for call in (
        lambda: model.generate(tiny.photos(1)),
        lambda: model.generate(encoded),
        lambda: model.stream(encoded),
        lambda: model.encode(tiny.photos(1)),
        lambda: model.score(tiny.photos(1), "word5"),
        lambda: pickle.dumps(model),
    ):
        with pytest.raises(InputError, match="this model was closed; open .* again"):
            call()
    assert model.decode(expected)  # needs no graph


def test_a_caption_in_progress_of_a_model_that_is_closed_is_refused(folders: dict[int, Path]) -> None:
    model = Model.from_pretrained(folders[0], threads=1)
    events = model.stream(tiny.photos(1))
    next(events)
    model.close()
    with pytest.raises(InputError, match="closed"):
        list(events)


def test_repr_names_folder_variant_and_device(model: Model, folders: dict[int, Path]) -> None:
    assert repr(model) == f"<Model {folders[0].resolve()}, variant fp32, on cpu>"
    assert repr(pipeline(model=model)) == f"<pipeline image-to-text of {model!r}>"


def test_a_copy_is_the_model(model: Model) -> None:
    assert copy.copy(model) is model
    assert copy.deepcopy([model])[0] is model
    captioner = pipeline(model=model, batch_size=3, max_new_tokens=4)
    assert copy.deepcopy(captioner).model is model


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_pickled_model_is_opened_anew(folders: dict[int, Path], variant: str) -> None:
    model = Model.from_pretrained(folders[0], variant, threads=1)
    pickled = pickle.dumps(pipeline(model=model, max_new_tokens=4))
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert (again.model.variant, again.model.device, again.model.threads) == (variant, "cpu", 1)
    assert again.model is not model
    photo = (tiny.photos(1)[0].transpose(1, 2, 0) * 40 + 120).clip(0, 255).astype(np.uint8)
    assert again(photo) == pipeline(model=model, max_new_tokens=4)(photo)


def test_a_pickled_model_is_checked_again(folders: dict[int, Path], tmp_path: Path) -> None:
    path = Path(shutil.copytree(folders[0], tmp_path / "copy"))
    pickled = pickle.dumps(Model.from_pretrained(path, "fp32"))
    graph = path / "onnx" / "decoder_model_fp32.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    with pytest.raises(FolderError, match="was edited"):
        pickle.loads(pickled)


def test_the_captioner_that_ships_is_pickled_without_its_place() -> None:
    model = Model.from_pretrained(threads=1)
    assert str(model.folder.path).encode() not in pickle.dumps(model)
    assert pickle.loads(pickle.dumps(model)).folder.path == model.folder.path


def test_a_model_goes_to_processes(folders: dict[int, Path]) -> None:
    model = Model.from_pretrained(folders[0], "fp32", threads=1)
    pixels = tiny.photos(2)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = pool.submit(Model.generate, model, pixels).result()
    np.testing.assert_array_equal(found.sequences, model.generate(pixels).sequences)


def test_what_another_model_has_encoded_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match="what is encoded is of another model"):
        Model.from_pretrained().generate(model.encode(tiny.photos(1)))


class NoArray:
    """Has its own idea of arrays."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("not today")


@pytest.mark.parametrize(
    "pixel_values",
    [
        [[1.0, 2.0], [3.0]],
        tiny.photos(1).tolist(),
        np.array([object()]),
        np.empty((1, 3, 32, 32), object),
        NoArray(),
        None,
        {},
        b"",
        tiny.photos(1).astype(">f4"),
        np.broadcast_to(np.float32(0), (10**6, 3, 32, 31)),
        np.zeros((1, 3, 32, 32), [("a", "f4")]),
    ],
    ids=[
        "ragged",
        "list",
        "objects",
        "object array",
        "no array",
        "None",
        "dict",
        "bytes",
        "big endian",
        "huge",
        "fields",
    ],
)
def test_whatever_is_no_photo_is_refused_in_one_sentence(model: Model, pixel_values: Any) -> None:
    with pytest.raises(InputError, match="^pixel_values must be float32") as caught:
        model.generate(pixel_values)
    assert len(str(caught.value)) < 400
