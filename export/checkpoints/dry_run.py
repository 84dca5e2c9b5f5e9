"""A model as config.json has it, made without weights, to find out what transformers itself cannot do with it.

Everything here runs on torch's device `meta`, where tensors have shapes and no content: the largest checkpoint takes
a part of a second and no memory, before its weights are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fuseline.errors import ExportError

from ..refusals import one_sentence, reason
from .checkpoint import Checkpoint
from .photo_size import Size, configured_size

if TYPE_CHECKING:
    import torch

    from ..adapters import ModelAdapter

_CHANNELS = 3


def try_out(checkpoint: Checkpoint, adapter: ModelAdapter, photo: Size, *, interpolate: bool = False) -> None:
    """Raises ExportError where transformers cannot make the model, run its encoder on such photos, or lacks a table.

    photo: the size that the image processor gives; interpolate: whether the encoder is asked for
    interpolate_pos_encoding, which some take.
    """
    model = _made(checkpoint, adapter)
    encoder: Any = adapter.encoder(model)
    vision = encoder.config.to_dict()  # with what config.json leaves out
    if vision.get("num_channels") not in (None, _CHANNELS):
        raise ExportError(
            f"the encoder reads photos of {vision['num_channels']} channels (num_channels in config.json), and photos "
            f"are given as red, green and blue; only encoders of {_CHANNELS} channels can be exported"
        )
    _check_encoder(encoder, photo, vision, interpolate)
    _check_tables(checkpoint, model, getattr(model, "decoder", None) or model.text_decoder)


def try_out_texts(checkpoint: Checkpoint, adapter: ModelAdapter) -> None:
    """As try_out, of a model that reads texts."""
    model = _made(checkpoint, adapter)
    _check_tables(checkpoint, model, model.get_decoder(), model)


def _made(checkpoint: Checkpoint, adapter: ModelAdapter) -> Any:
    """The model, in eval mode, without weights."""
    import torch
    import transformers

    loader: Any = getattr(transformers, adapter.loader)
    with one_sentence("transformers cannot make a model of config.json"), torch.device("meta"):
        config = loader.config_class.from_pretrained(checkpoint.path, local_files_only=True)
        config._attn_implementation = "eager"  # in its sections too, as load_model asks for it
        model = loader(config)
        model.tie_weights()
        return model.eval()


def _check_encoder(encoder: Any, photo: Size, vision: Mapping[str, Any], interpolate: bool) -> None:
    wrong = _refusal(encoder, photo, interpolate)
    if wrong is None:
        return
    name, (height, width) = vision.get("model_type") or type(encoder).__name__, photo
    try:
        own = configured_size(vision)
    except ExportError:
        own = photo
    if own == photo or _refusal(encoder, own, interpolate) is not None:
        raise ExportError(f"transformers cannot run the encoder {name}: {wrong}")
    raise ExportError(
        f"the image processor gives photos of {height} x {width} pixels, and the encoder {name} has positions for "
        f"{own[0]} x {own[1]} ({wrong}); write that size into the processor's file, or export with "
        "interpolate_pos_encoding=True if transformers is called with that too"
    )


def _refusal(encoder: Any, photo: Size, interpolate: bool) -> str | None:
    """Why transformers cannot make hidden states of photos of that size; None where it can."""
    import torch

    asked: dict[str, Any] = {"output_attentions": False, "output_hidden_states": False, "return_dict": True}
    if interpolate:
        asked["interpolate_pos_encoding"] = True
    try:
        with torch.inference_mode():
            hidden: torch.Tensor = encoder(torch.empty(2, _CHANNELS, *photo, device="meta"), **asked)[0]
    except NotImplementedError as error:
        return None if "meta" in str(error) else reason(error)  # of an operator that knows no shapes alone
    except Exception as error:  # of torch and transformers, which have no common base
        return reason(error)
    if hidden.dim() != 3:
        return f"it gives hidden states of {hidden.dim()} dimensions, and a decoder reads those of 3"
    return None


def _check_tables(checkpoint: Checkpoint, model: Any, *parts: Any) -> None:
    """Raises ExportError where an embedding or the head is not stored, nor what it shares its numbers with.

    parts: those of the model that have such tables.
    """
    stored = _stored_names(checkpoint)
    if stored is None:
        return
    found = [table for part in parts for table in (part.get_input_embeddings(), part.get_output_embeddings())]
    layers = {id(layer): layer for layer in found if layer is not None}
    inner = f"{model.base_model_prefix}."  # which is left out where the model without its head was saved
    tables: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if any(parameter is layer.weight for layer in layers.values()):
            tables.setdefault(id(parameter), []).append(name)
    whole = any(name.startswith(inner) for name in stored)
    known = stored if whole else stored | {f"{inner}{name}" for name in stored}
    lost = [names for names in tables.values() if known.isdisjoint(names)]
    if not lost:
        return
    some = "; ".join(" or ".join(names) for names in lost)
    prefixed = next((name for name in stored if any(name.endswith(f".{each}") for each in lost[0])), None)
    how = f": it has {prefixed}, so save the model itself, not what wraps it" if prefixed else ""
    raise ExportError(f"the weights in {checkpoint.path} lack {some}{how}")


def _stored_names(checkpoint: Checkpoint) -> set[str] | None:
    """The names of the tensors in the checkpoint, of files that list them; None where weights would have to be read."""
    index = checkpoint.json("model.safetensors.index.json")
    file = checkpoint.file("model.safetensors")
    if file is not None:
        from safetensors import safe_open

        with one_sentence(f"transformers cannot load {checkpoint.path}"), safe_open(file, "pt") as weights:
            return set(weights.keys())
    if index is not None:
        return set(index["weight_map"])
    index = checkpoint.json("pytorch_model.bin.index.json")
    return set(index["weight_map"]) if index is not None else None
