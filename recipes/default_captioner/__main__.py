"""Photos in, the captioner that ships out: prepare, train, export, evaluate.

A run that was stopped goes on where it was: finished caches and epochs are kept in the work folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import fuseline

from .corpus import load_corpus
from .efficientnet import LITE1, VARIANTS
from .export import LICENSE, export, install
from .measure import measure
from .phases import train

FLICKR8K = "flickr8k"
MODELS = Path(__file__).parents[2] / "runtime" / "fuseline" / "models"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recipes.default_captioner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m recipes.default_captioner --data flickr8k --kinds objects --work /tmp/captioner",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with captions.jsonl and the photos, or COCO's own folder")
    add("--kinds", type=Path, help="folder with labels.jsonl and photos of things")
    add(
        "--also",
        type=Path,
        action="append",
        default=[],
        help="one more folder with captions to train with; may be there several times",
    )
    add(
        "--score",
        type=Path,
        action="append",
        default=[],
        help="a folder with captions that is only measured; may be there several times",
    )
    add("--encoder", choices=VARIANTS, default=LITE1.name, help="EfficientNet-Lite0, 1 or 2 (default: %(default)s)")
    add(
        "--work",
        type=Path,
        required=True,
        help="folder for caches, checkpoints and the log (6 GB of Flickr8k, and 0.5 MB a photo more)",
    )
    add(
        "--license",
        default=LICENSE["id"],
        help="SPDX name of the terms of what is trained with, of folders not named flickr8k",
    )
    add("--terms", default=LICENSE["terms"], help="the same in words")
    add("--install", action="store_true", help="put the result in the place of the captioner that ships")
    options = parser.parse_args()
    folders = options.data, *options.also
    for folder in (*folders, *options.score, *([options.kinds] if options.kinds else [])):
        if not folder.is_dir():
            parser.exit(2, f"{folder} is no folder\n")
    foreign = [folder for folder in folders if folder.resolve().name.lower() != FLICKR8K]
    if foreign and options.license == LICENSE["id"]:
        parser.exit(2, f"{foreign[0]} is not {FLICKR8K}; say with --license and --terms how the model may be used\n")
    try:
        run(options)
    except fuseline.Error as error:
        parser.exit(2, f"{error}\n")


def run(options: argparse.Namespace) -> None:
    """All steps."""
    encoder = VARIANTS[options.encoder]
    corpus = load_corpus(options.work, options.data, options.kinds, options.also, options.score, encoder)
    captioner = train(corpus, options.work, encoder)
    shipped = export(captioner, corpus, options.data, options.work, {"id": options.license, "terms": options.terms})
    figures = measure(shipped, options.data, options.kinds, options.score, write=True)
    (options.work / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.install:
        install(shipped, MODELS)
    print(f"the captioner is in {MODELS / shipped.name if options.install else shipped}")


if __name__ == "__main__":
    main()
