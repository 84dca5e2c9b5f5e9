"""Small models of several sources with random weights that say varied things, and what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertLMHeadModel,
    BertModel,
    CamembertConfig,
    CamembertForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MarianConfig,
    MarianForCausalLM,
    MBartConfig,
    MBartForCausalLM,
    PegasusConfig,
    PegasusForCausalLM,
    PretrainedConfig,
    RobertaConfig,
    RobertaForCausalLM,
    TrOCRConfig,
    TrOCRForCausalLM,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    XLMRobertaConfig,
    XLMRobertaForCausalLM,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from fuseline.export.fusion import FusionEncoderDecoder

START, END, PAD = 1, 2, 0
VOCAB_SIZE, TEXT_SIZE, WIDTH = 97, 53, 30
MAX_LENGTH = 12
TOKENS = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": PAD, "decoder_start_token_id": START}


def _bart(kind: Callable[..., PretrainedConfig], **fields: Any) -> PretrainedConfig:
    sizes = {"vocab_size": VOCAB_SIZE, "d_model": WIDTH, "decoder_layers": 2, "decoder_attention_heads": 5}
    return kind(**sizes, decoder_ffn_dim=44, max_position_embeddings=40, forced_eos_token_id=None, **TOKENS | fields)


def _bert(kind: Callable[..., PretrainedConfig]) -> PretrainedConfig:
    sizes = {"vocab_size": VOCAB_SIZE, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 5}
    cross = {"is_decoder": True, "add_cross_attention": True}
    return kind(**sizes, intermediate_size=44, max_position_embeddings=40, **cross, **TOKENS)


def _gpt2(**fields: Any) -> PretrainedConfig:
    sizes = {"vocab_size": VOCAB_SIZE, "n_embd": WIDTH, "n_layer": 2, "n_head": 5, "n_positions": 40}
    return GPT2Config(**sizes, add_cross_attention=True, **TOKENS | fields)  # type: ignore[arg-type]


DECODERS: dict[str, tuple[Callable[[Any], Any], Callable[[], PretrainedConfig]]] = {
    "gpt2": (GPT2LMHeadModel, _gpt2),
    "gpt2, scaled by layer": (GPT2LMHeadModel, lambda: _gpt2(scale_attn_by_inverse_layer_idx=True)),
    "bert": (BertLMHeadModel, lambda: _bert(BertConfig)),
    "roberta": (RobertaForCausalLM, lambda: _bert(RobertaConfig)),
    "xlm-roberta": (XLMRobertaForCausalLM, lambda: _bert(XLMRobertaConfig)),
    "camembert": (CamembertForCausalLM, lambda: _bert(CamembertConfig)),
    "bart": (BartForCausalLM, lambda: _bart(BartConfig)),
    "marian": (MarianForCausalLM, lambda: _bart(MarianConfig)),
    "trocr": (TrOCRForCausalLM, lambda: _bart(TrOCRConfig)),
    "trocr, wide": (TrOCRForCausalLM, lambda: _bart(TrOCRConfig, cross_attention_hidden_size=24)),
    "mbart": (MBartForCausalLM, lambda: _bart(MBartConfig)),
    "pegasus": (PegasusForCausalLM, lambda: _bart(PegasusConfig)),
}
FAMILIES = ("gpt2", "bert", "bart", "mbart")  # one of each kind


def decoder(name: str, seed: int = 0, eager: bool = False) -> Any:
    """The decoder of that name in DECODERS, float32, in eval mode; it is fresh. eager: its attention."""
    torch.manual_seed(seed)
    kind, config = DECODERS[name]
    made = config()
    if eager:
        made._attn_implementation = "eager"
    return _lively(kind(made).eval(), 9.0)


def vit(seed: int = 1, width: int = 24) -> Any:
    """Photos of 32 x 32 in patches of 16: 5 positions."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    return _lively(ViTModel(ViTConfig(**sizes, image_size=32, patch_size=16)).eval(), 6.0)  # type: ignore[arg-type]


def bert(seed: int = 2) -> Any:
    """Texts; as wide as the decoders, so that it has no projection."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": TEXT_SIZE, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 5}
    return _lively(BertModel(BertConfig(**sizes, intermediate_size=44, max_position_embeddings=40)).eval(), 6.0)  # type: ignore[arg-type]


def whisper(seed: int = 3, bands: int = 8, positions: int = 20) -> Any:
    """Speech of twice as many frames as positions."""
    torch.manual_seed(seed)
    sizes = {"d_model": 20, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 36}
    return WhisperEncoder(WhisperConfig(**sizes, num_mel_bins=bands, max_source_positions=positions)).eval()  # type: ignore[arg-type]


def fusion_model(mode: str, writer: str = "gpt2", **options: Any) -> Any:
    """Photos `image` (with a projection), texts `hint`, and a second photo `other` by the same encoder."""
    photos = vit()
    torch.manual_seed(4)
    model = FusionEncoderDecoder(
        {"image": photos, "hint": bert(), "other": photos}, decoder(writer), mode, **{"gate": 0.6} | options
    )
    with torch.no_grad():  # sources that are copies of each other would hide one taken for another
        for name, tensor in model.named_parameters():
            if name.startswith("fusion.") and tensor.dim() > 1:
                tensor.mul_(8.0 if ".over." in name else 1.0).add_(torch.randn_like(tensor) * 0.1)
            elif name.startswith("fusion."):
                tensor.add_(torch.randn_like(tensor) * 0.1)
    return model.eval()


def given(count: int, seed: int = 0) -> dict[str, Any]:
    """What `count` inputs give, texts of different lengths."""
    made = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([1 + (4 + 3 * row) % 7 for row in range(count)])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    ids = torch.randint(5, TEXT_SIZE, mask.shape, generator=made) * mask
    photos = torch.randn(2, count, 3, 32, 32, generator=made)
    return {"image": photos[0], "hint": {"input_ids": ids, "attention_mask": mask}, "other": photos[1]}


def row(inputs: dict[str, Any], index: int) -> dict[str, Any]:
    """One input of a batch, its text as long as it is."""
    length = int(inputs["hint"]["attention_mask"][index].sum()) if "hint" in inputs else 0
    return {
        name: {key: each[index : index + 1, :length] for key, each in array.items()}
        if isinstance(array, dict)
        else array[index : index + 1]
        for name, array in inputs.items()
    }


def prompts(count: int, length: int = 5) -> torch.Tensor:
    """Tokens as what a decoder has written, int64[B, T]."""
    return torch.randint(3, VOCAB_SIZE, (count, length), generator=torch.Generator().manual_seed(7))


def _lively(model: Any, scale: float) -> Any:
    """Larger matrices, and norms and biases off their starting values; see tests/tiny.py for why."""
    with torch.no_grad():
        for _, tensor in model.named_parameters():
            if tensor.dim() > 1:
                tensor.mul_(scale)
            else:
                tensor.add_(torch.randn_like(tensor) * 0.1)
    return model
