"""Model folders: their JSON, the places and kinds of their files, with right hashes and with wrong ones.

A damage changes a copy of a template and says what it did. Those that must change no caption are in HARMLESS.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests import folder_damage
from tests.fuzz import json_damage
from tests.fuzz.copies import (
    DESCRIPTION,
    caption,
    copied,
    correct_hashes,
    read_object,
    rewrite,
    right_caption,
    same_caption,
)
from tests.fuzz.kinds import Kind, Place, Trial
from tests.fuzz.templates import FOREIGN, SHIPPED, SMALL

Damage = Callable[[Random, Path], str]
TEMPLATES, WEIGHTS = (*SMALL, *FOREIGN, SHIPPED), (10, 5, 2, 2, 2, 1)


def _some_json(random: Random, folder: Path) -> Path:
    names = sorted(path.name for path in folder.glob("*.json") if path.is_file() and path.name != "tokenizer.json")
    weights = [3 if name == DESCRIPTION else 1 for name in names]
    return folder / random.choices(names, weights)[0]


def _some_file(random: Random, folder: Path) -> Path:
    return random.choice(sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()))


def says_otherwise(random: Random, folder: Path) -> str:
    """A JSON file that says something else."""
    path = _some_json(random, folder)
    value = read_object(path)
    done = [json_damage.changed(random, value) for _ in range(random.choice((1, 1, 1, 2, 4)))]
    rewrite(path, json.dumps(value).encode())
    return f"{path.name}: {', '.join(done)}"


def no_json(random: Random, folder: Path) -> str:
    """A JSON file that is written in a way that is none, or that readers differ about."""
    path = _some_json(random, folder)
    how, content = json_damage.broken(random, path.read_bytes())
    rewrite(path, content)
    return f"{path.name}: {how}"


def processor(random: Random, folder: Path) -> str:
    """preprocessor_config.json with options of image processors at extremes."""
    path = folder / "preprocessor_config.json"
    value = read_object(path)
    for _ in range(random.randint(1, 4)):
        key = random.choice((
            "size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std", "do_resize", "do_center_crop",
            "do_rescale", "do_normalize", "do_pad", "do_thumbnail", "do_align_long_axis", "image_processor_type",
            "size_divisor",
        ))  # fmt: skip
        value[key] = random.choice((
            *json_damage.EXTREMES, {"height": 32, "width": random.choice((0, 1, 31, 8192, 10**9, -1, 1.5))},
            {"shortest_edge": 32},
            {"longest_edge": 32}, {"height": 32}, [32, 32], 8192, [1, 1, 1], [0, 0, 0], [1e-40] * 3,
            "DonutImageProcessor",
            "CLIPImageProcessorFast", "ViTFeatureExtractor", "EfficientNetImageProcessor", "BlipImageProcessor",
        ))  # fmt: skip
    rewrite(path, json.dumps(value).encode())
    return f"preprocessor_config.json: {json.dumps(value)[:250]}"


def generation(random: Random, folder: Path) -> str:
    """generation_config.json with options at extremes."""
    from tests.fuzz.options import some_options

    path = folder / "generation_config.json"
    value = (read_object(path) if path.is_file() else {}) | some_options(random, for_json=True)
    rewrite(path, json.dumps(value).encode())
    return f"generation_config.json: {json.dumps(value)[:250]}"


def other_bytes(random: Random, folder: Path) -> str:
    """A file cut, longer, with other bytes, empty, or another file in its place."""
    path = _some_file(random, folder)
    content, name = bytearray(path.read_bytes()), path.relative_to(folder)
    match random.randrange(6):
        case 0:
            rewrite(path, bytes(content[: random.randrange(len(content) + 1)]))
            return f"{name} cut"
        case 1:
            rewrite(path, bytes(content) + random.randbytes(random.choice((1, 5000))))
            return f"{name} longer"
        case 2:
            rewrite(path, b"")
            return f"{name} empty"
        case 3:
            other = _some_file(random, folder)
            rewrite(path, other.read_bytes())
            return f"{name} is {other.relative_to(folder)}"
        case _:
            for _ in range(random.choice((1, 1, 10, 1000))):
                content[random.randrange(len(content))] = random.randrange(256)
            rewrite(path, bytes(content))
            return f"{name} with other bytes"


def other_kind(random: Random, folder: Path) -> str:
    """A file that is missing, a link, a folder, a FIFO, a socket, unreadable."""
    path = _some_file(random, folder)
    name = path.relative_to(folder)
    outside = folder.parents[1] / "outside"
    match random.randrange(9):
        case 0:
            path.unlink()
            return f"{name} missing"
        case 1:
            path.unlink()
            os.mkfifo(path)
            return f"{name} is a FIFO"
        case 2:
            path.unlink()
            path.mkdir()
            return f"{name} is a folder"
        case 3:
            path.unlink()
            target = random.choice(
                (
                    outside / "config.json",
                    outside,
                    path,
                    "/dev/zero",
                    "/dev/stdin",
                    "/proc/self/mem",
                    "nowhere",
                    "/dev/tty",
                )
            )
            path.symlink_to(target)
            return f"{name} is a link to {target}".replace(str(outside), "OUTSIDE")
        case 4:
            moved = path.with_name("elsewhere")
            path.rename(moved)
            path.symlink_to(moved.name if random.random() < 0.5 else moved)
            return f"{name} is a link inside the folder"
        case 5:
            path.chmod(0)
            return f"{name} has no permissions"
        case 6:
            parent = path.parent if path.parent != folder else folder
            path.rename(
                parent / random.choice(("a\nb.json", "\x1b[31m", "x" * 250, os.fsdecode(b"\xff\xfe.onnx"), " "))
            )
            return f"{name} has another name"
        case 7:
            name = random.choice(("config.json.lock", "model.py", "encoder_model.onnx", "decoder_model_fp16.onnx"))
            if random.random() < 0.5:
                (folder / name).mkdir(exist_ok=True)
            else:
                (folder / name).write_bytes(b"x")
            return "more files"
        case _:
            with path.open("r+b") as file:
                file.truncate(random.choice((1 << 33, 5 << 20)))
            return f"{name} is sparse and large"


def listed_names(random: Random, folder: Path) -> str:
    """fuseline.json lists names that lead elsewhere."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return other_kind(random, folder)
    value = read_object(path)
    name = random.choice((
        "../outside/weights.bin", "/etc/hostname", "onnx/../../../outside/weights.bin", "", ".", "..", "onnx", "a\0b",
        "\ud800", "C:\\x",
        "onnx//decoder_model_fp32.onnx", "./config.json", "config.json/", "x" * 5000, "a\nb", "~/x", "\\\\server\\x",
        "CONFIG.JSON",
    ))  # fmt: skip
    if random.random() < 0.5:
        variant = random.choice(sorted(value["variants"]))
        value["variants"][variant][random.choice(("encoder", "decoder"))] = name
    was = random.choice(sorted(value["files"]))
    value["files"][name] = value["files"][was] if random.random() < 0.5 else value["files"].pop(was)
    rewrite(path, json.dumps(value).encode())
    return f"fuseline.json lists {name!r:.80}"


def many(random: Random, folder: Path) -> str:
    """Thousands of keys, layers, files or variants."""
    path = _some_json(random, folder)
    value = read_object(path)
    count = random.choice((1000, 20_000))
    if path.name == DESCRIPTION:
        match random.randrange(4):
            case 0:
                value["decoder"]["layers"] = random.choice((count, 10**7, 10**9, 2**63))
            case 1:
                value["variants"] |= {
                    f"v{number}": dict(next(iter(value["variants"].values()))) for number in range(count)
                }
            case 2:
                value["files"] |= {f"f{number}": {"bytes": 1, "sha256": "0"} for number in range(count)}
            case _:
                value["tensors"]["decoder"]["inputs"] *= count // 20
    else:
        value |= {f"key{number}": number for number in range(count)}
    rewrite(path, json.dumps(value).encode())
    return f"{path.name} with {count} more"


def two_of_them(random: Random, folder: Path) -> str:
    """Two damages, one after the other."""
    one = random.choice(DAMAGES[:7])(random, folder)
    try:
        return f"{one}; {random.choice(DAMAGES[:7])(random, folder)}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):  # the first left nothing to change
        return one


DAMAGES: tuple[Damage, ...] = (
    says_otherwise, says_otherwise, says_otherwise, no_json, processor, generation, other_bytes, other_kind,
    listed_names, many,
    two_of_them, folder_damage.mutate, folder_damage.mutate, folder_damage.mutate,
)  # fmt: skip


def written_otherwise(random: Random, folder: Path) -> str:
    """A JSON file that says the same in other words."""
    path = _some_json(random, folder)
    how, content = json_damage.written(random, read_object(path))
    rewrite(path, content)
    return f"{path.name}: {how}"


def moved_away(random: Random, folder: Path) -> str:
    """Files that nothing needs, removed or added; the folder has another name."""
    for name in ("MODEL_CARD.md", "README.md"):
        (folder / name).unlink(missing_ok=True)
    (folder / random.choice(("notes.txt", ".gitattributes", "a b\u00e9.md"))).write_text("words")
    return "other files beside"


HARMLESS: tuple[Damage, ...] = (written_otherwise, written_otherwise, moved_away)


def _make(random: Random, place: Place) -> Trial:
    template = random.choices(TEMPLATES, WEIGHTS)[0]
    folder = copied(place, template)
    if random.random() < 0.15:
        what = random.choice(HARMLESS)(random, folder)
        correct_hashes(folder)
        right = right_caption(place.templates / template)
        return Trial(f"{template}: {what}", lambda: same_caption(folder, right, what))
    correct = random.random() < 0.6
    try:
        what = random.choice(DAMAGES)(random, folder)
        if correct:
            correct_hashes(folder)
    except Exception as error:  # what one damage has left, the next cannot read, change or list
        what, correct = f"as far as it went before {type(error).__name__}", False
    return Trial(f"{template}: {what}{', hashes right' if correct else ''}", lambda: _opened(folder))


def _opened(folder: Path) -> str:
    caption(folder)
    return "loaded"


KIND = Kind("folders", _make, cpu_seconds=10.0, megabytes=1000.0)
