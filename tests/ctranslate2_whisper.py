"""Small Whispers of CTranslate2 with random weights, written by its own specification, with a tokenizer of bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs.whisper_spec import WhisperSpec

HEADS, HEAD_SIZE, INNER, LAYERS, POSITIONS, TOKENS = 2, 8, 24, (2, 3), 1500, 40
WIDTH = HEADS * HEAD_SIZE
MULTILINGUAL = 51865  # rows from which on CTranslate2 takes a model for one of many languages
TIMES = [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
_MARKS = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
PAIRS = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "t"), ("Ġt", "he")]


def byte_letters() -> list[str]:
    """GPT-2's letters for the 256 bytes, in the order of its vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [each for each in range(256) if each not in plain]
    return [chr(each) for each in plain] + [chr(256 + at) for at in range(len(others))]


def vocabulary(multilingual: bool) -> list[str]:
    """Tokens by their numbers, those of times included."""
    tokens = [*byte_letters(), *("".join(pair) for pair in PAIRS)]
    end = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|haw|>", *_MARKS, *TIMES]
    filling = MULTILINGUAL - len(tokens) - len(end) if multilingual else 0
    return [*tokens, *(f"Ġword{at}" for at in range(filling)), *end]


def tokenizer_json(tokens: list[str], times: bool) -> dict[str, Any]:
    """As Hugging Face's older files have it, or with the tokens of times."""
    numbers = {token: at for at, token in enumerate(tokens)}
    marks = [token for token in tokens if token.startswith("<|") and (times or token not in TIMES)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": numbers[each], "content": each, **flags, "special": each not in TIMES} for each in marks]
    bytes_alone = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    plain = {token: at for token, at in numbers.items() if not token.startswith("<|")}
    merges = [list(pair) for pair in PAIRS]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": bytes_alone,
        "post_processor": None,
        "decoder": bytes_alone,
        "model": {"type": "BPE", "vocab": plain, "merges": merges},
    }


def whisper_folder(
    folder: Path,
    quantization: str | None = None,
    *,
    seed: int = 0,
    multilingual: bool = False,
    bands: int = 80,
    times: bool = False,
    tokenizer: bool = True,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """A folder as faster-whisper's users have them.

    times: whether tokenizer.json has the tokens of times; tokenizer: whether it is there; config: changes to it.
    """
    tokens = vocabulary(multilingual)
    numbers = {token: at for at, token in enumerate(tokens)}
    spec = _spec(seed, len(tokens), bands)
    spec.register_vocabulary(list(tokens))
    spec.validate()
    spec.optimize(quantization=quantization)
    options: dict[str, Any] = {
        "suppress_ids": [numbers["!"], numbers["<|startoftranscript|>"], numbers["<|startofprev|>"]],
        "suppress_ids_begin": [numbers["Ġ"], numbers["<|endoftext|>"]],
        "lang_ids": [numbers[f"<|{language}|>"] for language in ("en", "de", "haw")],
        "alignment_heads": [[1, 0], [2, 1]],
    }
    for name, value in {**options, **(config or {})}.items():
        spec.config.add_attribute(name, value)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    if tokenizer:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(tokens, times)), encoding="utf-8")
    return folder


def _spec(seed: int, rows: int, bands: int) -> WhisperSpec:
    spec = WhisperSpec(LAYERS[0], HEADS, LAYERS[1], HEADS)
    chance = np.random.default_rng(seed)

    def random(*shape: int, scale: float) -> np.ndarray:
        return (chance.standard_normal(shape) * scale).astype(np.float32)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = 1 + random(WIDTH, scale=0.2), random(WIDTH, scale=0.2)

    def linear(layer: Any, inputs: int, outputs: int) -> None:
        layer.weight, layer.bias = random(outputs, inputs, scale=2 * inputs**-0.5), random(outputs, scale=0.3)

    def attention(layer: Any, outputs: tuple[int, ...]) -> None:
        norm(layer.layer_norm)
        for each, size in zip(layer.linear, outputs, strict=True):
            linear(each, WIDTH, size)
        keys = layer.linear[len(outputs) - 2]
        keys.bias[slice(WIDTH, 2 * WIDTH) if len(outputs) == 2 else slice(WIDTH)] = 0  # which Whisper's have not

    for conv, inputs in ((spec.encoder.conv1, bands), (spec.encoder.conv2, WIDTH)):
        conv.weight, conv.bias = random(WIDTH, inputs, 3, scale=(3 * inputs) ** -0.5), random(WIDTH, scale=0.3)
    for part, positions in ((spec.encoder, POSITIONS), (spec.decoder, TOKENS)):
        part.position_encodings.encodings = random(positions, WIDTH, scale=0.5)
        norm(part.layer_norm)
        for layer in part.layer:
            attention(layer.self_attention, (3 * WIDTH, WIDTH))
            if part is spec.decoder:
                attention(layer.attention, (WIDTH, 2 * WIDTH, WIDTH))
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, WIDTH, INNER)
            linear(layer.ffn.linear_1, INNER, WIDTH)
    spec.decoder.embeddings.weight = random(rows, WIDTH, scale=0.5)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    return spec
