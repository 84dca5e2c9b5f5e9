"""From a CTranslate2 folder to a fuseline folder that says what CTranslate2 says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from fuseline.errors import ExportError

from ..check import Agreement, compare
from ..graphs.weights import Scheme
from ..graphs.weights_file import WeightsFile
from ..writing.card import Terms
from ..writing.folder import write_to
from ..writing.graphs import GraphSource
from ..writing.place import Place
from .compare import is_installed
from .opened import Opened, opened

NOT_INSTALLED = "not compared with CTranslate2, which is not installed; pip install ctranslate2"
NOT_COMPARED = (
    "not compared with CTranslate2, as only models of texts are; `fuseline evaluate` says how good its texts are"
)


def write_ctranslate2(
    folder: str | Path,
    place: Place,
    schemes: Mapping[str, Scheme],
    max_length: int | None,
    tell: Callable[[int, str], None],
    terms: Terms | None = None,
) -> tuple[dict[str, Agreement], str]:
    """Write the folder and compare every variant before it takes its place, where CTranslate2 is installed.

    schemes, max_length: as export has them; tell: is called with the step and what is done in it; terms: of the model.
    Returns how far each agrees, and what else is to be known. Raises ExportError.
    """
    tell(1, "loading the weights")
    source = opened(folder)
    parts, weights = source.parts, source.weights
    adapter, config = parts.decoder, parts.decoder_config
    most = adapter.decoder_info(config)["max_positions"] + 1
    if max_length is not None and max_length > most:
        raise ExportError(f"max_length {max_length} is more than the {most} tokens that the decoder can write")
    positions = None if max_length is None else max_length - 1
    info = adapter.decoder_info(config, positions)
    encoder = source.reads.encoder(parts, weights, once=len(schemes) == 1)

    def decoder(scheme: Scheme, outside: WeightsFile) -> onnx.ModelProto:
        return adapter.build_decoder(weights, config, scheme, positions, outside, padded=source.reads.padded)

    graphs: dict[str, dict[str, GraphSource]] = {
        name: {"encoder": partial(encoder, scheme), "decoder": partial(decoder, scheme)}
        for name, scheme in schemes.items()
    }
    tell(2, "making the graphs")
    files, remark = source.files(info["max_positions"])
    files |= {"reads": source.reads.described(parts), "license": None if terms is None else terms.license}
    agreement: dict[str, Agreement] = {}

    def compared(made: Path) -> dict[str, Any]:
        if terms is not None:
            terms.add_card(made)
        agreement.update(_compared(source, made, list(schemes), info["max_positions"], tell))
        return {variant: found.record() for variant, found in agreement.items()}

    write_to(place, **files, decoder_info=info, variants=graphs, default_variant=next(iter(schemes)), check=compared)
    missing = "" if agreement else NOT_COMPARED if source.reference is None else NOT_INSTALLED
    return agreement, "; ".join(each for each in (remark, missing) if each)


def _compared(
    source: Opened, made: Path, variants: list[str], max_positions: int, tell: Callable[[int, str], None]
) -> dict[str, Agreement]:
    """How far each variant agrees, where there is something to compare with."""
    if source.reference is None or not is_installed():
        return {}
    tell(3, "asking CTranslate2")
    reference = source.reference()
    answers = reference.ask(max_positions)
    agreement = {}
    for number, variant in enumerate(variants):
        tell(4 + number, f"comparing {variant} with CTranslate2")
        agreement[variant] = compare(made, variant, answers, lambda: reference)
    return agreement
