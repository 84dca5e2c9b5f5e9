"""Published models as their public files describe them: what their configurations, tokenizers and processors say.

Only facts that decide what a reader of the files must do: kinds, flags, token ids, lengths, names and places of files.
They come from model cards, conversion scripts and code that uses the models, and are no copies of the files; what only
a training script decides (lengths and beams of fine-tunes) stands as such scripts write it. Widths, layers and pixels
stand here as published, and `small_checkpoints` makes them small and gives random weights, so that every row is a
checkpoint as people have it that is exported in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Facts = Mapping[str, Any]
Kind = Literal[
    "gpt2",  # byte-level BPE, <|endoftext|> last
    "roberta",  # byte-level BPE, <s> <pad> </s> <unk> first, <mask> last
    "bert",  # WordPiece in lower case
    "bert, cased",
    "bert-japanese",  # vocab.txt of single characters
    "xlm-roberta",  # SentencePiece, pieces behind the four of fairseq
    "unigram",  # SentencePiece as tokenizer.json, with tokens that training added
    "byte-level, plain",  # tokenizer.json of PreTrainedTokenizerFast
]


@dataclass(frozen=True)
class Published:
    """One model. config: config.json; generation: generation_config.json, None where it has none.

    processor: what the image processor's file holds, under its name in `processor_file`. tokenizer: its kind, and the
    files that it comes in. weights: the file of weights. added: tokens that training added to the tokenizer, by which
    ids are counted from the end of the vocabulary.
    """

    name: str
    config: Facts
    processor: Facts
    tokenizer: Kind
    tokenizer_files: tuple[str, ...]
    tokenizer_config: Facts = field(default_factory=dict)
    generation: Facts | None = None
    processor_file: str = "preprocessor_config.json"
    weights: Literal["pytorch_model.bin", "model.safetensors"] = "model.safetensors"
    added: tuple[str, ...] = ()
    prompt: str | None = None
    """what texts begin with where the model's card says so"""


# Encoders, by the names of the models that they were trained from.
_HALVES: Facts = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_IMAGENET: Facts = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_CLIP: Facts = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_TRANSFORMER: Facts = {
    "hidden_act": "gelu",
    "attention_probs_dropout_prob": 0.0,
    "hidden_dropout_prob": 0.0,
    "layer_norm_eps": 1e-12,
    "num_channels": 3,
}
_BASE: Facts = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_LARGE: Facts = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_SMALL: Facts = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}


def _vit(size: int = 224, sizes: Facts = _BASE, **facts: Any) -> Facts:
    return {
        "model_type": "vit",
        **_TRANSFORMER,
        **sizes,
        "image_size": size,
        "patch_size": 16,
        "qkv_bias": True,
    } | facts


def _deit(size: int = 224, sizes: Facts = _BASE, **facts: Any) -> Facts:
    return dict(_vit(size, sizes, model_type="deit", **facts))


def _swin(size: int = 224, width: int = 96, window: int = 7, **facts: Any) -> Facts:
    heads = {96: [3, 6, 12, 24], 128: [4, 8, 16, 32]}[width]
    shape = {"depths": [2, 2, 6, 2] if width == 96 else [2, 2, 18, 2], "num_heads": heads, "embed_dim": width}
    kind = {"model_type": "swin", "hidden_act": "gelu", "layer_norm_eps": 1e-5, "num_channels": 3, "mlp_ratio": 4.0}
    return {
        **kind,
        **shape,
        "hidden_size": width * 8,
        "image_size": size,
        "patch_size": 4,
        "window_size": window,
    } | facts


def _donut_swin(height: int, width: int, window: int = 10, **facts: Any) -> Facts:
    kind = {
        "model_type": "donut-swin",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "num_channels": 3,
        "path_norm": True,
    }
    shape = {"depths": [2, 2, 14, 2], "num_heads": [4, 8, 16, 32], "embed_dim": 128, "mlp_ratio": 4.0, "num_layers": 4}
    sizes = {"hidden_size": 1024, "image_size": [height, width], "patch_size": 4, "window_size": window}
    return {**kind, **shape, **sizes, "qkv_bias": True, "use_absolute_embeddings": False} | facts


# Decoders. Sections of config.json hold the defaults of generation of their time, which transformers still reads.
def _gpt2(vocab_size: int = 50257, layers: int = 12, **facts: Any) -> Facts:
    sizes = {"n_embd": 768, "n_layer": layers, "n_head": 12, "n_inner": None, "n_positions": 1024, "n_ctx": 1024}
    kind = {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "vocab_size": vocab_size,
        "scale_attn_weights": True,
    }
    ids = {"bos_token_id": 50256, "eos_token_id": 50256}
    return {**kind, **sizes, **ids, "add_cross_attention": True, "is_decoder": True, "use_cache": True} | facts


_TROCR_IDS: Facts = {"bos_token_id": 0, "decoder_start_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
_TROCR_SINES: Facts = {
    "activation_function": "relu",
    "layernorm_embedding": False,
    "max_position_embeddings": 1024,
    "scale_embedding": True,
    "tie_word_embeddings": False,
    "use_learned_position_embeddings": False,
}


def _trocr(vocab_size: int = 50265, reads: int = 768, **facts: Any) -> Facts:
    sizes = {"d_model": 1024, "decoder_layers": 12, "decoder_attention_heads": 16, "decoder_ffn_dim": 4096}
    flags = {"layernorm_embedding": True, "scale_embedding": False, "use_learned_position_embeddings": True}
    kind = {"model_type": "trocr", "activation_function": "gelu", "vocab_size": vocab_size, **flags}
    reading = {"add_cross_attention": True, "cross_attention_hidden_size": reads, "is_decoder": True}
    return {**kind, **sizes, **reading, **_TROCR_IDS, "max_position_embeddings": 512, "use_cache": False} | facts


def _small_trocr(**facts: Any) -> Facts:
    sizes = {"d_model": 256, "decoder_layers": 6, "decoder_attention_heads": 8, "decoder_ffn_dim": 1024}
    flags = {"activation_function": "relu", "scale_embedding": True, "tie_word_embeddings": False}
    return _trocr(reads=384, **{"vocab_size": 64044, **sizes, **flags, **facts})


def _mbart(vocab_size: int, positions: int, layers: int = 4, **facts: Any) -> Facts:
    sizes = {"d_model": 1024, "decoder_layers": layers, "decoder_attention_heads": 16, "decoder_ffn_dim": 4096}
    kind = {"model_type": "mbart", "activation_function": "gelu", "vocab_size": vocab_size, "scale_embedding": True}
    flags = {"add_cross_attention": True, "add_final_layer_norm": True, "is_decoder": True, "use_cache": True}
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "forced_eos_token_id": 2}
    return {**kind, **sizes, **flags, **ids, "max_position_embeddings": positions} | facts


def _bert(vocab_size: int, layers: int = 12, **facts: Any) -> Facts:
    kind = {"model_type": "bert", **_BASE, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2}
    flags = {"add_cross_attention": True, "is_decoder": True, "use_cache": True, "position_embedding_type": "absolute"}
    sizes = {"vocab_size": vocab_size, "max_position_embeddings": 512, "num_hidden_layers": layers, "pad_token_id": 0}
    return {**kind, **flags, **sizes} | facts


def _roberta(vocab_size: int = 50265, **facts: Any) -> Facts:
    kind = {"model_type": "roberta", "layer_norm_eps": 1e-5, "max_position_embeddings": 514, "type_vocab_size": 1}
    return dict(_bert(vocab_size, **{**kind, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, **facts}))


def _joined(encoder: Facts, decoder: Facts, **facts: Any) -> Facts:
    kind = {"architectures": ["VisionEncoderDecoderModel"], "model_type": "vision-encoder-decoder"}
    return {
        **kind,
        "encoder": encoder,
        "decoder": decoder,
        "is_encoder_decoder": True,
        "tie_word_embeddings": False,
    } | facts


# Image processors, as their files have been written since 4.26, and before.
def _processor(kind: str, size: Any, **facts: Any) -> Facts:
    steps = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    return {"image_processor_type": kind, **steps, **_HALVES, "resample": 2, "size": size} | facts


def _extractor(kind: str, size: Any, **facts: Any) -> Facts:
    steps = {"do_resize": True, "do_normalize": True}
    return {"feature_extractor_type": kind, **steps, **_HALVES, "resample": 2, "size": size} | facts


def _square(edge: int) -> Facts:
    return {"height": edge, "width": edge}


_DONUT: Facts = {"do_align_long_axis": False, "do_pad": True, "do_thumbnail": True}
_BPE = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
_BPE_JSON = (*_BPE, "tokenizer.json")
_WORDS = ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
_WORDS_JSON = (*_WORDS, "tokenizer.json")
_PIECES = ("sentencepiece.bpe.model", "tokenizer_config.json", "special_tokens_map.json")
_PIECES_JSON = (*_PIECES, "tokenizer.json")
_JSON = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")

_TROCR_GENERATION: Facts = {"_from_model_config": True, **_TROCR_IDS, "use_cache": False}
_TROCR_PROCESSOR: Facts = _extractor("ViTFeatureExtractor", 384, processor_class="TrOCRProcessor")
_SMALL_PROCESSOR: Facts = _extractor(
    "DeiTFeatureExtractor", 384, resample=3, do_center_crop=False, crop_size=384, processor_class="TrOCRProcessor"
)


def _microsoft(name: str, decoder: Facts, encoder: Facts | None = None, **facts: Any) -> Published:
    """TrOCR of base size and larger: RoBERTa's tokenizer in two files, and decoders that say use_cache false."""
    values: dict[str, Any] = {"generation": _TROCR_GENERATION, "processor": _TROCR_PROCESSOR} | facts
    about = {"add_prefix_space": False, "tokenizer_class": "RobertaTokenizer", "trim_offsets": True}
    config = _joined(encoder or _vit(384, qkv_bias=False), decoder)
    return Published(
        f"microsoft/{name}", config, tokenizer="roberta", tokenizer_files=_BPE, tokenizer_config=about, **values
    )


def _small(name: str) -> Published:
    """TrOCR of small size: a SentencePiece model and no tokenizer.json."""
    config = _joined(_deit(384, _SMALL), _small_trocr(), eos_token_id=2)
    about = {"tokenizer_class": "XLMRobertaTokenizer", "sp_model_kwargs": {}}
    return Published(
        f"microsoft/{name}",
        config,
        processor=_SMALL_PROCESSOR,
        tokenizer="xlm-roberta",
        tokenizer_files=_PIECES,
        tokenizer_config=about,
        generation=_TROCR_GENERATION,
        weights="pytorch_model.bin",
    )


_VIT_LARGE = _vit(384, _LARGE, qkv_bias=False)
_TROCR = (
    _small("trocr-small-handwritten"),
    _small("trocr-small-printed"),
    _small("trocr-small-stage1"),
    _microsoft("trocr-base-handwritten", _trocr()),
    _microsoft("trocr-base-printed", _trocr()),
    _microsoft("trocr-base-stage1", _trocr(**_TROCR_SINES), generation=None, weights="pytorch_model.bin"),
    _microsoft("trocr-base-str", _trocr()),
    _microsoft("trocr-large-handwritten", _trocr(reads=1024), _VIT_LARGE),
    _microsoft("trocr-large-printed", _trocr(reads=1024, **_TROCR_SINES), _VIT_LARGE),
    _microsoft("trocr-large-stage1", _trocr(reads=1024, **_TROCR_SINES), _VIT_LARGE, weights="pytorch_model.bin"),
    _microsoft("trocr-large-str", _trocr(reads=1024), _VIT_LARGE),
)


def _tuned_trocr(name: str, decoder: Facts, encoder: Facts | None = None, **facts: Any) -> Published:
    """As Seq2SeqTrainer saves them: beams and lengths in config.json, and an image processor of 4.26 or later."""
    searched = {
        "early_stopping": True,
        "length_penalty": 2.0,
        "max_length": 64,
        "no_repeat_ngram_size": 3,
        "num_beams": 4,
    }
    ids = {"decoder_start_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "vocab_size": decoder["vocab_size"]}
    values: dict[str, Any] = {
        "processor": _processor("ViTImageProcessor", _square(384), processor_class="TrOCRProcessor"),
        "generation": {**searched, **ids, "bos_token_id": 0, "use_cache": False} | {"vocab_size": ...},
    } | facts
    values["generation"] = {
        key: value for key, value in (values["generation"] or {}).items() if value is not ...
    } or None
    about = {"add_prefix_space": False, "tokenizer_class": "RobertaTokenizer", "clean_up_tokenization_spaces": True}
    config = _joined(encoder or _vit(384, qkv_bias=False), decoder, **searched, **ids)
    return Published(name, config, tokenizer="roberta", tokenizer_files=_BPE_JSON, tokenizer_config=about, **values)


_TUNED_TROCR = (
    _tuned_trocr("qantev/trocr-large-spanish", _trocr(reads=1024, **_TROCR_SINES), _VIT_LARGE),
    _tuned_trocr("agomberto/trocr-large-handwritten-fr", _trocr(reads=1024), _VIT_LARGE, generation=None),
    _tuned_trocr("raxtemur/trocr-base-ru", _trocr()),
    _tuned_trocr("kazars24/trocr-base-handwritten-ru", _trocr()),
    _tuned_trocr(
        "DunnBC22/trocr-base-printed_license_plates_ocr", _trocr(), generation=None, weights="pytorch_model.bin"
    ),
    _tuned_trocr(
        "cyrillic-trocr/trocr-handwritten-cyrillic",
        _trocr(),
        processor=_processor(
            "ViTImageProcessorFast", _square(384), do_convert_rgb=None, return_tensors=None, device=None
        ),
    ),
)


def _donut(name: str, encoder: Facts, decoder: Facts, added: tuple[str, ...] = (), **facts: Any) -> Published:
    """Pages, a task's token as the prompt, and hundreds of tokens behind the vocabulary."""
    height, width = encoder["image_size"]
    values: dict[str, Any] = {
        "processor": _extractor("DonutFeatureExtractor", [width, height], **_DONUT, processor_class="DonutProcessor"),
        "generation": {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 2, "forced_eos_token_id": 2}
        | {"max_length": decoder["max_position_embeddings"], "pad_token_id": 1},
        "weights": "pytorch_model.bin",
    } | facts
    config = _joined(encoder, decoder)
    about = {"tokenizer_class": "XLMRobertaTokenizer", "processor_class": "DonutProcessor", "sp_model_kwargs": {}}
    return Published(
        name, config, tokenizer="unigram", tokenizer_files=_PIECES_JSON, tokenizer_config=about, added=added, **values
    )


_CORD = ("<s_cord-v2>", "<s_menu>", "</s_menu>", "<s_nm>", "</s_nm>", "<sep/>")
_NEW_DONUT: Facts = _processor("DonutImageProcessor", {"height": 1280, "width": 960}, **_DONUT)
_DONUTS = (
    _donut("naver-clova-ix/donut-base", _donut_swin(2560, 1920), _mbart(57525, 1536), ("<s_iitcdip>", "<s_synthdog>")),
    _donut("naver-clova-ix/donut-proto", _donut_swin(2048, 1536, window=7), _mbart(57522, 1536)),
    _donut(
        "naver-clova-ix/donut-base-finetuned-cord-v1",
        _donut_swin(1280, 960),
        _mbart(57580, 768),
        _CORD,
        prompt=_CORD[0],
    ),
    _donut("naver-clova-ix/donut-base-finetuned-cord-v1-2560", _donut_swin(2560, 1920), _mbart(57580, 768), _CORD),
    _donut(
        "naver-clova-ix/donut-base-finetuned-cord-v2",
        _donut_swin(1280, 960),
        _mbart(57580, 768),
        _CORD,
        prompt=_CORD[0],
    ),
    _donut(
        "naver-clova-ix/donut-base-finetuned-docvqa",
        _donut_swin(2560, 1920),
        _mbart(57532, 128),
        ("<s_docvqa>", "<yes/>", "<no/>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>"),
        prompt="<s_docvqa><s_question>",
    ),
    _donut(
        "naver-clova-ix/donut-base-finetuned-rvlcdip",
        _donut_swin(2560, 1920),
        _mbart(57545, 8),
        ("<s_rvlcdip>", "<s_class>", "</s_class>", "<letter/>", "<form/>", "<memo/>"),
        prompt="<s_rvlcdip>",
    ),
    _donut(
        "naver-clova-ix/donut-base-finetuned-zhtrainticket",
        _donut_swin(960, 1280),
        _mbart(57540, 256),
        ("<s_zhtrainticket>", "<s_name>", "</s_name>"),
        prompt="<s_zhtrainticket>",
    ),
    _donut(  # the processor has another size than the encoder's configuration
        "to-be/donut-base-finetuned-invoices",
        _donut_swin(2560, 1920),
        _mbart(57551, 768),
        ("<s_iitcdip>", "<s_total>", "</s_total>"),
        processor=_NEW_DONUT,
        weights="model.safetensors",
    ),
    _donut(
        "philschmid/donut-base-sroie",
        _donut_swin(960, 720),
        _mbart(57529, 1536),
        ("<s>", "<s_total>", "</s_total>"),
        processor=_extractor("DonutFeatureExtractor", [720, 960], **_DONUT | {"do_align_long_axis": True}),
    ),
    _donut(
        "jinhybr/OCR-Donut-CORD",
        _donut_swin(1280, 960),
        _mbart(57580, 768),
        _CORD,
        processor=_NEW_DONUT,
        prompt=_CORD[0],
    ),
)


def _nougat(name: str, positions: int, layers: int, **facts: Any) -> Published:
    generation = {
        "bos_token_id": 0,
        "eos_token_id": 2,
        "forced_eos_token_id": 2,
        "max_length": positions,
        "pad_token_id": 1,
    }
    values: dict[str, Any] = {
        "processor": _processor(
            "NougatImageProcessor",
            {"height": 896, "width": 672},
            **_DONUT,
            **_IMAGENET,
            do_crop_margin=True,
            processor_class="NougatProcessor",
        ),
        "generation": generation,
    } | facts
    about = {"tokenizer_class": "NougatTokenizer", "processor_class": "NougatProcessor"}
    config = _joined(_donut_swin(896, 672, window=7), _mbart(50000, positions, layers))
    return Published(
        name, config, tokenizer="byte-level, plain", tokenizer_files=_JSON, tokenizer_config=about, **values
    )


_NOUGATS = (
    _nougat("facebook/nougat-small", 3584, 4),
    _nougat("facebook/nougat-base", 4096, 10),
    _nougat(
        "Norm/nougat-latex-base",
        4096,
        10,
        processor=_processor(
            "NougatImageProcessor", {"height": 224, "width": 560}, **_DONUT, **_IMAGENET, do_crop_margin=False
        ),
    ),
)

_GPT2_ABOUT: Facts = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "bos_token": "<|endoftext|>"} | {
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}
_GPT2_IDS: Facts = {
    "bos_token_id": 50256,
    "decoder_start_token_id": 50256,
    "eos_token_id": 50256,
    "pad_token_id": 50256,
}


def _captioner(name: str, encoder: Facts, decoder: Facts, ids: Facts = _GPT2_IDS, **facts: Any) -> Published:
    """A vision encoder joined to GPT-2 or one like it."""
    searched = {"max_length": 16, "num_beams": 4}
    values: dict[str, Any] = {
        "processor": _processor("ViTImageProcessor", _square(encoder["image_size"])),
        "generation": {**searched, **ids},
        "tokenizer": "gpt2",
        "tokenizer_files": _BPE_JSON,
        "tokenizer_config": _GPT2_ABOUT,
    } | facts
    return Published(name, _joined(encoder, decoder, **ids), **values)


_VIT_GPT2 = (
    _captioner(
        "nlpconnect/vit-gpt2-image-captioning",
        _vit(),
        _gpt2(task_specific_params={"text-generation": {"do_sample": True, "max_length": 50}}),
        processor=_extractor("ViTFeatureExtractor", 224),
        generation=None,
        weights="pytorch_model.bin",
    ),
    _captioner(
        "ydshieh/vit-gpt2-coco-en",
        _vit(),
        _gpt2(max_length=16, num_beams=4),
        processor=_extractor("ViTFeatureExtractor", 224),
        generation=None,
        tokenizer_files=_BPE,
        weights="pytorch_model.bin",
    ),
    _captioner("Mozilla/distilvit", _vit(), _gpt2(layers=6), generation={**_GPT2_IDS, "_from_model_config": True}),
    _captioner(
        "bipin/image-caption-generator",
        _vit(),
        _gpt2(),
        generation={**_GPT2_IDS, "max_length": 128, "early_stopping": True, "length_penalty": 2.0}
        | {"no_repeat_ngram_size": 3, "num_beams": 4},
        weights="pytorch_model.bin",
    ),
    _captioner("deepklarity/poster2plot", _vit(), _gpt2(), generation=None, weights="pytorch_model.bin"),
    _captioner(
        "tuman/vit-rugpt2-image-captioning",
        _vit(),
        _gpt2(50258, bos_token_id=1, eos_token_id=2),
        {"bos_token_id": 1, "decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        tokenizer="roberta",
        tokenizer_config={
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
        },
        weights="pytorch_model.bin",
    ),
    _captioner(
        "Zayn/AICVTG_What_if_a_machine_could_create_captions_automatically",
        _vit(),
        _gpt2(),
        weights="pytorch_model.bin",
    ),
    _captioner(
        "yesidcanoc/image-captioning-swin-tiny-distilgpt2",
        _swin(),
        _gpt2(layers=6),
        processor=_processor("ViTImageProcessor", _square(224), **_IMAGENET, resample=3),
    ),
    _captioner(
        "Abdou/vit-swin-base-224-gpt2-image-captioning",
        _swin(width=128),
        _gpt2(),
        processor=_processor("ViTImageProcessor", _square(224), **_IMAGENET, resample=3),
        generation={**_GPT2_IDS, "max_length": 32, "num_beams": 1, "top_k": 50, "temperature": 1.0},
    ),
    _captioner(  # formulas
        "DGurgurov/im2latex",
        _swin(width=128),
        _gpt2(),
        processor=_processor("ViTImageProcessor", _square(224), **_IMAGENET, resample=3),
        generation={**_GPT2_IDS, "max_length": 256, "early_stopping": True, "num_beams": 4},
    ),
    _captioner(
        "hf-internal-testing/tiny-random-VisionEncoderDecoderModel-vit-gpt2",
        _vit(),
        _gpt2(),
        processor=_extractor("ViTFeatureExtractor", 224),
        generation={"_from_model_config": True, "bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": 50256}
        | {"decoder_start_token_id": 50256},
    ),
)

_MANGA = _joined(
    _vit(),
    _bert(6144, layers=2),
    decoder_start_token_id=2,
    early_stopping=True,
    eos_token_id=3,
    length_penalty=2.0,
    max_length=300,
    no_repeat_ngram_size=3,
    num_beams=4,
    pad_token_id=0,
    vocab_size=6144,
)
_WORD_MODELS = (
    Published(
        "kha-white/manga-ocr-base",
        _MANGA,
        processor=_extractor("ViTFeatureExtractor", 224, processor_class="VisionTextDualEncoderProcessor"),
        tokenizer="bert-japanese",
        tokenizer_files=_WORDS,
        tokenizer_config={
            "tokenizer_class": "BertJapaneseTokenizer",
            "do_lower_case": False,
            "do_word_tokenize": True,
            "do_subword_tokenize": True,
            "word_tokenizer_type": "mecab",
            "subword_tokenizer_type": "character",
            "mecab_kwargs": {"mecab_dic": "unidic_lite"},
        },
        weights="pytorch_model.bin",
    ),
    Published(
        "daekeun-ml/ko-trocr-base-nsmc-news-chatbot",
        _joined(_deit(384), _roberta(32000), decoder_start_token_id=0, eos_token_id=2, pad_token_id=1, vocab_size=32000)
        | {"max_length": 64, "num_beams": 4, "no_repeat_ngram_size": 3, "length_penalty": 2.0, "early_stopping": True},
        processor=_processor(
            "DeiTImageProcessor", _square(384), resample=3, do_center_crop=False, crop_size=_square(384)
        ),
        tokenizer="bert, cased",
        tokenizer_files=_WORDS_JSON,
        tokenizer_config={"tokenizer_class": "BertTokenizer", "do_lower_case": False, "tokenize_chinese_chars": True},
        weights="pytorch_model.bin",
    ),
    Published(
        "team-lucid/trocr-small-korean",
        _joined(_deit(384, _SMALL), _small_trocr(), **_TROCR_IDS, max_length=64, num_beams=4),
        processor=_processor(
            "DeiTImageProcessor", _square(384), resample=3, do_center_crop=False, crop_size=_square(384)
        ),
        tokenizer="unigram",
        tokenizer_files=_JSON,
        tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": True}
        | {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
        generation={"_from_model_config": True, **_TROCR_IDS, "max_length": 64, "num_beams": 4, "use_cache": False},
    ),
    Published(
        "breezedeus/pix2text-mfr",
        _joined(_deit(384, _SMALL), _small_trocr(vocab_size=1200), **_TROCR_IDS)
        | {"early_stopping": True, "max_length": 512, "num_beams": 1},
        processor=_processor(
            "DeiTImageProcessor", _square(384), resample=3, do_center_crop=False, crop_size=_square(384)
        ),
        tokenizer="roberta",
        tokenizer_files=_JSON,
        tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": True}
        | {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
        generation={**_TROCR_IDS, "early_stopping": True, "max_length": 512, "use_cache": False},
    ),
)


def _blip(name: str, vision: Facts = _BASE, reads: int = 768, **facts: Any) -> Published:
    text = {"model_type": "blip_text_model", **_BASE, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "is_decoder": True}
    ids = {"bos_token_id": 30522, "eos_token_id": 2, "pad_token_id": 0, "sep_token_id": 102, "vocab_size": 30524}
    text |= {
        **ids,
        "encoder_hidden_size": reads,
        "max_position_embeddings": 512,
        "use_cache": True,
        "projection_dim": 768,
    }
    seen = {"model_type": "blip_vision_model", **vision, "image_size": 384, "patch_size": 16, "layer_norm_eps": 1e-5}
    config = {
        "architectures": ["BlipForConditionalGeneration"],
        "model_type": "blip",
        "image_text_hidden_size": 256,
        "logit_scale_init_value": 2.6592,
        "projection_dim": 512,
        "text_config": text,
        "vision_config": {**seen, "hidden_act": "gelu", "initializer_range": 0.02},
    }
    values: dict[str, Any] = {
        "processor": _processor(
            "BlipImageProcessor", _square(384), **_CLIP, resample=3, processor_class="BlipProcessor"
        ),
        "generation": {"_from_model_config": True, "bos_token_id": 30522, "eos_token_id": 2, "pad_token_id": 0},
    } | facts
    about = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "processor_class": "BlipProcessor"}
    return Published(name, config, tokenizer="bert", tokenizer_files=_WORDS_JSON, tokenizer_config=about, **values)


_BLIP_LARGE: Facts = _LARGE
_BLIPS = (
    _blip("Salesforce/blip-image-captioning-base"),
    _blip("Salesforce/blip-image-captioning-large", _BLIP_LARGE, 1024),
    _blip(
        "unography/blip-large-long-cap",
        _BLIP_LARGE,
        1024,
        generation={"max_length": 250, "num_beams": 3} | {"repetition_penalty": 2.5},
    ),
    _blip("noamrot/FuseCap_Image_Captioning", _BLIP_LARGE, 1024, generation=None, weights="pytorch_model.bin"),
    _blip("ybelkada/blip-image-captioning-base-football-df", weights="pytorch_model.bin"),
)

PUBLISHED: tuple[Published, ...] = (
    *_TROCR,
    *_TUNED_TROCR,
    *_DONUTS,
    *_NOUGATS,
    *_VIT_GPT2,
    *_WORD_MODELS,
    *_BLIPS,
)


@dataclass(frozen=True)
class Refused:
    """A published model that is refused. says: what of the sentence names the reason."""

    name: str
    config: Facts
    says: str


REFUSED: tuple[Refused, ...] = (
    Refused("OleehyO/TexTeller", _joined(_vit(448, num_channels=1), _trocr(15000)), "1 channel"),
    Refused(
        "google/pix2struct-textcaps-base",
        {"architectures": ["Pix2StructForConditionalGeneration"], "model_type": "pix2struct"},
        "Pix2StructForConditionalGeneration",
    ),
    Refused("microsoft/git-base-coco", {"architectures": ["GitForCausalLM"], "model_type": "git"}, "GitForCausalLM"),
    Refused(
        "Salesforce/blip2-opt-2.7b",
        {"architectures": ["Blip2ForConditionalGeneration"], "model_type": "blip-2"},
        "Blip2ForConditionalGeneration",
    ),
    Refused(
        "Salesforce/blip-vqa-base",
        {"architectures": ["BlipForQuestionAnswering"], "model_type": "blip"},
        "BlipForQuestionAnswering",
    ),
    Refused("vikp/texify", _joined(_vit(model_type="variable_donut-swin"), _mbart(50000, 384)), "variable_donut-swin"),
)
