"""Photos in, the captioner that ships out: prepare, train, export, evaluate.

A run that was stopped goes on where it was: finished caches and epochs are kept in the work folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .data import read_split
from .export import export, install
from .prepare import prepare
from .train import load_corpus, train

MODELS = Path(__file__).parents[2] / "runtime" / "fuseline" / "models"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recipes.default_captioner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m recipes.default_captioner --data flickr8k --work /tmp/captioner",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with captions.jsonl and the photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches, checkpoints and the log (3 GB)")
    parser.add_argument("--install", action="store_true", help="put the result into the package")
    options = parser.parse_args()
    prepare(options.data, options.work)
    vocabulary = json.loads((options.work / "vocabulary.json").read_text(encoding="utf-8"))
    photos, val = (read_split(options.data, split) for split in ("train", "val"))
    captioner = train(load_corpus(options.work, photos, val, vocabulary), options.work)
    shipped = export(captioner, options.data, options.work, vocabulary)
    if options.install:
        install(shipped, MODELS)
    print(f"the captioner is in {MODELS / shipped.name if options.install else shipped}")


if __name__ == "__main__":
    main()
