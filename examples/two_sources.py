"""Trains a small model that reads a photo and a text, exports it, and asks it: `python two_sources.py FOLDER`.

A photo is a square of some colour, a hint says where it lies; what is to be said has both: "a red square on the left".
Needs torch and transformers; FOLDER gets the checkpoint and the model that fuseline opens.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from fuseline import Model
from fuseline.export import export
from fuseline.export.fusion import FusionEncoderDecoder

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (40, 60, 200), "yellow": (220, 210, 40)}
PLACES = ("left", "right", "floor", "table")
WORDS = ["<pad>", "<s>", "</s>", "<unk>", "a", "square", "on", "the", *COLOURS, *PLACES]


def untrained() -> FusionEncoderDecoder:
    """Two encoders and a decoder, each as small as can be."""
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "hidden_size": 32}
    photos = ViTModel(ViTConfig(**sizes, image_size=32, patch_size=16))
    hints = BertModel(BertConfig(**sizes, vocab_size=len(WORDS), max_position_embeddings=16))
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 1}
    gpt2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 16, "vocab_size": len(WORDS)}
    writer = GPT2LMHeadModel(GPT2Config(**gpt2, **tokens, add_cross_attention=True))
    return FusionEncoderDecoder({"image": photos, "hint": hints}, writer, fusion="flat")


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


def photo(colour: str, random: np.random.Generator) -> Image.Image:
    """A square of about that colour."""
    pixels = np.array(COLOURS[colour]) + random.normal(0, 25, (32, 32, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def train(model: FusionEncoderDecoder, processor: ViTImageProcessor, words: PreTrainedTokenizerFast) -> None:
    random, optimizer = np.random.default_rng(0), torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(150):
        colours, places = random.choice(list(COLOURS), 16), random.choice(PLACES, 16)
        hints = words([f"on the {place}" for place in places], return_tensors="pt", padding=True)
        texts = [f"a {colour} square on the {place} </s>" for colour, place in zip(colours, places, strict=True)]
        labels = words(texts, return_tensors="pt").input_ids
        pixels = processor([photo(colour, random) for colour in colours], return_tensors="pt").pixel_values
        inputs = {"image": pixels, "hint": {"input_ids": hints.input_ids, "attention_mask": hints.attention_mask}}
        # Now and then a source is left out, so that the model learns to go without.
        weights = {"image": random.random(16) > 0.1, "hint": np.ones(16)}
        loss = model(inputs, weights, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.3f}")


def main(folder: Path) -> None:
    torch.manual_seed(0)
    model, processor, words = untrained(), ViTImageProcessor(size={"height": 32, "width": 32}), tokenizer()
    train(model.train(), processor, words)
    checkpoint = folder / "checkpoint"
    model.save_pretrained(checkpoint)
    words.save_pretrained(checkpoint)  # of what is said, and of hints, which have no tokenizer of their own
    processor.save_pretrained(checkpoint / "image")  # of the source of that name
    export(checkpoint, folder / "model", ["fp32", "int8"], force=True)

    captioner = Model.from_pretrained(folder / "model", "fp32")
    pixels = captioner.inputs_of("image")([photo("blue", np.random.default_rng(1))])
    hint = captioner.inputs_of("hint")(["on the table"])
    for weights in (None, {"image": 0.7, "hint": 0.3}):
        said = captioner.generate({"image": pixels, "hint": hint}, source_weights=weights, num_beams=3)
        (text,) = captioner.decode(said.sequences)
        print(f"weights {weights}: {text}")
        for word, shares in zip(text.split(), said.source_attention[0], strict=False):
            print(
                "   ", word, " ".join(f"{name} {share:.0%}" for name, share in zip(said.sources, shares, strict=True))
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
