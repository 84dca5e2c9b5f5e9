"""The decoders of transformers that can read several sources: of which modules their cross-attention consists.

A family says where its layers are, how a layer runs with another cross-attention in the place of its own, and which
modules that has. A new architecture is one entry here. The code of transformers 4.57 is what is followed:
models/{gpt2,bert,bart,mbart}/modeling_*.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fuseline.errors import InputError, shown

Fuse = Callable[[Tensor], Tensor]
"""a cross-attention sublayer, residual and norm included: float[B, T, X] -> the same shape"""


@dataclass(frozen=True)
class Own:
    """What a layer's own cross-attention consists of.

    norm: before it or after it. query: X -> E; keys_values: of states float[B, S, C] both, float[B, S, E]; output:
    E -> X. heads, scale: of the scores. attention_dropout: of its weights; dropout: of what it adds.
    """

    norm: nn.Module
    query: nn.Module
    keys_values: Callable[[Tensor], tuple[Tensor, Tensor]]
    output: nn.Module
    heads: int
    scale: float
    attention_dropout: float
    dropout: float


class Family:
    """What decoders of one kind share. norm_first: the norm comes before attention, so that the residual stream is
    never normed. attributes: of a layer, what makes up its cross-attention."""

    norm_first = True
    attributes: tuple[str, ...] = ("encoder_attn", "encoder_attn_layer_norm")

    def layers(self, decoder: Any) -> list[nn.Module]:
        return list(decoder.base_model.decoder.layers)

    def prepare(self, decoder: Any) -> None:
        """What is set in a decoder before it is used."""

    def run(self, layer: Any, fuse: Fuse, *given: Any, **named: Any) -> tuple[Any, ...]:
        """A layer's forward with `fuse` as its cross-attention. Arguments and results are those of its own forward."""
        raise NotImplementedError

    def own(self, layer: Any) -> Own:
        raise NotImplementedError

    def copies(self, layer: Any) -> dict[str, nn.Module]:
        """Its own cross-attention as modules that stand alone: norm, and the linear layers q, k, v, o."""
        raise NotImplementedError

    def named(self, number: int, own: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """What `copies` gave of a layer, as its tensors are called in the decoder's state dict."""
        raise NotImplementedError

    def remove(self, layer: Any) -> None:
        """Take its own cross-attention out of a layer that gets another."""
        for name in self.attributes:
            delattr(layer, name)

    def check(self, decoder: Any) -> None:
        """Raises InputError for a decoder that was made without cross-attention."""
        if not all(hasattr(layer, name) for layer in self.layers(decoder) for name in self.attributes):
            raise InputError(
                f"this {type(decoder).__name__} has no cross-attention; make it with is_decoder=True and "
                "add_cross_attention=True in its configuration"
            )


class Gpt2(Family):
    attributes = ("crossattention", "ln_cross_attn")

    def layers(self, decoder: Any) -> list[nn.Module]:
        return list(decoder.transformer.h)

    def prepare(self, decoder: Any) -> None:
        """Its eager attention, where its default form leaves out what the configuration says of scales."""
        config = decoder.config
        if config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights:
            for module in decoder.modules():  # each has the configuration that it was made with
                if hasattr(module, "config"):
                    module.config._attn_implementation = "eager"

    def run(
        self,
        layer: Any,
        fuse: Fuse,
        hidden_states: Tensor,
        past_key_values: Any = None,
        cache_position: Any = None,
        attention_mask: Any = None,
        head_mask: Any = None,
        encoder_hidden_states: None = None,
        encoder_attention_mask: None = None,
        use_cache: bool = False,
        output_attentions: bool = False,
        **named: Any,
    ) -> tuple[Any, ...]:
        x, weights = layer.attn(
            layer.ln_1(hidden_states),
            past_key_values=past_key_values,
            cache_position=cache_position,
            attention_mask=attention_mask,
            head_mask=head_mask,
            use_cache=use_cache,
            output_attentions=output_attentions,
            **named,
        )
        x = fuse(x + hidden_states)
        x = x + layer.mlp(layer.ln_2(x))
        return (x, weights, None) if output_attentions else (x,)

    def own(self, layer: Any) -> Own:
        attention = layer.crossattention
        scale = attention.head_dim**-0.5 if attention.scale_attn_weights else 1.0
        return Own(
            layer.ln_cross_attn,
            attention.q_attn,
            lambda states: attention.c_attn(states).split(attention.split_size, dim=2),
            attention.c_proj,
            attention.num_heads,
            scale / (attention.layer_idx + 1) if attention.scale_attn_by_inverse_layer_idx else scale,
            attention.attn_dropout.p,
            attention.resid_dropout.p,
        )

    def copies(self, layer: Any) -> dict[str, nn.Module]:
        attention = layer.crossattention
        (key, value), (key_bias, value_bias) = (
            each.split(attention.split_size, dim=-1) for each in (attention.c_attn.weight, attention.c_attn.bias)
        )
        return {
            "norm": norm_of(layer.ln_cross_attn),
            "q": linear(attention.q_attn.weight.T, attention.q_attn.bias),  # Conv1D has its matrix the other way round
            "k": linear(key.T, key_bias),
            "v": linear(value.T, value_bias),
            "o": linear(attention.c_proj.weight.T, attention.c_proj.bias),
        }

    def named(self, number: int, own: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        at = f"transformer.h.{number}"
        q, k, v, o = (weights(own[each]) for each in "qkvo")
        both = [torch.cat([key, value]) for key, value in zip(k, v, strict=True)]
        conv1d = {"q_attn": q, "c_attn": both, "c_proj": o}
        return tensors(f"{at}.ln_cross_attn", weights(own["norm"])) | {
            f"{at}.crossattention.{name}.{kind}": tensor
            for name, (weight, bias) in conv1d.items()
            for kind, tensor in (("weight", weight.T), ("bias", bias))
        }


class Bert(Family):
    norm_first = False
    attributes = ("crossattention",)

    def __init__(self, body: str) -> None:
        """body: what the model without its head is called in the state dict."""
        self.body = body

    def layers(self, decoder: Any) -> list[nn.Module]:
        return list(decoder.base_model.encoder.layer)

    def run(
        self,
        layer: Any,
        fuse: Fuse,
        hidden_states: Tensor,
        attention_mask: Any = None,
        head_mask: Any = None,
        encoder_hidden_states: None = None,
        encoder_attention_mask: None = None,
        past_key_values: Any = None,
        output_attentions: bool = False,
        cache_position: Any = None,
    ) -> tuple[Any, ...]:
        x, *weights = layer.attention(
            hidden_states,
            attention_mask=attention_mask,
            head_mask=head_mask,
            output_attentions=output_attentions,
            past_key_values=past_key_values,
            cache_position=cache_position,
        )
        return (layer.feed_forward_chunk(fuse(x)), *weights, *([None] if output_attentions else []))

    def own(self, layer: Any) -> Own:
        attention, output = layer.crossattention.self, layer.crossattention.output
        return Own(
            output.LayerNorm,
            attention.query,
            lambda states: (attention.key(states), attention.value(states)),
            output.dense,
            attention.num_attention_heads,
            attention.attention_head_size**-0.5,
            attention.dropout.p,
            output.dropout.p,
        )

    def copies(self, layer: Any) -> dict[str, nn.Module]:
        attention, output = layer.crossattention.self, layer.crossattention.output
        linears = {"q": attention.query, "k": attention.key, "v": attention.value, "o": output.dense}
        copied: dict[str, nn.Module] = {name: linear(module.weight, module.bias) for name, module in linears.items()}
        return copied | {"norm": norm_of(output.LayerNorm)}

    def named(self, number: int, own: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        at = f"{self.body}.encoder.layer.{number}.crossattention"
        names = {"q": "self.query", "k": "self.key", "v": "self.value", "o": "output.dense", "norm": "output.LayerNorm"}
        return {
            key: t for part, name in names.items() for key, t in tensors(f"{at}.{name}", weights(own[part])).items()
        }


class Bart(Family):
    """BART and its kin. norm_first: of all three sublayers."""

    def __init__(self, norm_first: bool) -> None:
        self.norm_first = norm_first

    def run(
        self,
        layer: Any,
        fuse: Fuse,
        hidden_states: Tensor,
        attention_mask: Any = None,
        encoder_hidden_states: None = None,
        encoder_attention_mask: None = None,
        layer_head_mask: Any = None,
        cross_attn_layer_head_mask: None = None,
        past_key_values: Any = None,
        output_attentions: bool = False,
        use_cache: bool = True,
        cache_position: Any = None,
    ) -> tuple[Any, ...]:
        first, before = layer.self_attn_layer_norm, self.norm_first
        x, weights = layer.self_attn(
            hidden_states=first(hidden_states) if before else hidden_states,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            layer_head_mask=layer_head_mask,
            output_attentions=output_attentions,
            cache_position=cache_position,
        )
        x = hidden_states + functional.dropout(x, layer.dropout, layer.training)
        x = fuse(x if before else first(x))
        x = self._feed_forward(layer, x)
        return (x, weights, None) if output_attentions else (x,)

    def _feed_forward(self, layer: Any, x: Tensor) -> Tensor:
        last, training = layer.final_layer_norm, layer.training
        inner = layer.activation_fn(layer.fc1(last(x) if self.norm_first else x))
        inner = functional.dropout(inner, layer.activation_dropout, training)
        x = x + functional.dropout(layer.fc2(inner), layer.dropout, training)
        return x if self.norm_first else last(x)

    def own(self, layer: Any) -> Own:
        attention = layer.encoder_attn
        return Own(
            layer.encoder_attn_layer_norm,
            attention.q_proj,
            lambda states: (attention.k_proj(states), attention.v_proj(states)),
            attention.out_proj,
            attention.num_heads,
            attention.scaling,
            attention.dropout,
            layer.dropout,
        )

    def copies(self, layer: Any) -> dict[str, nn.Module]:
        attention = layer.encoder_attn
        linears = {"q": attention.q_proj, "k": attention.k_proj, "v": attention.v_proj, "o": attention.out_proj}
        copied: dict[str, nn.Module] = {name: linear(module.weight, module.bias) for name, module in linears.items()}
        return copied | {"norm": norm_of(layer.encoder_attn_layer_norm)}

    def named(self, number: int, own: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        at = f"model.decoder.layers.{number}"
        names = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}
        linears = {f"{at}.encoder_attn.{name}": weights(own[part]) for part, name in names.items()}
        linears[f"{at}.encoder_attn_layer_norm"] = weights(own["norm"])
        return {key: tensor for name, each in linears.items() for key, tensor in tensors(name, each).items()}


FAMILIES: Mapping[str, Family] = {
    "GPT2LMHeadModel": Gpt2(),
    "BertLMHeadModel": Bert("bert"),
    **dict.fromkeys(("RobertaForCausalLM", "XLMRobertaForCausalLM", "CamembertForCausalLM"), Bert("roberta")),
    **dict.fromkeys(("BartForCausalLM", "TrOCRForCausalLM", "MarianForCausalLM"), Bart(norm_first=False)),
    **dict.fromkeys(("MBartForCausalLM", "PegasusForCausalLM"), Bart(norm_first=True)),
}
"""by the class of the decoder"""


def family_of(decoder: object) -> Family:
    """Raises InputError for a decoder that is not known, or has no cross-attention."""
    family = FAMILIES.get(type(decoder).__name__)
    if family is None or not type(decoder).__module__.startswith("transformers.models."):
        raise InputError(
            f"the decoder is of type {shown(type(decoder).__name__, 60)}, which cannot read several sources; "
            f"give one of {', '.join(FAMILIES)}"
        )
    family.check(decoder)
    return family


def weights(module: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer or a norm; zeros where there is no bias."""
    bias = module.weight.new_zeros(len(module.weight)) if module.bias is None else module.bias
    return module.weight.detach(), bias.detach()


def tensors(name: str, found: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return dict(zip((f"{name}.weight", f"{name}.bias"), found, strict=True))


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with a copy of these: weight float[O, I], bias float[O]."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach().clone().contiguous())
    made.bias = None if bias is None else nn.Parameter(bias.detach().clone())  # type: ignore[assignment]
    return made


def norm_of(norm: Any) -> nn.LayerNorm:
    """A copy of a layer norm."""
    made = nn.LayerNorm(norm.normalized_shape, norm.eps, device="meta")
    made.weight, made.bias = (nn.Parameter(each.detach().clone()) for each in (norm.weight, norm.bias))
    return made
