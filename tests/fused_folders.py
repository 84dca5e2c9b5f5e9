"""Checkpoints of the small models of fusion_models, as people save them, and the folders made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast, ViTImageProcessor, WhisperFeatureExtractor

from fuseline.export import export
from fuseline.export.fusion import FusionEncoderDecoder
from tests.fusion_models import END, PAD, START, TEXT_SIZE, VOCAB_SIZE, bert, decoder, fusion_model, vit
from tests.made_once import made_once
from tests.tiny import word_tokenizer


def save(model: Any, folder: Path) -> Path:
    """The model, the tokenizer of what it says, and of each source what its inputs are made by."""
    model.save_pretrained(folder)
    _tokenizer(folder, VOCAB_SIZE)
    for name in model.config.sources:
        reads = model.encoder_of(name).main_input_name
        if reads == "pixel_values":
            processor = ViTImageProcessor(size={"height": 32, "width": 32})
            processor.save_pretrained(folder / name)
        elif reads == "input_features":
            config = model.encoder_of(name).config
            seconds = config.max_source_positions // 50
            extractor = WhisperFeatureExtractor(config.num_mel_bins, chunk_length=seconds)  # type: ignore[no-untyped-call]
            extractor.save_pretrained(folder / name)
        else:
            _tokenizer(folder / name, TEXT_SIZE)
    return folder


def _tokenizer(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "words.json"
    file.write_text(word_tokenizer(size))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(file), pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    file.unlink()
    assert (PAD, START, END) == (0, 1, 2)


def exported(
    root: Path, mode: str, writer: str = "gpt2", variants: tuple[str, ...] = ("fp32",), **options: Any
) -> tuple[Any, Path]:
    """A model, fresh, and its folder, made of the one beside it."""

    def make(folder: Path) -> None:
        export(save(fusion_model(mode, writer, **options), folder / "checkpoint"), folder / "folder", variants)

    made_once(root, f"fused {mode} {writer} {variants} {options}", make)
    return fusion_model(mode, writer, **options), root / "folder"


def described(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "fuseline.json").read_text())
    return found


def hinted(root: Path) -> Path:
    """The folder of a small model as captioners with a hint are: flat fusion of `image` and an optional `hint`."""

    def make(folder: Path) -> None:
        model = FusionEncoderDecoder({"image": vit(), "hint": bert()}, decoder("gpt2"), "flat").eval()
        export(save(model, folder / "checkpoint"), folder / "hinted", ("fp32",))

    made_once(root, "hinted", make)
    return root / "hinted"
