"""Exports through optimum-onnx what has no adapter here: a folder in optimum's layout, compared with transformers.

The folder is optimum's own, with the files of the checkpoint beside its graphs, so whatever opens optimum's folders
opens it, the runtime among them. It has no fuseline.json: that one promises the tensors of fuseline's own graphs.
Of the decoders that optimum writes only the merged one stays, or the only one; the others hold the same weights again.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError
from fuseline.folders.foreign import SHIFTED
from fuseline.folders.processor_file import PLAIN

from .adapters import ModelAdapter, model_adapter
from .check import Agreement, check
from .checkpoints.checkpoint import Checkpoint, open_checkpoint
from .checkpoints.photo_size import Size, arriving_size
from .checkpoints.processor import Processor, read_processor
from .checkpoints.tokenizer import tokenizer_json
from .refusals import reason
from .writing.place import Place

COMMAND = "pip install 'optimum-onnx==0.1.0'"
_MERGED = "decoder_model_merged.onnx"
_PARTS = ("decoder_model.onnx", "decoder_with_past_model.onnx")


def check_optimum() -> None:
    """Raises ExportError with the command that installs optimum-onnx, where it is missing."""
    try:
        import optimum.exporters.onnx  # noqa: F401 - here only for the sentence
    except ImportError as error:
        raise ExportError(f"exporting via optimum needs optimum-onnx, which is missing ({error}); {COMMAND}") from error


def prepared(source: str | Path) -> tuple[Checkpoint, ModelAdapter, Processor, Size]:
    """The checkpoint, the adapter of its class, its image processor, and the size of photos it gives.

    Raises what can be refused before weights are read.
    """
    check_optimum()
    checkpoint = open_checkpoint(source)
    adapter = model_adapter(checkpoint.config)
    if adapter.task != "image-to-text":
        raise ExportError(f"only models that read photos are exported via optimum; export {adapter.loader} without it")
    adapter.check_sections(checkpoint.config)
    processor = read_processor(checkpoint, source)
    return checkpoint, adapter, processor, arriving_size(processor.prepare, adapter.encoder_config(checkpoint.config))


def write_via_optimum(checkpoint: Checkpoint, processor: Processor, place: Place, reference: Any) -> Agreement:
    """Write the place's folder whole or not at all, from the model of transformers.

    Raises ExportError where optimum cannot, and where the result differs from transformers by more than a tie.
    """
    try:
        with place.replaced() as folder:
            _export(reference, folder)
            for name in ("config.json", "generation_config.json"):
                own = checkpoint.file(name)
                if own is not None:
                    shutil.copyfile(own, folder / name)
            (folder / PLAIN).write_bytes(processor.text())
            tokenizer = tokenizer_json(checkpoint)
            text = tokenizer.read_bytes() if isinstance(tokenizer, Path) else tokenizer.encode()
            (folder / "tokenizer.json").write_bytes(text)
            return check(folder, "fp32", reference)
    except OSError as error:
        raise ExportError(f"{place.path} cannot be written: {error.strerror or error}") from error


def _export(reference: Any, folder: Path) -> None:
    """Graphs with a cache where optimum knows how, else without."""
    from optimum.exporters.onnx import onnx_export_from_model

    try:
        with quiet():
            try:
                onnx_export_from_model(reference, folder, task="image-to-text-with-past", do_validation=False)
            except ValueError as error:
                if "does not need past key values" not in str(error):
                    raise
                _check_positions(reference)
                onnx_export_from_model(reference, folder, task="image-to-text", do_validation=False)
    except (MemoryError, OSError, ExportError):
        raise
    except Exception as error:  # of optimum and torch, which have no common base
        raise ExportError(f"optimum cannot export this model: {reason(error)}") from error
    if (folder / _MERGED).exists():
        for part in _PARTS:
            for file in folder.glob(f"{part}*"):
                file.unlink()


def _check_positions(reference: Any) -> None:
    """Raises ExportError where tokens would get other positions without a cache than with one.

    RoBERTa's count the tokens before that are no pads, and with a cache all of those in it. So texts that begin with
    the pad token are not those of transformers, which generates with a cache; without one it says what the graph says.
    """
    decoder, start = reference.config.decoder, reference.generation_config.decoder_start_token_id
    if decoder.model_type in SHIFTED and start == decoder.pad_token_id:
        raise ExportError(
            f"optimum exports {decoder.model_type} decoders without a cache, and where the start token is the pad "
            f"token ({start}) those give tokens other positions than transformers does; leave --via optimum out"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks of optimum, and of torch on the code of transformers."""
    log = logging.getLogger("optimum")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
