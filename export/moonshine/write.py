"""From the files of Moonshine's package to a fuseline folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fuseline.errors import ExportError

from ..adapters import Parts
from ..adapters.moonshine import MoonshineDecoder
from ..check import Agreement
from ..encoders.moonshine import MoonshineEncoder
from ..graphs.weights import Array, Scheme
from ..graphs.weights_file import WeightsFile
from ..sources import Speech
from ..writing.card import Terms
from ..writing.folder import write_to
from ..writing.graphs import GraphSource
from ..writing.place import Place
from .tokens import read_tokens, tokenizer_json
from .weights import read_weights

ENCODER, DECODER, TOKENS = "encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"
_REMARK = "made of weights in 8 bits, so the variant fp32 says what these say, and no more"
_HEADS = 8  # of tiny and base alike
_LONGEST = 194  # tokens of a text, as in the config.json of both
_ROTARY = {288: 0.9, 416: 0.62}  # partial_rotary_factor by the width, of tiny and base
_START, _END = 1, 2
_FEATURES = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "processor_class": "Wav2Vec2Processor",
    "do_normalize": False,
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 16000,
}


def write_moonshine(
    folder: str | Path,
    place: Place,
    schemes: Mapping[str, Scheme],
    max_length: int | None,
    tell: Callable[[int, str], None],
    terms: Terms | None = None,
) -> tuple[dict[str, Agreement], str]:
    """Write the folder. Arguments and result as of ctranslate2's write_ctranslate2; nothing is compared.

    folder: with the encoder's and the decoder's graph and the list of tokens. Raises ExportError.
    """
    tell(1, "loading the weights")
    folder = Path(folder)
    tokens = read_tokens(folder / TOKENS)
    weights = read_weights(folder / ENCODER, folder / DECODER)
    config = _config(weights, len(tokens))
    if max_length is not None and not 2 <= max_length <= _LONGEST:
        raise ExportError(f"max_length {max_length} must be 2 to {_LONGEST}")
    positions = None if max_length is None else max_length - 1
    reads, parts = Speech(_FEATURES, padded=True), Parts(None, MoonshineDecoder, config, (MoonshineEncoder, config))
    encoder = reads.encoder(parts, weights, once=len(schemes) == 1)

    def decoder(scheme: Scheme, outside: WeightsFile) -> onnx.ModelProto:
        return MoonshineDecoder.build_decoder(weights, config, scheme, positions, outside, padded=True)

    def finished(made: Path) -> dict[str, Any]:
        if terms is not None:
            terms.add_card(made)
        return {}

    graphs: dict[str, dict[str, GraphSource]] = {
        name: {"encoder": partial(encoder, scheme), "decoder": partial(decoder, scheme)}
        for name, scheme in schemes.items()
    }
    tell(2, "making the graphs")
    ids = {"bos_token_id": _START, "eos_token_id": _END, "decoder_start_token_id": _START}
    write_to(
        place,
        config={**config, **ids},
        generation_config={**ids, "pad_token_id": _END, "max_length": max_length or _LONGEST},
        preprocessor_config=_FEATURES,
        tokenizer_json=tokenizer_json(tokens),
        reads=reads.described(parts),
        decoder_info=MoonshineDecoder.decoder_info(config, positions),
        variants=graphs,
        default_variant=next(iter(schemes)),
        license=None if terms is None else terms.license,
        check=finished,
    )
    return {}, _REMARK


def _config(weights: Mapping[str, Array], tokens: int) -> dict[str, Any]:
    """config.json of the model whose weights these are."""
    table_VE, head_VE = weights["model.decoder.embed_tokens.weight"], weights.get("proj_out.weight")
    inner = weights.get("model.encoder.layers.0.mlp.fc1.bias")
    if len(table_VE) != tokens or inner is None or table_VE.shape[1] not in _ROTARY:
        raise ExportError(
            f"the graphs have embeddings {list(table_VE.shape)}, and Moonshine's are of {tokens} tokens and "
            "288 or 416 wide"
        )
    width = table_VE.shape[1]
    layers = {part: _layers(weights, f"model.{part}.layers.") for part in ("encoder", "decoder")}
    return {
        "architectures": ["MoonshineForConditionalGeneration"],
        "model_type": "moonshine",
        "is_encoder_decoder": True,
        "vocab_size": tokens,
        "hidden_size": width,
        "intermediate_size": len(inner),
        **{f"{part}_num_hidden_layers": count for part, count in layers.items()},
        **{f"{part}_num_attention_heads": _HEADS for part in layers},
        **{f"{part}_num_key_value_heads": _HEADS for part in layers},
        "encoder_hidden_act": "gelu",
        "decoder_hidden_act": "silu",
        "max_position_embeddings": _LONGEST,
        "partial_rotary_factor": _ROTARY[width],
        "rope_theta": 10000.0,
        "attention_bias": False,
        "tie_word_embeddings": head_VE is None or bool(np.array_equal(head_VE, table_VE)),
    }


def _layers(weights: Mapping[str, Array], start: str) -> int:
    numbers = [int(name.removeprefix(start).partition(".")[0]) for name in weights if name.startswith(start)]
    return max(numbers, default=-1) + 1
