"""output_attentions against transformers' own, gathered for the sequences that are returned."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from fuseline import Model
from fuseline.errors import InputError
from tests import attentions, tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_folder(tmp_path_factory.mktemp("attentions"), 0)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model.from_pretrained(folder, threads=1)


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 1},
        {"num_beams": 4},
        {"num_beams": 3, "num_return_sequences": 2, "max_length": 9},
        {"num_beams": 4, "decoder_input_ids": torch.tensor([[7, 9, 20]] * 3)},
        {"num_beams": 1, "decoder_input_ids": torch.tensor([[1, 9, 20]] * 3)},
    ],
    ids=lambda options: " ".join(f"{name} {len(np.shape(value))}" for name, value in options.items()),
)
def test_they_are_those_of_transformers(model: Model, options: dict[str, Any]) -> None:
    reference: Any = tiny.tiny_model(0)
    pixels = torch.from_numpy(tiny.photos(3, 1))
    found = attentions.assert_equal_to_transformers(reference, model, pixels, **options)
    assert np.ptp(found[0], axis=0).max() > 0.01, "tokens should look at different places, or the test shows nothing"


def test_they_do_not_change_what_is_said(model: Model) -> None:
    """Neither while they are kept nor in the next caption, whose memory is other memory."""
    pixels = tiny.photos(5, 2)
    plain = model.generate(pixels, num_beams=3)
    watched = model.generate(pixels, num_beams=3, output_attentions=True)
    again = model.generate(pixels, num_beams=3)
    for found in (watched, again):
        np.testing.assert_array_equal(found.sequences, plain.sequences)
        np.testing.assert_array_equal(found.sequences_scores, plain.sequences_scores)
    assert plain.cross_attentions is None and again.cross_attentions is None


def test_a_photo_looks_the_same_in_any_batch(model: Model) -> None:
    pixels = tiny.photos(4, 3)
    together = model.generate(pixels, num_beams=2, output_attentions=True).cross_attentions
    assert together is not None
    for photo in range(4):
        alone = model.generate(pixels[photo : photo + 1], num_beams=2, output_attentions=True).cross_attentions
        assert alone is not None
        np.testing.assert_array_equal(together[photo, : alone.shape[1]], alone[0])


@pytest.fixture
def older(folder: Path, tmp_path: Path) -> Path:
    """The folder as it was before decoders gave their queries."""
    out = Path(shutil.copytree(folder, tmp_path / "older"))
    about = json.loads((out / "fuseline.json").read_text())
    graph = out / about["variants"]["fp32"]["decoder"]
    decoder = onnx.load(graph)
    kept = [value for value in decoder.graph.output if not value.name.startswith("cross_attention_query")]
    assert 0 < len(kept) < len(decoder.graph.output)
    del decoder.graph.output[:]
    decoder.graph.output.extend(kept)
    graph.write_bytes(decoder.SerializeToString())
    del about["decoder"]["cross_attention_scales"]
    outputs = about["tensors"]["decoder"]["outputs"]
    about["tensors"]["decoder"]["outputs"] = [each for each in outputs if "query" not in each["name"]]
    listed = about["files"][about["variants"]["fp32"]["decoder"]]
    listed["bytes"], listed["sha256"] = graph.stat().st_size, hashlib.sha256(graph.read_bytes()).hexdigest()
    (out / "fuseline.json").write_text(json.dumps(about))
    return out


def test_a_decoder_without_queries_says_the_same_and_refuses_them(model: Model, older: Path) -> None:
    pixels, old = tiny.photos(2), Model.from_pretrained(older, "fp32", threads=1)
    np.testing.assert_array_equal(old.generate(pixels).sequences, model.generate(pixels).sequences)
    with pytest.raises(InputError, match="^output_attentions needs a decoder graph .* export the model with"):
        old.generate(pixels, output_attentions=True)


def test_a_search_that_never_began_has_none(model: Model) -> None:
    stopped = threading.Event()
    stopped.set()
    found = model.generate(tiny.photos(2), output_attentions=True, cancel=stopped, partial=True)
    assert found.finish_reasons == ("cancelled", "cancelled") and found.cross_attentions is None
