"""Values at the edges of what a call may be, and beyond: embedded graphs refuse what Model.generate refuses, by rule,
and say the same of everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from fuseline import Error, Generation, Model
from fuseline.export import embed
from fuseline.kernels import library_info
from tests import exported_folders, text_models
from tests.embedded import Host
from tests.fused_folders import hinted

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of options that change nothing

WORDS = {0: False, 1: True, 2: "never"}  # early_stopping as a call has it; anything else it refuses
LEAST, MOST, SIZE, POSITIONS, START = -(2**63), 2**63 - 1, 97, 40, 1
WHOLE = (LEAST, -(2**31) - 1, -2, -1, 0, 1, 2, 3, SIZE - 1, SIZE, 2**31, 2**62, MOST)
FLOATS = ("nan", "inf", "-inf", -3e38, -1e38, -1.0, -0.0, 0.0, 1e-45, 1e-38, 0.5, 3.0, 1e30, 3e38)
VALUES: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (LEAST, -1, 0, 1, 2, SIZE + 1, 2**62, MOST),
    "num_return_sequences": WHOLE,
    "max_length": (*WHOLE, POSITIONS + 1, POSITIONS + 2),
    "min_length": WHOLE,
    "no_repeat_ngram_size": WHOLE,
    "early_stopping": WHOLE,
    "forced_bos_token_id": WHOLE,
    "forced_eos_token_id": WHOLE,
    "length_penalty": FLOATS,
    "repetition_penalty": FLOATS,
    "eos_token_id": ([], [-1], [2, -1], [SIZE], [2, SIZE], [0], [2, 2], [*range(SIZE)], [2**62]),
    "decoder_input_ids": (
        [[]],
        [[], []],
        [[START]],
        [[5]],
        [[5, 6], [7, 8]],
        [[START, 5], [7, 8]],
        [[5, START], [7, START]],
        [[START, SIZE]],
        [[START, -1]],
        [[SIZE]],
        [[START]] * 3,
        [[5] * (POSITIONS + 1)],
        [[5] * POSITIONS],
    ),
}


def _shaped(name: str, value: Any) -> Any:
    """The value as a host gives it."""
    if name == "decoder_input_ids":
        return np.array(value, np.int64).reshape(len(value), -1)
    return float(value) if isinstance(value, str) else value


def _of_call(name: str, value: Any) -> Any:
    """The same as Model.generate takes it, of two photos."""
    if name == "early_stopping":
        return WORDS.get(value, "sometimes")
    if name.startswith("forced_") and value == -1:
        return None
    return np.repeat(value, 2, axis=0) if name == "decoder_input_ids" and len(value) == 1 else value


@dataclass(frozen=True)
class Case:
    """A model, and the hosts of what was embedded of it: with the kernels and without."""

    model: Model
    hosts: tuple[Host, Host]

    @classmethod
    def of(cls, folder: Path, out: Path) -> Case:
        embed(folder, out)
        return cls(Model.from_pretrained(folder, threads=1), (Host(out, library_info().path), Host(out)))

    def photos(self) -> tuple[Any, Any]:
        """Two of the model's own size, as a host gives them and as Model.generate takes them."""
        folder = self.model.folder
        height, width = folder.encoder_signatures[next(iter(folder.sources))].inputs[0].shape[2:]
        photos = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
        return photos, self.model.inputs([Image.fromarray(each) for each in photos])["pixel_values"]

    def compare(self, given: Mapping[str, Any], generate: Callable[[], Generation], names: tuple[str, ...]) -> None:
        """Every host says what generate says, or refuses by a rule that has one of the names."""
        try:
            expected = generate()
        except Error:
            for call in self._calls():
                with pytest.raises(Exception, match="Name:") as refused:
                    call(**given)
                rule = str(refused.value).split("Name:'")[-1].split("'")[0]
                assert " " in rule and any(name in rule for name in names), rule
            return
        for call in self._calls():
            found = call(**given)
            assert found["sequences"].tolist() == expected.sequences.tolist()
            np.testing.assert_allclose(found["sequences_scores"], expected.sequences_scores, rtol=1e-4, atol=1e-4)

    def _calls(self) -> Iterator[Callable[..., dict[str, Any]]]:
        for host in self.hosts:
            yield host.at_once
            yield lambda host=host, **given: host.steps(**given)[-1]


@pytest.fixture(scope="module")
def captioner(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A small captioner in fp32."""
    return Case.of(tiny_path, tmp_path_factory.mktemp("embedded") / "out")


@pytest.mark.parametrize("name", VALUES)
def test_options(name: str, captioner: Case) -> None:
    """Each value of each option. A prompt without the start token gets it."""
    photos, pixels = captioner.photos()
    names = (name, "max_length") if name == "decoder_input_ids" else (name,)
    for value in (_shaped(name, each) for each in VALUES[name]):
        option = {name: _of_call(name, value)}
        captioner.compare(
            {"image": photos, name: value}, lambda option=option: captioner.model.generate(pixels, **option), names
        )


def test_a_start_token_that_prompts_do_not_get(tmp_path: Path) -> None:
    """Donut's begin with a token of the task."""
    case = Case.of(exported_folders.photos("donut", tmp_path), tmp_path / "out")
    photos, pixels = case.photos()
    prompt = np.array([[5, 6], [7, 8]])
    expected = case.model.generate(pixels, decoder_input_ids=prompt)
    assert expected.sequences[:, :2].tolist() == prompt.tolist()
    case.compare({"image": photos, "decoder_input_ids": prompt}, lambda: expected, ())


SHAPES = [(), (3,), (5, 3), (5, 5, 4), (5, 5, 1), (0, 5, 3), (5, 0, 3), (0, 5, 5, 3), (1, 1, 5, 5, 3), (3, 5, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_no_photo(shape: tuple[int, ...], captioner: Case) -> None:
    """Neither one, nor several of a size."""
    for host in captioner.hosts:
        with pytest.raises(Exception, match=r"image must be uint8\[height, width, 3\], and not empty"):
            host.at_once(image=np.zeros(shape, np.uint8))


@pytest.mark.parametrize("name", ["bart", "t5", "camembert, gpt2"])
def test_texts(name: str, tmp_path: Path) -> None:
    """Empty ones, those that are too long, and tokens that are none."""
    case = Case.of(exported_folders.texts(name, tmp_path), tmp_path / "out")
    size, pad = text_models.VOCAB_SIZE, case.model.generation_config.pad_token_id
    rows = ([[]], [[9]], [[size - 1]], [[size]], [[-1]], [[9, size]], [[pad, 9]], [[9], [pad]], [[pad]], [[9] * 90])
    for ids in (*(np.array(each, np.int64).reshape(len(each), -1) for each in rows), np.zeros((0, 3), np.int64)):
        case.compare({"input_ids": ids}, lambda ids=ids: case.model.generate({"input_ids": ids}), ("input_ids",))


def test_hints_and_weights(tmp_path: Path) -> None:
    """Hints of one photo, of all and of more than there are; weights that are no weights."""
    case = Case.of(hinted(tmp_path), tmp_path / "out")
    photos, pixels = case.photos()

    def compare(ids: Any, weights: tuple[float, float] | None = None) -> None:
        ids = np.array(ids, np.int64).reshape(len(ids), -1)
        given: dict[str, Any] = {"image": photos, "hint_ids": ids}
        by_source: dict[str, Any] = {"image": pixels}
        every = np.repeat(ids, 2, axis=0) if len(ids) == 1 else ids
        if every.any():
            by_source["hint"] = {"input_ids": every, "attention_mask": (every != 0).astype(np.int64)}
        own = {}
        if weights is not None:
            given["source_weights"] = weights
            own["source_weights"] = dict(zip(("image", "hint"), weights, strict=True))
        case.compare(given, lambda: case.model.generate(by_source, **own), tuple(given))

    for ids in ([[]], [[5, 6]], [[5, 6]] * 3, [[5], [0]], [[0]], [[10**6]], [[-1]], [[5] * 500]):
        compare(ids)
    nan, inf = float("nan"), float("inf")
    for weights in (
        (1, 1),
        (0, 1),
        (1, 0),
        (0, 0),
        (-1, 1),
        (nan, 1),
        (1, nan),
        (inf, 1),
        (1, inf),
        (3e38, 1),
        (1, 3e38),
    ):
        compare([[]], weights)
        compare([[5, 6]], weights)


def test_limits_are_in_the_description(captioner: Case) -> None:
    """Of every option, with its default; of the photo, with both of its shapes."""
    for name in ("start", "caption"):
        inputs = captioner.hosts[0].description["graphs"][name]["inputs"]
        (image,) = (each for each in inputs if each["name"] == "image")
        assert image["shapes"] == [["height", "width", 3], ["B", "height", "width", 3]] and "shape" not in image
        assert "red, green and blue, upright; height and width at least 1" in image["limits"]
    for graph in captioner.hosts[0].description["graphs"].values():
        limits = {each["name"]: each["limits"] for each in graph["inputs"] if each["name"] in VALUES}
        assert all("default" in each for each in graph["inputs"] if each["name"] in VALUES)
        assert limits.get("eos_token_id") in (None, f"one or more tokens from 0 to {SIZE - 1}")
        assert limits.get("max_length") in (None, f"more than decoder_input_ids has tokens, at most {POSITIONS + 1}")
