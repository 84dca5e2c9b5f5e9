"""python -m tests.fuzz.templates FOLDER: the folders whose copies are damaged. Needs torch, which workers then do not.

fp32: a tiny captioner as fuseline writes it, in fp32 and int8; int4: its kernel library's other forms; shipped: the
captioner that ships; merged, past: as optimum lays them out; beside: merged, its weights in a file of their own.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

SMALL = ("fp32", "int4")  # fuseline's own; what they hold is checked by hashes
FOREIGN = ("merged", "past", "beside")
SHIPPED = "shipped"


def main(folder: Path) -> None:
    """Write all of them into the folder."""
    import onnx

    from fuseline.folders.open import find
    from tests import foreign

    folder.mkdir(parents=True)
    shutil.copytree(find(None), folder / SHIPPED)
    _tiny(folder, "fp32", ("fp32", "int8"))
    _tiny(folder, "int4", ("int4", "fp16"))
    export = foreign.exported(foreign.captioner("trocr"), folder / "export")  # the quickest to open
    foreign.laid_out(export, "merged", folder / "merged", "onnx/")
    foreign.laid_out(export, "with past", folder / "past")
    foreign.laid_out(export, "merged", folder / "beside", "onnx/")
    for name in ("encoder_model.onnx", "decoder_model_merged.onnx"):
        model = onnx.load(folder / "beside/onnx" / name)
        onnx.save_model(
            model, folder / "beside/onnx" / name, save_as_external_data=True, location=f"{name}_data", size_threshold=64
        )
    shutil.rmtree(export)


def _tiny(folder: Path, name: str, variants: Sequence[str]) -> None:
    from tests import tiny

    made = tiny.tiny_folder(folder, seed=0, variants=variants)  # type: ignore[arg-type]
    made.rename(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
