"""Error rates of the variants of models of speech: `python -m benchmarks.speech_quality --data DATA... FOLDER...`.

DATA is a data set of clips (docs/data.md); FOLDER a fuseline folder with several variants. --read TEXT adds clips of
that text, a sentence each, read by espeak-ng in several voices: easier than people, but as many words as one likes.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fuseline import Model
from fuseline.export import Evaluation, evaluate
from fuseline.export.quality.record import cell, is_score
from fuseline.speech.vocabulary import Vocabulary

from . import environments
from .errors import BenchmarkError
from .machine import commit, machine

_VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-us+f3", "en-gb+f2", "en-029")
_WORDS = range(6, 45)  # of a sentence that is read


def read_aloud(text: Path, folder: Path, sentences: int) -> Path:
    """A data set of the first sentences of a text. Raises BenchmarkError without espeak-ng."""
    if shutil.which("espeak-ng") is None:
        raise BenchmarkError("--read needs espeak-ng, which is not here; install it, or leave --read out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plain = re.sub(r"\s+", " ", re.sub(r"[^\w\s.,;:'-]", " ", text.read_text(encoding="utf-8")))
    found = [each.strip() for each in re.split(r"(?<=[.;:])\s", plain) if len(each.split()) in _WORDS]
    lines = []
    for number, sentence in enumerate(found[:sentences]):
        name, voice = f"{number:03}.wav", _VOICES[number % len(_VOICES)]
        command = ["espeak-ng", "-v", voice, "-s", str(150 + 5 * (number % 5)), "-w", str(folder / name), sentence]
        subprocess.run(command, check=True, capture_output=True)
        lines.append(json.dumps({"file": name, "text": sentence}))
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def evaluated(folder: Path, data: Path, threads: int | None) -> Evaluation:
    """All variants on a data set of English."""
    with Model.from_pretrained(folder, "fp32") as model:
        language = "en" if Vocabulary.of(model).multilingual else None
    return evaluate(folder, data, src_lang=language, threads=threads, write=False, resume=False)


def section(folder: Path, found: Evaluation) -> str:
    """One model on one data set, as Markdown."""
    about, recorded = found.conditions, found.recorded()
    scores = [name for name in next(iter(recorded.values())) if is_score(recorded["fp32"], name)]
    rows = [["variant", "MB", "same text as fp32", *scores], ["---"] * (3 + len(scores))]
    for name, scored in found.variants.items():
        same = "" if scored.same is None else f"{scored.same:.0%}"
        cells = [cell(recorded[name], score) for score in scores]
        rows.append([name, f"{scored.bytes / 1e6:.1f}", same, *cells])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    count = f"{about['clips']} clips, {about['words']} words, beam {about['num_beams']}"
    return f"### {folder.name}, {about['dataset']}\n\n{count}.\n\n{table}"


def page(sections: Sequence[str]) -> str:
    """docs/results/speech-quality.md."""
    about, parts = machine(), "\n\n".join(sections)
    return f"""# What each variant of a model of speech costs

Made by `python -m benchmarks.speech_quality` at commit {commit()} on {about["cpu"]}
({", ".join(about["features"])}). Texts at temperature 0, without a detector of voices; error rates by jiwer over all
words of a data set, after Whisper's normalisation of English. After a comma: the 95% interval of the rate. In brackets:
the difference to fp32 with its 95% interval (paired bootstrap over the clips).

{parts}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="fuseline folder of a Whisper model")
    parser.add_argument("--data", nargs="*", type=Path, default=[], metavar="DATA", help="clips with what is said")
    parser.add_argument("--read", type=Path, metavar="TEXT", help="a file whose sentences espeak-ng reads")
    parser.add_argument("--sentences", type=int, default=60, metavar="N", help="how many of them (default: 60)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: one a physical core)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write docs/results/speech-quality.md")
    options = parser.parse_args(arguments)
    try:
        data = list(options.data)
        if options.read:
            place = environments.cache() / "speech" / f"{options.read.name} read by espeak-ng"
            data.append(read_aloud(options.read, place, options.sentences))
    except BenchmarkError as error:
        raise SystemExit(f"benchmarks.speech_quality: {error}") from error
    sections = []
    for each in data:
        for folder in options.folders:
            sections.append(section(folder, evaluated(folder, each, options.threads)))
            print(sections[-1], end="\n\n", flush=True)
    if options.page:
        options.page.write_text(page(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
