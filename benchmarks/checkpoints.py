"""`python -m benchmarks.checkpoints NAME FOLDER`: full-size checkpoints with random weights that say varied things.

Random weights as transformers draws them say one word for ever, whatever the photo. Here every matrix has a gain, so
that what it is given counts; gains are tried until captions differ between photos and between beams, no word is said
over and over, and none ends early. Runs where transformers is installed; the same seed gives the same weights.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    DeiTConfig,
    DonutSwinConfig,
    GPT2Config,
    MBartConfig,
    PretrainedConfig,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

SEED, PHOTOS, NUM_BEAMS, MAX_LENGTH = 0, 3, 4, 16
# (gain of a matrix, standard deviation of a logit, of a position); the first that gives varied captions counts.
GAINS = ((1.5, 3.0, 1.0), (2.0, 3.0, 2.0), (0.7, 3.0, 6.0), (0.5, 3.0, 1.0))
HALF = [0.5, 0.5, 0.5]
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}


def encoder_decoder(vision: PretrainedConfig, text: PretrainedConfig, start: int, end: int, pad: int) -> Any:
    """A VisionEncoderDecoderModel of two configurations."""
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    config.tie_word_embeddings = text.tie_word_embeddings
    model: Any = VisionEncoderDecoderModel(config)
    for settings in (model.config, model.generation_config):
        settings.decoder_start_token_id, settings.eos_token_id, settings.pad_token_id = start, end, pad
    return model


def vit_gpt2() -> Any:
    """nlpconnect/vit-gpt2-image-captioning: ViT-base and GPT-2, 239 M parameters."""
    text = GPT2Config(add_cross_attention=True, is_decoder=True)
    return encoder_decoder(ViTConfig(), text, 50256, 50256, 50256)


def vit_gpt2_small() -> Any:
    """The same with 2 layers of 64, for trying what is measured."""
    text = GPT2Config(n_embd=64, n_layer=2, n_head=2, vocab_size=1000, add_cross_attention=True, is_decoder=True)
    vision = ViTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, image_size=64)
    return encoder_decoder(vision, text, 999, 999, 999)


def trocr_small() -> Any:
    """microsoft/trocr-small-printed: DeiT-small at 384 pixels and a decoder of 6 layers of 256."""
    vision = DeiTConfig(
        hidden_size=384, num_attention_heads=6, intermediate_size=1536, image_size=384, attention_probs_dropout_prob=0.0
    )
    text = TrOCRConfig(
        vocab_size=64044,
        d_model=256,
        decoder_layers=6,
        decoder_attention_heads=8,
        decoder_ffn_dim=1024,
        activation_function="relu",
        max_position_embeddings=512,
        cross_attention_hidden_size=384,
        scale_embedding=True,
        tie_word_embeddings=False,
        is_decoder=True,
        add_cross_attention=True,
    )
    return encoder_decoder(vision, text, 2, 2, 1)


def blip_base() -> Any:
    """Salesforce/blip-image-captioning-base: ViT-base at 384 pixels and a BERT decoder of 12 layers of 768."""
    text = {"num_attention_heads": 12, "hidden_size": 768}
    config = BlipConfig(text_config=text, vision_config={"image_size": 384})
    return BlipForConditionalGeneration(config)


def donut_base() -> Any:
    """naver-clova-ix/donut-base-finetuned-cord-v2: Swin-base at 1280 x 960 and an MBart decoder of 4 layers of 1024."""
    vision = DonutSwinConfig(
        image_size=[1280, 960], embed_dim=128, depths=[2, 2, 14, 2], num_heads=[4, 8, 16, 32], window_size=10
    )
    text = MBartConfig(
        vocab_size=57580,
        d_model=1024,
        decoder_layers=4,
        decoder_attention_heads=16,
        decoder_ffn_dim=4096,
        max_position_embeddings=768,
        scale_embedding=True,
        add_final_layer_norm=True,
        is_decoder=True,
        add_cross_attention=True,
    )
    return encoder_decoder(vision, text, 0, 2, 1)


def _processor(kind: str, height: int, width: int, **fields: Any) -> dict[str, Any]:
    return {
        "image_processor_type": kind,
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": HALF,
        "image_std": HALF,
        **fields,
    }


MODELS: Mapping[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "vit-gpt2": (vit_gpt2, _processor("ViTImageProcessor", 224, 224)),
    "vit-gpt2-small": (vit_gpt2_small, _processor("ViTImageProcessor", 64, 64)),
    "trocr-small": (trocr_small, _processor("ViTImageProcessor", 384, 384)),
    "blip-base": (blip_base, _processor("BlipImageProcessor", 384, 384, resample=3, do_convert_rgb=True, **CLIP)),
    "donut-base": (
        donut_base,
        _processor(
            "DonutImageProcessor",
            1280,
            960,
            do_thumbnail=True,
            do_pad=True,
            do_align_long_axis=False,
            random_padding=False,
        ),
    ),
}


def build(name: str, folder: Path, seed: int = SEED) -> dict[str, Any]:
    """Write the checkpoint as a folder of the hub has it, and say what its floors are made of (benchmark.json).

    Raises RuntimeError where the seed's weights say nothing varied.
    """
    make, processor = MODELS[name]
    torch.manual_seed(seed)
    model = make().eval()
    size = processor["size"]
    coarse = torch.randn(PHOTOS, 3, 7, 7, generator=torch.Generator().manual_seed(1))
    pixels = nn.functional.interpolate(coarse, (size["height"], size["width"]), mode="bicubic").clamp(-1, 1)
    gains = _enliven(model, pixels, seed)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "tokenizer.json").write_text(_tokenizer(_text(model).config.vocab_size))
    facts = {
        "seed": seed,
        "gains": gains,
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "step_weights": step_weights(_text(model)),
        "encoder_multiply_adds": multiply_adds(_vision(model), pixels[:1]),
    }
    (folder / "benchmark.json").write_text(json.dumps(facts))
    return facts


def _text(model: Any) -> Any:
    return model.text_decoder if hasattr(model, "text_decoder") else model.decoder


def _vision(model: Any) -> Any:
    return model.vision_model if hasattr(model, "vision_model") else model.encoder


def _enliven(model: Any, pixels: torch.Tensor, seed: int) -> tuple[float, float, float]:
    """Draw all weights anew with the first gains that give varied captions. Raises RuntimeError if none do."""
    for gains in GAINS:
        _draw(model, seed, *gains)
        if (problem := _monotony(model, pixels)) is None:
            return gains
        print(f"gains {gains}: {problem}", file=sys.stderr, flush=True)
    raise RuntimeError("no gains give captions that differ between photos and between beams")


def _draw(model: Any, seed: int, gain: float, logit: float, position: float) -> None:
    """Matrices so that an input of variance 1 comes out with the gain; the words' table for logits of that size.

    Where the last norm stands before a tied table (GPT-2), words have variance 1 as positions do, and the norm's
    weights take the logits back to their size. Their signs are random, so that a word does not call for itself.
    """
    generator = torch.Generator().manual_seed(seed)
    vocab_size = _text(model).config.vocab_size
    done: set[int] = set()  # a tied tensor has two names
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.data_ptr() in done:
                continue
            done.add(tensor.data_ptr())
            if name.endswith("ln_f.weight"):
                tensor.normal_(0.0, logit * len(tensor) ** -0.5, generator=generator)
            elif tensor.dim() < 2:
                norm = "norm" in name.lower() or ".ln_" in name
                tensor.normal_(0.0, 0.1, generator=generator).add_(1.0 if norm and name.endswith("weight") else 0.0)
            elif vocab_size in tensor.shape:
                small = 1.0 if "wte" in name else logit * min(tensor.shape) ** -0.5
                tensor.normal_(0.0, small, generator=generator)
            elif "position" in name or "wpe" in name or "token" in name:
                tensor.normal_(0.0, position if _in_text(name) else 0.02, generator=generator)
            else:  # Conv1D of GPT-2 is [inputs, outputs], all others [outputs, inputs ...]
                inputs = tensor.shape[0] if ".c_" in name or "q_attn" in name else tensor[0].numel()
                tensor.normal_(0.0, gain * inputs**-0.5, generator=generator)


def _in_text(name: str) -> bool:
    return name.startswith(("decoder.", "text_decoder."))


def _monotony(model: Any, pixels: torch.Tensor) -> str | None:
    """What the captions lack, None where they are as varied as the benchmarks need."""
    options = {"max_length": MAX_LENGTH, "num_beams": NUM_BEAMS}
    with torch.inference_mode():
        beams = model.generate(pixels, **options, num_return_sequences=2).reshape(PHOTOS, 2, -1).numpy()
        best = beams[:, 0]
        if len({row.tobytes() for row in best}) < PHOTOS:
            return "two photos get the same caption"
        if (words := min(len(set(row.tolist())) for row in best)) < MAX_LENGTH // 3:
            return f"a caption has only {words} different words"
        greedy = model.generate(pixels, max_length=MAX_LENGTH, num_beams=1).numpy()
        longest = model.generate(pixels[:1], max_length=64, num_beams=NUM_BEAMS).numpy()
    if beams.shape[2] < MAX_LENGTH or longest.shape[1] < 64 or greedy.shape[1] < MAX_LENGTH:
        return "a caption ends early"
    if (best == greedy).all():
        return "beams find what greedy search finds"
    parted = [int(np.flatnonzero(one != two)[0]) for one, two in beams]
    return None if min(parted) < MAX_LENGTH - 2 else "beams differ in their last words only"


def step_weights(text: Any) -> int:
    """Weights that one step reads: not the cross-attention's K/V, which is computed once, nor tables of which it reads
    a row."""
    head = text.get_output_embeddings().weight
    once = ("crossattention.c_attn", "encoder_attn.k_proj", "encoder_attn.v_proj")
    once += ("crossattention.self.key", "crossattention.self.value", "wpe", "position")
    tensors = {}
    for name, tensor in text.named_parameters():
        table = tensor.shape == head.shape and tensor.data_ptr() != head.data_ptr()
        if tensor.dim() == 2 and not table and not any(part in name for part in once):
            tensors[tensor.data_ptr()] = tensor.numel()
    return sum(tensors.values())


def multiply_adds(vision: Any, pixels: torch.Tensor) -> int:
    """Of the encoder's matrices and convolutions for one photo; attention itself, some 2 %, is left out."""
    total = 0

    def count(layer: Any, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    hooks = [part.register_forward_hook(count) for part in vision.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    with torch.inference_mode():
        vision(pixels)
    for hook in hooks:
        hook.remove()
    return total


def _tokenizer(vocab_size: int) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"word{index}": index for index in range(vocab_size - 1)} | {"<unk>": vocab_size - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return str(tokenizer.to_str())


if __name__ == "__main__":
    print(json.dumps(build(sys.argv[1], Path(sys.argv[2]))))
