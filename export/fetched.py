"""Models that `fuseline get` has fetched, from their unpacked files to folders: by numpy and onnx alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .convert import SCHEMES, ExportReport, Progress, sizes_of
from .ctranslate2.write import write_ctranslate2
from .moonshine.write import write_moonshine
from .refusals import in_one_sentence
from .writing.card import Terms
from .writing.folder import check_schemes
from .writing.place import check_out, claimed

WRITERS = {"ctranslate2": write_ctranslate2, "moonshine": write_moonshine}


def check_folder(out: Path, variants: Sequence[str]) -> None:
    """Raises ExportError where make_folder cannot write to `out`, or knows no such variants."""
    check_schemes(variants, SCHEMES)
    check_out(out)


@in_one_sentence("made a folder")
def make_folder(
    source: Path, out: Path, form: str, variants: Sequence[str], terms: Terms, progress: Progress | None = None
) -> ExportReport:
    """Write the fuseline folder `out` of the files in the folder `source`.

    form: what these are, ctranslate2 or moonshine; variants: as export has them; progress: is called with the step, the
    number of steps and what is done in it. `out` is complete at the end, or as it was if anything fails. Raises
    ExportError.
    """
    check_schemes(variants, SCHEMES)
    steps = 4 + len(variants)

    def tell(step: int, what: str) -> None:
        if progress is not None:
            progress(step, steps, what)

    with claimed(out) as place:
        check_out(place.path)
        schemes = {name: SCHEMES[name] for name in variants}
        agreement, remark = WRITERS[form](source, place, schemes, None, tell, terms)
    tell(steps, "done")
    return ExportReport(out, sizes_of(out), agreement, remark)
