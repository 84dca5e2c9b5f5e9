"""From a CTranslate2 folder to a fuseline folder that says what CTranslate2 says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from fuseline.errors import ExportError

from ..adapters import Parts
from ..adapters.ctranslate2 import CTranslate2Decoder, CTranslate2Encoder
from ..check import Agreement, compare
from ..graphs.weights import Scheme
from ..graphs.weights_file import WeightsFile
from ..sources import Texts
from ..writing.folder import write_to
from ..writing.graphs import GraphSource
from ..writing.place import Place
from .compare import Reference, is_installed
from .folder import files_of, read_source

NOT_COMPARED = "not compared with CTranslate2, which is not installed; pip install ctranslate2"


def write_ctranslate2(
    folder: str | Path,
    place: Place,
    schemes: Mapping[str, Scheme],
    max_length: int | None,
    tell: Callable[[int, str], None],
) -> tuple[dict[str, Agreement], str]:
    """Write the folder and compare every variant before it takes its place, where CTranslate2 is installed.

    schemes, max_length: as export has them; tell: is called with the step and what is done in it. Returns how far each
    agrees, and what else is to be known. Raises ExportError.
    """
    tell(1, "loading the weights")
    source = read_source(folder)
    model = source.model
    parts = Parts(None, CTranslate2Decoder, model.decoder, (CTranslate2Encoder, model.encoder))
    most = CTranslate2Decoder.decoder_info(model.decoder)["max_positions"] + 1
    if max_length is not None and max_length > most:
        raise ExportError(f"max_length {max_length} is more than the {most} tokens that the decoder can write")
    positions = None if max_length is None else max_length - 1
    info, texts = CTranslate2Decoder.decoder_info(model.decoder, positions), Texts()
    encoder = texts.encoder(parts, model.weights, once=len(schemes) == 1)

    def decoder(scheme: Scheme, outside: WeightsFile) -> onnx.ModelProto:
        return CTranslate2Decoder.build_decoder(model.weights, model.decoder, scheme, positions, outside, padded=True)

    graphs: dict[str, dict[str, GraphSource]] = {
        name: {"encoder": partial(encoder, scheme), "decoder": partial(decoder, scheme)}
        for name, scheme in schemes.items()
    }
    agreement: dict[str, Agreement] = {}

    def compared(made: Path) -> dict[str, Any]:
        if not is_installed():
            return {}
        tell(3, "asking CTranslate2")
        reference = Reference(source)
        answers = reference.ask(info["max_positions"])
        for number, variant in enumerate(schemes):
            tell(4 + number, f"comparing {variant} with CTranslate2")
            agreement[variant] = compare(made, variant, answers, lambda: reference)
        return {variant: found.record() for variant, found in agreement.items()}

    tell(2, "making the graphs")
    files, remark = files_of(source, info["max_positions"])
    files |= {"reads": texts.described(parts)}
    default = next(iter(schemes))
    write_to(place, **files, decoder_info=info, variants=graphs, default_variant=default, check=compared)
    return agreement, "; ".join(each for each in (remark, "" if agreement else NOT_COMPARED) if each)
