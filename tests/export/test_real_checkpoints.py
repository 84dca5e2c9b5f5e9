"""Every published model of the table, made small: exported, and its photos become the texts of transformers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer

from fuseline import Error, Model
from fuseline.export import export, sources
from tests import encoders, tiny
from tests.export.real_checkpoints import PUBLISHED, REFUSED, Published, Refused
from tests.export.small_checkpoints import loader, write_small_checkpoint

PHOTOS = 4
# Donuts for pages of other sizes, each of which torch traces for ten seconds; the four that are left have two sizes.
OTHER_SIZES = {
    "naver-clova-ix/donut-base-finetuned-zhtrainticket",
    "to-be/donut-base-finetuned-invoices",
    "philschmid/donut-base-sroie",
}
RVL = "naver-clova-ix/donut-base-finetuned-rvlcdip"


@pytest.fixture(autouse=True)
def _encoders_are_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "traced_encoder", encoders.traced_encoder)


def _photos() -> list[Image.Image]:
    """Of coarse blocks and of odd sizes."""
    random = np.random.default_rng(0)
    sizes = [(90, 121), (133, 77), (48, 48), (120, 70)]
    blocks = [random.integers(0, 256, size=(5, 4, 3), dtype=np.uint8) for _ in sizes]
    return [Image.fromarray(b).resize(size, Image.Resampling.NEAREST) for b, size in zip(blocks, sizes, strict=True)]


def _their_tokenizer(folder: Path) -> Any:
    """BertJapaneseTokenizer takes texts apart by MeCab, which decoding does not ask."""
    path = folder / "tokenizer_config.json"
    about = json.loads(path.read_text())
    if about.get("word_tokenizer_type") == "mecab":
        path.write_text(json.dumps(about | {"word_tokenizer_type": "basic"}))
    return AutoTokenizer.from_pretrained(folder)


def _different() -> list[Any]:
    """All of them; slow are OTHER_SIZES, and those that are, made small, another one to the byte, as some TrOCRs."""
    alike = [
        any(replace(each, name=other.name) == other for other in PUBLISHED[:at]) for at, each in enumerate(PUBLISHED)
    ]
    return [
        pytest.param(each, id=each.name, marks=pytest.mark.slow if same or each.name in OTHER_SIZES else ())
        for each, same in zip(PUBLISHED, alike, strict=True)
    ]


@pytest.mark.parametrize("published", _different())
def test_it_says_what_transformers_says(published: Published, tmp_path: Path) -> None:
    folder = write_small_checkpoint(published, tmp_path / "checkpoint")
    report = export(folder, tmp_path / "out")
    agreement = report.agreement["fp32"]
    assert (agreement.greedy, agreement.beam, agreement.first_difference) == (1.0, 1.0, None)
    config = json.loads((folder / "config.json").read_text())
    reference = loader(config).from_pretrained(folder)
    processor, tokenizer = AutoImageProcessor.from_pretrained(folder, use_fast=False), _their_tokenizer(folder)
    with Model.from_pretrained(tmp_path / "out", threads=1) as model:
        photos = _photos()
        pixels = model.image_processor(photos)
        np.testing.assert_array_equal(pixels, processor(photos, return_tensors="np")["pixel_values"])
        prompt: dict[str, Any] = {}
        if published.prompt is not None:
            ids = tokenizer(published.prompt, add_special_tokens=False).input_ids
            assert model.tokenizer.encode(published.prompt, add_special_tokens=False).ids == ids
            prompt["decoder_input_ids"] = np.array([ids] * PHOTOS)
        said = set()
        other = 1 if model.generation_config.num_beams > 1 else 4
        for options in ({}, {"num_beams": other}):  # the first: as the files say
            given = {name: torch.from_numpy(value) for name, value in prompt.items()}
            theirs = reference.generate(torch.from_numpy(pixels), **given, **options).numpy()
            ours = model.generate(pixels, **prompt, **options).sequences
            ends = model.generation_config.ends
            assert [tiny.ended(row, *ends) for row in ours] == [tiny.ended(row, *ends) for row in theirs]
            for skip in (True, False):
                assert model.decode(theirs, skip) == tokenizer.batch_decode(theirs, skip_special_tokens=skip)
            said.update(map(tuple, theirs.tolist()))
        short = published.name == RVL  # seven tokens a text
        assert len(said) > PHOTOS // 2 or short, "the photos should be told apart, or the test shows nothing"


@pytest.mark.parametrize("refused", REFUSED, ids=[each.name for each in REFUSED])
def test_what_is_refused_is_named_before_weights_are_read(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(refused.config))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(Error) as caught:
        export(tmp_path, tmp_path / "out")
    assert refused.says in str(caught.value)
