"""Captioners made of tables, as cheap as a model can be: transformers' generate over them, and the step contract.

The logits of the next token are a sum of table rows for the photo, the last two tokens and the length, so that they are
the same numbers in every batch. Needs transformers, of any version, and no fuseline: what older versions than the
pinned one say is recorded in environments of their own.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

START, LONGEST = 1, 24


@dataclass(frozen=True)
class Tables:
    """What a captioner is made of, by its seed: float32[V, V] twice, float32[LONGEST, V], photos float32[B, 1, V]."""

    last: Any
    before: Any
    length: Any

    @classmethod
    def of(cls, seed: int, vocab: int) -> Tables:
        rng = np.random.default_rng([seed, vocab])
        sizes = (vocab, 2.0), (vocab, 1.0), (LONGEST, 0.5)
        return cls(*(torch.from_numpy(rng.normal(0, by, (size, vocab)).astype(np.float32)) for size, by in sizes))

    def photos(self, count: int) -> Any:
        rng = np.random.default_rng(int(abs(self.last[0, 0]) * 1e6))
        return torch.from_numpy(rng.normal(0, 1.5, (count, 1, len(self.last))).astype(np.float32))

    def logits(self, photos: Any, ids: Any) -> Any:
        """float32[R, V] after ids int64[R, T]; photos: float32[R, 1, V]."""
        before = ids[:, -2] if ids.shape[1] > 1 else ids[:, -1]
        return self.last[ids[:, -1]] + self.before[before] + self.length[ids.shape[1]] + photos[:, 0]


class Encoder(torch.nn.Module):
    """The photos as they are."""

    main_input_name = "pixel_values"

    def forward(self, pixel_values: Any, **_: Any) -> Any:
        return BaseModelOutput(pixel_values)


class Captioner(transformers.PreTrainedModel, transformers.GenerationMixin):  # type: ignore[misc]
    """The tables behind the generate of transformers."""

    config_class = transformers.PretrainedConfig
    main_input_name = "pixel_values"

    def __init__(self, tables: Tables) -> None:
        vocab = len(tables.last)
        config = transformers.PretrainedConfig(is_encoder_decoder=True, vocab_size=vocab, decoder_start_token_id=START)
        config.hidden_size, config.num_hidden_layers, config.num_attention_heads = vocab, 1, 1
        super().__init__(config)
        self.tables, self.nothing = tables, torch.nn.Parameter(torch.zeros(1))
        self.generation_config = transformers.GenerationConfig(decoder_start_token_id=START, use_cache=False)
        self.encoder = Encoder()

    def get_encoder(self, *_: Any) -> Any:
        return self.encoder

    def prepare_inputs_for_generation(self, input_ids: Any, encoder_outputs: Any = None, **_: Any) -> dict[str, Any]:
        return {"decoder_input_ids": input_ids, "encoder_outputs": encoder_outputs}

    def forward(self, decoder_input_ids: Any, encoder_outputs: Any, **_: Any) -> Any:
        return Seq2SeqLMOutput(logits=self.tables.logits(encoder_outputs[0], decoder_input_ids)[:, None])


class TablesDecoder:
    """The tables behind the step contract."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.rows = 0  # of all steps together

    def start(self, encoded: Any, num_beams: int, max_length: int, *, attentions: bool = False) -> Any:
        return SimpleNamespace(photos=encoded.repeat_interleave(num_beams, dim=0), ids=None, beams=num_beams)

    def narrow(self, state: Any, photos: np.ndarray) -> Any:
        rows = torch.from_numpy((photos[:, None] * state.beams + np.arange(state.beams)).ravel())
        assert len(rows) < len(state.ids)
        return SimpleNamespace(photos=state.photos[rows], ids=state.ids[rows], beams=state.beams)

    def step(self, state: Any, tokens: np.ndarray, parents: np.ndarray | None) -> np.ndarray:
        new = torch.from_numpy(tokens)
        kept = state.ids if parents is None or state.ids is None else state.ids[torch.from_numpy(parents)]
        state.ids = new.clone() if kept is None else torch.cat([kept, new], dim=1)
        assert len(tokens) == len(state.photos)
        self.rows += len(tokens)
        return np.asarray(self.tables.logits(state.photos, state.ids))


def generate(tables: Tables, prompt: np.ndarray, options: dict[str, Any]) -> Any:
    """What transformers says for one photo a row of the prompt, int64[B, T]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Captioner(tables).generate(
            tables.photos(len(prompt)),
            decoder_input_ids=torch.from_numpy(prompt),
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
