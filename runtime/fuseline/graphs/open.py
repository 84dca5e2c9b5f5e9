"""The graphs of a folder's variant, opened on a device that answers as the CPU does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import FolderError
from ..files.unchanged import Unchanged
from ..folders.foreign import ForeignFolder
from ..folders.own import Folder
from ..folders.tensors import Signature, mismatches
from .contract import Decoder
from .decoder import CachedDecoder
from .devices import Device, Placement, placed
from .encoder import Encoder
from .foreign import open_foreign
from .running import Graph
from .session import open_graph, signature
from .sources import Encoders, Encodes, NoEncoder


@dataclass(frozen=True)
class Graphs:
    """An encoder, those of several sources, or none, and the decoder; files: what they are read from; close: lets go of
    the sessions."""

    encoder: Encodes
    decoder: Decoder
    files: Unchanged
    close: Callable[[], None]


def open_graphs(folder: Folder, device: object = "cpu", threads: int | None = None) -> Graphs:
    """Open the variant in use, unchecked as far as the device's answers go: see fuseline.trials.device_check.

    device: what `placed` takes. On the CPU the layout in use is opened, on another device the one that it runs. Raises
    FolderError where a graph is not what the folder says of it, or where there is no such layout, DeviceError,
    InputError.
    """
    placement = placed(device)
    parts = {part: _for(folder, part) for part in placement.parts}
    files = Unchanged({file: stamp for each in parts.values() for file, stamp in each.files_in_use.items()})
    if isinstance(folder, ForeignFolder):
        opened_foreign = open_foreign(folder, placement, threads)
        encoder: Encodes = opened_foreign[0]
        decoder: Decoder = opened_foreign[1]
        graphs = opened_foreign[2]
    else:
        graphs = []
        encoder = _encoders(parts[placement.encoder], placement, threads, graphs)
        graphs.append(_decoder(parts[placement.decoder], placement.decoder, threads))
        decoder = CachedDecoder(graphs[-1], folder.decoder)
    files.guard()
    files.check()  # what onnxruntime has read is what was checked

    def close() -> None:
        for graph in graphs:
            graph.close()
        files.release()
        if isinstance(decoder, CachedDecoder):
            decoder.forget()

    return Graphs(encoder, decoder, files, close)


def _for(folder: Folder, device: Device) -> Folder:
    """The folder with the layout in use that the device runs."""
    return folder if device.is_cpu else folder.using(folder.variant, device.layout)


def _encoders(folder: Folder, placement: Placement, threads: int | None, graphs: list[Graph]) -> Encodes:
    """What encodes; each graph once, which is put among `graphs`."""
    device = placement.encoder
    if not folder.sources:
        return NoEncoder()
    opened: dict[Path, Graph] = {}
    found = {}
    for name, path in folder.encoder_paths.items():
        listed = folder.encoder_signatures[name]
        if path not in opened:
            opened[path] = _checked(open_graph(path, device, threads, folder.facts_of(path).folded), listed)
            graphs.append(opened[path])
        inputs, outputs = {tensor.name: tensor for tensor in listed.inputs}, [tensor.name for tensor in listed.outputs]
        stays = not device.is_cpu and device == placement.decoder
        found[name] = Encoder(opened[path], folder.sources[name], inputs, outputs, stays)
    return found[folder.source.name] if len(found) == 1 else Encoders(found, folder.source.name)


def _decoder(folder: Folder, device: Device, threads: int | None) -> Graph:
    path = folder.decoder_path
    return _checked(open_graph(path, device, threads, folder.facts_of(path).folded), folder.decoder_signature)


def _checked(graph: Graph, listed: Signature) -> Graph:
    """The graph. Raises FolderError with every difference between its tensors and those that were listed."""
    problems = mismatches("graph", listed, signature(graph))
    if problems:
        raise FolderError(f"{graph.path} is not the graph that fuseline.json describes: {'; '.join(problems)}")
    return graph
