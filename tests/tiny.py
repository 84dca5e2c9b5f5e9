"""Small real models: a VisionEncoderDecoderModel with random weights that says varied things, and its fuseline folder.

Random weights of the usual size say one word for ever, whatever the photo: all attention is even, and the tied head
gives back the token it was given. With larger weights, positions that count, and an end that is reached, captions vary
in words and in length and beams cross, which is what the tests are to see; tests/export/test_gpt2_graph.py holds the
models to that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, PretrainedConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

from fuseline.export import append_cross_kv, build_decoder, decoder_info, write_folder
from fuseline.export.graphs.weights import Scheme
from tests.encoders import export_encoder
from tests.made_once import made_once

PHOTO = 32  # pixels a side
START, END, PAD = 1, 2, 0  # token ids
MAX_LENGTH, NUM_BEAMS = 16, 4
# Found by a search over 3 seeds: 20 photos give 18 to 20 different captions of 5 to 7 different words at these scales.
MATRIX_SCALE, TABLE_SCALE, POSITION_SCALE = 18.0, 4.0, 25.0


def tiny_vit_gpt2(
    seed: int,
    *,
    encoder_width: int = 32,
    tie_word_embeddings: bool = True,
    vision: PretrainedConfig | None = None,
    **decoder: Any,
) -> Any:
    """A VisionEncoderDecoderModel: ViT (32 x 32 pixels in patches of 8) and GPT-2 (3 layers, 4 heads of 8, 97 words).

    float32, in eval mode. encoder_width other than 32 brings an enc_to_dec_proj; vision: another encoder instead of
    the ViT; decoder: fields of GPT2Config.
    """
    torch.manual_seed(seed)
    vision = vision or ViTConfig(  # type: ignore[no-untyped-call]
        hidden_size=encoder_width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=56,
        image_size=PHOTO,
        patch_size=8,
    )
    fields: dict[str, Any] = {
        "vocab_size": 97,
        "n_positions": 40,
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_inner": 72,
    }
    text = GPT2Config(  # type: ignore[no-untyped-call]
        **fields | decoder,
        add_cross_attention=True,
        is_decoder=True,
        tie_word_embeddings=tie_word_embeddings,
        bos_token_id=START,
        eos_token_id=END,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
    config.tie_word_embeddings = tie_word_embeddings
    model: Any = VisionEncoderDecoderModel(config)  # Any: its attributes are modules of any kind to a type checker
    model.eval()
    for settings in (model.config, model.generation_config):
        settings.decoder_start_token_id, settings.eos_token_id, settings.pad_token_id = START, END, PAD
    model.generation_config.max_length, model.generation_config.num_beams = MAX_LENGTH, NUM_BEAMS
    _enliven(model)
    _make_end_likely(model)
    return model


def _enliven(model: torch.nn.Module) -> None:
    """Enlarge matrices and tables, and move norms and biases off their starting values, in place."""
    done: set[int] = set()  # a tied tensor has two names
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.data_ptr() in done or "encoder.embeddings.position" in name:
                continue
            done.add(tensor.data_ptr())
            if "wpe" in name:
                tensor.mul_(POSITION_SCALE)
            elif "wte" in name or "lm_head" in name:
                tensor.mul_(TABLE_SCALE)
            elif tensor.dim() > 1:
                tensor.mul_(MATRIX_SCALE)
            else:
                tensor.add_(torch.randn_like(tensor) * 0.1)


def _make_end_likely(model: Any) -> None:
    """Swap the end's rows with those of a word that about 0.4 of the captions come to after their first words."""
    vocab_size = model.config.decoder.vocab_size  # as the end, a token that never comes
    pixel_values = torch.from_numpy(photos(40, seed=1))
    endless = model.generate(pixel_values, num_beams=2, max_length=MAX_LENGTH, eos_token_id=vocab_size)
    heard = torch.nn.functional.one_hot(endless, vocab_size).cumsum(dim=1) > 0  # [photos, positions, words]
    late = (heard[:, -1] & ~heard[:, 3]).float().mean(dim=0) - heard[:, 3].float().mean(dim=0)
    late[[START, PAD]] = -1.0
    word = int((late - 0.4).abs().argmin())
    with torch.no_grad():
        for rows in {model.decoder.transformer.wte.weight, model.decoder.lm_head.weight}:
            rows[[END, word]] = rows[[word, END]]


def ended(row: np.ndarray[Any, Any], *ends: int) -> tuple[int, ...]:
    """A text, int64[T], up to one of its ends, so that texts of batches that are padded differently can be compared."""
    found = np.flatnonzero(np.isin(row[1:], ends))  # the first token is the start, which may be the end's
    return tuple(row[: found[0] + 2].tolist() if len(found) else row.tolist())


def state_dict_of(model: torch.nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """The state dict as numpy arrays."""
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


def write_checkpoint(model: Any, folder: Path) -> Path:
    """Save the model as a folder of the hub has it: configurations, safetensors, tokenizer, image processor."""
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor_config()))
    (folder / "tokenizer.json").write_text(word_tokenizer(model.config.decoder.vocab_size))
    return folder


@cache
def _model_and_encoder(seed: int) -> tuple[Any, onnx.ModelProto]:
    # Exporting takes seconds and the folders of one seed share it.
    model = tiny_vit_gpt2(seed)
    return model, export_encoder(model.encoder, (PHOTO, PHOTO))


def tiny_model(seed: int) -> Any:
    """The model that tiny_folder(seed) is made of; shared, so not to be changed."""
    return _model_and_encoder(seed)[0]


def tiny_encoder(seed: int) -> onnx.ModelProto:
    """The graph of tiny_model(seed)'s encoder; shared, so not to be changed."""
    return _model_and_encoder(seed)[1]


def tiny_folder(out: Path, seed: int, variants: Sequence[Scheme] = ("fp32",)) -> Path:
    """Write the fuseline folder of tiny_model(seed) as out / "tiny". variants: fp32, int8; the first is the default."""
    made_once(out, f"tiny {seed} {list(variants)}", lambda folder: _write_folder(folder / "tiny", seed, variants))
    return out / "tiny"


def _write_folder(folder: Path, seed: int, variants: Sequence[Scheme]) -> None:
    model, encoder = _model_and_encoder(seed)
    weights, config = state_dict_of(model), model.config.decoder.to_dict()
    graphs: dict[str, Mapping[str, onnx.ModelProto | Path]] = {}
    for scheme in variants:
        graphs[scheme] = {
            "encoder": append_cross_kv(encoder, weights, config, "encoder_hidden_states", scheme),
            "decoder": build_decoder(weights, config, scheme),
        }
    write_folder(
        folder,
        config=json.loads(model.config.to_json_string()),
        generation_config=json.loads(model.generation_config.to_json_string()),
        preprocessor_config=preprocessor_config(),
        tokenizer_json=word_tokenizer(model.config.decoder.vocab_size),
        decoder_info=decoder_info(config),
        variants=graphs,
        default_variant=variants[0],
    )


def preprocessor_config() -> dict[str, Any]:
    """As ViTImageProcessor saves itself, for the tiny model's photos."""
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": PHOTO, "width": PHOTO},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def word_tokenizer(vocab_size: int) -> str:
    """tokenizer.json of vocab_size words: <pad>, <s>, </s>, <unk>, and word4, word5, ..."""
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"word{index}" for index in range(4, vocab_size))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(words[:4])
    return str(tokenizer.to_str())


def photos(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random pixel_values, float32[count, 3, 32, 32], as different from each other as photos are."""
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(count, 3, 4, 4)).astype(np.float32)
    return coarse.repeat(PHOTO // 4, axis=2).repeat(PHOTO // 4, axis=3)
