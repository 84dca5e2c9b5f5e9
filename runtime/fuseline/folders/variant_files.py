"""The files of one variant, checked before anything opens them: its graphs, and the weights beside them.

Every file is stamped when it is read here, so that what is opened later can be known to be what was checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import FolderError, shown
from ..files.graph_file import GraphFacts, check
from ..files.reading import DESCRIPTION, Stamp, check_name, contents, inside, open_regular, reading, stamp_of
from ..memory import machine_bytes

# A file of weights: so many times the bytes up to the last tensor that a graph has in it, and these besides. Exporters
# fill up to whole pages.
_TIMES_USED, _BESIDE = 2, 1 << 20
# Tensors that share their bytes are counted each; a head tied to the embedding is two.
_TIMES_SHARED = 4


@dataclass(frozen=True)
class Listed:
    """What a file must be: bytes, and sha256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Checked:
    """facts of each graph, and the stamps of all files that were read, by their paths relative to the folder."""

    facts: Mapping[str, GraphFacts]
    stamps: Mapping[str, Stamp]


def check_variant(root: Path, graphs: Sequence[str], listing: Mapping[str, Listed] | None) -> Checked:
    """Check the graphs, relative to the resolved folder root, and the weights that they name.

    listing: what fuseline.json lists, to which all files are held; None in a folder of another tool, which lists
    nothing. Raises FolderError.
    """
    _check_memory(root, graphs, 0)
    stamps: dict[str, Stamp] = {}
    with ThreadPoolExecutor(2) as pool:  # encoder and decoder side by side
        found = list(pool.map(lambda graph: _check_graph(root, graph, listing), graphs))
        facts = {graph: each for graph, (each, _) in zip(graphs, found, strict=True)}
        stamps |= {graph: stamp for graph, (_, stamp) in zip(graphs, found, strict=True)}
        ends: dict[str, int] = {}
        for graph in graphs:
            for name, end in _weights(root, graph, facts[graph], listing).items():
                ends[name] = max(end, ends.get(name, 0))
        _check_memory(root, graphs, sum(ends.values()))
        _check_shared(root, facts, ends)
        held = list(pool.map(lambda name: _check_weights(root, name, ends[name], listing), ends))
        stamps |= dict(zip(ends, held, strict=True))
    return Checked(facts, stamps)


def check_listed(root: Path, name: str, was: Listed) -> Stamp:
    """A file is there, inside, and what it was when it was listed. Raises FolderError."""
    file = inside(root, name, root / DESCRIPTION)
    with reading(root / name), open_regular(file) as opened:
        stamp = stamp_of(opened)
        check_size(root / name, stamp.size, was.size)
        check_hash(root / name, hashlib.file_digest(opened, "sha256").hexdigest(), was.sha256)
    return stamp


def check_size(path: Path, found: int, size: int) -> None:
    """Raises FolderError where a file does not have its size."""
    if found < size:
        raise FolderError(f"{path} is truncated: {found} of {size} bytes; copy or export it again")
    if found > size:
        raise FolderError(f"{path} was edited: it has {found} bytes and must have {size}; copy or export it again")


def check_hash(path: Path, digest: str, sha256: str) -> None:
    """Raises FolderError where a file does not have its hash."""
    if digest != sha256:
        was = f"its sha256 is {digest[:12]}... and must be {shown(sha256[:12])}..."
        raise FolderError(f"{path} was edited: {was}; copy or export it again")


def _check_graph(root: Path, graph: str, listing: Mapping[str, Listed] | None) -> tuple[GraphFacts, Stamp]:
    file = inside(root, graph, root / DESCRIPTION if listing is not None else None)
    with contents(file) as (content, stamp):
        if listing is not None:
            check_size(root / graph, stamp.size, listing[graph].size)
            check_hash(root / graph, hashlib.sha256(content).hexdigest(), listing[graph].sha256)
        return check(content, root / graph), stamp


def _weights(root: Path, graph: str, facts: GraphFacts, listing: Mapping[str, Listed] | None) -> dict[str, int]:
    """The files that a graph keeps weights in, and where the last tensor in each ends."""
    ends: dict[str, int] = {}
    for tensor in facts.external:
        check_name(tensor.location, root / graph)
        name = str(PurePosixPath(graph).parent / tensor.location)
        ends[name] = max(ends.get(name, 0), tensor.offset + tensor.length)
    for name in ends:
        if listing is not None and name not in listing:
            raise FolderError(f"{root / graph} reads its weights from {shown(name)}, which {DESCRIPTION} does not list")
    return ends


def _check_weights(root: Path, name: str, end: int, listing: Mapping[str, Listed] | None) -> Stamp:
    with reading(root / name):
        stamp = stamp_of(inside(root, name))
    if stamp.size < end:
        what = f"its last tensor ends at byte {shown(end, 30)}"
        raise FolderError(f"{root / name} is truncated: it has {stamp.size} bytes, and {what}; copy or export it again")
    if listing is None:
        return stamp
    check_size(root / name, stamp.size, listing[name].size)
    if stamp.size > _TIMES_USED * end + _BESIDE:
        raise FolderError(f"{root / name} has {stamp.size} bytes, of which its graph reads {end}; export it again")
    return check_listed(root, name, listing[name])


def _check_shared(root: Path, facts: Mapping[str, GraphFacts], ends: Mapping[str, int]) -> None:
    """Tensors that lie over each other would be more in memory than in the folder, without end."""
    outside = sum(each.outside for each in facts.values())
    if outside > _TIMES_SHARED * sum(ends.values()) + _BESIDE:
        raise FolderError(f"{root}: its graphs read {outside} bytes of weights from files of {sum(ends.values())}")


def _check_memory(root: Path, graphs: Sequence[str], beside: int) -> None:
    """Refuses what this machine cannot hold, before hashing it would take as long as reading it."""
    with reading(root):
        size = sum(inside(root, graph).stat().st_size for graph in graphs) + beside
    memory = machine_bytes()
    if memory is not None and size > memory:
        have = f"{memory / 1e9:.1f} GB"
        raise FolderError(f"{root}: its weights are {size / 1e9:.1f} GB, more than this machine's memory of {have}")
