"""Vision encoders of transformers up to the hidden states that a decoder attends to: written, or traced by torch."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import onnx

from fuseline.errors import ExportError

from ..graphs.linears import fuse_linears
from ..graphs.weights import Scheme
from ..graphs.weights_file import WeightsFile
from ..refusals import reason
from .vision import write_vision

if TYPE_CHECKING:
    import torch

# model_type in the encoder's section of config.json, of the encoders that the tests compare with transformers.
ENCODERS = (
    "beit",
    "chinese_clip_vision_model",
    "clip_vision_model",
    "data2vec-vision",
    "deit",
    "dinov2",
    "dinov2_with_registers",
    "donut-swin",
    "ijepa",
    "siglip_vision_model",
    "swin",
    "swinv2",
    "vit",
    "vit_msn",
    "yolos",
)
HIDDEN_STATES = "encoder_hidden_states"
_INTERPOLATE = "interpolate_pos_encoding"  # the method of transformers' modules that have positions
OPSET = 20  # that of the decoder graphs


def export_encoder(
    encoder: torch.nn.Module, photo: Sequence[int], scheme: Scheme = "fp32", outside: WeightsFile | None = None
) -> onnx.ModelProto:
    """pixel_values float32[B, 3, height, width] -> encoder_hidden_states float32[B, S, I].

    encoder: a vision model of transformers, such as ViTModel; photo: its height and width in pixels, which the graph
    is fixed to; scheme: how weights are stored; outside: a file for them. Raises ExportError if torch cannot trace it.
    """
    written = write_vision(encoder, photo, HIDDEN_STATES, scheme, outside)
    return with_scheme(traced_encoder(encoder, photo), scheme) if written is None else written


def with_scheme(traced: onnx.ModelProto, scheme: Scheme) -> onnx.ModelProto:
    """A traced encoder with the linear layers that were found in it stored by a scheme; in float32 as it is.

    In float32 onnxruntime's own products are the faster ones for many rows that nothing joins.
    """
    return traced if scheme == "fp32" else fuse_linears(traced, scheme)


def always_interpolate(encoder: torch.nn.Module) -> None:
    """Whoever calls the encoder from now on calls it with interpolate_pos_encoding=True."""
    own = encoder.forward

    @wraps(own)  # generate looks at what it takes
    def forward(*arguments: Any, **options: Any) -> Any:
        return own(*arguments, **options | {_INTERPOLATE: True})  # BLIP's generate says False by itself

    encoder.forward = forward


def traced_encoder(encoder: torch.nn.Module, photo: Sequence[int]) -> onnx.ModelProto:
    """As export_encoder in float32, of any encoder that torch can trace."""
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
        with warnings.catch_warnings(), _no_collection(), _interpolated_before(encoder, photo):
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
    except (MemoryError, OSError, ExportError):
        raise
    except Exception as error:  # of torch and of the model's own code, which have no common base
        raise ExportError(f"torch cannot export the encoder {type(encoder).__name__}: {reason(error)}") from error
    assert program is not None
    model = program.model_proto
    for weight in program.model.graph.initializers.values():
        weight.const_value = None  # the rules of torch's optimizer keep the last graph they saw, for good
    return _without_traces(model)


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


@contextmanager
def _interpolated_before(encoder: torch.nn.Module, photo: Sequence[int]) -> Iterator[None]:
    """With positions that are interpolated to photos of this size now, once, not by the graph for every photo.

    The encoder's own method computes them, on a run before.
    """
    import torch

    asked: list[tuple[torch.nn.Module, torch.Tensor]] = []

    def remembering(module: torch.nn.Module) -> Callable[..., torch.Tensor]:
        own: Callable[..., torch.Tensor] = getattr(module, _INTERPOLATE)

        def remember(*arguments: Any, **options: Any) -> torch.Tensor:
            table = own(*arguments, **options)
            asked.append((module, table))
            return table

        return remember

    modules = [module for module in encoder.modules() if callable(getattr(module, _INTERPOLATE, None))]
    try:
        if any(getattr(module, "position_embeddings", "other") is not None for module in modules):
            for module in modules:
                setattr(module, _INTERPOLATE, remembering(module))
            with torch.no_grad():
                encoder(torch.zeros(1, 3, *photo))
            for module in modules:
                delattr(module, _INTERPOLATE)
            for module, table in asked:
                if not isinstance(table, torch.nn.Parameter):  # else they are for this size already
                    setattr(module, _INTERPOLATE, _always(table.detach().clone()))
        yield
    finally:
        for module in modules:
            vars(module).pop(_INTERPOLATE, None)


def _always(table: torch.Tensor) -> Callable[..., torch.Tensor]:
    return lambda *arguments, **options: table


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
