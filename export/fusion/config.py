"""FusionConfig: the config.json of a FusionEncoderDecoder."""

from __future__ import annotations

import copy
import importlib
import keyword
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig, PreTrainedModel

from fuseline.errors import InputError, shown, written

MODES = ("flat", "mix", "parallel", "serial", "gated", "hierarchical")
"""how sources are joined; FusionEncoderDecoder says what each means"""

ABSENT = ("skip", "zeros", "refuse")
"""what happens to a call without a source: nothing is read, zeros go through its encoder, or it is refused"""


class FusionConfig(PretrainedConfig):
    """What a FusionEncoderDecoder is made of.

    Args:
        sources: names of the sources, in order.
        encoders: configurations by source, of those that have an encoder of their own. The first of `architectures`
            of each, and of `decoder`, is the class, one of transformers.
        shared: of every other source the source whose encoder it uses.
        decoder: the decoder's configuration.
        fusion: one of MODES.
        absent: one of ABSENT by source; "skip" where nothing is said.
        gate: a_m of gated sources before training.
        decoder_start_token_id, eos_token_id, pad_token_id: the decoder's own where they are not given, and for a
            missing start its bos_token_id, for a missing pad the (first) end.

    Raises InputError for what does not fit together.
    """

    model_type = "fuseline-fusion"
    sub_configs = {"decoder": AutoConfig}  # type: ignore[dict-item]  # noqa: RUF012  # as composites of transformers
    has_no_defaults_at_init = True

    def __init__(
        self,
        sources: Sequence[str] = (),
        encoders: Mapping[str, PretrainedConfig | Mapping[str, Any]] | None = None,
        decoder: PretrainedConfig | Mapping[str, Any] | None = None,
        fusion: str = "flat",
        shared: Mapping[str, str] | None = None,
        absent: Mapping[str, str] | None = None,
        gate: float = 0.0,
        **fields: Any,
    ) -> None:
        if not sources and encoders is None and decoder is None:  # transformers tries this, and expects a ValueError
            raise ValueError("a configuration of fusion needs sources, encoders and a decoder")
        self.sources, self.shared, self.fusion, self.gate = list(sources), dict(shared or {}), fusion, float(gate)
        self.absent = dict.fromkeys(self.sources, "skip") | dict(absent or {})
        _check(self.sources, self.shared, fusion, self.absent)
        wanted = [name for name in self.sources if name not in self.shared]
        if decoder is None or set(encoders or {}) != set(wanted):
            raise InputError(f"a configuration of fusion needs a decoder, and encoders of {', '.join(wanted)}")
        self.encoders = {name: _config((encoders or {})[name], name) for name in wanted}
        self.decoder = _config(decoder, "the decoder")
        start, end, pad = (getattr(self.decoder, f"{each}_token_id", None) for each in ("decoder_start", "eos", "pad"))
        start = getattr(self.decoder, "bos_token_id", None) if start is None else start
        end = fields.pop("eos_token_id", end)
        first = end[0] if isinstance(end, list) and end else end
        fields |= {"is_encoder_decoder": True, "tie_word_embeddings": False, "eos_token_id": end}
        tokens = {"decoder_start_token_id": start, "pad_token_id": first if pad is None else pad}
        super().__init__(**tokens | _harmless(fields))

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = super().to_dict()
        found["encoders"] = {name: config.to_dict() for name, config in self.encoders.items()}
        return found


def described(model: Any) -> PretrainedConfig:
    """A copy of a model's configuration that names its class. Raises InputError for what could not be made of it."""
    config: PretrainedConfig = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    with torch.device("meta"):
        again = made(config).state_dict()
    if {name: t.shape for name, t in again.items()} != {name: t.shape for name, t in model.state_dict().items()}:
        raise InputError(f"the configuration of this {type(model).__name__} makes one of other weights")
    return config


def made(config: PretrainedConfig) -> nn.Module:
    """A model of the class that its configuration names, which transformers itself must have; no other code runs.

    Raises InputError where transformers has none.
    """
    name, place = (config.architectures or ["nothing"])[0], type(config).__module__
    if place.startswith("transformers.models."):
        modeling = importlib.import_module(place.replace(".configuration_", ".modeling_"))
        kind = getattr(modeling, str(name), None)
        if isinstance(kind, type) and issubclass(kind, PreTrainedModel) and kind.__module__ == modeling.__name__:
            model: nn.Module = kind(config)
            return model
    raise InputError(f"{shown(name, 60)} is no model class that transformers has for {shown(config.model_type, 60)}")


def _config(given: object, what: str) -> PretrainedConfig:
    if isinstance(given, PretrainedConfig):
        return given
    kind = given.get("model_type") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise InputError(f"the configuration of {what} has the model_type {written(kind)}, which transformers has not")
    config: PretrainedConfig = CONFIG_MAPPING[kind](**_harmless(given))
    return config


def _harmless(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what would make transformers run code of others: their classes, and kernels of the hub for attention."""
    return {
        name: value
        for name, value in fields.items()
        if name not in ("auto_map", "quantization_config") and "attn_implementation" not in name
    }


def _check(names: list[str], shared: Mapping[str, str], fusion: object, absent: Mapping[str, str]) -> None:
    if fusion not in MODES:
        raise InputError(f"fusion is {written(fusion)}; it must be one of {', '.join(MODES)}")
    if not names:
        raise InputError("encoders is empty; give at least one source")
    for name in names:
        plain = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
        # Names stand in those of weights, where a module's own attributes have no place.
        if not plain or hasattr(nn.ModuleDict, name) or hasattr(nn.ModuleDict(), name):
            raise InputError(f"{written(name)} cannot name a source; a name has letters, digits and _, as image_2 has")
    for name, way in absent.items():
        if name not in names:
            raise InputError(f"absent has {written(name)}, which is no source of this model; it has {', '.join(names)}")
        if way not in ABSENT:
            raise InputError(f"absent of source {name} is {written(way)}; it must be one of {', '.join(ABSENT)}")
    for name, first in shared.items():
        if name not in names or first not in names or first in shared:
            raise InputError(f"shared has {shown(name)} using the encoder of {shown(first)}, which has none")
