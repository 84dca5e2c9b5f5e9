"""Keywords of transformers and optimum that fuseline's own calls do not have: what each is taken for, or what to do.

TABLE is the one place for those that change nothing here at some values and are refused at others; what has a meaning
of its own is turned into ours by `opening`, `generating` and `device_named`. No keyword raises a bare TypeError.
"""

from __future__ import annotations

import difflib
import numbers
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..arrays import as_array
from ..errors import InputError, written
from ..folders.hub import is_hub_id
from ..folders.open import AUTO
from ..generation.options import CHECKS, ELSEWHERE, UNSUPPORTED
from .whisper_names import hint

OPEN, PIPELINE, CAPTION, GENERATE = "from_pretrained", "pipeline", "a pipeline's call", "generate"
TEXT, SPEECH = "a text pipeline's call", "a speech pipeline's call"
ENCODE = "encode"
_OPENING = (OPEN, PIPELINE)
_Passes = Callable[[Any], bool]


def _unset(value: Any) -> bool:
    return value is None


def _no(value: Any) -> bool:
    return value is None or value is False


def _any_flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _one_of(*values: Any) -> _Passes:
    return lambda value: value is None or (isinstance(value, str | dict) and value in values)


def _yes(value: Any) -> bool:
    return value is None or value is True


def _any_count(value: Any) -> bool:
    return value is None or (isinstance(value, numbers.Integral) and int(value) >= 0)


def _all_ones(value: Any) -> bool:
    return value is None or bool(np.all(as_array(value) == 1))


def _all_zeros(value: Any) -> bool:
    return value is None or bool(np.all(as_array(value) == 0))


class Row(NamedTuple):
    """A keyword, the calls that may have it, which values change nothing here, and what to do instead of others."""

    names: tuple[str, ...]
    calls: tuple[str, ...]
    passes: _Passes
    instead: str


_OWN_PARTS = "the files in the model's folder count; change them there, or use Model and its parts one by one"
_GRAPHS = "variant= says which graphs of the folder are used"
_SMALLER = 'choose a variant, as in variant="int8"'
_OF_TEXTS, _OF_PHOTOS, _OF_SPEECH = (
    f"it is of pipelines that read {kind}; leave it out" for kind in ("texts", "photos", "speech")
)
_HUB = "download it with huggingface_hub.snapshot_download and give the folder's path"

TABLE: tuple[Row, ...] = (
    # What there is one of, so that nothing is to be chosen.
    Row(("framework",), _OPENING, _one_of("pt", "onnx"), "everything runs on onnxruntime; leave it out"),
    Row(("accelerator",), _OPENING, _one_of("ort"), "everything runs on onnxruntime; leave it out"),
    Row(("use_fast", "low_cpu_mem_usage", "use_io_binding", "use_merged"), _OPENING, _any_flag, "give True or False"),
    Row(("trust_remote_code",), (*_OPENING, GENERATE), _any_flag, "a folder's code is never run; leave it out"),
    Row(("use_cache",), _OPENING, _yes, "the cache is always used, which changes no text; leave it out"),
    Row(("num_workers",), (PIPELINE, CAPTION, TEXT, SPEECH), _any_count, "inputs are read one by one; leave it out"),
    Row(("tokenizer",), (GENERATE,), lambda value: True, ""),  # for stop_strings, which know the model's own
    # Of whole models.
    Row(("config", "feature_extractor", "image_processor", "processor", "tokenizer"), _OPENING, _unset, _OWN_PARTS),
    Row(("export", "from_transformers"), _OPENING, _no, "a checkpoint is exported once: fuseline export MODEL FOLDER"),
    Row(("from_tf", "from_flax"), _OPENING, _no, "save it with transformers, then fuseline export MODEL FOLDER"),
    Row(("quantization_config", "load_in_4bit", "load_in_8bit"), _OPENING, _no, _SMALLER),
    Row(("attn_implementation",), _OPENING, _one_of("sdpa", "eager"), "the graph has its attention; leave it out"),
    Row(("file_name", "encoder_file_name", "decoder_file_name"), _OPENING, _unset, _GRAPHS),
    Row(("decoder_with_past_file_name", "decoder_merged_file_name"), _OPENING, _unset, _GRAPHS),
    Row(("model_kwargs",), _OPENING, lambda value: value is None or value == {}, "give each of them by its own name"),
    Row(("model_class", "pipeline_class", "task_kwargs"), _OPENING, _unset, "there is one kind of model; leave it out"),
    # The hub.
    Row(("revision", "code_revision"), _OPENING, _one_of("main"), _HUB),
    Row(("subfolder",), _OPENING, _one_of(""), "give the path of that folder itself"),
    Row(("cache_dir",), _OPENING, _unset, "set the environment variable HF_HUB_CACHE before fuseline is imported"),
    Row(("token", "use_auth_token"), _OPENING, _any_flag, "set the environment variable HF_TOKEN, or hf auth login"),
    Row(("force_download", "resume_download"), _OPENING, _no, _HUB),
    Row(("proxies",), _OPENING, _unset, "set the environment variable HTTPS_PROXY"),
    # Devices and sessions.
    Row(
        ("device_map",),
        _OPENING,
        lambda value: _one_of("auto", "cpu")(value) or value in ({"": "cpu"}, {"": -1}),
        'a model is on one device: device="cpu"',
    ),
    Row(("session_options", "provider_options"), _OPENING, _unset, "threads= sets the number of threads"),
    Row(("max_memory", "offload_folder", "offload_state_dict"), _OPENING, _no, "a model is whole in memory"),
    # Of single calls.
    Row(("return_tensors", "return_text", "return_type"), (PIPELINE, CAPTION, SPEECH), _unset, "generate gives tokens"),
    Row(("return_full_text",), (PIPELINE, CAPTION, TEXT, SPEECH), _unset, "generate gives tokens, prompt included"),
    Row(("src_lang", "tgt_lang", "truncation"), (PIPELINE, CAPTION, SPEECH), _unset, _OF_TEXTS),
    Row(("clean_up_tokenization_spaces", "stop_sequence"), (PIPELINE, CAPTION, SPEECH), _unset, _OF_TEXTS),
    Row(("prompt",), (PIPELINE, TEXT), _unset, _OF_PHOTOS),
    Row(("timeout", "images", "fast"), (PIPELINE, TEXT, SPEECH), _unset, _OF_PHOTOS),
    Row(("allow_downloads",), (PIPELINE, TEXT, SPEECH), _no, _OF_PHOTOS),
    Row(("chunk_length_s", "stride_length_s"), (PIPELINE, CAPTION, TEXT), _unset, _OF_SPEECH),
    Row(("return_timestamps", "return_language"), (PIPELINE, CAPTION, TEXT), _no, _OF_SPEECH),
    Row(("ignore_warning",), (PIPELINE, CAPTION, TEXT), _any_flag, "give True or False"),
    Row(("decoder", "decoder_kwargs"), (PIPELINE, SPEECH), _unset, "it is of models trained by CTC; leave it out"),
    Row(("guidance",), (PIPELINE, CAPTION, TEXT, SPEECH), _unset, ELSEWHERE["guidance"]),
    Row(("min_confidence",), (OPEN, PIPELINE, CAPTION, TEXT, SPEECH), _unset, ELSEWHERE["min_confidence"]),
    Row(("text",), (CAPTION,), _unset, "Model.score says how probable a text is; prompt= begins one"),
    Row(("interpolate_pos_encoding",), (CAPTION, GENERATE), _no, "photos are made the one size that the graph has"),
    Row(("attention_mask",), (GENERATE,), _all_ones, "all of a photo is looked at; leave it out"),
    Row(("decoder_attention_mask",), (GENERATE,), _all_ones, "prompts are not padded; call generate for each length"),
    Row(("input_ids",), (GENERATE,), _unset, "what a text begins with is decoder_input_ids"),
    Row(("pixel_values",), (GENERATE,), _unset, "this model reads texts; give input_ids"),
    Row(("token_type_ids",), (GENERATE,), _all_zeros, "this model's texts are of one kind, 0; leave it out"),
    Row(("labels",), (GENERATE,), _unset, "Model.score(inputs, text).loss is the loss of given texts"),
    Row(("encoder_outputs",), (GENERATE,), _unset, "give what Model.encode returned in the place of the inputs"),
    Row(("inputs_embeds", "decoder_inputs_embeds", "past_key_values"), (GENERATE,), _unset, "the graph reads tokens"),
    Row(("head_mask", "decoder_head_mask", "cross_attn_head_mask"), (GENERATE,), _unset, "all heads count"),
)  # fmt: skip

_ROWS = {(call, name): row for row in TABLE for call in row.calls for name in row.names}

# Attributes that models and pipelines have elsewhere.
_ON_OPENING = 'give device= to Model.from_pretrained, as in device="cpu"'
_ATTRIBUTES: Mapping[str, str] = {
    "cuda": _ON_OPENING,
    "cpu": _ON_OPENING,
    "half": 'open the variant "fp16"',
    "float": 'open the variant "fp32"',
    "bfloat16": 'open the variant "bf16"',
    "train": "fuseline does not train; train with transformers, then fuseline export",
    "parameters": "weights lie in the folder's graphs",
    "state_dict": "weights lie in the folder's graphs",
    "save_pretrained": "the folder is the model; copy it",
    "push_to_hub": "the folder is the model; upload it with huggingface_hub",
    "forward": "generate gives texts, score the loss of given ones, encode what the decoder reads of photos",
    "batch_decode": "decode takes several sequences",
    "quantize": "fuseline quantize FOLDER makes smaller variants",
    "encoder": "encode runs the encoder",
    "name_or_path": "folder.path is the path",
}


class NoAttribute(InputError, AttributeError):
    """An attribute that is not there, with what to use instead."""


def no_attribute(owner: object, name: str) -> AttributeError:
    """What to raise where an attribute is asked for that there is not."""
    kind = type(owner).__name__
    if name in _ATTRIBUTES:
        return NoAttribute(f"{kind} has no {name}: {_ATTRIBUTES[name]}")
    return AttributeError(f"{kind!r} object has no attribute {name!r}")


def settle(call: str, given: Mapping[str, Any], own: Iterable[str]) -> None:
    """Pass the keywords of a call that change nothing; raise InputError for the first of the others.

    own: the keywords that the call has itself, for the nearest name.
    """
    for name, value in given.items():
        row = _ROWS.get((call, name))
        if row is not None:
            if not _passed(row, value):
                raise InputError(f"{name}={written(value)} is not taken by {call}: {row.instead}")
        elif call == CAPTION and (name in CHECKS or name in UNSUPPORTED):
            raise InputError(f"{name} is an option of generation; give it as generate_kwargs={{{name!r}: ...}}")
        else:
            names = [*own, *(other for where, other in _ROWS if where == call)]
            near = difflib.get_close_matches(name[:80], names if call == CAPTION else [*names, *CHECKS], 1)
            meant = (hint(name) if call in (SPEECH, PIPELINE) else "") or (f"; did you mean {near[0]}?" if near else "")
            raise InputError(f"{name} is no argument of {call}{meant}")


def _passed(row: Row, value: Any) -> bool:
    try:
        return bool(row.passes(value))
    except Exception:  # whatever somebody's == does
        return False


class Opening(NamedTuple):
    """Which model is opened, and how, in fuseline's own terms."""

    folder: Any
    variant: Any
    device: Any


def opening(call: str, own: Opening, given: Mapping[str, Any], names: Iterable[str]) -> Opening:
    """What is opened by a call's own arguments and keywords of others. names: of its own. Raises InputError.

    A data type is a variant here; a provider of onnxruntime is a device.
    """
    folder, variant, device = own
    left = dict(given)
    for name in ("pretrained_model_name_or_path", "model_id", "model_name_or_path"):
        if name in left and call == OPEN:
            folder = _once(name, left.pop(name), "folder", folder, None)
    for name in ("dtype", "torch_dtype"):
        if name in left and (kind := _variant_of(name, left.pop(name))) is not None:
            variant = _once(name, kind, "variant", variant, AUTO)
    for name in ("provider", "providers"):
        if name in left and (provider := _provider(name, left.pop(name))) is not None:
            device = _once(name, provider, "device", device, "cpu")
    if left.pop("local_files_only", None) not in (None, False) and isinstance(folder, str) and is_hub_id(folder):
        raise InputError("local_files_only: set the environment variable HF_HUB_OFFLINE=1 before fuseline is imported")
    settle(call, left, names)
    return Opening(os.fspath(folder) if isinstance(folder, os.PathLike) else folder, variant, device_named(device))


def one_of(value: Any, *others: Any) -> bool:
    """Whether a value is one of others, a text or a number equal to it; whatever its own == may say or raise."""
    plain = isinstance(value, str | int)
    return any(value is other or (plain and type(other) is type(value) and other == value) for other in others)


def _once(name: str, value: Any, own: str, given: Any, default: Any) -> Any:
    """The value of another name for an argument, unless the argument says something else."""
    if not one_of(given, default, value):
        raise InputError(f"{name}={written(value)} and {own}={written(given)} say different things; give {own} alone")
    return value


_VARIANTS = {"float32": "fp32", "float": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}


def _variant_of(name: str, value: Any) -> str | None:
    """The variant that has weights of this type: a torch.dtype, a type of numpy's or a name."""
    if value is None or (isinstance(value, str) and value == "auto"):
        return None
    try:
        kind = str(getattr(value, "__name__", None) or value).removeprefix("torch.")
    except Exception:  # what cannot be shown
        kind = ""
    if kind not in _VARIANTS:
        right = 'a variant has weights of one type: variant="fp32", "fp16", "bf16", "int8" or "int4"'
        raise InputError(f"{name}={written(value)} is not taken: {right}")
    return _VARIANTS[kind]


def _provider(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        if len(value) != 1:
            raise InputError(f"{name}={written(value)} is not taken: a model runs on one; give it as device=")
        return value[0]
    return value


def device_named(value: Any) -> Any:
    """The name of a device given as transformers takes it: -1 or None is "cpu", 0 the first GPU, "cuda", 1 "cuda:1", a
    torch.device what it names, and a mapping by part has names by part. Others come back as they are."""
    if value is None:
        return "cpu"
    if isinstance(value, Mapping):
        return {part: device_named(each) for part, each in value.items()}
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        number = int(value)
        return "cpu" if number == -1 else _numbered("cuda", number) if 0 <= number < _MOST_NUMBERS else number
    if isinstance(value, str) and (found := re.fullmatch(r"([a-z]+):(\d{1,9})", value)):
        return _numbered(found[1], int(found[2]))
    if not isinstance(value, str) and isinstance(getattr(value, "type", None), str):
        return _numbered(value.type, getattr(value, "index", None) or 0)
    return value


_MOST_NUMBERS = 1000  # of devices of one kind


def _numbered(kind: str, number: int) -> str:
    """The first of a kind is called as the kind."""
    return f"{kind}:{number}" if number else kind


def generating(
    model: Reads, inputs: Any, decoder_input_ids: Any, given: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """The inputs, decoder_input_ids and the options of generation of a call. given: all its other keywords.

    Raises InputError.
    """
    others = {name: value for name, value in given.items() if name not in CHECKS and name not in UNSUPPORTED}
    if others:
        given = {name: value for name, value in given.items() if name not in others}
        inputs, others = named_inputs(model, inputs, others)
        if model.kind == "blip" and others.get("input_ids") is not None:
            ids = _blip_prompt(others.pop("input_ids"))
            decoder_input_ids = _once_array("input_ids", ids, "decoder_input_ids", decoder_input_ids)
        unknown = {name: value for name, value in others.items() if (GENERATE, name) not in _ROWS}
        settle(GENERATE, {name: others[name] for name in others if name not in unknown}, ())
        given |= unknown  # the options know the nearest name
    if inputs is None and model.needed:
        raise InputError(_WANTED[model.names])
    return inputs, decoder_input_ids, given


@dataclass(frozen=True)
class Reads:
    """What a model's encoder reads: names of its inputs. kind: the model_type of config.json; needed: whether it reads
    anything."""

    names: tuple[str, ...]
    kind: object = None
    needed: bool = True


_WANTED = {
    (): "the inputs of this model must be a mapping by source, or what Model.encode returned; not None",
    ("pixel_values",): "pixel_values must be float32[B, 3, height, width], as Model.inputs makes it of photos, or what "
    "Model.encode returned; not None",
    (
        "input_ids",
        "attention_mask",
    ): "input_ids must be whole numbers [B, S], as Model.inputs makes them of texts, with "
    "their attention_mask, or what Model.encode returned; not None",
    ("input_features",): "input_features must be float32[B, bands, frames], as Model.inputs makes it of sounds, or "
    "what Model.encode returned; not None",
    (
        "input_values",
        "attention_mask",
    ): "input_values must be float32[B, samples], as Model.inputs makes them of sounds, with their attention_mask, or "
    "what Model.encode returned; not None",
}


def named_inputs(model: Reads, inputs: Any, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The inputs of a call where some are given by their own names, and the keywords that are none. Raises InputError.

    Without a name, or as a mapping, they are the call's first argument.
    """
    mine = {name: given[name] for name in model.names if given.get(name) is not None}
    others = {name: value for name, value in given.items() if name not in (*model.names, "inputs")}
    if given.get("inputs") is not None:
        if inputs is not None:
            raise InputError("inputs is given twice; give it once")
        inputs = given["inputs"]
    if not mine:
        return inputs, others
    if isinstance(inputs, Mapping):
        if twice := sorted(set(mine).intersection(inputs)):
            raise InputError(f"{twice[0]} is given twice, by name and in a mapping; give it once")
        return {**inputs, **mine}, others
    if inputs is not None and model.names[0] in mine:
        raise InputError(f"inputs and {model.names[0]} are the same thing; give {model.names[0]} alone")
    return (mine if inputs is None else {model.names[0]: inputs, **mine}), others


def _once_array(name: str, value: Any, own: str, given: Any) -> Any:
    if given is not None:
        raise InputError(f"{name} and {own} are the same thing; give {own} alone")
    return value


def _blip_prompt(input_ids: Any) -> npt.NDArray[Any]:
    """What BLIP's processor makes of a text, int[B, T], without the marks of its beginning and its end.

    BLIP's own generate puts the start token in the place of the first and leaves out the last.
    """
    ids = as_array(input_ids)
    if ids.ndim != 2 or ids.shape[1] < 2:
        raise InputError("input_ids must be what BLIP's processor makes of a text, whole numbers of shape [B, T]")
    return ids[:, 1:-1]


def prompt_tokens(model_type: object, prompt: object, encode: Callable[[str, str], list[int]]) -> list[int]:
    """The tokens of a pipeline's prompt, without a start token. encode: (text, name) to tokens. Raises InputError.

    As in transformers' pipeline a prompt is for models that go on with a text; of those there is BLIP.
    """
    if not isinstance(prompt, str):
        raise InputError(f"prompt must be a text, not {written(prompt)}")
    if model_type != "blip":
        instead = "give its tokens to Model.generate as decoder_input_ids"
        raise InputError(f"prompt: this model was not made to go on with a text, as BLIP was; {instead}")
    return encode(prompt, "prompt")
