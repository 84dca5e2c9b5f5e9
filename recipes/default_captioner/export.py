"""Step 5: the trained captioner as a fuseline folder, fp32 to compare with and int8 to ship, each scored on val."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnx
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from fuseline.export.adapters.gpt2 import append_cross_kv, build_decoder, decoder_info
from fuseline.export.graphs.weights import Scheme
from fuseline.export.quality import evaluate
from fuseline.export.quantizing.convolutions import store_convolutions
from fuseline.export.writing.folder import write_folder

from .captioner import BOS, EOS, PAD, UNK, Captioner, gpt2_state_dict
from .encoder_graph import HIDDEN, append_bridge, conv_model
from .prepare import PIXEL_MEAN, PIXEL_STD
from .progress import record, track_steps

MAX_LENGTH = 22
LICENSE = {
    "id": "LicenseRef-Flickr8k",
    "terms": "non-commercial research and education only: the terms of Flickr8k, which it was trained on",
}
Variants = dict[str, dict[str, onnx.ModelProto]]


def build_variants(captioner: Captioner) -> Variants:
    """Encoder and decoder graphs of each variant."""
    modules = [*captioner.cnn.front, *captioner.cnn.tail]
    state, config = gpt2_state_dict(captioner), decoder_config(captioner)
    variants: Variants = {}
    schemes: tuple[Scheme, ...] = ("fp32", "int8")
    for scheme in schemes:
        convolutions = conv_model(modules, "pixel_values", captioner.shape.image_size)
        if scheme == "int8":
            convolutions = store_convolutions(convolutions)
        encoder = append_cross_kv(append_bridge(convolutions, captioner, scheme), state, config, HIDDEN, scheme)
        variants[scheme] = {"encoder": encoder, "decoder": build_decoder(state, config, scheme)}
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
    """config.json: a VisionEncoderDecoderModel whose encoder is this recipe's own."""
    shape = captioner.shape
    encoder = {
        "model_type": "efficientnet-lite0-bridge",
        "image_size": shape.image_size,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.bridge_layers,
        "num_attention_heads": shape.heads,
    }
    return {
        "model_type": "vision-encoder-decoder",
        "architectures": ["VisionEncoderDecoderModel"],
        "encoder": encoder,
        "decoder": decoder_config(captioner),
        "decoder_start_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }


def tokenizer_json(vocabulary: list[str]) -> str:
    """A word-level tokenizer: lower case, split at spaces, <s> and </s> around."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=vocabulary[UNK]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [(vocabulary[i], i) for i in (BOS, EOS)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{vocabulary[BOS]} $A {vocabulary[EOS]}", special_tokens=special
    )
    tokenizer.add_special_tokens(vocabulary[: UNK + 1])
    return tokenizer.to_str(pretty=True)


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


def write(out: Path, captioner: Captioner, vocabulary: list[str], variants: Variants, quality: Any) -> None:
    """A fuseline folder with the given variants; int8 is the default."""
    generation_config = {
        "decoder_start_token_id": BOS,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "max_length": MAX_LENGTH,
        "num_beams": 4,
    }
    write_folder(
        out,
        config=model_config(captioner),
        generation_config=generation_config,
        preprocessor_config=preprocessor_config(captioner),
        tokenizer_json=tokenizer_json(vocabulary),
        decoder_info=decoder_info(decoder_config(captioner)),
        variants=variants,
        default_variant="int8",
        quality=quality,
        license=LICENSE,
    )


def export(captioner: Captioner, data: Path, work: Path, vocabulary: list[str]) -> Path:
    """Build, score and write: `work/folder` with both variants, `work/flickr8k-lite0` with int8 alone, which ships."""
    variants = build_variants(captioner)
    both = work / "folder"
    write(both, captioner, vocabulary, variants, {})
    with track_steps() as progress:
        found = evaluate(both, data / "captions.jsonl", split="val", name="flickr8k val", progress=progress)
    for name, scored in found.variants.items():
        record(work, phase="export", variant=name, **{key: round(value, 4) for key, value in scored.scores.items()})
        (work / f"captions_{name}.txt").write_text("\n".join(scored.texts) + "\n", encoding="utf-8")
    shipped = work / "flickr8k-lite0"
    write(shipped, captioner, vocabulary, {"int8": variants["int8"]}, found.quality())
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
