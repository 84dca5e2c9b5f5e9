"""The graphs of a folder's variant, opened on a device that answers as the CPU does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FolderError
from ..files.unchanged import Unchanged
from ..folders.description import CONTRIB, STATIC
from ..folders.own import Folder
from ..folders.tensors import Signature, mismatches, one_token
from .contract import Decoder
from .decoder import CachedDecoder
from .devices import Device, Placement, placed
from .encoder import Encoder
from .running import Graph
from .session import open_graph, signature
from .sources import Encoders, Encodes, NoEncoder


@dataclass(frozen=True)
class Graphs:
    """An encoder, those of several sources, or none, and the decoder; files: what they are read from; close: lets go of
    the sessions; nodes: how many of those on other devices than the CPU are there, and how many they have."""

    encoder: Encodes
    decoder: Decoder
    files: Unchanged
    close: Callable[[], None]
    nodes: tuple[int, int] | None = None


def open_graphs(folder: Folder, device: object = "cpu", threads: int | None = None) -> Graphs:
    """Open the variant in use, unchecked as far as the device's answers go: see fuseline.trials.device_check.

    device: what `placed` takes. On the CPU the layout in use is opened, on another device the one that it runs. Raises
    FolderError where a graph is not what the folder says of it, or where there is no such layout, DeviceError,
    InputError.
    """
    placement = placed(device)
    parts = {part: laid_out(folder, part) for part in placement.parts}
    files = Unchanged({file: stamp for each in parts.values() for file, stamp in each.files_in_use.items()})
    if folder.foreign:
        encoder, decoder, graphs = _foreign(folder, placement, threads)
    else:
        graphs = []
        encoder = _encoders(parts[placement.encoder], placement, threads, graphs)
        own = parts[placement.decoder]
        listed = own.decoder_signature
        graphs.append(_opened(own, own.decoder_path, placement.decoder, threads, listed, records=True))
        decoder = _decoder(own, graphs[-1])
    files.guard()
    files.check()  # what onnxruntime has read is what was checked

    def close() -> None:
        if isinstance(decoder, CachedDecoder):
            decoder.forget()  # first: a device's memory goes before the session that has made it
        for graph in graphs:
            graph.close()
        files.release()

    return Graphs(encoder, decoder, files, close, _nodes(graphs))


def _foreign(folder: Folder, placement: Placement, threads: int | None) -> tuple[Encodes, Decoder, list[Graph]]:
    from ..folders.foreign import ForeignFolder  # of which own folders need nothing: importing it takes time
    from .foreign import open_foreign

    assert isinstance(folder, ForeignFolder)  # no other is foreign
    return open_foreign(folder, placement, threads)


def _nodes(graphs: Sequence[Graph]) -> tuple[int, int] | None:
    known = [graph.nodes for graph in graphs if graph.nodes is not None]
    return (sum(here for here, _ in known), sum(count for _, count in known)) if known else None


def laid_out(folder: Folder, device: Device) -> Folder:
    """The folder with the layout in use that the device runs."""
    return folder if device.is_cpu else folder.using(folder.variant, device.layout)


def _decoder(folder: Folder, graph: Graph) -> Decoder:
    if folder.layout == STATIC:
        from .static import StaticDecoder

        return StaticDecoder(graph, signature(graph), folder.decoder)
    return CachedDecoder(graph, folder.decoder)


def _encoders(folder: Folder, placement: Placement, threads: int | None, graphs: list[Graph]) -> Encodes:
    """What encodes; each graph once, which is put among `graphs`."""
    device = placement.encoder
    if not folder.sources:
        return NoEncoder()
    opened: dict[Path, Graph] = {}
    found: dict[str, Encoder] = {}
    for name, path in folder.encoder_paths.items():
        listed = folder.encoder_signatures[name]
        if path not in opened:
            opened[path] = _opened(folder, path, device, threads, listed)
            graphs.append(opened[path])
        if folder.layout == STATIC:
            from .static import static_encoder

            found[name] = static_encoder(opened[path], folder.sources[name], signature(opened[path]))
            continue
        inputs, outputs = {tensor.name: tensor for tensor in listed.inputs}, [tensor.name for tensor in listed.outputs]
        stays = not device.is_cpu and device == placement.decoder
        found[name] = Encoder(opened[path], folder.sources[name], inputs, outputs, stays)
    return found[folder.source.name] if len(found) == 1 else Encoders(found, folder.source.name)


def _opened(
    folder: Folder, path: Path, device: Device, threads: int | None, listed: Signature, *, records: bool = False
) -> Graph:
    """records: whether its runs have the same shapes again and again, so that a device may record them."""
    # On the CPU a graph for CUDA shows what CUDA runs where our operators for it are not there.
    by_bodies = folder.layout == CONTRIB
    graph = open_graph(path, device, threads, folder.facts_of(path).folded, records=records, by_bodies=by_bodies)
    if folder.layout == STATIC:
        return graph
    return _checked(graph, one_token(listed) if folder.layout == CONTRIB else listed)


def _checked(graph: Graph, listed: Signature) -> Graph:
    """The graph. Raises FolderError with every difference between its tensors and those that were listed."""
    problems = mismatches("graph", listed, signature(graph))
    if problems:
        raise FolderError(f"{graph.path} is not the graph that fuseline.json describes: {'; '.join(problems)}")
    return graph
