"""`python -m recipes.default_captioner --data FLICKR8K --work FOLDER`: the captioner that ships, from photos to folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .data import read_split
from .prepare import prepare
from .train import load_corpus, train


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.default_captioner", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with captions.jsonl and the photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches and checkpoints (3 GB)")
    options = parser.parse_args()
    prepare(options.data, options.work)
    vocabulary = json.loads((options.work / "vocabulary.json").read_text(encoding="utf-8"))
    splits = [read_split(options.data, split) for split in ("train", "val")]
    train(load_corpus(options.work, *splits, vocabulary), options.work)


if __name__ == "__main__":
    main()
