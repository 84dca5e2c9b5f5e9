"""Damage to JSON: to what it says, and to how it says it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

LONG = int("9" * 400)
EXTREMES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 255, 256, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63,
    -(2**63) - 1, 2**64, LONG,
    -LONG, 0.0, -0.0, 0.5, 1.5, -1.5, 1e-45, 1e-320, 1e38, 3.5e38, 1e308, math.inf, -math.inf, math.nan, "", " ", "0",
    "1", "a",
    "float32", "\ud800", "\x1b[31mred", "two\nlines", "\u202eleft", "\0", "x" * 5000, "../config.json",
    "/etc/hostname", [], {},
    [[]], [None], [0], [1, 2], [0.5, 0.5, 0.5], {"": ""}, {"a": {}}, list(range(300)), [[[[[1]]]]],
)  # fmt: skip
Place = tuple[Any, Any]  # an object or a list, and a key or an index in it


def places(value: Any) -> list[Place]:
    """Where a value could be put, in all of it."""
    found: list[Place] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        found += places(inner)
    return found


def changed(random: Random, value: dict[str, Any], extremes: tuple[Any, ...] = EXTREMES) -> str:
    """Change one thing that the object says, in place; says which."""
    found = places(value)
    if not found:
        value["a"] = copy.deepcopy(random.choice(extremes))
        return "a key in an empty object"
    holder, key = random.choice(found)
    was, name = holder[key], repr(key)[:60]
    match random.randrange(10):
        case 0:
            del holder[key]
            return f"{name} removed"
        case 1:
            holder[key] = _near(random, was)
        case 2:
            other, at = random.choice(found)
            holder[key] = json.loads(json.dumps(other[at]))
        case 3 if isinstance(holder, dict):
            holder[random.choice((name.upper(), f"{key} ", f"x{key}", "", "\ud800", "__class__"))] = holder.pop(key)
            return f"{name} has another name"
        case 4 if isinstance(holder, list):
            holder[key:key] = [was] * random.choice((1, 2, 1000))
            return f"item {name} comes more than once"
        case 5:
            holder[key] = [was] if random.random() < 0.5 else {"value": was}
        case 6 if isinstance(holder, dict):
            new = random.choice(
                ("quantization_config", "auto_map", "x", "format", "use_cache", "do_sample", "max_length")
            )
            holder[new] = copy.deepcopy(random.choice(extremes))
            return f"{new} = {holder[new]!r:.60} added"
        case _:
            holder[key] = copy.deepcopy(random.choice(extremes))
    return f"{name} = {holder[key]!r:.60} for {was!r:.30}"


def _near(random: Random, was: Any) -> Any:
    """A value of the same type."""
    if isinstance(was, bool):
        return not was
    if isinstance(was, int):
        return random.choice((was + 1, was - 1, -was, was * 2, was * 10**6, was // 2, 0, was + 2**32))
    if isinstance(was, float):
        return random.choice((-was, was * 1e30, was * 1e-30, 0.0, int(was) if math.isfinite(was) else 1, math.nan))
    if isinstance(was, str):
        return random.choice(
            (was.upper(), was + "x", was[:-1], f" {was}", was * 100, was + "\n", was[::-1], was + "\0")
        )
    if isinstance(was, list):
        return random.choice((was[::-1], was[:-1], was * 2, was[1:]))
    return {} if was else {"a": 1}


def written(random: Random, value: dict[str, Any]) -> tuple[str, bytes]:
    """How it is written, and it; what it says stays what it was."""
    return random.choice(_WAYS)(random, value)


def _reordered(random: Random, value: Any) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: _reordered(random, value[key]) for key in keys}
    return [_reordered(random, each) for each in value] if isinstance(value, list) else value


def _plain(_: Random, value: dict[str, Any]) -> tuple[str, bytes]:
    return "as before", json.dumps(value).encode()


_WAYS: tuple[Callable[[Random, dict[str, Any]], tuple[str, bytes]], ...] = (
    _plain,
    lambda random, value: ("keys in another order", json.dumps(_reordered(random, value)).encode()),
    lambda random, value: ("indented", json.dumps(value, indent=random.choice((0, 1, 50))).encode()),
    lambda _, value: ("no escapes", json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    lambda _, value: ("spaces around", b" \r\n\t" * 1000 + json.dumps(value).encode() + b"\n" * 1000),
)


def broken(random: Random, text: bytes) -> tuple[str, bytes]:
    """What is no JSON any more, or JSON that readers differ about."""
    place = random.randrange(len(text))
    match random.randrange(15):
        case 0:
            return f"cut at {place}", text[:place]
        case 1:
            return "empty", b""
        case 2:
            return f"a byte changed at {place}", text[:place] + random.randbytes(1) + text[place + 1 :]
        case 3:
            return "with a BOM", b"\xef\xbb\xbf" + text
        case 4:
            return "in UTF-16", text.decode("utf-8", "replace").encode("utf-16")
        case 5:
            depth = random.choice((100, 900, 5000, 200_000))
            return f"{depth} lists deep", b'{"a":' + b"[" * depth + b"]" * depth + b"}"
        case 6:
            depth = random.choice((900, 100_000))
            return f"{depth} objects deep", b'{"a":' * depth + b"1" + b"}" * depth
        case 7:
            return "a number of 400,000 digits", text.rstrip()[:-1] + b',"n":' + b"9" * random.choice(
                (400, 5000, 400_000)
            ) + b"}"
        case 8:
            key = random.choice((b"format", b"files", b"vocab_size", b"size", b"model", b"model_type"))
            return f"{key!r} twice", text.rstrip()[:-1] + b',"' + key + b'":' + random.choice(
                (b"1", b"{}", b"null")
            ) + b"}"
        case 9:
            return "no object", random.choice((b"[]", b"1", b'"a"', b"null", b"NaN", b"true", b"[" + text + b"]"))
        case 10:
            return "more after its end", text + random.choice((b"{}", b"x", b"\0", text))
        case 11:
            return "5 MB of spaces", text + b" " * 5_000_000
        case 12:
            return "a comment", text.replace(b"{", b"{ // comment\n", 1)
        case 13:
            return "1e999999", text.rstrip()[:-1] + b',"n":1e999999,"m":-1e-999999}'
        case _:
            return "bytes that are no UTF-8", text[:place] + b"\xff\xfe\xc0\x80" + text[place:]
