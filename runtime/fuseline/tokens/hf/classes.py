"""The tokenizer classes of transformers, as far as they add to what a folder's files say.

A class has special tokens of its own where no file names others, and knows which files a vocabulary is made of. What
is not listed here is taken as PreTrainedTokenizerFast, which adds nothing: most of transformers' fast classes add
nothing to the tokenizers file that they save.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .languages import M2M100, MBART, MBART_50, NLLB, WMT21

# The attributes of special tokens, in the order in which transformers adds those that are missing.
ATTRIBUTES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "additional_special_tokens",
)


@dataclass(frozen=True)
class Flags:
    """How an added token is looked for in texts, see tokenizers.AddedToken."""

    lstrip: bool = False
    normalized: bool = False


@dataclass(frozen=True)
class TokenizerClass:
    """What a class adds. specials, additional: its special tokens, by attribute and beyond.

    vocabulary: the kind that its own files hold: "wordpiece" (vocab.txt), "bytes" and "clip" (vocab.json with
    merges.txt), "sentencepiece", "pieces" (vocab.json beside SentencePiece models that only split texts), "utf-8" (no
    file) or "words" (vocab.txt, of which only decoding is known). files: those files. python: whether transformers has
    no fast form of it, so that its own files count and no tokenizer.json.
    mask, made_mask: the flags of the mask token where a file gives only its text, with a tokenizer.json and without.
    wrapped: the other attributes that become AddedTokens without a tokenizer.json. made_clean_up: whether spaces are
    cleaned up where nothing says so and there is no tokenizer.json. first, skipped, last: of a SentencePiece model,
    the tokens in the place of its first so many pieces, and those after all. template: the tokens around a text.
    language: that of texts where nothing says which; codes, language_form: languages as a call names them, and how the
    token of one is written. ends_once: whether a text that already ends with the last token gets no other.
    """

    name: str
    vocabulary: str | None = None
    files: tuple[str, ...] = ()
    specials: Mapping[str, str] = field(default_factory=dict)
    additional: tuple[str, ...] = ()
    mask: Flags | None = None
    made_mask: Flags | None = None
    wrapped: tuple[str, ...] = ()
    made_clean_up: bool = False
    bert_normalizer: bool = False
    first: tuple[tuple[str, float], ...] = ()
    skipped: int = 0
    last: tuple[str, ...] = ()
    template: str | None = None
    language: str | None = None
    codes: tuple[str, ...] = ()
    language_form: str = "{}"
    python: bool = False
    ends_once: bool = False


def class_of(config: Mapping[str, Any], model: Mapping[str, Any]) -> TokenizerClass:
    """The class that AutoTokenizer takes. config: tokenizer_config.json; model: config.json; each may be empty."""
    name = config.get("tokenizer_class") or model.get("tokenizer_class")
    if not isinstance(name, str) and isinstance(model.get("model_type"), str):
        name = _OF_MODELS.get(model["model_type"])
    return _with_extra_ids(_known(name), config.get("extra_ids"))


def class_of_decoder(model: Mapping[str, Any]) -> TokenizerClass:
    """The class of the decoder's kind, where nothing else tells how vocabulary files are to be read."""
    section = next((model[key] for key in ("decoder", "text_config") if isinstance(model.get(key), Mapping)), model)
    name = section.get("tokenizer_class")
    if not isinstance(name, str) and isinstance(section.get("model_type"), str):
        name = _OF_MODELS.get(section["model_type"])
    return _known(name)


def with_languages(kind: TokenizerClass, config: Mapping[str, Any]) -> TokenizerClass:
    """M2M100's class with the languages that tokenizer_config.json chooses."""
    chosen = kind.name == "M2M100Tokenizer" and config.get("language_codes") == "wmt21"
    return replace(kind, codes=WMT21) if chosen else kind


def _with_extra_ids(kind: TokenizerClass, number: Any) -> TokenizerClass:
    """T5's class with another number of its <extra_id_0> ... than 100."""
    if kind.additional != _EXTRA_IDS or type(number) is not int or not 0 <= number <= _MOST_EXTRA_IDS:
        return kind
    extra = tuple(f"<extra_id_{each}>" for each in range(number))
    return replace(kind, additional=extra, last=extra[::-1])


def _known(name: Any) -> TokenizerClass:
    bare = name.removesuffix("Fast") if isinstance(name, str) else ""
    return CLASSES.get(bare, TokenizerClass(bare))


_LIKE_BART = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
_LIKE_BERT = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_LIKE_GPT2 = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
_BYTES = ("vocab.json", "merges.txt")
_BYTES_WRAPPED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
_MOST_EXTRA_IDS = 10_000
_EXTRA_IDS = tuple(f"<extra_id_{number}>" for number in range(100))
_ENDS = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_UNK_TOKENS = tuple(f"<unk_{number}>" for number in range(2, 103))
_PEGASUS = (
    ("<pad>", 0.0), ("</s>", 0.0), ("<mask_1>", 0.0), ("<mask_2>", 0.0), *((text, -100.0) for text in _UNK_TOKENS),
)  # fmt: skip
_FAIRSEQ = (("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0))

_BERT = TokenizerClass(
    "BertTokenizer", "wordpiece", ("vocab.txt",), _LIKE_BERT, made_clean_up=True, bert_normalizer=True
)
_ROBERTA = TokenizerClass(
    "RobertaTokenizer", "bytes", _BYTES, _LIKE_BART,
    mask=Flags(lstrip=True), made_mask=Flags(lstrip=True), wrapped=_BYTES_WRAPPED,
)  # fmt: skip
_XLM_ROBERTA = TokenizerClass(
    "XLMRobertaTokenizer", "sentencepiece", ("sentencepiece.bpe.model",), _LIKE_BART,
    mask=Flags(lstrip=True), made_mask=Flags(lstrip=True),
    first=_FAIRSEQ, skipped=3, last=("<mask>",), template="<s> $A </s>",
)  # fmt: skip
_LISTED = (
    _BERT,
    *(replace(_BERT, name=f"{name}Tokenizer") for name in (
        "DistilBert", "Electra", "ConvBert", "MobileBert", "SqueezeBert", "LayoutLM", "Lxmert",
    )),
    TokenizerClass("BertJapaneseTokenizer", "words", ("vocab.txt",), _LIKE_BERT),
    _ROBERTA,
    *(
        replace(
            _ROBERTA, name=f"{name}Tokenizer",
            mask=Flags(lstrip=True, normalized=True), made_mask=Flags(lstrip=True, normalized=True),
        )
        for name in ("Bart", "LED")
    ),
    TokenizerClass(
        "GPT2Tokenizer", "bytes", _BYTES, _LIKE_GPT2, wrapped=("bos_token", "eos_token", "unk_token", "pad_token"),
    ),
    TokenizerClass("WhisperTokenizer", "bytes", _BYTES, _LIKE_GPT2, wrapped=("bos_token", "eos_token", "unk_token")),
    TokenizerClass(
        "CLIPTokenizer", "clip", _BYTES,
        _LIKE_GPT2 | {"bos_token": "<|startoftext|>", "pad_token": "<|endoftext|>"},
        wrapped=("bos_token", "eos_token", "unk_token"),
    ),
    _XLM_ROBERTA,
    replace(
        _XLM_ROBERTA, name="CamembertTokenizer",
        additional=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
        first=(
            ("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", -100.0),
        ),
        skipped=1,
    ),
    replace(
        _XLM_ROBERTA, name="MBartTokenizer", additional=MBART, last=(*MBART, "<mask>"),
        template="$A </s> en_XX", language="en_XX", codes=MBART,
    ),
    replace(
        _XLM_ROBERTA, name="MBart50Tokenizer", additional=MBART_50, last=(*MBART_50, "<mask>"),
        specials={key: text for key, text in _LIKE_BART.items() if key != "bos_token"}, template="en_XX $A </s>",
        made_mask=Flags(lstrip=True, normalized=True), language="en_XX", codes=MBART_50,
    ),
    replace(
        _XLM_ROBERTA, name="NllbTokenizer", additional=NLLB, last=(), template="eng_Latn $A </s>",
        mask=Flags(lstrip=True, normalized=True), made_mask=Flags(lstrip=True, normalized=True),
        language="eng_Latn", codes=NLLB,
    ),
    TokenizerClass(
        "PegasusTokenizer", "sentencepiece", ("spiece.model",),
        {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask_2>"},
        ("<mask_1>", *_UNK_TOKENS), skipped=2, template="$A </s>",
        first=_PEGASUS,
    ),
    TokenizerClass(
        "MarianTokenizer", "pieces", ("source.spm", "target.spm", "vocab.json"), _ENDS, template="$A </s>", python=True,
    ),
    TokenizerClass(
        "M2M100Tokenizer", "pieces", ("sentencepiece.bpe.model", "vocab.json"),
        _ENDS | {"bos_token": "<s>", "sep_token": "</s>"}, template="__en__ $A </s>", python=True,
        language="en", codes=M2M100, language_form="__{}__",
    ),
    TokenizerClass(
        "ByT5Tokenizer", "utf-8", (), _ENDS, tuple(f"<extra_id_{number}>" for number in range(125)),
        template="$A </s>", python=True, ends_once=True,
    ),
    *(
        TokenizerClass(
            name, "sentencepiece", ("spiece.model",),
            _ENDS, _EXTRA_IDS,
            last=_EXTRA_IDS[::-1], template="$A </s>",
        )
        for name in ("T5Tokenizer", "MT5Tokenizer")
    ),
)  # fmt: skip
CLASSES: Mapping[str, TokenizerClass] = {each.name: each for each in _LISTED}

# Classes whose texts are made in Python, each in its own way: of their files no tokenizers file is made here.
SLOW_ALONE = frozenset(
    f"{name}Tokenizer"
    for name in (
        "Bartpho", "Bertweet", "BioGpt", "BlenderbotSmall", "CTRL", "Canine", "Clvp", "CpmAnt", "Dia", "Esm",
        "FSMT", "Flaubert", "GPTNeoXJapanese", "GPTSanJapanese", "GPTSw3", "Luke", "Mgpstr", "MyT5",
        "PLBart", "Perceiver", "Phobert", "ProphetNet", "RoCBert", "Speech2Text", "Tapas", "Tapex", "TransfoXL",
        "Vits", "Wav2Vec2CTC", "XLM", "XLMProphetNet",
    )
)  # fmt: skip
# By model_type, as AutoTokenizer has it; of models that read photos or texts, and of decoders.
_OF_MODELS = {
    "blip": "BertTokenizer",
    "blip-2": "GPT2Tokenizer",
    "git": "BertTokenizer",
    "kosmos-2": "XLMRobertaTokenizer",
    "pix2struct": "T5Tokenizer",
    "whisper": "WhisperTokenizer",
    "bart": "BartTokenizer",
    "bert": "BertTokenizer",
    "blip_text_model": "BertTokenizer",
    "camembert": "CamembertTokenizer",
    "bigbird_pegasus": "PegasusTokenizer",
    "byt5": "ByT5Tokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "gpt2": "GPT2Tokenizer",
    "led": "LEDTokenizer",
    "longt5": "T5Tokenizer",
    "m2m_100": "M2M100Tokenizer",
    "marian": "MarianTokenizer",
    "mbart": "MBartTokenizer",
    "mt5": "MT5Tokenizer",
    "nllb-moe": "NllbTokenizer",
    "pegasus": "PegasusTokenizer",
    "pegasus_x": "PegasusTokenizer",
    "roberta": "RobertaTokenizer",
    "t5": "T5Tokenizer",
    "umt5": "T5Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
