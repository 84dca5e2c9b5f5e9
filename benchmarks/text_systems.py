"""The systems that benchmarks.texts compares, each in a process of its own: `python -m benchmarks.text_systems NAME`.

Driven by lines of JSON as benchmarks.worker is, by the same client. Tokens in, tokens out: a batch is a list of texts,
lists of tokens, sorted by length by whoever asks; what is said has exactly `new` tokens, so that all do the same work.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Texts = Sequence[Sequence[int]]
Run = Callable[[Texts, int, int], list[list[int]]]


def fuseline(folder: Path, variant: str, threads: int) -> Run:
    from fuseline import Model

    model = Model.from_pretrained(folder, variant, threads=threads)

    def run(texts: Texts, beams: int, new: int) -> list[list[int]]:
        ids, mask = _padded(texts, model.generation_config.pad_token_id or 0)
        said = model.generate(
            {"input_ids": ids, "attention_mask": mask}, num_beams=beams, max_new_tokens=new, min_new_tokens=new
        )
        return said.sequences.tolist()  # type: ignore[no-any-return]

    return run


def transformers(folder: Path, variant: str, threads: int) -> Run:
    import torch
    from transformers import AutoModelForSeq2SeqLM

    torch.set_num_threads(threads)
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    return _of_torch(model, torch)


def optimum(folder: Path, variant: str, threads: int) -> Run:
    import onnxruntime
    import torch
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model: Any = ORTModelForSeq2SeqLM.from_pretrained(folder, session_options=options, use_cache=True)
    return _of_torch(model, torch)


def _of_torch(model: Any, torch: Any) -> Run:
    def run(texts: Texts, beams: int, new: int) -> list[list[int]]:
        ids, mask = (torch.from_numpy(array) for array in _padded(texts, model.config.pad_token_id))
        with torch.inference_mode():
            said = model.generate(
                ids, attention_mask=mask, num_beams=beams, max_new_tokens=new, min_new_tokens=new, do_sample=False
            )
        return said.tolist()  # type: ignore[no-any-return]

    return run


def ctranslate2(folder: Path, variant: str, threads: int) -> Run:
    import ctranslate2 as library

    translator = library.Translator(str(folder), compute_type=variant, intra_threads=threads, inter_threads=1)

    def run(texts: Texts, beams: int, new: int) -> list[list[int]]:
        found = translator.translate_batch(
            [[f"t{token}" for token in text] for text in texts],
            beam_size=beams,
            max_decoding_length=new,
            min_decoding_length=new,
            max_batch_size=len(texts),
        )
        return [[int(token[1:]) for token in each.hypotheses[0]] for each in found]

    return run


def export_ctranslate2(checkpoint: Path, out: Path, quantization: str) -> None:
    """By the loaders of its own converter; the tokenizer's part is played by words that are called by their numbers."""
    from ctranslate2.converters import transformers as converter
    from transformers import AutoModelForSeq2SeqLM

    model: Any = AutoModelForSeq2SeqLM.from_pretrained(checkpoint)
    loader: Any = converter._MODEL_LOADERS[type(model.config).__name__]
    spec = loader.get_model_spec(model)
    marian = model.config.model_type == "marian"  # begins with zeros in the place of a token, and has no pad token
    vocabulary = [f"t{token}" for token in range(model.config.vocab_size - marian)]
    start = model.config.eos_token_id if marian else model.config.decoder_start_token_id
    spec.config.bos_token = spec.config.decoder_start_token = f"t{start}"
    spec.config.eos_token, spec.config.unk_token = f"t{model.config.eos_token_id}", "t2"
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization=None if quantization == "float32" else quantization)
    out.mkdir(parents=True)
    spec.save(str(out))


def export_optimum(checkpoint: Path, out: Path, quantization: str) -> None:
    from optimum.exporters.onnx import main_export

    main_export(checkpoint, output=out, task="text2text-generation-with-past", do_validation=False)


SYSTEMS = {each.__name__: each for each in (fuseline, transformers, optimum, ctranslate2)}
EXPORTS = {"ctranslate2": export_ctranslate2, "optimum": export_optimum}


def _padded(texts: Texts, pad: int) -> tuple[Any, Any]:
    import numpy as np

    longest = max(map(len, texts))
    ids, mask = np.full((len(texts), longest), pad, np.int64), np.zeros((len(texts), longest), np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return ids, mask


class _Session:
    """What a process can be asked; the method's name is the request's "do"."""

    run: Run

    def __init__(self, system: str) -> None:
        self.system = system

    def open(self, folder: str, variant: str, threads: int) -> dict[str, Any]:
        began = time.perf_counter()
        self.run = SYSTEMS[self.system](Path(folder), variant, threads)
        return {"ms": (time.perf_counter() - began) * 1000}

    def say(self, texts: Texts, beams: int, new: int) -> dict[str, Any]:
        began = time.perf_counter()
        said = self.run(texts, beams, new)
        return {"ms": (time.perf_counter() - began) * 1000, "said": said}

    def export(self, checkpoint: str, out: str, variant: str) -> dict[str, Any]:
        EXPORTS[self.system](Path(checkpoint), Path(out), variant)
        return {}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    session = _Session(sys.argv[1])
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        try:
            answer = getattr(session, request.pop("do"))(**request)
        except Exception as error:  # a system may raise whatever it likes
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
