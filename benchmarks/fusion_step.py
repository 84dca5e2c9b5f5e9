"""What a second source costs a step, and how two encoders are best run: `python -m benchmarks.fusion_step`.

A decoder of ViT-GPT2's size with random weights reads a photo (197 positions) and a text of 64 tokens, fused by `flat`;
beside it the same decoder with the photo alone, as a captioner of one source. The encoders are one layer each for the
steps, and of full size for the question which way to run them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fuseline import Model
from fuseline.graphs.contract import Encoded

from .machine import commit, machine

_TOKENS, _WORDS, _STEPS = 64, 30522, 12
BEAMS = 4


def _model(kind: Any, sizes: Mapping[str, Any]) -> Any:
    import torch

    torch.manual_seed(0)
    return kind(sizes).eval()


def build(root: Path, layers: int, variant: str) -> tuple[Path, Path]:
    """The folders of the fused model and of the captioner of one source. layers: of each encoder."""
    from transformers import (
        BertConfig,
        BertModel,
        GPT2Config,
        GPT2LMHeadModel,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
        ViTModel,
    )

    from fuseline.export import export
    from fuseline.export.fusion import FusionEncoderDecoder

    def decoder() -> Any:
        return _model(GPT2LMHeadModel, GPT2Config(add_cross_attention=True, n_positions=64, pad_token_id=0))

    photos = _model(ViTModel, ViTConfig(num_hidden_layers=layers))
    hints = _model(BertModel, BertConfig(num_hidden_layers=layers, vocab_size=_WORDS))
    tokens = {"decoder_start_token_id": 50256}
    fused = FusionEncoderDecoder({"image": photos, "hint": hints}, decoder(), **tokens)
    alone = VisionEncoderDecoderModel(encoder=photos, decoder=decoder())
    alone.generation_config.decoder_start_token_id = alone.config.decoder_start_token_id = 50256
    alone.generation_config.pad_token_id = alone.config.pad_token_id = 0
    folders = []
    for name, model in (("fused", fused), ("alone", alone)):
        checkpoint = root / name
        model.save_pretrained(checkpoint)
        _tokenizer(checkpoint, 50257)
        if name == "fused":
            _tokenizer(checkpoint / "hint", _WORDS)
        ViTImageProcessor().save_pretrained(checkpoint / "image" if name == "fused" else checkpoint)
        export(checkpoint, root / f"{name}.folder", [variant], max_length=32)
        folders.append(root / f"{name}.folder")
    return folders[0], folders[1]


def _tokenizer(folder: Path, size: int) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0} | {f"w{number}": number for number in range(1, size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)


def inputs() -> dict[str, Any]:
    random = np.random.default_rng(0)
    pixels = random.normal(size=(1, 3, 224, 224)).astype(np.float32)
    ids = random.integers(1000, _WORDS, (1, _TOKENS))
    return {"image": pixels, "hint": {"input_ids": ids, "attention_mask": np.ones_like(ids)}}


def steps(model: Model, encoded: Encoded) -> float:
    """Milliseconds of a step, the median of some."""
    decoder, tokens = model.decoder, np.full((BEAMS, 1), 7, np.int64)
    state, times = decoder.start(encoded, BEAMS, _STEPS), []
    for _ in range(_STEPS):
        began = time.perf_counter()
        decoder.step(state, tokens, None)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[2:])


def interleaved(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each over so many rounds."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(case())
    return {name: statistics.median(times) for name, times in found.items()}


def encoding(model: Model, *, together: bool) -> Callable[[], float]:
    """Milliseconds of both encoders, after each other or side by side."""
    encoders: Any = model._graphs.encoder.encoders  # type: ignore[attr-defined]
    given = {name: encoders[name].checked(each) for name, each in inputs().items()}

    def run() -> float:
        began = time.perf_counter()
        if together:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda name: encoders[name].encode(given[name]), given))
        else:
            for name, arrays in given.items():
                encoders[name].encode(arrays)
        return (time.perf_counter() - began) * 1000

    return run


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="int8")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--layers", type=int, default=12, help="of each encoder (default: 12)")
    options = parser.parse_args(arguments)
    print(f"{machine()['cpu']}, commit {commit()}, {options.variant}, {BEAMS} beams")
    with tempfile.TemporaryDirectory() as root:
        fused, alone = build(Path(root), options.layers, options.variant)
        for threads in options.threads:
            both, one = (Model.from_pretrained(each, options.variant, threads=threads) for each in (fused, alone))
            report(f"{threads} threads", both, one, options.rounds)


def report(about: str, both: Model, one: Model, rounds: int) -> None:
    """Print what was measured. both: the fused model; one: that of one source."""
    given = inputs()
    photo, only_photo = one.encode(given["image"]), both.encode({"image": given["image"]})
    all_of_it = both.encode(given)
    cases: dict[str, Callable[[], float]] = {
        "one source's model": lambda: steps(one, photo),
        "photo": lambda: steps(both, only_photo),
        "photo and text": lambda: steps(both, all_of_it),
    }
    found = interleaved(cases, rounds)
    for name, ms in found.items():
        print(f"{about}, a step, {name}: {ms:.3f} ms, {ms / found[next(iter(found))]:.3f}", flush=True)
    ways = {"after each other": False, "side by side": True}
    runs = {name: encoding(both, together=way) for name, way in ways.items()}
    for name, ms in interleaved(runs, max(5, rounds // 3)).items():
        print(f"{about}, both encoders {name}: {ms:.1f} ms", flush=True)


if __name__ == "__main__":
    main()
