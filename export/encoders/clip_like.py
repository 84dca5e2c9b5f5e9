"""CLIP's (arXiv:2103.00020), SigLIP's (arXiv:2303.15343) and BLIP's (arXiv:2201.12086) encoders of photos.

Sources: transformers' modeling_clip.py, modeling_chinese_clip.py, modeling_siglip.py and modeling_blip.py for the
arithmetic (their eager form) and the tensors' names.
"""

from __future__ import annotations

from typing import ClassVar

from .vision_encoder import Names, VisionEncoder

_QKV = tuple(f"self_attn.{part}_proj" for part in "qkv")


class Clip(VisionEncoder):
    """A norm before the layers; the one after them is of what pools alone."""

    title = "CLIP"
    body = "vision_model."
    layers = "encoder.layers.{}"
    names = Names("layer_norm1", _QKV, "self_attn.out_proj", "layer_norm2", "mlp.fc1", "mlp.fc2")
    projection = "embeddings.patch_embedding"
    projects_bias = False
    first: ClassVar = {"embeddings.class_embedding": ()}
    positions = ("embeddings.position_embedding.weight", ())
    norm_before = "pre_layrnorm"  # as it is spelled there
    unused = r"vision_model\.post_layernorm\."


class Siglip(Clip):
    """Patches alone, and a norm after all layers."""

    title = "SigLIP"
    projects_bias = True
    first: ClassVar = {}
    norm_before, norm_after = "", "post_layernorm"
    unused = r"vision_model\.head\."


class Blip(VisionEncoder):
    """Query, key and value are one layer; a norm after all layers."""

    title = "BLIP"
    layers = "encoder.layers.{}"
    names = Names("layer_norm1", ("self_attn.qkv",), "self_attn.projection", "layer_norm2", "mlp.fc1", "mlp.fc2")
    projection = "embeddings.patch_embedding"
    first: ClassVar = {"embeddings.class_embedding": (1, 1)}
    positions = ("embeddings.position_embedding", (1,))
    norm_after = "post_layernorm"
