"""Vision encoders of transformers up to the hidden states that a decoder attends to: written, or traced by torch."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnx

from fuseline.errors import ExportError

from .vit import write_vit

if TYPE_CHECKING:
    import torch

# model_type in the encoder's section of config.json, of the encoders that the tests compare with transformers.
ENCODERS = ("beit", "deit", "donut-swin", "swin", "vit")
HIDDEN_STATES = "encoder_hidden_states"
OPSET = 20  # that of the decoder graphs


def export_encoder(encoder: torch.nn.Module, photo: Sequence[int]) -> onnx.ModelProto:
    """pixel_values float32[B, 3, height, width] -> encoder_hidden_states float32[B, S, I].

    encoder: a vision model of transformers, such as ViTModel; photo: its height and width in pixels, which the graph
    is fixed to. Raises ExportError if torch cannot trace it.
    """
    return write_vit(encoder, photo, HIDDEN_STATES) or traced_encoder(encoder, photo)


def traced_encoder(encoder: torch.nn.Module, photo: Sequence[int]) -> onnx.ModelProto:
    """As export_encoder, of any encoder that torch can trace."""
    import torch

    class HiddenStates(torch.nn.Module):
        """The encoder with one result."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = self.encoder(pixel_values).last_hidden_state
            return hidden

    try:
        with warnings.catch_warnings(), _no_collection():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                HiddenStates().eval(),
                (torch.zeros(2, 3, *photo),),  # two photos: a batch of 1 would be taken for a constant
                dynamo=True,
                opset_version=OPSET,
                input_names=["pixel_values"],
                output_names=[HIDDEN_STATES],
                dynamic_shapes={"pixel_values": {0: torch.export.Dim("B")}},
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"torch cannot export the encoder {type(encoder).__name__}: {_first_line(error)}") from error
    assert program is not None
    model = program.model_proto
    for weight in program.model.graph.initializers.values():
        weight.const_value = None  # the rules of torch's optimizer keep the last graph they saw, for good
    return _without_traces(model)


def photo_size(config: Any) -> tuple[int, int]:
    """Height and width that the encoder of this configuration was made for. Raises ExportError for what is no size."""
    size = getattr(config, "image_size", None)
    pair = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(edge, int) and edge > 0 for edge in pair):
        raise ExportError(f"image_size {size!r} of the encoder must be a number of pixels, or a height and a width")
    return pair


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without garbage collection: what tracing makes lives to its end, and looking through it takes a tenth longer."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without torch's notes: lines of code and paths of the machine, larger than the graph itself."""
    parts = [model.graph, *model.functions]
    for part in parts:
        del part.metadata_props[:]
        for node in part.node:
            del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]:
        del value.metadata_props[:]
    del model.metadata_props[:]
    return model


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300].rstrip(". ") if str(error).strip() else type(error).__name__
