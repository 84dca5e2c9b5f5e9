"""How far behind a voice its text is: `python -m benchmarks.speech_live --data DATA FOLDER...`.

The clips of a data set (docs/data.md) one after the other, fed at the speed of speech. A word's delay is from the end
of the word, as the words of the whole clips have it, to the moment it is committed; the machine's own time is in it.
"""

from __future__ import annotations

import argparse
import difflib
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fuseline import Model
from fuseline.export.quality.clips import Clip, read_clips
from fuseline.export.quality.speech_scores import normalized
from fuseline.inputs.audio import SAMPLING_RATE, load_audio
from fuseline.speech.live import live
from fuseline.speech.options import SpeechOptions
from fuseline.speech.transcriber import Transcriber
from fuseline.speech.vocabulary import Vocabulary

from .machine import commit, machine

_BLOCK, _PAUSE = SAMPLING_RATE // 10, SAMPLING_RATE // 2  # samples fed at once, and of silence between clips


@dataclass(frozen=True)
class Found:
    """Of one model: delays in seconds of the words that stream and clips have in common, and both error rates."""

    name: str
    seconds: float
    delays: Sequence[float]
    of_stream: float
    of_clips: float


def measured(folder: Path, variant: str, clips: Sequence[Clip], threads: int | None) -> Found:
    import jiwer

    sounds = [load_audio(clip.path) for clip in clips]
    with Model.from_pretrained(folder, variant, threads=threads) as model:
        language = "en" if Vocabulary.of(model).multilingual else None
        offline = list(_words(Transcriber(model), sounds, language))
        committed, seconds = _fed(model, sounds, SpeechOptions(language=language))
    plain = normalized("english")
    truth = plain(" ".join(clip.references[0] for clip in clips))
    ends = [(word, end) for text, end in offline for word in plain(text).split()]
    said = [(word, at) for text, at in committed for word in plain(text).split()]
    blocks = difflib.SequenceMatcher(None, [w for w, _ in ends], [w for w, _ in said], autojunk=False)
    delays = [said[b + k][1] - ends[a + k][1] for a, b, size in blocks.get_matching_blocks() for k in range(size)]
    rates = [jiwer.wer(truth, plain("".join(text for text, _ in each))) for each in (committed, offline)]
    return Found(f"{folder.name} {variant}", seconds, delays, *rates)


def _words(
    transcriber: Transcriber, sounds: Sequence[npt.NDArray[np.float32]], language: str | None
) -> Iterator[tuple[str, float]]:
    """Each word of the whole clips, and when it ends in all of them one after the other."""
    at = 0
    for sound in sounds:
        options = SpeechOptions(language=language, return_timestamps="word")
        for segment in transcriber.transcribe(sound, options):
            for word in segment.words:
                yield word.text, word.end + at / SAMPLING_RATE
        at += len(sound) + _PAUSE


def _fed(
    model: Model, sounds: Sequence[npt.NDArray[np.float32]], options: SpeechOptions
) -> tuple[list[tuple[str, float]], float]:
    """Each text that was committed, and when, in seconds since the stream began; how long the stream is."""
    silence = np.zeros(_PAUSE, np.float32)
    stream = np.concatenate([each for sound in sounds for each in (sound, silence)])
    listening, told = live(model, SAMPLING_RATE, options), []
    began = time.perf_counter()
    taken = 0
    while taken < len(stream):
        time.sleep(max(0.0, began + (taken + _BLOCK) / SAMPLING_RATE - time.perf_counter()))
        come = max(_BLOCK, int((time.perf_counter() - began) * SAMPLING_RATE) // _BLOCK * _BLOCK - taken)
        heard = listening.feed(stream[taken : taken + come])
        taken += come
        told += [(each.text, time.perf_counter() - began) for each in heard if each.text]
    told += [(each.text, time.perf_counter() - began) for each in listening.finish() if each.text]
    return told, len(stream) / SAMPLING_RATE


def table(found: Sequence[Found]) -> str:
    rows = [["model", "stream, s", "words", "delay, s: median", "90%", "most", "word error rate", "of whole clips"]]
    rows.append(["---"] * len(rows[0]))
    for each in found:
        delays = sorted(each.delays)
        numbers = [statistics.median(delays), delays[int(len(delays) * 0.9)], delays[-1]]
        rates = [f"{each.of_stream:.4f}", f"{each.of_clips:.4f}"]
        rows.append(
            [each.name, f"{each.seconds:.0f}", str(len(delays)), *(f"{number:.2f}" for number in numbers), *rates]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def page(found: Sequence[Found], data: str, threads: int | None) -> str:
    """docs/results/speech-live.md."""
    return f"""# Speech as it is spoken: how far behind its text is

Made by `python -m benchmarks.speech_live` at commit {commit()} on {machine()["cpu"]}, {threads or "all"} threads, with
the clips of {data}, fed at the speed of speech in blocks of 0.1 s. A word's delay is from its end to the moment its
text is committed, which never changes afterwards; the time that the machine takes is in it.

{table(found)}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="fuseline folder of a Whisper model")
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="clips with what is said")
    parser.add_argument("--variants", nargs="+", default=["int8", "fp32"], metavar="NAME")
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: one a physical core)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write docs/results/speech-live.md")
    options = parser.parse_args(arguments)
    clips, _ = read_clips(options.data)
    found = []
    for folder in options.folders:
        for variant in options.variants:
            found.append(measured(folder, variant, clips, options.threads))
            print(table(found[-1:]), flush=True)
    if options.page:
        options.page.write_text(page(found, options.data.name, options.threads), encoding="utf-8")


if __name__ == "__main__":
    main()
