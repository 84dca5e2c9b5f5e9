"""Small GPT-2s without cross-attention that say varied things, in the tokens of the captioners of tests.tiny."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests import tiny


def language_model(seed: int, *, ends: bool = True, **fields: Any) -> Any:
    """A GPT2LMHeadModel (2 layers, 4 heads of 6, 97 words), float32, in eval mode.

    ends: whether the end is made likely; fields: of GPT2Config.
    """
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"n_positions": 40, "n_embd": 24, "n_layer": 2, "n_head": 4, "vocab_size": 97}
    tokens = {"bos_token_id": tiny.START, "eos_token_id": tiny.END, "pad_token_id": tiny.PAD}
    config = GPT2Config(**sizes | tokens | fields)  # type: ignore[no-untyped-call]
    config._attn_implementation = "eager"  # the one that follows scale_attn_by_inverse_layer_idx
    model: Any = GPT2LMHeadModel(config).eval()
    tiny._enliven(model)
    model.generation_config.max_length = tiny.MAX_LENGTH
    if ends:
        _make_end_likely(model)
    return model


def beginnings(count: int, length: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Random words that texts begin with, int64[count, length]."""
    return np.random.default_rng(seed).integers(4, 97, (count, length))


def _make_end_likely(model: Any) -> None:
    """Swap the end's rows with those of a word that some texts come to after their first words."""
    prompts = torch.from_numpy(beginnings(40, 2, seed=1))
    endless = model.generate(prompts, max_length=tiny.MAX_LENGTH, eos_token_id=model.config.vocab_size)
    heard = torch.nn.functional.one_hot(endless[:, 2:], model.config.vocab_size).cumsum(dim=1) > 0
    late = (heard[:, -1] & ~heard[:, 2]).float().mean(dim=0) - heard[:, 2].float().mean(dim=0)
    late[[tiny.START, tiny.PAD]] = -1.0
    word = int((late - 0.5).abs().argmin())
    with torch.no_grad():
        for rows in {model.transformer.wte.weight, model.lm_head.weight}:
            rows[[tiny.END, word]] = rows[[word, tiny.END]]


def write_checkpoint(model: Any, folder: Path) -> Path:
    """Save it as a folder of the hub has it."""
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tiny.word_tokenizer(model.config.vocab_size))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return folder
