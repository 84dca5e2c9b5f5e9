"""The trained captioner as a fuseline folder, fp32 to compare with and int8 to ship, each scored on val."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from tokenizers import processors

from fuseline.export.adapters.fused_layers import Fusion
from fuseline.export.adapters.gpt2 import append_cross_kv, build_decoder, decoder_info
from fuseline.export.graphs.weights import Scheme
from fuseline.export.quality import evaluate
from fuseline.export.writing.folder import write_folder
from fuseline.export.writing.parts import DECODER, part_of
from fuseline.folders.tensors import ATTENTION_MASK, FLAT, INPUT_IDS, PIXEL_VALUES, SKIP

from .batches import Corpus
from .captioner import BOS, EOS, PAD, SPECIAL, Captioner, gpt2_state_dict
from .data import held_out
from .encoder_graph import HIDDEN, hint_encoder, photo_encoder
from .moments import decoder_in_4_bits
from .prepare import PIXEL_MEAN, PIXEL_STD
from .progress import record, track_steps

PHOTO, HINT = "image", "hint"
MAX_LENGTH = 24
# Chosen on `val`, see the README. A hint counts more in training, where it must be learned that it is worth reading.
LENGTH_PENALTY, HINT_WEIGHT = 1.0, 2.0
LICENSE = {
    "id": "LicenseRef-Flickr8k",
    "terms": "non-commercial research and education only: the terms of Flickr8k, which it was trained on",
}
Variants = dict[str, dict[str, onnx.ModelProto]]


def build_variants(captioner: Captioner, corpus: Corpus) -> Variants:
    """The graphs of each variant: both encoders and the decoder, whose cross-attention reads what both give as one."""
    states = {PHOTO: gpt2_state_dict(captioner), HINT: gpt2_state_dict(captioner, hint=True)}
    config = decoder_config(captioner)
    variants: Variants = {}
    schemes: tuple[Scheme, ...] = ("fp32", "int8")
    for scheme in schemes:
        encoders = {PHOTO: photo_encoder(captioner, scheme), HINT: hint_encoder(captioner, scheme)}
        variants[scheme] = {
            part_of(name): append_cross_kv(encoder, states[name], config, HIDDEN, scheme)
            for name, encoder in encoders.items()
        }
    fusion = Fusion(FLAT, list(states), list(states.values()))
    decoder = build_decoder(states[PHOTO], config, "fp32", fusion=fusion)
    # With the decoder's layers in 4 bits the model stays below 12 MB; what that costs is in the README.
    variants["fp32"][DECODER], variants["int8"][DECODER] = decoder, decoder_in_4_bits(decoder, captioner, corpus)
    return variants


def decoder_config(captioner: Captioner) -> dict[str, Any]:
    """The decoder as transformers' GPT2Config names it."""
    shape = captioner.shape
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "add_cross_attention": True,
        "vocab_size": shape.vocab_size,
        "n_positions": shape.max_positions,
        "n_embd": shape.width,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }


def model_config(captioner: Captioner) -> dict[str, Any]:
    """config.json: a FusionEncoderDecoder whose encoders are this recipe's own. num_label_tokens: how many positions
    stand before those of the photo."""
    shape = captioner.shape
    photo = {
        "model_type": f"efficientnet-{shape.encoder.name}-bridge",
        "num_label_tokens": shape.labels,
        "image_size": shape.image_size,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.bridge_layers,
        "num_attention_heads": shape.heads,
    }
    hint = {"model_type": "words", "hidden_size": shape.width, "vocab_size": shape.vocab_size}
    return {
        "model_type": "fuseline-fusion",
        "architectures": ["FusionEncoderDecoder"],
        "sources": [PHOTO, HINT],
        "encoders": {PHOTO: photo, HINT: hint},
        "absent": {PHOTO: SKIP, HINT: SKIP},
        "fusion": FLAT,
        "decoder": decoder_config(captioner),
        "decoder_start_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }


def said_tokenizer(corpus: Corpus) -> str:
    """The tokenizer as one of what is said, with <s> and </s> around."""
    tokenizer = type(corpus.tokenizer).from_str(corpus.tokenizer.to_str())
    special = [(SPECIAL[i], i) for i in (BOS, EOS)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[BOS]} $A {SPECIAL[EOS]}", special_tokens=special
    )
    said: str = tokenizer.to_str(pretty=True)
    return said


def preprocessor_config(captioner: Captioner) -> dict[str, Any]:
    """The whole photo squeezed to a square by a bicubic filter, (pixel - 127) / 128."""
    size = captioner.shape.image_size
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 3,
        "do_rescale": False,
        "do_normalize": True,
        "image_mean": [PIXEL_MEAN] * 3,
        "image_std": [PIXEL_STD] * 3,
        "fuseline_fast": True,  # large photos are made smaller while they are read
    }


def write(
    out: Path,
    captioner: Captioner,
    corpus: Corpus,
    variants: Variants,
    quality: Any,
    license: Mapping[str, str] = LICENSE,
) -> None:
    """A fuseline folder with the given variants; int8 is the default."""
    generation_config = {
        "decoder_start_token_id": BOS,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "max_length": MAX_LENGTH,
        "num_beams": 4,
        "repetition_penalty": 1.2,  # "a close up of a close up" is said no more
        "length_penalty": LENGTH_PENALTY,
    }
    shape = captioner.shape
    photo = {"inputs": [PIXEL_VALUES], "longest": None, "absent": SKIP}
    hint = {
        "inputs": [INPUT_IDS, ATTENTION_MASK],
        "longest": shape.hint_positions,
        "absent": SKIP,
        "weight": HINT_WEIGHT,
    }
    write_folder(
        out,
        config=model_config(captioner),
        generation_config=generation_config,
        tokenizer_json=said_tokenizer(corpus),
        tokenizer_files={
            f"{PHOTO}/preprocessor_config.json": json.dumps(preprocessor_config(captioner), indent=2),
            f"{HINT}/tokenizer.json": corpus.tokenizer.to_str(),
            f"{HINT}/tokenizer_config.json": json.dumps({"pad_token": SPECIAL[PAD], "padding_side": "right"}, indent=2),
        },
        reads={
            "task": "image-to-text",
            "sources": {PHOTO: photo, HINT: hint | {"vocab_size": shape.vocab_size}},
            "fusion": FLAT,
        },
        decoder_info=decoder_info(decoder_config(captioner)),
        variants=variants,
        default_variant="int8",
        quality=quality,
        license=license,
    )


def export(captioner: Captioner, corpus: Corpus, data: Path, work: Path, license: Mapping[str, str] = LICENSE) -> Path:
    """Build, score and write: `work/folder` with both variants, and beside it that with int8 alone, which ships.

    license: an SPDX "id" and the "terms" in words, those of what it was trained on.
    """
    variants = build_variants(captioner, corpus)
    both = work / "folder"
    write(both, captioner, corpus, variants, {}, license)
    with track_steps() as progress:
        found = evaluate(both, **held_out(data), by_source=False, progress=progress)
    for name, scored in found.variants.items():
        record(work, phase="export", variant=name, **{key: round(value, 4) for key, value in scored.scores.items()})
        (work / f"captions_{name}.txt").write_text("\n".join(scored.texts) + "\n", encoding="utf-8")
    shipped = work / f"{data.resolve().name.lower()}-{captioner.shape.encoder.name}"
    write(shipped, captioner, corpus, {"int8": variants["int8"]}, found.quality(), license)
    return shipped


def install(shipped: Path, models_folder: Path) -> None:
    """Put the folder where the package looks for it, keeping the model card that lies there."""
    target = models_folder / shipped.name
    card = target / "MODEL_CARD.md"
    text = card.read_bytes() if card.exists() else None
    partial = models_folder / f".{shipped.name}"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(shipped, partial)
    if text is not None:
        (partial / "MODEL_CARD.md").write_bytes(text)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
