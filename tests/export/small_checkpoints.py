"""Checkpoints of `real_checkpoints` on disk: small, with random weights that say varied things, all else as published.

Everything is smaller by one rule each: pixels by 8 (pages by 32), patches and windows are 2, positions and lengths by 8
to 32, widths and layers by a table; token ids in the upper half of a vocabulary are counted from its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.export.real_checkpoints import Published

_TEXTS = [
    "two dogs are running in a field, and the man's hat isn't red.",
    "a cup of coffee on a table; a cat on a sofa.",
    "total 12,345.67 of 2 invoices",
    "a young boy jumps into the water!",
    "she said: what is on this photo?",
]
_WIDTHS = {384: 24, 768: 32, 1024: 40, 256: 16, 96: 16, 128: 20, 512: 28, 3072: 56, 4096: 60, 1536: 44}
_WIDTH_KEYS = {
    "hidden_size",
    "n_embd",
    "d_model",
    "intermediate_size",
    "decoder_ffn_dim",
    "cross_attention_hidden_size",
    "encoder_hidden_size",
    "embed_dim",
    "projection_dim",
    "image_text_hidden_size",
}
_MODEL_KEYS = (
    "encoder",
    "decoder",
    "text_config",
    "vision_config",
    "tie_word_embeddings",
    "image_text_hidden_size",
    "logit_scale_init_value",
    "projection_dim",
)
_HEAD_KEYS = {"num_attention_heads", "n_head", "decoder_attention_heads"}
_STAGES = {"depths": [1, 2], "num_heads": [2, 4], "num_layers": 2}  # of Swin, whose last is twice as wide as the first
_LAYER_KEYS = {"num_hidden_layers", "n_layer", "decoder_layers"}
_LENGTH_KEYS = {"max_position_embeddings", "n_positions", "n_ctx", "max_length"}


def small_config(published: Published, vocab_size: int) -> dict[str, Any]:
    """config.json of the row, for a vocabulary of that size."""
    old = _vocab_size(published.config)
    return dict(_smaller(published.config, old, vocab_size, _pixels_by(published)))


def small_generation_config(published: Published, vocab_size: int) -> dict[str, Any] | None:
    """generation_config.json of the row, None where it has none."""
    if published.generation is None:
        return None
    return dict(_smaller(published.generation, _vocab_size(published.config), vocab_size, 1))


def small_processor(published: Published) -> dict[str, Any]:
    """What the image processor's file holds."""
    by = _pixels_by(published)
    edges = ("size", "crop_size")
    return {key: _divided(value, by) if key in edges else value for key, value in published.processor.items()}


def write_small_checkpoint(published: Published, folder: Path, seed: int = 0) -> Path:
    """The row's folder as the hub has it."""
    folder.mkdir(parents=True)
    vocab_size = write_tokenizer(published, folder)
    config = small_config(published, vocab_size)
    model = _model(config, seed)
    model.generation_config = transformers.GenerationConfig()
    model.save_pretrained(folder, safe_serialization=published.weights == "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").unlink(missing_ok=True)
    generation = small_generation_config(published, vocab_size)
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / published.processor_file).write_text(json.dumps(small_processor(published)))
    return folder


def loader(config: Mapping[str, Any]) -> Any:
    """The class of transformers that the row names."""
    return getattr(transformers, config["architectures"][0])


def _model(config: dict[str, Any], seed: int) -> Any:
    torch.manual_seed(seed)
    kind = loader(config)
    # Without what it says of generation: that of some that are published cannot be saved today.
    sections = {key: deepcopy(config[key]) for key in _MODEL_KEYS if key in config}
    model: Any = kind(kind.config_class.from_dict(sections)).eval()
    _enliven(model, model.text_decoder if hasattr(model, "text_decoder") else model.decoder)
    return model


def _enliven(model: Any, decoder: Any) -> None:
    """See tests/tiny.py: random weights of the usual size say one word for ever."""
    tables = {id(module.weight) for module in (decoder.get_input_embeddings(), decoder.get_output_embeddings())}
    with torch.no_grad():
        for name, tensor in model.named_parameters():  # a tied tensor comes once
            if any(part in name for part in ("position_embedding", "embed_positions", "wpe")):
                if not name.startswith(("encoder.", "vision_model.")):
                    tensor.mul_(25.0)
            elif id(tensor) in tables:
                tensor.mul_(4.0)
            elif tensor.dim() > 1 and "class_embedding" not in name:
                tensor.mul_(10.0)
            else:
                tensor.add_(torch.randn_like(tensor) * 0.1)


def _vocab_size(config: Mapping[str, Any]) -> int:
    section = config.get("decoder") or config["text_config"]
    return int(section["vocab_size"])


def _pixels_by(published: Published) -> int:
    size = (published.config.get("encoder") or published.config["vision_config"])["image_size"]
    return 32 if max(size if isinstance(size, list) else [size]) >= 960 else 8


def _divided(value: Any, by: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _divided(each, by) for key, each in value.items()}
    return [each // by for each in value] if isinstance(value, list) else value // by


def _shorter(length: int) -> int:
    """What is more than a multiple of 8 stays, since RoBERTa's positions are two more."""
    return length if length < 128 else length // (8 if length < 768 else 16 if length < 2048 else 32) + length % 8


def _smaller(facts: Mapping[str, Any], old: int, new: int, by: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in facts.items():
        found[key] = value
        if isinstance(value, Mapping):
            found[key] = _smaller(value, old, new, by)
        elif key in _WIDTH_KEYS and value is not None:
            found[key] = _WIDTHS[value]
        elif key in _HEAD_KEYS:
            found[key] = 4
        elif key in _LAYER_KEYS:
            found[key] = 2
        elif key in _STAGES:
            found[key] = _STAGES[key]
        elif key in _LENGTH_KEYS:
            found[key] = _shorter(value)
        elif key == "image_size":
            found[key] = _divided(value, by)
        elif key == "patch_size" or key == "window_size":
            found[key] = 2
        elif key == "vocab_size":
            found[key] = new
        elif key.endswith("_token_id") and isinstance(value, int) and value >= old // 2:
            found[key] = value - old + new
    if "depths" in found:
        found["hidden_size"] = found["embed_dim"] * 2
    return found


# Tokenizers, each as the class of transformers writes it that the row names.


def write_tokenizer(published: Published, folder: Path) -> int:
    """The row's files of its tokenizer. Returns the size of the vocabulary."""
    return _TOKENIZERS[published.tokenizer](published, folder)


def _written(published: Published, folder: Path, special: Mapping[str, str], size: int) -> int:
    """tokenizer_config.json and special_tokens_map.json, where the row has them."""
    if "tokenizer_config.json" in published.tokenizer_files:
        (folder / "tokenizer_config.json").write_text(json.dumps(dict(published.tokenizer_config)))
    if "special_tokens_map.json" in published.tokenizer_files:
        (folder / "special_tokens_map.json").write_text(json.dumps(dict(special)))
    return size


def _byte_level(
    published: Published, folder: Path, first: list[str], last: list[str], special: Mapping[str, str]
) -> int:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=first, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    file = json.loads(tokenizer.to_str())
    vocab = file["model"]["vocab"]
    for token in last:
        vocab[token] = len(vocab)
    if "vocab.json" in published.tokenizer_files:
        (folder / "vocab.json").write_text(json.dumps(vocab))
        merges = [" ".join(pair) for pair in file["model"]["merges"]]
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    if "tokenizer.json" in published.tokenizer_files:
        file["added_tokens"] = []
        whole = Tokenizer.from_str(json.dumps(file))
        whole.add_special_tokens([*first, *last])
        whole.save(str(folder / "tokenizer.json"))
    return _written(published, folder, special, len(vocab))


_ANGLES: Mapping[str, str] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}
_BRACKETS: Mapping[str, str] = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def _gpt2(published: Published, folder: Path) -> int:
    end = "<|endoftext|>"
    return _byte_level(published, folder, [], [end], dict.fromkeys(("bos_token", "eos_token", "unk_token"), end))


def _roberta(published: Published, folder: Path) -> int:
    first = ["<s>", "<pad>", "</s>", "<unk>"]
    if published.tokenizer_config.get("tokenizer_class") == "GPT2Tokenizer":
        first = ["<pad>", "<s>", "</s>", "<unk>"]
        return _byte_level(published, folder, first, ["<mask>"], {key: _ANGLES[key] for key in list(_ANGLES)[:4]})
    return _byte_level(published, folder, first, ["<mask>"], _ANGLES)


def _plain(published: Published, folder: Path) -> int:
    return _byte_level(
        published,
        folder,
        ["<s>", "<pad>", "</s>", "<unk>"],
        ["[START_REF]", "[END_REF]"],
        {key: _ANGLES[key] for key in list(_ANGLES)[:4]},
    )


def _words(lower: bool) -> list[str]:
    """BERT's vocabulary in its order: the pad, the unused, the marks at 100 to 103, pieces."""
    texts = " ".join(_TEXTS).lower() if lower else " ".join(_TEXTS)
    letters = sorted(set(texts) - {" "})
    words = sorted({"".join(ch for ch in word if ch.isalpha()) for word in texts.split()} - {""} - set(letters))
    unused = [f"[unused{number}]" for number in range(99)]
    return ["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{each}" for each in letters), *words]


def _bert(published: Published, folder: Path) -> int:
    lower = bool(published.tokenizer_config.get("do_lower_case", True))
    words = _words(lower)
    size = len(words)
    if published.config["model_type"] == "blip":
        words += ["[DEC]", "[ENC]"]
        size += 2
    if published.config.get("decoder", {}).get("model_type") == "roberta":  # BERT's pieces in RoBERTa's order of marks
        words = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", *words[104:], "[MASK]"]
        size = len(words)
    (folder / "vocab.txt").write_text("\n".join(words))
    if "tokenizer.json" in published.tokenizer_files:
        tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        ends = [(word, words.index(word)) for word in ("[SEP]", "[CLS]")]
        tokenizer.post_processor = processors.BertProcessing(*ends)
        tokenizer.add_special_tokens(list(_BRACKETS.values()))
        tokenizer.save(str(folder / "tokenizer.json"))
    return _written(published, folder, _BRACKETS, size)


def _japanese(published: Published, folder: Path) -> int:
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted(set("日本語漫画読む私は猫です。、…ーっつアイウエオ0123456789月火水木金土今朝昼夜"))
    unused = [f"[unused{number}]" for number in range(20)]
    words = [*marks, *letters, *(f"##{each}" for each in letters), *unused]
    (folder / "vocab.txt").write_text("\n".join(words))
    return _written(published, folder, _BRACKETS, len(words))


def _pieces() -> list[tuple[str, float]]:
    """Pieces of SentencePiece and their scores, none of them special."""
    words = sorted({word for text in _TEXTS for word in text.split()})
    letters = sorted(set("".join(words)))
    return [("▁", -3.0), *((f"▁{word}", -5.0) for word in words), *((letter, -8.0) for letter in letters)]


def _unigram(published: Published, folder: Path) -> int:
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(mark, 0.0) for mark in marks] + _pieces() + [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*marks, "<mask>"])
    tokenizer.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in published.added])
    tokenizer.save(str(folder / "tokenizer.json"))
    if "sentencepiece.bpe.model" in published.tokenizer_files:
        _write_sentencepiece(folder)
    special = {**_ANGLES, "additional_special_tokens": list(published.added)} if published.added else _ANGLES
    return _written(published, folder, special, tokenizer.get_vocab_size())  # type: ignore[arg-type]


def _xlm_roberta(published: Published, folder: Path) -> int:
    """Its ids are those of the pieces and one more, since fairseq puts the pad before them; the mask is last."""
    _write_sentencepiece(folder)
    return _written(published, folder, _ANGLES, len(_pieces()) + 5)


def _write_sentencepiece(folder: Path) -> None:
    from transformers.convert_slow_tokenizer import import_protobuf

    proto: Any = import_protobuf()
    model = proto.ModelProto()
    kinds = {"<unk>": 2, "<s>": 3, "</s>": 3}
    for piece, score in [*((mark, 0.0) for mark in kinds), *_pieces()]:
        model.pieces.add(piece=piece, score=score, type=kinds.get(piece, 1))
    model.trainer_spec.model_type = 1
    model.trainer_spec.vocab_size = len(model.pieces)
    model.trainer_spec.unk_id, model.trainer_spec.bos_id, model.trainer_spec.eos_id = 0, 1, 2
    model.trainer_spec.pad_id = -1
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = True
    model.normalizer_spec.escape_whitespaces = True
    (folder / "sentencepiece.bpe.model").write_bytes(model.SerializeToString())


_TOKENIZERS: Mapping[str, Callable[[Published, Path], int]] = {
    "gpt2": _gpt2,
    "roberta": _roberta,
    "byte-level, plain": _plain,
    "bert": _bert,
    "bert, cased": _bert,
    "bert-japanese": _japanese,
    "unigram": _unigram,
    "xlm-roberta": _xlm_roberta,
}
