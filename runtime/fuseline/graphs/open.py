"""The graphs of a folder's variant, opened on a device that answers as the CPU does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import FolderError
from ..files.unchanged import Unchanged
from ..folders.description import STATIC
from ..folders.foreign import ForeignFolder
from ..folders.own import Folder
from ..folders.tensors import Signature, mismatches
from .contract import Decoder
from .decoder import CachedDecoder
from .encoder import Encoder
from .foreign import open_foreign
from .running import Graph
from .session import open_graph, signature
from .sources import Encoders, Encodes, NoEncoder
from .static import StaticDecoder, static_encoder


@dataclass(frozen=True)
class Graphs:
    """An encoder, those of several sources, or none, and the decoder; files: what they are read from; close: lets go of
    the sessions."""

    encoder: Encodes
    decoder: Decoder
    files: Unchanged
    close: Callable[[], None]


def open_graphs(folder: Folder, device: str = "cpu", threads: int | None = None) -> Graphs:
    """Open the variant in use, unchecked as far as the device's answers go: see fuseline.trials.device_check.

    Raises FolderError where a graph is not what the folder says of it, DeviceError, InputError.
    """
    files = Unchanged(folder.files_in_use)
    if isinstance(folder, ForeignFolder):
        opened_foreign = open_foreign(folder, device, threads)
        encoder: Encodes = opened_foreign[0]
        decoder: Decoder = opened_foreign[1]
        graphs = opened_foreign[2]
    else:
        opened = {path: open_graph(path, device, threads, folder.facts_of(path).folded) for path in _listed(folder)}
        if folder.layout != STATIC:
            for path, listed in _listed(folder).items():
                _checked(opened[path], listed)
        graphs = list(opened.values())
        encoder = _encoders(folder, opened)
        decoder = _decoder(folder, opened[folder.decoder_path])
    files.guard()
    files.check()  # what onnxruntime has read is what was checked

    def close() -> None:
        for graph in graphs:
            graph.close()
        files.release()
        if isinstance(decoder, CachedDecoder):
            decoder.forget()

    return Graphs(encoder, decoder, files, close)


def _listed(folder: Folder) -> dict[Path, Signature]:
    """Every graph of the variant in use, once, with what fuseline.json says of it."""
    encoders = {path: folder.encoder_signatures[name] for name, path in folder.encoder_paths.items()}
    return encoders | {folder.decoder_path: folder.decoder_signature}


def _decoder(folder: Folder, graph: Graph) -> Decoder:
    if folder.layout == STATIC:
        return StaticDecoder(graph, signature(graph), folder.decoder)
    return CachedDecoder(graph, folder.decoder)


def _encoders(folder: Folder, opened: Mapping[Path, Graph]) -> Encodes:
    if not folder.sources:
        return NoEncoder()
    found: dict[str, Encoder] = {}
    for name, path in folder.encoder_paths.items():
        if folder.layout == STATIC:
            found[name] = static_encoder(opened[path], folder.sources[name], signature(opened[path]))
            continue
        listed = folder.encoder_signatures[name]
        inputs, outputs = {tensor.name: tensor for tensor in listed.inputs}, [tensor.name for tensor in listed.outputs]
        found[name] = Encoder(opened[path], folder.sources[name], inputs, outputs)
    return found[folder.source.name] if len(found) == 1 else Encoders(found, folder.source.name)


def _checked(graph: Graph, listed: Signature) -> Graph:
    """The graph. Raises FolderError with every difference between its tensors and those that were listed."""
    problems = mismatches("graph", listed, signature(graph))
    if problems:
        raise FolderError(f"{graph.path} is not the graph that fuseline.json describes: {'; '.join(problems)}")
    return graph
