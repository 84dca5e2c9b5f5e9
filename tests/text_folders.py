"""Checkpoints of text to text with the tokenizers that they have as published, small, and their folders of fuseline.

The texts that they make are noise, but varied: see tests.text_models.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import (
    AutoTokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from fuseline.export import export
from tests import source_folders, text_models
from tests.made_once import made_once

SEED = 2  # found by trying: short texts get different ones
# As config.json of T5 has them.
TASKS = {
    "summarization": {
        "prefix": "sum up: ",
        "min_length": 6,
        "max_length": 14,
        "num_beams": 2,
        "no_repeat_ngram_size": 2,
    },
    "translation_en_to_de": {"prefix": "translate English to German: ", "early_stopping": True, "max_length": 300},
}
# Tokenizer of tests.source_folders, class, and its configuration, by a name.
MODELS: dict[str, tuple[str, Any, Callable[..., Any]]] = {
    "T5": ("T5", T5ForConditionalGeneration, lambda **more: text_models._t5(T5Config, **more)),
    "NLLB": ("NLLB", M2M100ForConditionalGeneration, lambda **more: text_models._bart(M2M100Config, **more)),
    "M2M100": ("M2M100", M2M100ForConditionalGeneration, lambda **more: text_models._bart(M2M100Config, **more)),
    "mBART": ("mBART", MBartForConditionalGeneration, lambda **more: text_models._bart(MBartConfig, **more)),
}


class Made(NamedTuple):
    """A checkpoint of transformers, and the folder that fuseline export made of it."""

    source: Path
    folder: Path


def made(name: str, root: Path) -> Made:
    """The model of that name in MODELS, fp32, in `root`."""
    made_once(root, f"text {name}", lambda folder: _make(name, folder))
    return Made(root / "source", root / "folder")


def _make(name: str, root: Path) -> None:
    tokenizer_name, kind, config = MODELS[name]
    source = source_folders.made(tokenizer_name, root / "source")
    tokenizer: Any = AutoTokenizer.from_pretrained(source)  # type: ignore[no-untyped-call]
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    start = tokenizer.pad_token_id if name == "T5" else tokenizer.eos_token_id
    torch.manual_seed(SEED)
    model = kind(config(vocab_size=len(tokenizer), decoder_start_token_id=start, **tokens)).eval()
    text_models._enliven(model)
    model.save_pretrained(source)
    if name == "T5":
        about = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps(about | {"task_specific_params": TASKS}))
    export(source, root / "folder")
