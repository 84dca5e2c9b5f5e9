"""Guidance by a source, on real models of several sources: with against without it, at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fuseline import InputError, Model, ensemble
from fuseline.graphs.fused import FusedDecoder
from fuseline.search import search
from tests import fused_folders, fusion_models, tiny

INPUTS = {"image": tiny.photos(4, seed=5), "hint": np.array([[5, 9, 4], [7, 7, 0], [30, 2, 11], [50, 0, 0]])}
MASK = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0]])


def given(**changed: Any) -> dict[str, Any]:
    return {"image": INPUTS["image"], "hint": {"input_ids": INPUTS["hint"], "attention_mask": MASK}} | changed


@pytest.fixture(scope="module", params=["flat", "mix", "gated"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    _, folder = fused_folders.exported(tmp_path_factory.mktemp("guidance"), request.param)
    return Model.from_pretrained(folder, threads=1)


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("scale", [0, 0.5, 1, 1.5, 3])
def test_a_guided_text_is_a_search_over_both(model: Model, scale: float, beams: int) -> None:
    found = model.generate(given(), guidance={"hint": scale}, num_beams=beams)
    both = FusedDecoder([model.decoder] * 2, (scale, 1 - scale))
    encoded = both.joined([model.encode(given()), model.encode({"image": INPUTS["image"]})])
    config = model.generation_config.override(num_beams=beams)
    right = search(both, encoded, config.prompt(4), config)
    assert found.sequences.tolist() == right.sequences.tolist()
    np.testing.assert_allclose(found.sequences_scores, right.sequences_scores, atol=1e-5)


@pytest.mark.parametrize("beams", [1, 4])
def test_one_is_the_model_and_zero_the_model_without_the_source(model: Model, beams: int) -> None:
    for scale, inputs in ((1, given()), (1.0, given()), (0, {"image": INPUTS["image"]})):
        found = model.generate(given(), guidance={"hint": scale}, num_beams=beams, output_logits=True)
        right = model.generate(inputs, num_beams=beams, output_logits=True)
        assert found.sequences_scores.tobytes() == right.sequences_scores.tobytes()
        assert found.logits is not None and right.logits is not None
        assert [each.tobytes() for each in found.logits] == [each.tobytes() for each in right.logits]
        assert found.source_attention is not None and right.source_attention is not None
        assert found.source_attention.tobytes() == right.source_attention.tobytes()


def test_guidance_changes_what_is_said(model: Model) -> None:
    said = {scale: model.generate(given(), guidance={"hint": scale}).sequences.tolist() for scale in (0, 1, 4)}
    assert said[0] != said[1] or said[1] != said[4]


def test_several_sources_guide_each_by_itself(model: Model) -> None:
    found = model.generate(given(), guidance={"hint": 2.0, "image": 1.5}, num_beams=1, output_logits=True)
    hint = given()["hint"]
    parts = [model.encode(given()), model.encode({"image": INPUTS["image"]}), model.encode({"hint": hint})]
    fused = FusedDecoder([model.decoder] * 3, (2.5, -1.0, -0.5))
    state = fused.start(fused.joined(parts), 1, 8)
    right = fused.step(state, model.generation_config.prompt(4), None)
    assert found.logits is not None
    np.testing.assert_allclose(found.logits[0], right, atol=2e-5)


def test_weights_of_the_other_sources_stay(model: Model) -> None:
    weights = {"hint": 1.0, "image": 0.25}
    found = model.generate(given(), source_weights=weights, guidance={"hint": 0}, output_logits=True)
    right = model.generate({"image": INPUTS["image"]}, output_logits=True)  # one source alone has weight 1
    assert found.logits is not None and right.logits is not None
    assert [each.tobytes() for each in found.logits] == [each.tobytes() for each in right.logits]


def test_inputs_without_the_source_say_what_they_say_anyway(model: Model) -> None:
    hints = [np.array([5, 9, 4]), None, np.array([30, 2, 11]), None]
    found = model.generate(given(hint=hints), guidance={"hint": 3.0})
    right = model.generate({"image": INPUTS["image"]})
    for row in (1, 3):
        assert tiny.ended(found.sequences[row], fusion_models.END) == tiny.ended(
            right.sequences[row], fusion_models.END
        )


def test_what_was_encoded_streams_and_scores_are_guided_too(model: Model) -> None:
    guidance = {"hint": 2.0}
    found = model.generate(given(), guidance=guidance)
    again = model.generate(model.encode(given()), guidance=guidance)
    assert again.sequences.tolist() == found.sequences.tolist()
    first = {"image": INPUTS["image"][:1], "hint": INPUTS["hint"][:1]}
    alone, told = model.generate(first, guidance=guidance), list(model.stream(first, guidance=guidance))
    assert told[-1].generation is not None
    assert told[-1].generation.sequences.tolist() == alone.sequences.tolist()
    text = model.decode(alone.sequences)[0]
    if alone.finish_reasons == ("eos_token",):
        score = model.score(first, text, guidance=guidance)
        assert -score.loss[0] == pytest.approx(alone.sequences_scores[0], abs=1e-5)


def test_zeros_stand_for_a_source_that_is_absent_as_zeros(tmp_path_factory: pytest.TempPathFactory) -> None:
    _, folder = fused_folders.exported(
        tmp_path_factory.mktemp("zeros"), "flat", absent={"image": "zeros", "hint": "skip"}
    )
    model = Model.from_pretrained(folder, threads=1)
    found = model.generate(given(), guidance={"image": 0}, output_logits=True)
    right = model.generate({"hint": given()["hint"]}, output_logits=True)
    assert found.logits is not None and right.logits is not None
    assert [each.tobytes() for each in found.logits] == [each.tobytes() for each in right.logits]


@pytest.mark.parametrize(
    ("guidance", "sentence"),
    [
        ({"sound": 1.5}, "guidance has sound, and this model's sources are image, hint"),
        ({"hint": -1}, "at least 0 by source and at most 1000000, and that of hint is -1"),
        ({"hint": float("nan")}, "and that of hint is nan"),
        ({"hint": "much"}, "and that of hint is 'much'"),
        ({}, "guidance must be a number of at least 0 by source, as in"),
        (1.5, "guidance must be a number of at least 0 by source"),
    ],
)
def test_other_guidance_is_refused(model: Model, guidance: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        model.generate(given(), guidance=guidance)


def test_an_input_with_no_other_source_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match="input 1 has no source but image"):
        model.generate({"image": INPUTS["image"]}, guidance={"image": 1.5})


def test_models_of_several_sources_in_an_ensemble(model: Model) -> None:
    together = ensemble([model, model], (0.5, 0.5))
    weights = {"image": 0.5, "hint": 1.0}
    found = together.generate(given(), source_weights=weights)
    right = model.generate(given(), source_weights=weights)
    assert found.sequences.tolist() == right.sequences.tolist()
    assert found.sources == right.sources
    assert found.source_attention is not None and right.source_attention is not None
    assert found.source_attention.tobytes() == right.source_attention.tobytes()
