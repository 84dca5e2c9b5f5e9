"""The systems that benchmarks.speech compares, each in a process of its own: `benchmarks.speech_systems NAME`.

Driven by lines of JSON as benchmarks.worker is, by the same client. From a path to the text, all with the same options:
one temperature, no detector of voices, nothing carried over from window to window; timestamps only of what is longer
than a window, of which transformers and fuseline must have them to go on.
"""

from __future__ import annotations

import json
import os
import sys
import time
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.errors import first_sentence

Hear = Callable[[str, int, bool], str]  # a path, beams, whether it is longer than a window
_WINDOW = 30  # seconds


def fuseline(folder: Path, variant: str, threads: int, language: str | None) -> Hear:
    from fuseline import Model
    from fuseline.speech.options import SpeechOptions
    from fuseline.speech.transcriber import Transcriber

    transcriber = Transcriber(Model.from_pretrained(folder, variant, threads=threads))

    def hear(path: str, beams: int, long: bool) -> str:
        options = SpeechOptions(language=language, num_beams=beams, return_timestamps=long)
        return transcriber.transcription(path, options).text

    return hear


def transformers(folder: Path, variant: str, threads: int, language: str | None) -> Hear:
    import numpy as np
    import torch
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

    torch.set_num_threads(threads)
    processor: Any = AutoProcessor.from_pretrained(folder)
    model: Any = AutoModelForSpeechSeq2Seq.from_pretrained(folder).eval()
    spoken = {} if language is None else {"language": language, "task": "transcribe"}

    def hear(path: str, beams: int, long: bool) -> str:
        with wave.open(path) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        whole = {"truncation": False, "padding": "longest", "return_attention_mask": True} if long else {}
        inputs = processor(samples, sampling_rate=16_000, return_tensors="pt", **whole)
        with torch.inference_mode():
            said = model.generate(
                **inputs,
                **spoken,
                num_beams=beams,
                do_sample=False,
                return_timestamps=long,
                condition_on_prev_tokens=False,
            )
        return str(processor.batch_decode(said, skip_special_tokens=True)[0])

    return hear


def faster_whisper(folder: Path, variant: str, threads: int, language: str | None) -> Hear:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type=variant, cpu_threads=threads, num_workers=1)

    def hear(path: str, beams: int, long: bool) -> str:
        segments, _ = model.transcribe(
            path,
            language=language or "en",
            beam_size=beams,
            best_of=1,
            temperature=0.0,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
            condition_on_previous_text=False,
            without_timestamps=not long,
            vad_filter=False,
        )
        return "".join(segment.text for segment in segments)

    return hear


def ctranslate2(checkpoint: Path, out: Path, quantization: str) -> None:
    """A checkpoint into the folder that faster-whisper reads, by CTranslate2's own converter."""
    from ctranslate2.converters import TransformersConverter

    files = [name for name in ("tokenizer.json", "preprocessor_config.json") if (checkpoint / name).is_file()]
    TransformersConverter(str(checkpoint), copy_files=files).convert(str(out), quantization=quantization)


SYSTEMS = {"fuseline": fuseline, "transformers": transformers, "faster-whisper": faster_whisper}


class _Session:
    """What a process can be asked; the method's name is the request's "do"."""

    hear_it: Hear

    def __init__(self, system: str) -> None:
        self.system = system

    def open(self, folder: str, variant: str, threads: int, language: str | None) -> dict[str, Any]:
        self.folder, self.variant, self.threads = Path(folder), variant, threads
        began = time.perf_counter()
        self.hear_it = SYSTEMS[self.system](self.folder, variant, threads, language)
        return {"ms": _since(began)}

    def hear(self, path: str, beams: int, seconds: int) -> dict[str, Any]:
        """The text of a clip, the milliseconds from its path to that, and the memory of the process until now."""
        began = time.perf_counter()
        text = self.hear_it(path, beams, seconds > _WINDOW)
        return {"ms": _since(began), "text": text.strip(), "peak": _peak()}

    def parts(self, path: str) -> dict[str, Any]:
        """Of fuseline, a clip of one window: milliseconds of its features, and of the encoder."""
        from fuseline import Model

        model = Model.from_pretrained(self.folder, self.variant, threads=self.threads)
        found: dict[str, list[float]] = {"features": [], "encoder": []}
        for _ in range(7):
            began = time.perf_counter()
            inputs = model.inputs([path])
            found["features"].append(_since(began))
            began = time.perf_counter()
            model.encode(inputs)
            found["encoder"].append(_since(began))
        model.close()
        return {name: sorted(times)[len(times) // 2] for name, times in found.items()}

    def export(self, checkpoint: str, out: str, variant: str) -> dict[str, Any]:
        ctranslate2(Path(checkpoint), Path(out), variant)
        return {}


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def _peak() -> int:
    """Bytes: the most that was resident."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    session = _Session(sys.argv[1])
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        try:
            answer: Mapping[str, Any] = getattr(session, request.pop("do"))(**request)
        except Exception as error:  # a system may raise whatever it likes
            answer = {"error": first_sentence(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
