"""What lies beside a Whisper's model.bin, as the files that Hugging Face's Whisper has: tokens, generation, mel bands.

CTranslate2 keeps in config.json what generation needs (alignment_heads, suppress_ids, suppress_ids_begin); the numbers
of languages, tasks and marks follow from the tokenizer. It is lang_ids that is not read: in models for English alone it
lists what is no language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fuseline.errors import ExportError, shown
from fuseline.tokens.hf import TOKENIZER, read_folder, without_states
from fuseline.tokens.tokenizer import TokenizerFile, open_tokenizer

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.speech_tokenizer import TIMES, with_times
from .byte_pairs import byte_pairs
from .tokenizers import check_numbers
from .vocabularies import read_vocabulary

START, END, NO_TIMES = "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>"
_TRANSLATE, _TRANSCRIBE, _PREVIOUS = "<|translate|>", "<|transcribe|>", "<|startofprev|>"
_MARKS = (START, END, _TRANSLATE, _TRANSCRIBE, _PREVIOUS, NO_TIMES)
_LANGUAGE = re.compile(r"<\|[a-z]{2,3}\|>")
# From so many tokens on a model is one of many languages; so CTranslate2 tells them apart, and OpenAI.
_MULTILINGUAL = 51865
_LATEST_START = 50  # steps of 0.02 s: speech begins within the first second
_MADE = (
    "no tokenizer.json lies beside model.bin, so one was made of the vocabulary: texts are as they should be, and "
    "prompts are split by the order of its tokens"
)


def tokenizer_of(checkpoint: Checkpoint, rows: int) -> tuple[TokenizerFile, str]:
    """The tokenizer with all tokens of times, and what is to be known of it. rows: of the table of embeddings.

    Raises ExportError, FolderError for one that is missing, damaged or of another model.
    """
    for path in checkpoint.path.iterdir():  # a link out is refused
        checkpoint.file(path.name)
    vocabulary, remark = read_vocabulary(checkpoint, "vocabulary", END), ""
    if checkpoint.file(TOKENIZER):
        file = without_states(read_folder(checkpoint.path.resolve()))
    elif vocabulary is not None:
        file, remark = byte_pairs(checkpoint.path, vocabulary), _MADE
    else:
        raise ExportError(
            f"{checkpoint.path} has no {TOKENIZER} and no vocabulary.json (or .txt); copy the model's own"
        )
    numbers = _numbers(file)
    lost = [mark for mark in _MARKS if mark not in numbers]
    if lost:
        raise ExportError(
            f"the tokenizer in {checkpoint.path} has no {lost[0]}, so it is none of Whisper; copy the model's own"
        )
    if numbers[NO_TIMES] + 1 + len(TIMES) > rows:
        raise ExportError(
            f"the tokenizer in {checkpoint.path} belongs to another model: its tokens of times end at "
            f"{numbers[NO_TIMES] + len(TIMES)}, and the model has {rows} tokens"
        )
    file = with_times(file)
    open_tokenizer(file, rows)
    if vocabulary is not None:
        check_numbers(checkpoint, "model's", vocabulary, file)
    return file, remark


def configs(
    checkpoint: Checkpoint, model: Mapping[str, Any], tokenizer: TokenizerFile, longest: int
) -> dict[str, dict[str, Any]]:
    """config.json, generation_config.json and preprocessor_config.json, by write_to's names.

    model: config.json but for tokens; longest: tokens of a text. Raises ExportError for a config.json of CTranslate2
    that does not fit.
    """
    numbers, options = _numbers(tokenizer), checkpoint.json("config.json") or {}
    end = numbers[END]
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": numbers[START]}
    generation = {
        **ids,
        "is_multilingual": model["vocab_size"] >= _MULTILINGUAL,
        "max_length": longest,
        "max_initial_timestamp_index": _LATEST_START,
        "no_timestamps_token_id": numbers[NO_TIMES],
        "prev_sot_token_id": numbers[_PREVIOUS],
        "return_timestamps": False,
    }
    for name, theirs in (("suppress_tokens", "suppress_ids"), ("begin_suppress_tokens", "suppress_ids_begin")):
        if options.get(theirs) is not None:
            generation[name] = _tokens(checkpoint, options, theirs, model["vocab_size"])
    if options.get("alignment_heads") is not None:
        generation["alignment_heads"] = _heads(checkpoint, options["alignment_heads"], model)
    if generation["is_multilingual"]:
        between = range(numbers[START] + 1, numbers[_TRANSLATE])
        languages = {token: at for token, at in numbers.items() if at in between and _LANGUAGE.fullmatch(token)}
        generation["lang_to_id"] = dict(sorted(languages.items(), key=lambda item: item[1]))
        generation["task_to_id"] = {"transcribe": numbers[_TRANSCRIBE], "translate": numbers[_TRANSLATE]}
        generation["forced_decoder_ids"] = [[1, None], [2, numbers[_TRANSCRIBE]]]
    else:
        generation["forced_decoder_ids"] = [[1, numbers[NO_TIMES]]]
    return {
        "config": {**model, **ids},
        "generation_config": generation,
        "preprocessor_config": _features(int(model["num_mel_bins"])),
    }


def _numbers(file: TokenizerFile) -> dict[str, int]:
    """All tokens of a tokenizers file of byte pairs."""
    vocabulary = file.value["model"].get("vocab")
    if not isinstance(vocabulary, dict):
        raise ExportError(f"the tokenizer in {file.where} is none of byte pairs, so it is none of Whisper")
    return {**vocabulary, **{entry["content"]: entry["id"] for entry in file.value.get("added_tokens") or []}}


def _tokens(checkpoint: Checkpoint, options: Mapping[str, Any], name: str, rows: int) -> list[int]:
    found = options[name]
    whole = isinstance(found, list) and all(type(each) is int for each in found)
    if not whole or not all(-1 <= each < rows for each in found):  # -1: OpenAI's mark for the usual list
        raise ExportError(
            f"{name} in {checkpoint.path / 'config.json'} must be a list of numbers of tokens, below {rows}"
        )
    return [each for each in found if each >= 0]


def _heads(checkpoint: Checkpoint, found: Any, model: Mapping[str, Any]) -> list[list[int]]:
    layers, heads = model["decoder_layers"], model["decoder_attention_heads"]

    def good(pair: Any) -> bool:
        whole = isinstance(pair, Sequence) and len(pair) == 2 and all(type(each) is int for each in pair)
        return whole and 0 <= pair[0] < layers and 0 <= pair[1] < heads

    if not isinstance(found, list) or not all(map(good, found)):
        raise ExportError(
            f"alignment_heads in {checkpoint.path / 'config.json'} is {shown(found)} and must be a list of a layer "
            f"below {layers} and a head below {heads} each"
        )
    return [list(pair) for pair in found]


def _features(bands: int) -> dict[str, Any]:
    """As WhisperFeatureExtractor is written down."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": bands,
        "sampling_rate": 16000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
