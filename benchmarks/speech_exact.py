"""Whether fuseline says transformers' tokens: `python -m benchmarks.speech_exact --sounds SOUND... CHECKPOINT...`.

Every sound with one and with five beams, with and without timestamps, in fp32; sounds of more than 30 s only with
timestamps. What differs is a tie where transformers' own log-probabilities of the two are closer than rounding.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fuseline import Model
from fuseline.inputs.audio import SAMPLING_RATE, load_audio
from fuseline.speech.options import SpeechOptions
from fuseline.speech.transcriber import Transcriber

from . import environments
from .machine import commit, machine

BEAMS, WINDOW = (1, 5), 30 * SAMPLING_RATE
# Log-probabilities this close are a tie, as in fuseline's own check of an export.
TIE = 4e-4

Tokens = tuple[tuple[int, ...], ...]  # of each segment


@dataclass(frozen=True)
class Case:
    """A sound and how it is transcribed."""

    sound: Path
    num_beams: int
    timestamps: bool
    language: str | None

    @property
    def options(self) -> dict[str, Any]:
        spoken = {} if self.language is None else {"language": self.language}
        return {"num_beams": self.num_beams, "return_timestamps": self.timestamps, **spoken}


@dataclass(frozen=True)
class Answer:
    """What both said of a case. apart: of what differs, the difference of transformers' log-probabilities."""

    case: Case
    equal: bool
    apart: float | None = None

    @property
    def verdict(self) -> str:
        if self.equal:
            return "equal"
        return "different" if self.apart is None or abs(self.apart) >= TIE else "tie"


class Reference:
    """transformers, on the same weights."""

    def __init__(self, checkpoint: Path) -> None:
        import torch
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        self._torch: Any = torch
        self._model: Any = WhisperForConditionalGeneration.from_pretrained(checkpoint).eval()
        self._processor: Any = WhisperProcessor.from_pretrained(checkpoint)
        self.multilingual: bool = self._model.generation_config.is_multilingual

    def tokens(self, samples: np.ndarray, options: dict[str, Any]) -> Tokens:
        said = self._model.generate(self._features(samples), return_segments=True, do_sample=False, **options)
        return tuple(tuple(each["tokens"].tolist()) for each in said["segments"][0])

    def score(self, samples: np.ndarray, prefix: Sequence[int], tokens: Sequence[int], beams: int) -> float:
        """The log-probability of the tokens after the prefix; with beams over their number."""
        torch = self._torch
        ids = torch.tensor([[*prefix, *tokens]])
        with torch.inference_mode():
            logits = self._model(self._features(samples[:WINDOW]), decoder_input_ids=ids[:, :-1]).logits[0]
        after = torch.log_softmax(logits.double(), -1)[len(prefix) - 1 :]
        total = float(after[torch.arange(len(tokens)), torch.tensor(tokens)].sum())
        return total if beams == 1 else total / len(tokens)

    def prefix(self, case: Case) -> list[int]:
        config = self._model.generation_config
        start = [config.decoder_start_token_id]
        if self.multilingual:
            language = case.language or "en"
            start += [config.lang_to_id[f"<|{language}|>"], config.task_to_id["transcribe"]]
        return start if case.timestamps else [*start, config.no_timestamps_token_id]

    def _features(self, samples: np.ndarray) -> Any:
        whole = {"truncation": False, "padding": "longest"} if len(samples) > WINDOW else {}
        made = self._processor.feature_extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt", **whole)
        return made.input_features


def cases(sounds: Iterable[tuple[Path, str | None]], multilingual: bool) -> Iterator[Case]:
    for sound, language in sounds:
        for beams in BEAMS:
            for timestamps in (True,) if len(load_audio(sound)) > WINDOW else (False, True):
                yield Case(sound, beams, timestamps, language if multilingual else None)


def compared(case: Case, transcriber: Transcriber, reference: Reference) -> Answer:
    samples = load_audio(case.sound)
    theirs = reference.tokens(samples, case.options)
    ours = tuple(each.tokens for each in transcriber.transcribe(samples, SpeechOptions(**case.options)))
    if ours == theirs or len(samples) > WINDOW:
        return Answer(case, ours == theirs)
    mine, wanted = ([token for segment in each for token in segment] for each in (ours, theirs))
    prefix = reference.prefix(case)
    if case.num_beams == 1:  # up to the first that differs
        same = next((at for at, (a, b) in enumerate(zip(mine, wanted, strict=False)) if a != b), None)
        if same is None:
            return Answer(case, False)
        prefix, mine, wanted = [*prefix, *mine[:same]], mine[same : same + 1], wanted[same : same + 1]
    scores = [reference.score(samples, prefix, each, case.num_beams) for each in (mine, wanted)]
    return Answer(case, False, scores[0] - scores[1])


def table(found: dict[str, list[Answer]]) -> str:
    rows = [["model", "beams", "timestamps", "sounds", "equal", "ties", "different"], ["---"] * 7]
    for name, answers in found.items():
        for beams in BEAMS:
            for timestamps in (False, True):
                here = [each for each in answers if (each.case.num_beams, each.case.timestamps) == (beams, timestamps)]
                counts = [str(sum(each.verdict == kind for each in here)) for kind in ("equal", "tie", "different")]
                rows.append([name, str(beams), "yes" if timestamps else "no", str(len(here)), *counts])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    for name, answers in found.items():
        for each in answers:
            if not each.equal:
                how = f"{each.case.num_beams} beams, timestamps {each.case.timestamps}"
                by = "" if each.apart is None else f", log-probabilities {each.apart:.1e} apart"
                lines.append(f"\n- {name}, {each.case.sound.name}, {how}: {each.verdict}{by}")
    return "\n".join(lines)


def page(found: dict[str, list[Answer]], about: str) -> str:
    """docs/results/speech-exactness.md."""
    return f"""# Speech to text: the tokens of transformers

Made by `python -m benchmarks.speech_exact` at commit {commit()} on {machine()["cpu"]}: fp32, the tokens of every
segment, timestamps among them, beside `WhisperForConditionalGeneration.generate` of transformers on the same weights.
Sounds of more than 30 s are heard with timestamps only. {about}

{table(found)}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="a checkpoint of Whisper")
    parser.add_argument("--sounds", nargs="+", required=True, metavar="SOUND", help="a file, or LANGUAGE:FILE")
    parser.add_argument("--about", default="", metavar="TEXT", help="a sentence for the page, on the sounds")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write docs/results/speech-exactness.md")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    found: dict[str, list[Answer]] = {}
    for checkpoint in options.checkpoints:
        found[checkpoint.name] = list(_of(checkpoint, [_sound(each) for each in options.sounds]))
        if options.page:
            options.page.write_text(page(found, options.about), encoding="utf-8")
    print(table(found))


def _of(checkpoint: Path, sounds: Sequence[tuple[Path, str | None]]) -> Iterator[Answer]:
    from fuseline.export import export

    reference = Reference(checkpoint)
    folder = environments.cache() / "speech" / "exact" / checkpoint.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    export(checkpoint, folder, ["fp32"], force=True)
    with Model.from_pretrained(folder, "fp32") as model:
        transcriber = Transcriber(model)
        for case in cases(sounds, reference.multilingual):
            if case.language in (None, "en") or reference.multilingual:
                started = time.perf_counter()
                answer = compared(case, transcriber, reference)
                took = f"{time.perf_counter() - started:.1f} s"
                print(checkpoint.name, case.sound.name, case.options, answer.verdict, took, flush=True)
                yield answer


def _sound(given: str) -> tuple[Path, str | None]:
    """A language is of two letters; without one it is heard by the model."""
    language, colon, path = given.partition(":")
    return (Path(path), language) if colon and len(language) == 2 else (Path(given), None)


if __name__ == "__main__":
    main()
