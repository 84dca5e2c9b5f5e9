"""Calls with odd options: to generate, stream, score, pipeline, and as generation_config.json has them."""

from __future__ import annotations

import json
import math
import warnings
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import fuseline
from fuseline.generation.options import CHECKS, UNSUPPORTED
from fuseline.generation.result import Generation
from tests.fuzz import json_damage
from tests.fuzz.copies import caption, copied, read_object, rewrite
from tests.fuzz.kinds import Kind, Place, Trial, Wrong

VOCABULARY, LONGEST, PHOTO = 97, 41, 32  # of the tiny captioner; LONGEST: positions and one
_NAMES = tuple(CHECKS)
_SENSIBLE: dict[str, tuple[Any, ...]] = {
    "max_length": (2, 3, 16, 20, 40, 41), "max_new_tokens": (1, 2, 16, 39, 40), "num_beams": (1, 2, 3, 8, 97, 200),
    "num_return_sequences": (1, 2, 8), "num_beam_groups": (1, 2, 4), "diversity_penalty": (0.5, 1e30, -1.0),
    "length_penalty": (0.0, 1.0, -1.0, 1e3, -1e3, 1e30), "early_stopping": (True, False, "never"), "min_length": (0,
    5, 40),
    "min_new_tokens": (0, 5, 40), "max_time": (1e-9, 0.01, 1e9), "stop_strings": ("word5", ["word5", "a"], "w" * 5000,
    " "),
    "repetition_penalty": (1e-30, 0.5, 2.0, 1e30, 1e-320), "no_repeat_ngram_size": (1, 2, 3, 100, 2**62),
    "bad_words_ids": ([[4]], [[4, 5], [6]], [[96]], [[i] for i in range(97)]), "suppress_tokens": ([4],
    list(range(97)), [], [2]),
    "begin_suppress_tokens": ([4], list(range(97))), "sequence_bias": ([[[4], 5.0]], [[[4, 5], -1e30]], [[[4], 1e308]]),
    "forced_bos_token_id": (4, 96), "forced_eos_token_id": (2, [2, 4]), "eos_token_id": (2, [2, 5], 96,
    list(range(97))),
    "pad_token_id": (0, 96), "decoder_start_token_id": (1, 0), "bos_token_id": (1,),
    "exponential_decay_length_penalty": ([1, 1.5], [0, 1e30], [5, 1e-30], [2**62, 1e300]), "do_sample": (True,),
    "temperature": (1e-30, 0.1, 1.0, 1e30, 1e-320), "top_k": (0, 1, 50, 97, 10**9), "top_p": (0.0, 0.5, 1.0, 1e-30),
    "min_p": (0.0, 0.5, 1.0), "typical_p": (1e-30, 0.5), "epsilon_cutoff": (0.1, 0.999), "eta_cutoff": (0.1, 0.999),
    "seed": (0, 2**64, 10**30), "output_scores": (True,), "output_logits": (True,), "output_attentions": (True,),
    "remove_invalid_values": (True,), "renormalize_logits": (True,),
}  # fmt: skip
_IDS = (-1, 0, 1, 2, 96, 97, 98, 255, 2**31, 2**63 - 1, 2**63, 10**30)
_OBJECTS: tuple[Any, ...] = (
    object(), b"bytes", (1, 2), {1, 2}, 1j, np.int64(3), np.float32(0.5), np.array([1, 2]), np.array(3),
    np.float64("nan"), np.bool_(True),
    range(3), Exception("x"), int, lambda *_: None, lambda *_: 1 / 0, [lambda *_: None], [lambda *_: np.zeros(3)],
    [print],
)  # fmt: skip


def some_options(random: Random, for_json: bool = False) -> dict[str, Any]:
    """One to five options, some sensible, some of the right shape with extremes in it, some anything."""
    options: dict[str, Any] = {}
    for _ in range(random.choice((1, 1, 2, 3, 5))):
        name = random.choice(_NAMES)
        draw = random.random()
        if draw < 0.5 and name in _SENSIBLE:
            value = random.choice(_SENSIBLE[name])
        elif draw < 0.65:
            value = random.choice(
                (
                    random.choice(_IDS),
                    [random.choice(_IDS)],
                    [[random.choice(_IDS)] * random.choice((1, 2, 50))],
                    [[[random.choice(_IDS)], random.choice((1e30, math.nan, math.inf, -math.inf, 2))]],
                )
            )
        elif draw < 0.75 and not for_json:
            value = random.choice((*_OBJECTS, np.random.default_rng(0)))
        else:
            value = random.choice(json_damage.EXTREMES)
        if random.random() < 0.08:
            name = random.choice(
                (
                    *UNSUPPORTED,
                    "",
                    "num_beam",
                    "max_lenght",
                    "\ud800",
                    "x" * 3000,
                    "a\nb",
                    "self",
                    "_origin",
                    "generation_config",
                    "attention_mask",
                    "labels",
                    "tokenizer",
                    "__class__",
                )
            )
        options[name] = value
    return options


@cache
def _model(template: Path) -> fuseline.Model:
    return fuseline.Model.from_pretrained(template, None, threads=1)


def _pixels(random: Random) -> np.ndarray[Any, Any]:
    """pixel_values, mostly right ones."""
    shape = (random.choice((1, 1, 1, 2, 3)), 3, PHOTO, PHOTO)
    pixels = np.random.default_rng(random.getrandbits(32)).normal(size=shape).astype(np.float32)
    if random.random() < 0.15:
        pixels = random.choice((
            pixels[0], pixels[:, :2], pixels[:0], pixels.astype(np.float64), pixels[:, :, :31],
            pixels * np.float32(1e38), pixels * np.nan,
            np.zeros(()), np.array(["a"]), np.array([None]), pixels[:, :, ::-1, ::2], pixels.astype(">f4"),
        ))  # fmt: skip
    return pixels


def _prompt(random: Random) -> Any:
    """decoder_input_ids; mostly none."""
    if random.random() < 0.75:
        return None
    return random.choice((
        [[1]], [[1, 5, 6]], [[random.choice(_IDS)]], [[1] * random.choice((39, 40, 41, 42, 100))], [], [[]], [1], "a",
        [[1.5]], [[None]],
        [[True]], [[2, 2]], np.array([[1]], np.uint64), np.array([[2**64 - 1]], np.uint64), np.array([[-128]],
        np.int8), [[1], [4, 5]],
        [[1, 4], [1, 5]],
    ))  # fmt: skip


def _call(random: Random, model: fuseline.Model) -> tuple[str, Any]:
    """A call's name with what it is given, and a function that makes it."""
    options, pixels, prompt = some_options(random), _pixels(random), _prompt(random)
    said = f"{options!r:.300}, pixels {pixels.dtype}{list(pixels.shape)}, prompt {prompt!r:.40}"
    way = random.randrange(8)
    if way != 2:
        options.pop("self", None)  # which Python itself refuses in a call
    match way:
        case 0:
            return f"stream({said})", lambda: _streamed(model, pixels, prompt, options)
        case 1:
            text = random.choice(
                (
                    "word5 word6",
                    "",
                    "nothing known",
                    ["word5"] * len(pixels) if pixels.shape else [],
                    "word5 " * 60,
                    "\ud800",
                    None,
                    3,
                    ["a", "b", "c"],
                    "\0",
                )
            )
            return f"score({text!r:.60}, {pixels.shape})", lambda: _scored(model, pixels, text)
        case 2:
            batch = random.choice((1, 2, 0, -1, True, 1.5, None, "1", 10**30))
            return f"pipeline(batch_size={batch}, {options!r:.300})", lambda: _piped(model, batch, options)
        case 3:
            rows = np.array([[1, 5, random.choice(_IDS[:9]), 2]])
            return f"decode({rows})", lambda: _decoded(model, rows)
        case 4:
            return f"GenerationConfig({options!r:.300})", lambda: _configured(options)
        case _:
            return f"generate({said})", lambda: _generated(model, pixels, prompt, options)


def _generated(model: fuseline.Model, pixels: Any, prompt: Any, options: dict[str, Any]) -> str:
    _check(model.generate(pixels, prompt, **options), len(pixels))
    return "loaded"


def _check(made: Generation, photos: int) -> None:
    """What holds of every result."""
    rows, length = made.sequences.shape
    if rows != photos * made.num_return_sequences or not 1 <= length <= LONGEST:
        raise Wrong(f"sequences of shape {made.sequences.shape} for {photos} photos")
    if made.sequences.min() < 0 or made.sequences.max() >= 2**31:
        raise Wrong(f"tokens from {made.sequences.min()} to {made.sequences.max()}")
    if made.sequences_scores.shape != (rows,) or len(made.finish_reasons) != rows:
        raise Wrong("as many scores and reasons as sequences are right")
    if np.isnan(made.sequences_scores).any():
        raise Wrong("a score is NaN")


def _streamed(model: fuseline.Model, pixels: Any, prompt: Any, options: dict[str, Any]) -> str:
    text, last = "", None
    for event in model.stream(pixels, prompt, **options):
        text += event.text or ""
        last = event
    if last is None:
        raise Wrong("a stream without an event")
    return "loaded"


def _scored(model: fuseline.Model, pixels: Any, text: Any) -> str:
    model.score(pixels, text)
    return "loaded"


def _piped(model: fuseline.Model, batch: Any, options: dict[str, Any]) -> str:
    photo = np.zeros((40, 30, 3), np.uint8)
    found = fuseline.pipeline(model=model, batch_size=batch)([photo, photo], generate_kwargs=options)
    if len(found) != 2:
        raise Wrong(f"{len(found)} captions of 2 photos")
    return "loaded"


def _decoded(model: fuseline.Model, rows: Any) -> str:
    model.decode(rows)
    return "loaded"


def _configured(options: dict[str, Any]) -> str:
    fuseline.GenerationConfig(**options).total_length(1, 40)
    return "loaded"


def _make(random: Random, place: Place) -> Trial:
    if random.random() < 0.25:
        template = random.choice(("fp32", "past"))
        folder = copied(place, template)
        path = folder / "generation_config.json"
        value = read_object(path) if random.random() < 0.7 and path.is_file() else {}
        value |= some_options(random, for_json=True)
        rewrite(path, json.dumps(value).encode())
        if template == "fp32":
            from tests.fuzz.copies import correct_hashes

            correct_hashes(folder)
        return Trial(f"{template}/generation_config.json: {json.dumps(value)[:300]}", lambda: _opened(folder))
    model = _model(place.templates / random.choice(("fp32", "fp32", "merged")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.generate(np.zeros((1, 3, PHOTO, PHOTO), np.float32), max_new_tokens=1)  # what is loaded at the first call
    what, call = _call(random, model)
    return Trial(what, call)


def _opened(folder: Path) -> str:
    caption(folder)
    return "loaded"


KIND = Kind("options", _make, cpu_seconds=10.0, megabytes=1000.0)
