"""What callers give, checked: arrays by source, and weights of sources. `B` inputs of a call, `M` sources."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fuseline.errors import InputError, shown, written

Given = Mapping[str, Any]
"""by source an array or a tensor, or a mapping of those by the names of the encoder's inputs"""


LARGEST_WEIGHT = 1e30  # that float32 can still divide by


def named(inputs: object, names: Sequence[str], what: str) -> dict[str, Any]:
    """The entries of a mapping by source that are there. Raises InputError for unknown names, and for no mapping."""
    if not isinstance(inputs, Mapping):
        raise InputError(f"{what} must be a mapping by source ({', '.join(names)}), not {written(inputs)}")
    for name in inputs:
        if name not in names:
            raise InputError(f"{what} has {written(name)}, which is no source of this model; it has {', '.join(names)}")
    return {name: inputs[name] for name in names if inputs.get(name) is not None}


def arrays_of(name: str, encoder: Any, given: object) -> dict[str, Tensor]:
    """What one source gives its encoder, on its device: floats of its type, whole numbers int64.

    Raises InputError for no arrays, for names that the encoder does not know, and for other numbers of inputs.
    """
    main, taken = encoder.main_input_name, inspect.signature(encoder.forward).parameters
    arrays = given if isinstance(given, Mapping) else {main: given}
    if main not in arrays:
        found = ", ".join(shown(each, 40) for each in list(arrays)[:8]) or "nothing"
        raise InputError(f"source {name} must have {main}; it has {found}")
    for each in arrays:
        if each not in taken:
            raise InputError(f"source {name} has {shown(each, 40)}, which its {type(encoder).__name__} does not read")
    made = {each: _tensor(f"{each} of source {name}", array, encoder) for each, array in arrays.items()}
    for each, tensor in made.items():
        if tensor.ndim == 0 or 0 in tensor.shape or len(tensor) != len(made[main]):
            right = f"at least one value, and as many inputs as {main}, {len(made[main]) if made[main].ndim else 0}"
            raise InputError(f"{each} of source {name} must have {right}; its shape is {list(tensor.shape)}")
    if main == "input_ids":
        made["attention_mask"] = _mask(name, made, encoder.config.pad_token_id)
    elif "attention_mask" in made:
        raise InputError(f"source {name} has an attention_mask, which only sources of text have")
    return made


def _tensor(what: str, array: object, encoder: Any) -> Tensor:
    try:
        tensor = array if isinstance(array, Tensor) else torch.as_tensor(np.asarray(array))
    except Exception:  # rows of different lengths, strings, objects
        raise InputError(f"{what} must be an array of numbers, not {written(array)}") from None
    return tensor.to(encoder.device, encoder.dtype if tensor.is_floating_point() else torch.int64)


def _mask(name: str, arrays: Mapping[str, Tensor], pad: int | None) -> Tensor:
    """int64[B, S]: ones, then zeros. Where none is given, ones but for pad tokens, as transformers' generate has it."""
    ids, mask = arrays["input_ids"], arrays.get("attention_mask")
    if ids.ndim != 2 or ids.is_floating_point():
        raise InputError(f"input_ids of source {name} must be whole numbers of shape [B, S], not {list(ids.shape)}")
    if mask is None:
        mask = torch.ones_like(ids) if pad is None else (ids != pad).long()
    if mask.shape != ids.shape:
        raise InputError(
            f"attention_mask of source {name} must have the shape of input_ids, {list(ids.shape)}, "
            f"not {list(mask.shape)}"
        )
    right = torch.arange(ids.shape[1], device=ids.device) < mask.sum(dim=1, keepdim=True)
    good = (mask == right).all(dim=1)
    if not good.all():
        row = 1 + int(good.int().argmin())
        raise InputError(f"attention_mask of source {name}, input {row}, must be ones and then zeros; pad on the right")
    return mask


def weights_of(given: object, names: Sequence[str], count: int, device: torch.device) -> Tensor:
    """float32[B, M]: of each source its weight, 1 where none is given.

    given: None, or a mapping by source of a number for all inputs or of one an input, [B]. Raises InputError for
    weights that are negative or no numbers, and for other shapes.
    """
    weights = torch.ones(count, len(names))
    for name, weight in named({} if given is None else given, names, "source_weights").items():
        try:
            values = np.asarray(weight.detach().cpu() if isinstance(weight, Tensor) else weight, np.float64)
        except (TypeError, ValueError):
            raise InputError(f"the weight of source {name} must be a number, not {written(weight)}") from None
        if values.shape not in ((), (count,)):
            raise InputError(
                f"the weight of source {name} must be one number, or one for each of {count} inputs; "
                f"its shape is {list(values.shape)}"
            )
        wrong = values[~(np.isfinite(values) & (values >= 0))]
        if wrong.size:
            raise InputError(f"the weight of source {name} is {wrong.flat[0]}; weights are finite and not negative")
        if (large := values[values > LARGEST_WEIGHT]).size:
            most = f"{LARGEST_WEIGHT:.0e}"
            raise InputError(f"the weight of source {name} is {large.flat[0]}; give one of at most {most}")
        weights[:, names.index(name)] = torch.from_numpy(np.broadcast_to(values, count).astype(np.float32))
    return weights.to(device)


def zeros_of(name: str, encoder: Any, count: int) -> dict[str, Tensor]:
    """Zeros as its encoder reads them, of a photo or of log-mel features. Raises InputError for other kinds."""
    config, main = encoder.config, encoder.main_input_name
    if main == "pixel_values":
        size = config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        shape: tuple[int, ...] = (count, config.num_channels, height, width)
    elif main == "input_features" and hasattr(config, "max_source_positions"):
        shape = (count, config.num_mel_bins, 2 * config.max_source_positions)  # its second convolution halves them
    else:
        raise InputError(
            f'absent of source {name} cannot be "zeros", since it reads {main}; it may be "skip" or "refuse"'
        )
    return {main: torch.zeros(shape, device=encoder.device, dtype=encoder.dtype)}
