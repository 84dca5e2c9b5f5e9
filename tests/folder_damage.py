"""Folders as no exporter writes them: files that are missing, odd or of another kind, and JSON of any content.

Deterministic by the seed. Sizes and hashes of what is changed are mended in half of the cases, so that what a file says
has to be refused and not only that it was edited.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf.message import DecodeError

from tests import graph_damage

_CONFIGS = ("config.json", "generation_config.json", "preprocessor_config.json")
_LARGEST = 1 << 24  # bytes of a file that is read here
# What a value may be replaced by; those that json cannot write are put in as text.
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 10**9, 10**12, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x",
    "\ud800", "\x1b[31m", "../../etc/passwd", "x" * 10_000, [], {}, [[]], {"": None}, [None] * 1000, ["x"] * 3,
    {str(i): i for i in range(1000)},
)  # fmt: skip


def mutate(random: Random, folder: Path) -> str:
    """Damage a folder of fuseline's or of another tool's, in place. Returns what was done."""
    times = random.choice([1, 1, 1, 2, 4])
    return ", then ".join(_done(random.choice(_WAYS), random, folder) for _ in range(times))


def _done(way: Callable[[Random, Path], str], random: Random, folder: Path) -> str:
    """What is damaged already may not be one that can be changed again."""
    try:
        return way(random, folder)
    except (TypeError, ValueError, LookupError, AttributeError, OSError, DecodeError) as error:
        return f"nothing ({type(error).__name__})"


def _value(random: Random, folder: Path) -> str:
    """Another value somewhere in one JSON file."""
    path = _json(random, folder)
    content = _loaded(path)
    if content is None:
        return "nothing"
    place = _replace(random, content)
    path.write_text(json.dumps(content))
    return f"{path.name}: {place}{_mended(random, folder, path)}"


def _replace(random: Random, content: Any) -> str:
    """Walk to a random depth and replace, delete, or add there."""
    at, trail = content, ""
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return f"{trail} is empty"
        key = random.choice(keys)
        trail += f"[{str(key)[:40]!r}]"
        if isinstance(at[key], dict | list) and at[key] and random.random() < 0.7:
            at = at[key]
            continue
        way = random.randrange(5)
        if way == 0:
            del at[key]
            return f"{trail} deleted"
        value = random.choice(_VALUES)
        if way == 1 and isinstance(at, dict):
            at[str(value)[:20_000]] = at.pop(key)
            return f"{trail} renamed"
        at[key] = value
        return f"{trail} = {str(value)[:40]!r}"


def _bytes(random: Random, folder: Path) -> str:
    """A JSON file with other bytes."""
    path = _json(random, folder)
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return "nothing"
    content = path.read_bytes()
    names, values = zip(
        *{
            "empty": b"",
            "BOM": b"\xef\xbb\xbf" + content,
            "UTF-16": content.decode("utf-8", "replace").encode("utf-16"),
            "latin": content + b"\xe9",
            "a list": b"[" + content + b"]",
            "deep": b'{"a":' * 100_000,
            "deep lists": b"[" * 100_000,
            "wide": b"{" + b",".join(b'"%d":1' % i for i in range(100_000)) + b"}",
            "twice": content.rstrip()[:-1] + b', "format": 1, "format": 1}',
            "cut": content[: random.randrange(len(content) + 1)],
            "zeros": bytes(len(content)),
            "too large": b" " * (5 << 20),
            "long number": b'{"format": ' + b"9" * 5000 + b"}",
        }.items(),
        strict=True,
    )
    choice = random.randrange(len(names))
    path.write_bytes(values[choice])
    return f"{path.name}: {names[choice]}{_mended(random, folder, path)}"


def _kind(random: Random, folder: Path) -> str:
    """A file that is none, or is another kind of thing."""
    path = random.choice(sorted(each for each in folder.rglob("*") if not each.is_dir()) or [folder / "config.json"])
    path.unlink(missing_ok=True)
    way = random.choice(
        ["missing", "folder", "pipe", "socket", "link out", "link to itself", "broken link", "device", "sparse"]
    )
    if way == "folder":
        path.mkdir()
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "socket":
        _bind(path)
    elif way == "sparse":
        with path.open("wb") as file:
            file.truncate(1 << 42)
    elif way != "missing":
        to = {"link out": "/etc/hostname", "link to itself": path.name, "broken link": "nowhere", "device": "/dev/zero"}
        path.symlink_to(to[way])
    return f"{path.name}: {way}"


def _bind(path: Path) -> None:
    """A socket of that name; its own name may be longer than a socket's address may be."""
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def _list(random: Random, folder: Path) -> str:
    """fuseline.json lists what is not there, or thousands of it, or is sure in odd ways."""
    path = folder / "fuseline.json"
    about = _loaded(path)
    if not isinstance(about, dict) or not isinstance(about.get("files"), dict):
        return "nothing"
    way = random.choice(["many files", "many variants", "odd names", "endless layers", "confidence"])
    entry = {"bytes": random.choice([0, 1 << 50]), "sha256": "0" * 64}
    if way == "many files":
        about["files"] |= {f"f{i}": entry for i in range(20_000)}
    elif way == "many variants":
        first = next(iter(about.get("variants") or {"": {}}))
        about["variants"] = {f"v{i}": about["variants"][first] for i in range(3000)} | {first: about["variants"][first]}
    elif way == "odd names":
        about["files"][
            random.choice(["../x", "/etc/passwd", "a\0b", "\ud800", "x" * 10_000, "", ".", "C:x", "a\\b"])
        ] = entry
    elif way == "confidence":
        weights = {random.choice(("mean_log_prob", "tokens", "", "words")): random.choice((1, *_VALUES))}
        about["confidence"] = {
            "intercept": random.choice((0.5, *_VALUES)),
            "weights": random.choice((weights, weights, *_VALUES)),
            "unsure_below": random.choice((0.5, *_VALUES)),
        }
    else:
        about["decoder"] = dict.fromkeys(("layers", "heads", "head_size", "vocab_size", "max_positions"), 10**9)
    path.write_text(json.dumps(about))
    return f"fuseline.json: {way}"


_WAYS: tuple[Callable[[Random, Path], str], ...] = (
    _value,
    _value,
    _value,
    _bytes,
    _kind,
    _list,
    *2 * (graph_damage.mutate,),
)


def _json(random: Random, folder: Path) -> Path:
    names = [name for name in ("fuseline.json", *_CONFIGS) if (folder / name).exists()] or ["config.json"]
    return folder / random.choice(names + [name for name in names if name == "fuseline.json"] * 2)


def _loaded(path: Path) -> Any:
    try:
        content = json.loads(path.read_bytes()) if path.is_file() and path.stat().st_size <= _LARGEST else None
    except (ValueError, RecursionError, OSError):
        return None
    return content if isinstance(content, dict | list) else None


def _mended(random: Random, folder: Path, path: Path) -> str:
    """List the file as it is now, in most cases."""
    about = _loaded(folder / "fuseline.json")
    files = about.get("files") if isinstance(about, dict) else None
    if random.random() < 0.2 or not isinstance(files, dict) or path.name not in files:
        return ""
    content = path.read_bytes()
    files[path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "fuseline.json").write_text(json.dumps(about))
    return ", listed so"
