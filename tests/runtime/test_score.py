"""Model.score against the loss of transformers with the same labels, and as a ranking of captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import InputError, Model
from tests import tiny

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model.from_pretrained(tiny_path, threads=1)


def text_of(ids: list[int]) -> str:
    return " ".join(f"word{token}" for token in ids)


@pytest.mark.parametrize(
    "ids", [[[7, 9, 30, 4]], [[7], [9, 11, 13, 40, 5]], [[8, 8, 8], [20, 21, 22], [5, 60, 70]]], ids=str
)
def test_cross_entropy_equals_the_loss_of_transformers(model: Model, tiny_reference: Any, ids: list[list[int]]) -> None:
    """Its logits against the labels: 4.57 computes its own `loss` for decoders without an encoder, which shifts the
    labels by one once more than shift_tokens_right has done, so that each logit is measured against the token after
    its own. The tolerance: losses are 5 to 30, and float32 rounds at 1e-6 of the tiny models' large weights.
    """
    photos = tiny.photos(len(ids))
    found = model.score(photos, [text_of(each) for each in ids])
    labels = np.full((len(ids), max(map(len, ids)) + 1), -100)
    for row, each in enumerate(ids):
        labels[row, : len(each) + 1] = [*each, tiny.END]
    np.testing.assert_array_equal(found.labels, labels)
    with torch.no_grad():
        theirs = tiny_reference(pixel_values=torch.from_numpy(photos), labels=torch.from_numpy(labels))
    counted = labels != -100
    each = torch.nn.functional.cross_entropy(theirs.logits.permute(0, 2, 1), torch.from_numpy(labels), reduction="none")
    np.testing.assert_allclose(found.cross_entropy, each.numpy(), rtol=1e-5, atol=1e-4)
    losses = [row[kept].mean() for row, kept in zip(each.numpy(), counted, strict=True)]
    np.testing.assert_allclose(found.loss, losses, rtol=1e-5, atol=1e-4)


def test_several_texts_of_a_photo_are_what_each_is_alone(model: Model) -> None:
    photos, texts = tiny.photos(2), ["word7 word9", "word30", "word7 word9 word4", "word5"]
    together = model.score(photos, texts)
    for row, text in enumerate(texts):
        alone = model.score(photos[row // 2][None], text)
        length = alone.labels.shape[1]
        np.testing.assert_allclose(together.cross_entropy[row, :length], alone.cross_entropy[0], atol=1e-5)


def test_what_a_model_says_scores_as_it_was_scored(model: Model) -> None:
    photos = tiny.photos(3)
    said = model.generate(photos, num_beams=4)
    scored = model.score(photos, model.decode(said.sequences))
    for row, reason in enumerate(said.finish_reasons):
        if reason == "eos_token":
            assert -scored.loss[row] == pytest.approx(said.sequences_scores[row], abs=1e-4)
    assert "eos_token" in said.finish_reasons


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "as many texts for each of the 2 inputs"),
        (["word7"] * 3, "as many texts for each of the 2 inputs, not 3 in all"),
        ([7, 8], "must be a text or a list of texts"),
        (["word7 " * 60] * 2, "60 tokens and the end token"),
    ],
)
def test_what_cannot_be_scored(model: Model, texts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.score(tiny.photos(2), texts)
