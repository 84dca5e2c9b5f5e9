"""transformers' own generate: the reference, in eager mode."""

from __future__ import annotations

from time import perf_counter

from . import Spec

REQUIREMENTS = "transformers"
SPECS = [
    Spec("transformers-fp32", settings={"dtype": "float32"}, scaling=True),
    Spec("transformers-bf16", "bf16", settings={"dtype": "bfloat16"}, scaling=True),
]


def imports():
    import torch
    from transformers import AutoImageProcessor, BlipForConditionalGeneration, VisionEncoderDecoderModel

    return torch, AutoImageProcessor, BlipForConditionalGeneration, VisionEncoderDecoderModel


class System:
    def __init__(self, folder, threads, dtype):
        self.torch, processor, blip, encoder_decoder = imports()
        self.torch.set_num_threads(threads)
        self.processor = processor.from_pretrained(folder, use_fast=False)
        kind = blip if "blip" in (folder / "config.json").read_text() else encoder_decoder
        self.model = kind.from_pretrained(folder, dtype=getattr(self.torch, dtype)).eval()
        self.encoder = self.model.vision_model if kind is blip else self.model.encoder
        self.decoder = self.model.text_decoder if kind is blip else self.model.decoder

    def pixels(self, photos):
        from PIL import Image

        images = [Image.open(photo).convert("RGB") for photo in photos]
        return self.processor(images, return_tensors="pt").pixel_values.to(self.model.dtype)

    def encode(self, pixels):
        with self.torch.inference_mode():
            return self.encoder(pixels)

    def generate(self, pixels, num_beams, max_length):
        with self.torch.inference_mode():
            return self.model.generate(pixels, num_beams=num_beams, max_length=max_length).tolist()

    def search_share(self, pixels, num_beams, max_length):
        entered, inside = [], []
        hooks = []
        for part in (self.encoder, self.decoder):
            hooks.append(part.register_forward_pre_hook(lambda *_: entered.append(perf_counter())))
            hooks.append(part.register_forward_hook(lambda *_: inside.append(perf_counter() - entered.pop())))
        began = perf_counter()
        self.generate(pixels, num_beams, max_length)
        total = perf_counter() - began
        for hook in hooks:
            hook.remove()
        return 1 - sum(inside) / total
