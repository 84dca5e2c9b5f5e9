"""Small exported folders of every architecture, with inputs for them: what tests of layouts go through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fuseline.export import export
from fuseline.model import Model
from tests import exported_folders, fused_folders, fusion_models, language_models, speech_models, text_models, tiny, zoo

Arrays = Any  # what Model.generate takes: an array, arrays by name, or by source
Case = tuple[Path, Callable[[slice], Arrays], Mapping[str, Any]]
"""the folder, some of six inputs, and options for generate"""


def _named(arrays: Mapping[str, Any], some: slice) -> dict[str, Any]:
    return {
        name: _named(each, some) if isinstance(each, Mapping) else each[some].numpy() for name, each in arrays.items()
    }


def _vision(name: str, root: Path) -> Case:
    model = zoo.blip(0) if name == "blip" else zoo.vision_encoder_decoder(name, 0)
    pixels = zoo.photos(model, 6).numpy()
    return exported_folders.photos(name, root), lambda some: pixels[some], {}


def _gpt2(name: str, root: Path) -> Case:
    model = tiny.tiny_model(0)
    export(tiny.write_checkpoint(model, root / "source"), root / "out", ("fp32", "fp16", "int8", "int4"))
    pixels = tiny.photos(6)
    return root / "out", lambda some: pixels[some], {}


def _texts(name: str, root: Path) -> Case:
    model = text_models.text_model(name, 0)
    arrays = text_models.batch(text_models.texts(6), model.config.pad_token_id or 0)
    return exported_folders.texts(name, root), lambda some: _named(arrays, some), {}


def _speech(name: str, root: Path) -> Case:
    model = speech_models.speech_model(name, 0)
    arrays = speech_models.batch(model, speech_models.clips(6))
    return exported_folders.speech(name, root), lambda some: _named(arrays, some), {}


def _fusion(name: str, root: Path) -> Case:
    _, folder = fused_folders.exported(root, name)
    arrays = fusion_models.given(6)
    return folder, lambda some: _named(arrays, some), {}


def _language(name: str, root: Path) -> Case:
    source = language_models.write_checkpoint(language_models.language_model(0), root / "source")
    export(source, root / "out")
    prompts = language_models.beginnings(6, 3)
    return root / "out", lambda some: len(prompts[some]), {"decoder_input_ids": prompts}


_KINDS: Mapping[str, tuple[Callable[[str, Path], Case], tuple[str, ...]]] = {
    "gpt2": (_gpt2, ("vit",)),
    "photos": (_vision, (*zoo.MODELS, "blip")),
    "texts": (_texts, tuple(text_models.MODELS)),
    "speech": (_speech, tuple(speech_models.MODELS)),
    "fusion": (_fusion, ("flat", "mix", "parallel", "hierarchical", "serial", "gated")),
    "language model": (_language, ("gpt2",)),
}
NAMES = tuple(f"{kind}: {name}" for kind, (_, names) in _KINDS.items() for name in names)


def case(name: str, root: Path) -> Case:
    """One of NAMES, exported below root."""
    kind, model = name.split(": ", 1)
    return _KINDS[kind][0](model, root)


def said(
    model: Model, case: Case, batches: tuple[int, ...] = (1, 4), count: int = 6, max_length: int = tiny.MAX_LENGTH
) -> list[tuple[int, ...]]:
    """Texts of so many inputs, up to their ends: greedy and of four beams, in each size of a batch."""
    _, inputs, options = case
    found, ends = [], model.generation_config.ends
    for beams in (1, 4):
        for batch in batches:
            for first in range(0, count, batch):
                some = slice(first, min(first + batch, count))
                own = {name: np.asarray(each)[some] for name, each in options.items()}
                made = model.generate(inputs(some), num_beams=beams, max_length=max_length, **own)
                found += [tiny.ended(row, *ends) for row in made.sequences]
    return found
