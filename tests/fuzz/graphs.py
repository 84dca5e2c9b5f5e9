"""Folders with a damaged graph, whose hash is right again, so that onnxruntime gets to read it."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import onnx
from onnx import GraphProto, helper

from tests import graph_damage
from tests.fuzz import graph_damages
from tests.fuzz.copies import copied, correct_hashes, open_model, photo, rewrite, right_caption, same_caption
from tests.fuzz.kinds import Kind, Place, Trial, Wrong
from tests.fuzz.watch import peak, resident

MOST_MEGABYTES, MOST_SECONDS = 1000, 3.0
TEMPLATES, WEIGHTS = ("fp32", "int4", "merged", "past", "beside"), (9, 5, 2, 2, 2)


def _fields_reordered(random: Random, content: bytes) -> bytes:
    """The same message, its top-level fields in another order, as protobuf allows."""
    pieces, at = [], 0
    while at < len(content):
        start = at
        tag, at = _varint(content, at)
        if tag & 7 == 2:
            length, at = _varint(content, at)
            at += length
        elif tag & 7 == 0:
            _, at = _varint(content, at)
        else:
            at += 8 if tag & 7 == 1 else 4
        pieces.append((tag, content[start:at]))
    tags = sorted({tag for tag, _ in pieces})
    random.shuffle(tags)  # repeated fields keep their order among themselves
    return b"".join(piece for wanted in tags for tag, piece in pieces if tag == wanted)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _harmless(random: Random, content: bytes) -> tuple[str, bytes]:
    """The same graph in another file."""
    model = onnx.load_from_string(content)
    match random.randrange(4):
        case 0:
            return "fields in another order", _fields_reordered(random, content)
        case 1:
            random_initializers = list(model.graph.initializer)
            random.shuffle(random_initializers)
            kept = GraphProto(initializer=random_initializers)
            model.graph.ClearField("initializer")
            model.graph.initializer.extend(kept.initializer)
            return "weights in another order", model.SerializeToString()
        case 2:
            model.doc_string, model.producer_name = "words " * 1000, "\x1b[31m"
            for node in model.graph.node:
                node.ClearField("name")
            return "nodes without names", model.SerializeToString()
        case _:
            model.graph.node.extend([helper.make_node("Identity", [model.graph.input[0].name], ["nobody_reads_it"])])
            return "a node that nobody reads", model.SerializeToString()


def _graph(random: Random, folder: Path) -> Path:
    return random.choice(
        sorted(path for path in folder.rglob("*.onnx") if "int8" not in path.name and "fp16" not in path.name)
    )


def _damaged_bytes(random: Random, content: bytes) -> tuple[str, bytes]:
    changed = bytearray(content)
    places = [random.randrange(len(changed)) for _ in range(random.choice((1, 3, 30)))]
    for place in places:
        changed[place] = random.randrange(256)
    return f"bytes changed at {places[:3]}", bytes(changed)


def damage(random: Random, folder: Path) -> str:
    """One graph of the folder, damaged; its hash is wrong then."""
    path = _graph(random, folder)
    content = path.read_bytes()
    if random.random() < 0.12:
        what, content = _damaged_bytes(random, content)
    else:
        model, done = onnx.load_from_string(content), []
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            if model.HasField("graph") and model.graph.node:
                done.append(random.choices(graph_damages.DAMAGES, graph_damages.WEIGHTS)[0](random, model))
        what, content = ", ".join(done), model.SerializeToString()
    rewrite(path, content)
    return f"{os.path.basename(path)}: {what}"


DAMAGES = (damage, damage, damage, graph_damage.mutate)


def _make(random: Random, place: Place) -> Trial:
    template = random.choices(TEMPLATES, WEIGHTS)[0]
    folder = copied(place, template)
    if random.random() < 0.1:
        path = _graph(random, folder)
        what, content = _harmless(random, path.read_bytes())
        rewrite(path, content)
        correct_hashes(folder)
        right = right_caption(place.templates / template)
        return Trial(f"{template}/{path.name}: {what}", lambda: same_caption(folder, right, what))
    try:
        what = random.choice(DAMAGES)(random, folder)
    except Exception:  # what one damage has left, the next cannot read, change or write
        what = "nothing"
    correct_hashes(folder)
    return Trial(f"{template}/{what}", lambda: _opened(folder))


def _opened(folder: Path) -> str:
    """To be opened has limits; to run it is ended by its deadline, and takes what memory the machine has."""
    before = resident()
    with open_model(folder) as model:
        if (megabytes := peak() - before) > MOST_MEGABYTES:
            raise Wrong(f"to be opened it takes {megabytes:.0f} MB and may take {MOST_MEGABYTES}")
        model.generate(model.image_processor([photo()]), max_time=MOST_SECONDS)
    return "loaded"


KIND = Kind("graphs", _make, cpu_seconds=10.0 + 2 * MOST_SECONDS, megabytes=1500.0)
