"""The command `fuseline caption`: one line, or one object, for every photo."""

from __future__ import annotations

import argparse
import os
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

from . import interrupts
from .errors import InputError
from .photo_paths import Photos, Unusable
from .streams import Unwritable, printable
from .terminal import FAILED, Terminal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .model import Model

_HELP = """\
Print what is on photos, one line a photo: only the text if one photo is named, else "path: text".
A folder stands for all photos in it and below it, in order of their names; - reads a photo from standard input.
What cannot be captioned is said on standard error, and the rest goes on; the exit status is 2 then."""
_EPILOG = """\
--json prints an object a line: {"file": ..., "text": ..., "score": ..., "milliseconds": ..., "variant": ...},
for a photo that failed {"file": ..., "error": ...}, and {"error": ...} if the command can do nothing at all.

example: fuseline caption --num-beams 4 holiday/ cat.jpg
         curl -s https://example.org/dog.jpg | fuseline caption --json -"""


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    caption = commands.add_parser(
        "caption",
        help="print what is on photos",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    caption.set_defaults(command=_run)
    add = caption.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="a photo, a folder of photos, or - for standard input")
    add("--num-beams", type=int, metavar="N", help="texts that are followed at once (default: the model's own number)")
    add("--max-length", type=int, metavar="N", help="most tokens of a text (default: the model's own number)")
    add("--model", metavar="FOLDER", help="a model folder (default: the captioner that ships)")
    add(
        "--variant",
        default="auto",
        metavar="NAME",
        help="as `fuseline info` lists them (default: the fastest good one)",
    )
    add("--device", default="cpu", help="cpu, cuda, or a provider of onnxruntime (default: cpu)")
    add("--threads", type=int, metavar="N", help="threads (default: one a physical core)")
    how = caption.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print an object a photo, as below")
    how.add_argument("--stream", action="store_true", help="print words as they become certain")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Caption every photo that can be; 2 if one could not."""
    from .model import Model

    model = Model.from_pretrained(options.model, options.variant, options.device, options.threads)
    fields = _generation_fields(options)
    model.generation_config.override(**fields)  # a wrong option is said once, and not for every photo
    photos = Photos(options.photos)
    alone = len(options.photos) == 1 and not os.path.isdir(options.photos[0])
    show = _json if options.json else _streamed if options.stream else _line
    failed = False
    with terminal.counted(photos, show=not options.stream) as counted:
        for photo in counted:
            try:
                if isinstance(photo, Unusable):
                    raise photo.error
                show(model, photo, fields, terminal, "" if alone else f"{printable(photo)}: ")
            except Unwritable:
                raise
            except Exception as error:  # whatever it is, it is this photo's and must not cost the others
                interrupts.check()
                terminal.fail(error, photo.name if isinstance(photo, Unusable) else photo)
                failed = True
            interrupts.check()
    for sentence in photos.left_out():
        terminal.note(sentence)
    return FAILED if failed else 0


def _generation_fields(options: argparse.Namespace) -> dict[str, Any]:
    """The options that were given. A given max_length replaces whatever limit the model has."""
    fields = {} if options.num_beams is None else {"num_beams": options.num_beams}
    return fields if options.max_length is None else fields | {"max_length": options.max_length, "max_new_tokens": None}


def _line(model: Model, photo: str, fields: dict[str, Any], terminal: Terminal, before: str) -> None:
    """The text on one line, after `before`."""
    generation = model.generate(_pixels(model, photo), **fields)
    terminal.lines([before + " ".join(model.decode(generation.sequences[:1])[0].split())])


def _json(model: Model, photo: str, fields: dict[str, Any], terminal: Terminal, before: str) -> None:
    """An object, which names the photo itself."""
    began = perf_counter()
    generation = model.generate(_pixels(model, photo), **fields)
    caption = {
        "file": photo,
        "text": model.decode(generation.sequences[:1])[0],
        "score": float(generation.sequences_scores[0]),
        "milliseconds": round((perf_counter() - began) * 1000, 1),
        "variant": model.folder.variant,
    }
    terminal.record(caption)


def _streamed(model: Model, photo: str, fields: dict[str, Any], terminal: Terminal, before: str) -> None:
    """The same line as _line, in pieces as they become certain."""
    from .live import show

    show(model.stream(_pixels(model, photo), **fields), terminal.out, before)


def _pixels(model: Model, photo: str) -> npt.NDArray[np.float32]:
    from .images import load_image

    if photo != "-":
        return model.image_processor([load_image(photo)])
    if sys.stdin is None:
        raise InputError("standard input is closed, and - reads a photo from it; give one, as in < photo.jpg")
    return model.image_processor([load_image(sys.stdin.buffer)])
