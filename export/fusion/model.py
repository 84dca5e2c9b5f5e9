"""FusionEncoderDecoder: several encoders and one decoder that reads them all, to be trained and exported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import Seq2SeqLMOutput

from fuseline.errors import InputError, shown, written

from .config import FusionConfig, described, made
from .families import family_of
from .inputs import Given, arrays_of, named, weights_of, zeros_of
from .sources import EncodedSources, end_to_end
from .sublayers import sublayers


class FusionEncoderDecoder(PreTrainedModel, GenerationMixin):  # type: ignore[misc, no-untyped-call]
    """Encoders of several sources (photos, texts, speech) and one decoder whose cross-attention reads them all.

    Dimensions: `B` inputs of a call, `M` sources in the order of `encoders`, `T` tokens, `X` width of the decoder,
    `E` = heads x their size, `C` width that cross-attention reads. c_m is what attention makes of source m alone, w~_m
    its weight divided by the largest weight of the sources that are present, x the residual stream; the norm comes
    where the decoder has it.

    | fusion | what stands in the place of a layer's cross-attention |
    |---|---|
    | flat | the decoder's own over all sources end to end, log w~_m added to the scores |
    | mix | the decoder's own; y = W_o sum (w_m / sum w) c_m + b |
    | parallel | y = sum w~_m (W_m c_m + b_m), own k, v, o for each source |
    | serial | source after source, x += w~_m (W_m c_m + b_m), own norm, q, k, v, o |
    | gated | as serial, x += w~_m tanh(a_m) (W_m c_m + b_m) (Alayrac et al., arXiv 2204.14198, without their FFN) |
    | hierarchical | own k, v; then attention over the c_m, with log w~_m (Libovicky and Helcl, arXiv 1811.04716) |

    | in the state dict (matrices are [outputs, inputs]) | of | starts as |
    |---|---|---|
    | `encoders.{source}.*` | all; a shared encoder is there once, under its first source | what was given |
    | `enc_to_dec_proj.{source}.weight, .bias` | sources whose encoder has another width than C | at random |
    | `decoder.*` | all; without its cross-attention in the four modes below | what was given |
    | `fusion.{layer}.norm.*`, `.q.*` | parallel, hierarchical | the decoder's own |
    | `fusion.{layer}.sources.{source}.k.*`, `.v.*` | parallel, serial, gated, hierarchical | the decoder's own |
    | `fusion.{layer}.sources.{source}.o.*` | parallel, serial, gated | the decoder's own |
    | `fusion.{layer}.sources.{source}.q.*` | serial, gated | the decoder's own |
    | `fusion.{layer}.sources.{source}.norm.*` | serial, gated where norms come first | the decoder's own |
    | `fusion.{layer}.sources.{source}.gate` | gated: the scalar a_m | `gate` |
    | `fusion.{layer}.over.q.*`, `.k.*`, `.v.*`, `.o.*` | hierarchical: q', k', v', o' | the decoder's initializer |

    A source that is absent of an input does not happen to it: it has no share, its part and the bias of its part are
    left out, and of a serial sublayer the norm too. Nothing is normed behind a gated source, so with gates at 0 a
    decoder says what it says without the sources.

    While a call runs, the decoder's layers run in another way, so a model answers one call at a time.

    Args:
        encoders: encoders of transformers by source, such as ViTModel, BertModel, T5EncoderModel or WhisperEncoder.
            The same one may stand under several names: pages, frames, two photos. (A FusionConfig makes a model
            of random weights.)
        decoder: a decoder with cross-attention: GPT2LMHeadModel, BertLMHeadModel, BartForCausalLM and the other ones
            of families.FAMILIES. It becomes part of the model and is changed.
        fusion: one of MODES.
        absent: one of ABSENT by source, "skip" where nothing is said.
        gate: a_m before training.
        tokens: decoder_start_token_id, eos_token_id, pad_token_id, where they are not the decoder's.

    Raises InputError for what cannot be put together.
    """

    config_class = FusionConfig
    base_model_prefix = "fuseline_fusion"
    main_input_name = "inputs"
    _supports_sdpa = True  # the encoders' and the decoder's own attention; that of fusion is always eager

    def __init__(
        self,
        encoders: Mapping[str, PreTrainedModel] | FusionConfig,
        decoder: PreTrainedModel | None = None,
        fusion: str = "flat",
        *,
        absent: Mapping[str, str] | None = None,
        gate: float = 0.0,
        **tokens: Any,
    ) -> None:
        if isinstance(encoders, FusionConfig):
            config = encoders
            asked = getattr(config, "_attn_implementation_internal", None)
            for each in (*config.encoders.values(), config.decoder) if isinstance(asked, str) else ():
                each._attn_implementation = asked  # what from_pretrained was asked for is of all parts
            given: dict[str, Any] = {name: made(each) for name, each in config.encoders.items()}
            writer: Any = made(config.decoder)
        else:
            config, given = _configured(encoders, decoder, fusion, absent, gate, tokens)
            writer = decoder
        family = family_of(writer)
        super().__init__(config)
        self.encoders, self.decoder, self.family = nn.ModuleDict(given), writer, family
        for part, its in ((writer, config.decoder), *((given[name], each) for name, each in config.encoders.items())):
            part.config = its
        family.prepare(writer)
        self.enc_to_dec_proj = nn.ModuleDict(self._projections())
        self.fusion = sublayers(config.fusion, family, writer, config.sources, config.gate)
        for name in config.sources:
            if config.absent[name] == "zeros":
                zeros_of(name, self.encoder_of(name), 1)
        self.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            decoder_start_token_id=config.decoder_start_token_id,
            bos_token_id=getattr(config.decoder, "bos_token_id", None),
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
        )

    def encoder_of(self, source: str) -> Any:
        """The encoder that a source uses."""
        return self.encoders[self.config.shared.get(source, source)]

    def _projections(self) -> dict[str, nn.Module]:
        own = self.family.copies(self.family.layers(self.decoder)[0])
        weight: Any = own["k"].weight
        widths = {name: _width(self.encoder_of(name).config) for name in self.config.sources}
        return {
            name: nn.Linear(width, weight.shape[1], device=weight.device, dtype=weight.dtype)
            for name, width in widths.items()
            if width != weight.shape[1]
        }

    def encode(self, inputs: Given, source_weights: Mapping[str, Any] | None = None) -> EncodedSources:
        """All encoders, each on the inputs that have its source.

        inputs: by source an array or tensor, or those by the names of the encoder's inputs, such as
        {"input_ids": ..., "attention_mask": ...}; padded on the right. A source that is left out is absent of all
        inputs. A text without any token is absent, too.
        source_weights: by source a number, or one an input, [B]; at least 0, and 1 where nothing is said. Only their
        ratios count. A source of weight 0 is not read, and what stands there does not matter.
        Raises InputError for what does not fit, and for an input without any source.
        """
        names = self.config.sources
        given = {
            name: arrays_of(name, self.encoder_of(name), each) for name, each in named(inputs, names, "inputs").items()
        }
        if not given:
            raise InputError(f"all sources are absent; give at least one of {', '.join(names)}")
        count = _count(given)
        weights = weights_of(source_weights, names, count, self.device)
        for name in names:
            if name not in given and self.config.absent[name] == "zeros":
                given[name] = zeros_of(name, self.encoder_of(name), count)
        lengths = self._told_lengths(given, count)
        self._refuse((lengths > 0) & (weights > 0))
        states: dict[str, Tensor] = {}
        for m, name in enumerate(names):
            rows = (lengths[:, m] > 0) & (weights[:, m] > 0)
            if rows.any():
                states[name] = self._states(name, given[name], rows)
                if "attention_mask" not in given[name]:
                    lengths[:, m] = states[name].shape[1]
        nothing = next(iter(states.values()), torch.empty(count, 0, 0))[:, :0]
        return end_to_end([states.get(name, nothing) for name in names], lengths, weights)

    def forward(
        self,
        inputs: Given | None = None,
        source_weights: Mapping[str, Any] | None = None,
        labels: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: EncodedSources | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        cache_position: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Logits of the next tokens, and the loss where labels are given.

        inputs, source_weights: as of `encode`; encoder_outputs: what it returned, instead. labels: int64[B, T], -100
        where nothing is to be learned; decoder_input_ids: int64[B, T], made of the labels where they are left out.
        The others are those of transformers' VisionEncoderDecoderModel. Returns a Seq2SeqLMOutput: loss (the mean
        cross-entropy), logits float[B, T, V], past_key_values. Raises InputError.
        """
        if decoder_input_ids is None and labels is None:
            raise InputError("a forward needs labels or decoder_input_ids")
        encoded = self.encode(_needed(inputs), source_weights) if encoder_outputs is None else encoder_outputs
        if labels is not None:
            _check_labels(labels, encoded)
        if decoder_input_ids is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        with self._reading(encoded):
            said = self.decoder(
                input_ids=decoder_input_ids,
                attention_mask=decoder_attention_mask,
                past_key_values=past_key_values,
                use_cache=use_cache,
                cache_position=cache_position,
                output_attentions=output_attentions,
                output_hidden_states=output_hidden_states,
                return_dict=True,
            )
        loss = None if labels is None else functional.cross_entropy(said.logits.flatten(0, 1), labels.flatten().long())
        found = Seq2SeqLMOutput(
            loss=loss,  # type: ignore[arg-type]  # float32 of any kind
            logits=said.logits,
            past_key_values=said.past_key_values,
            decoder_hidden_states=said.hidden_states,
            decoder_attentions=said.attentions,
            encoder_last_hidden_state=encoded.last_hidden_state,  # type: ignore[arg-type]
        )
        return found if return_dict is not False else found.to_tuple()

    @torch.no_grad()
    def generate(  # type: ignore[override]  # its inputs are arrays by source
        self, inputs: Given | None = None, source_weights: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Texts as tokens, int64[B x num_return_sequences, T], by transformers' generate with all of its options.

        inputs, source_weights: as of `encode`. Raises InputError.
        """
        return super().generate(encoder_outputs=self.encode(_needed(inputs), source_weights), **options)

    @torch.no_grad()
    def source_attention(
        self, inputs: Given, decoder_input_ids: Tensor, source_weights: Mapping[str, Any] | None = None
    ) -> Tensor:
        """How much of each source goes into each token: float32[B, T, M], the mean over layers and heads.

        Their sum is 1, and 0 where all gates are. flat: the attention on its positions; parallel: what that would be,
        softmax(L_m + log w~_m); mix: w_m / sum w; hierarchical: the attention over the sources; serial, gated: the size
        of what each adds to the stream, |w~_m tanh(a_m) (W_m c_m + b_m)|, as a share of all their sizes.
        """
        found: list[Tensor] = []
        with self._reading(self.encode(inputs, source_weights), found.append):
            self.decoder(input_ids=decoder_input_ids, use_cache=False)
        return torch.stack([share.float().mean(dim=1) for share in found]).mean(dim=0)

    def prepare_decoder_input_ids_from_labels(self, labels: Any) -> Tensor:
        """The labels one place on, after the start token; pad tokens where they are -100. int64[B, T]."""
        start, pad = self.config.decoder_start_token_id, self.config.pad_token_id
        if start is None or pad is None:
            raise InputError("decoder_start_token_id and pad_token_id are needed; give them to FusionEncoderDecoder")
        moved: Tensor = torch.cat([labels.new_full((len(labels), 1), start), labels[:, :-1]], dim=1)
        return moved.masked_fill(moved == -100, pad)

    def get_encoder(self) -> nn.Module:
        return self.encoders

    def get_input_embeddings(self) -> Any:
        return self.decoder.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        return self.decoder.get_output_embeddings()

    def tie_weights(self) -> None:
        """Each part ties its own, and nothing is tied across them."""
        for part in (*self.encoders.values(), self.decoder):
            part.tie_weights()

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> Any:
        """A model from the local folder that save_pretrained wrote: config.json and safetensors. No code of it runs.

        options: those of transformers' from_pretrained; attn_implementation is that of all parts. Raises InputError
        where the folder is none of these, or weights are missing.
        """
        where = Path(folder)
        if not (where / "config.json").is_file():
            raise InputError(f"{shown(folder)} has no config.json; give a folder that save_pretrained wrote")
        fixed = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
        try:
            model, found = super().from_pretrained(where, **options | fixed)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"{shown(folder)} cannot be read as a fusion model: {error}") from error
        missing = sorted(found["missing_keys"])
        if missing:
            raise InputError(f"{shown(folder)} lacks the weights {', '.join(missing[:4])}")
        return model

    def _told_lengths(self, given: Mapping[str, Mapping[str, Tensor]], count: int) -> Tensor:
        """int64[B, M]: of texts their lengths, of others 1 until the encoder tells, of what is left out 0."""
        lengths = torch.zeros(count, len(self.config.sources), dtype=torch.int64, device=self.device)
        for m, name in enumerate(self.config.sources):
            if name in given:
                mask = given[name].get("attention_mask")
                lengths[:, m] = 1 if mask is None else mask.sum(dim=1)
        return lengths

    def _refuse(self, present: Tensor) -> None:
        for m, name in enumerate(self.config.sources):
            if self.config.absent[name] == "refuse" and not present[:, m].all():
                row = 1 + int(present[:, m].int().argmin())
                raise InputError(f"source {name} of input {row} is absent, and this model does not go without it")

    def _states(self, name: str, arrays: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """float[B, S_m, C]: what the encoder gives, projected; zeros where `rows` bool[B] says that it is not read."""
        kept = arrays if rows.all() else {key: array[rows] for key, array in arrays.items()}
        taken = self.encoder_of(name)(**kept, return_dict=True).last_hidden_state
        if taken.ndim != 3:
            raise InputError(f"the encoder of source {name} gives {list(taken.shape)}; it must give [B, S, width]")
        if name in self.enc_to_dec_proj:
            taken = self.enc_to_dec_proj[name](taken)
        if rows.all():
            return taken  # type: ignore[no-any-return]
        states = taken.new_zeros(len(rows), *taken.shape[1:])
        return states.masked_scatter(rows[:, None, None], taken)  # type: ignore[no-any-return]

    @contextmanager
    def _reading(self, encoded: EncodedSources, see: Callable[[Tensor], object] | None = None) -> Iterator[None]:
        """While this lasts, the decoder's layers read these sources. see: is given each layer's shares."""
        layers: list[Any] = self.family.layers(self.decoder)

        def fused(layer: nn.Module, sublayer: nn.Module, x: Tensor) -> Tensor:
            x, share = sublayer(x, layer, encoded)
            if see is not None:
                see(share)
            return x

        try:
            for layer, sublayer in zip(layers, self.fusion, strict=True):
                layer.forward = partial(self.family.run, layer, partial(fused, layer, sublayer))
            yield
        finally:
            for layer in layers:
                layer.__dict__.pop("forward", None)


def _configured(
    encoders: object,
    decoder: Any,
    fusion: str,
    absent: Mapping[str, str] | None,
    gate: float,
    tokens: Mapping[str, Any],
) -> tuple[FusionConfig, dict[str, Any]]:
    """The configuration of parts, and the encoders by their first source."""
    if not isinstance(encoders, Mapping):
        raise InputError(f"encoders must be a mapping by source, not {written(encoders)}")
    family_of(decoder)
    first: dict[int, str] = {}
    shared = {}
    for name, encoder in encoders.items():
        if not isinstance(encoder, PreTrainedModel):
            raise InputError(f"source {shown(name)} must have an encoder of transformers, not {written(encoder)}")
        if first.setdefault(id(encoder), name) != name:
            shared[name] = first[id(encoder)]
    given: dict[str, Any] = {}
    for name in first.values():
        # Weights that two parts have in common are stored once, and would come back to one of them only.
        common = {id(each) for part in (decoder, *given.values()) for each in part.parameters()}
        mixed = any(id(each) in common for each in encoders[name].parameters())
        given[name] = copy.deepcopy(encoders[name]) if mixed else encoders[name]
    configs = {name: described(encoder) for name, encoder in given.items()}
    return FusionConfig(list(encoders), configs, described(decoder), fusion, shared, absent, gate, **tokens), given


def _width(config: Any) -> int:
    width: int = getattr(config, "hidden_size", None) or config.d_model
    return width


def _count(given: Mapping[str, Mapping[str, Tensor]]) -> int:
    counts = {name: len(next(iter(arrays.values()))) for name, arrays in given.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"sources have different numbers of inputs: {found}; for an absent one give a weight of 0")
    return next(iter(counts.values()))


def _check_labels(labels: object, encoded: EncodedSources) -> None:
    """Raises InputError for labels that are no tensor int64[B, T] of as many inputs."""
    assert encoded.weights is not None
    rows = len(encoded.weights)
    if not isinstance(labels, Tensor) or labels.ndim != 2 or len(labels) != rows or labels.is_floating_point():
        found = list(labels.shape) if isinstance(labels, Tensor) else written(labels)
        raise InputError(f"labels must be a tensor of whole numbers of shape [{rows}, T], not {found}")


def _needed(inputs: Given | None) -> Given:
    if inputs is None:
        raise InputError("inputs are needed: a mapping by source of an array, or of arrays by name")
    return inputs
