"""Where the tokens of a text looked, as transformers says it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fuseline import Model


def assert_equal_to_transformers(reference: Any, model: Model, pixels: Any, **options: Any) -> npt.NDArray[np.float32]:
    """Generation.cross_attentions are those that transformers returns, within 1e-4; returned for more questions.

    reference: a VisionEncoderDecoderModel; pixels: float32[B, 3, height, width], a tensor; options: of generate.
    """
    asked = {"output_attentions": True, "return_dict_in_generate": True, "output_scores": True}
    reference.set_attn_implementation("eager")  # the one that returns its weights
    theirs = reference.generate(pixels, **options, **asked)
    given = {name: np.asarray(value) if isinstance(value, torch.Tensor) else value for name, value in options.items()}
    ours = model.generate(pixels.numpy(), **given, output_attentions=True)
    np.testing.assert_array_equal(ours.sequences, theirs.sequences.numpy())
    found = ours.cross_attentions
    assert found is not None
    assert found.shape[:2] == ours.token_logprobs.shape
    if ours.beam_indices is None:
        ended = np.cumsum(ours.sequences == reference.generation_config.eos_token_id, axis=1) > 0
        rows = np.where(ended[:, -found.shape[1] - 1 : -1], -1, np.arange(len(found))[:, None])
    else:
        rows = theirs.beam_indices.numpy()[:, : found.shape[1]]
    for place, step in enumerate(theirs.cross_attentions[: found.shape[1]]):
        layers = np.stack([layer[:, :, -1].numpy() for layer in step])  # [L, R, H, S]
        for index, row in enumerate(rows[:, place]):
            expected = np.zeros_like(found[index, place]) if row < 0 else layers[:, row]
            np.testing.assert_allclose(found[index, place], expected, atol=1e-4)
    return found
