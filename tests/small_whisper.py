"""A Whisper of a small vocabulary: that of tests.whisper_tokens, with clips of 2 s. Tests of whole pipelines are quick
with it, where the real ones' 51,865 tokens take most of the time."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from fuseline.export import export
from tests import whisper_tokens
from tests.made_once import made_once

SECONDS = 2  # of a window
POSITIONS = 40  # of the decoder


def written(folder: Path, seed: int = 0) -> tuple[Any, Any]:
    """The checkpoint, as a folder of the hub has it: the model, float32, in eval mode, and transformers' tokenizer."""
    folder.mkdir(parents=True)
    tokenizer = whisper_tokens.save(folder)
    tokens = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("endoftext", "startoftranscript")}
    model = _model(len(tokenizer), tokens["endoftext"], tokens["startoftranscript"], seed)
    fields = _generation_config(tokenizer)
    model.generation_config = GenerationConfig.from_dict(fields)
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(fields))
    WhisperFeatureExtractor(chunk_length=SECONDS).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return model, tokenizer


def exported(root: Path, seed: int = 0) -> tuple[Path, Any, Any]:
    """fuseline's folder of it, fp32; the model and its tokenizer."""

    def make(folder: Path) -> None:
        written(folder / "source", seed)
        export(folder / "source", folder / "folder")

    made_once(root, f"small whisper {seed}", make)
    return root / "folder", *written(root / "again", seed)


@cache
def _model(size: int, end: int, start: int, seed: int) -> Any:
    torch.manual_seed(seed)
    config = WhisperConfig(  # type: ignore[no-untyped-call]
        vocab_size=size, d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=40, decoder_ffn_dim=40, max_source_positions=50 * SECONDS,
        max_target_positions=POSITIONS, decoder_start_token_id=start, bos_token_id=end, eos_token_id=end,
        pad_token_id=end, begin_suppress_tokens=None,
    )  # fmt: skip
    config._attn_implementation = "eager"
    model: Any = WhisperForConditionalGeneration(config).eval()
    _enliven(model, end)
    return model


def _enliven(model: Any, end: int) -> None:
    """Weights with which texts vary and have words as well as timestamps, in place. end: the first special token."""
    table = model.model.decoder.embed_tokens.weight
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor is table:
                continue
            if "position" in name:
                tensor.mul_(15)
            elif tensor.dim() == 1:
                tensor.add_(torch.randn_like(tensor) * 0.1)
            else:
                tensor.mul_(5 if tensor.dim() == 3 else 27 if "encoder_attn" in name else 9)
        table.mul_(25)
        table[:end].mul_(1.4)


def _generation_config(tokenizer: Any) -> dict[str, Any]:
    def ids(*names: str) -> list[int]:
        return [tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in names]

    end, start, transcribe, translate = ids("endoftext", "startoftranscript", "transcribe", "translate")
    previous, no_speech, no_timestamps, model = ids("startofprev", "nospeech", "notimestamps", "startoflm")
    return {
        "alignment_heads": [[0, 1], [1, 0], [1, 3]],
        "begin_suppress_tokens": [220, end],
        "bos_token_id": end,
        "decoder_start_token_id": start,
        "eos_token_id": end,
        "pad_token_id": end,
        "is_multilingual": True,
        "lang_to_id": {f"<|{code}|>": ids(code)[0] for code in whisper_tokens.LANGUAGES},
        "task_to_id": {"transcribe": transcribe, "translate": translate},
        "forced_decoder_ids": [[1, None], [2, transcribe]],
        "max_initial_timestamp_index": 50,
        "max_length": POSITIONS,
        "no_timestamps_token_id": no_timestamps,
        "prev_sot_token_id": previous,
        "return_timestamps": False,
        "suppress_tokens": [1, 2, 7, start, transcribe, translate, previous, no_speech, model],
    }
