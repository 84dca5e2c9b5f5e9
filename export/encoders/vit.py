"""ViT, DeiT and I-JEPA's encoder (arXiv:2010.11929, arXiv:2012.12877, arXiv:2301.08243).

Sources: transformers' modeling_vit.py, modeling_vit_msn.py, modeling_deit.py and modeling_ijepa.py for the arithmetic
(their eager form) and the tensors' names. ViT-MSN is a ViT.
"""

from __future__ import annotations

from typing import ClassVar

from .vision_encoder import Names, VisionEncoder

_E = "embeddings"


class Vit(VisionEncoder):
    """A token for the whole photo before the patches, and a norm after all layers."""

    title = "ViT"
    layers = "encoder.layer.{}"
    names = Names(
        "layernorm_before",
        ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
        "attention.output.dense",
        "layernorm_after",
        "intermediate.dense",
        "output.dense",
    )
    projection = f"{_E}.patch_embeddings.projection"
    first: ClassVar = {f"{_E}.cls_token": (1, 1)}
    positions = (f"{_E}.position_embeddings", (1,))
    norm_after = "layernorm"


class Deit(Vit):
    """One more token, which distillation is about."""

    title = "DeiT"
    first: ClassVar = {**Vit.first, f"{_E}.distillation_token": (1, 1)}


class Ijepa(Vit):
    """Patches alone."""

    title = "I-JEPA"
    first: ClassVar = {}
