"""Small real models of Whisper with the tokens of the real ones: random weights, 51,865 or 51,864 tokens, clips of 6 s.

The weights are such that texts vary, end, and have timestamps, which tests/runtime/test_transcriber.py holds them to.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from fuseline.export import export
from fuseline.speech.languages import CODES
from tests.made_once import made_once

SECONDS = 6  # of a window
POSITIONS = 40  # of the decoder
LANGUAGES = list(dict.fromkeys(CODES.values()))[:99]  # of the first models, without Cantonese
TEXT = 50_257  # tokens of several languages; of English alone one less
SUPPRESSED = [1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93]


class Layout(NamedTuple):
    """Where the tokens that are no text lie."""

    end: int
    start: int
    languages: dict[str, int]
    translate: int
    transcribe: int
    previous: int
    no_speech: int
    no_timestamps: int
    size: int


def layout(multilingual: bool) -> Layout:
    """As openai's two vocabularies have them: languages even where there is one."""
    end = TEXT if multilingual else TEXT - 1
    names = LANGUAGES
    languages = {f"<|{code}|>": end + 2 + at for at, code in enumerate(names)}
    after = end + 2 + len(names)
    return Layout(end, end + 1, languages, after, after + 1, after + 3, after + 4, after + 5, after + 6 + 1501)


def generation_config(multilingual: bool, **fields: Any) -> dict[str, Any]:
    """generation_config.json, as openai's have it."""
    at = layout(multilingual)
    specials = [at.end + 1, at.translate, at.transcribe, at.transcribe + 1, at.previous, at.no_speech]
    shared = {
        "alignment_heads": [[0, 1], [1, 0], [1, 3]],
        "begin_suppress_tokens": [220, at.end],
        "bos_token_id": at.end,
        "decoder_start_token_id": at.start,
        "eos_token_id": at.end,
        "pad_token_id": at.end,
        "is_multilingual": multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": POSITIONS,
        "no_timestamps_token_id": at.no_timestamps,
        "prev_sot_token_id": at.previous,
        "return_timestamps": False,
        "transformers_version": "4.31.0.dev0",
        "suppress_tokens": SUPPRESSED + specials,
    }
    if not multilingual:
        return shared | {"forced_decoder_ids": [[1, at.no_timestamps]]} | fields
    several = {
        "forced_decoder_ids": [[1, None], [2, at.transcribe]],
        "lang_to_id": at.languages,
        "task_to_id": {"transcribe": at.transcribe, "translate": at.translate},
    }
    return shared | several | fields


def tokenizer_json(multilingual: bool) -> str:
    """Bytes, then words that no text is split into, then the special tokens with the real names."""
    at = layout(multilingual)
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in letters]
    names = {byte: chr(byte) for byte in letters} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    tokens = {names[byte]: place for place, byte in enumerate([*letters, *others])}
    tokens |= {f"Ġw{place}": place for place in range(256, at.end)}
    special = ["<|endoftext|>", "<|startoftranscript|>", *at.languages, "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    special += [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": at.end + place, "content": name, "special": place <= at.no_timestamps - at.end} | plain
        for place, name in enumerate(special)
    ]
    made = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            **{"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": ""},
            **{"end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "vocab": tokens, "merges": []},
        },
    }
    return json.dumps(made)


@cache
def reference(multilingual: bool, seed: int = 0) -> Any:
    """The model, float32, in eval mode, with the attention that can be looked at. Shared, so not to be changed."""
    at = layout(multilingual)
    torch.manual_seed(seed)
    config = WhisperConfig(  # type: ignore[no-untyped-call]
        vocab_size=at.size,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=96,
        decoder_ffn_dim=96,
        max_source_positions=50 * SECONDS,
        max_target_positions=POSITIONS,
        decoder_start_token_id=at.start,
        bos_token_id=at.end,
        eos_token_id=at.end,
        pad_token_id=at.end,
        begin_suppress_tokens=None,
    )
    config._attn_implementation = "eager"
    model: Any = WhisperForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig.from_dict(generation_config(multilingual))
    _enliven(model, at)
    return model


def _enliven(model: Any, at: Layout) -> None:
    """Weights with which texts vary, end, and have timestamps, in place."""
    table = model.model.decoder.embed_tokens.weight
    first, beyond = at.no_timestamps + 1, at.no_timestamps + 1 + 50 * SECONDS
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor is table:
                continue
            if "position" in name:
                tensor.mul_(3 if "encoder" in name else 30)
            elif tensor.dim() == 1:
                tensor.add_(torch.randn_like(tensor) * 0.1)
            else:
                tensor.mul_(20 if tensor.dim() == 3 else 25 if "encoder_attn" in name else 9)
        table.mul_(13)
        for rows, factor in ((at.end, 3), (slice(first, beyond), 1.1), (slice(beyond, None), 0.2), (at.no_speech, 4)):
            table[rows] *= factor


def written(multilingual: bool, folder: Path, seed: int = 0, **fields: Any) -> Path:
    """The model's checkpoint, as a folder of the hub has it. fields: of generation_config.json."""
    reference(multilingual, seed).save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=SECONDS).save_pretrained(folder)  # type: ignore[no-untyped-call]
    (folder / "generation_config.json").write_text(json.dumps(generation_config(multilingual, **fields)))
    (folder / "tokenizer.json").write_text(tokenizer_json(multilingual))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def exported(multilingual: bool, root: Path, seed: int = 0) -> Path:
    """The model's folder of fuseline, fp32."""
    made_once(
        root,
        f"whisper {multilingual} {seed}",
        lambda folder: export(written(multilingual, folder / "source", seed), folder / "folder"),
    )
    return root / "folder"


def sound(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """A sound at 16 kHz: glides in syllables, a little noise, and silence between some of them."""
    random = np.random.default_rng(seed)
    pieces = []
    while sum(map(len, pieces)) < seconds * 16_000:
        times = np.arange(random.integers(4_000, 24_000)) / 16_000
        pitch = random.uniform(80, 400) * (1 + 0.3 * np.sin(2 * np.pi * random.uniform(0.3, 3) * times))
        phase, loud = 2 * np.pi * np.cumsum(pitch) / 16_000, random.uniform(0, 1, 9)
        voice = sum(loud[step - 1] * np.sin(step * phase) for step in range(1, 10))
        syllables = np.clip(np.sin(2 * np.pi * random.uniform(1, 5) * times + random.uniform(0, 6)), 0, 1)
        pieces.append(random.choice([0.0, 0.1, 0.2]) * voice * syllables + random.normal(0, 0.005, len(times)))
    return np.concatenate(pieces)[: round(seconds * 16_000)].astype(np.float32)
