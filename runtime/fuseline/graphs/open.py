"""The graphs of a folder's variant, opened on a device that answers as the CPU does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import FolderError
from ..files.unchanged import Unchanged
from ..folders.foreign import ForeignFolder
from ..folders.own import Folder
from ..folders.tensors import Signature, mismatches
from .contract import Decoder
from .decoder import CachedDecoder
from .encoder import Encoder
from .foreign import open_foreign
from .running import Graph
from .session import open_graph, signature


@dataclass(frozen=True)
class Graphs:
    """An encoder and its decoder; files: what they are read from; close: lets go of the sessions."""

    encoder: Encoder
    decoder: Decoder
    files: Unchanged
    close: Callable[[], None]


def open_graphs(folder: Folder, device: str = "cpu", threads: int | None = None) -> Graphs:
    """Open the variant in use, unchecked as far as the device's answers go: see fuseline.trials.device_check.

    Raises FolderError where a graph is not what the folder says of it, DeviceError, InputError.
    """
    files = Unchanged(folder.files_in_use)
    if isinstance(folder, ForeignFolder):
        encoder, foreign, graphs = open_foreign(folder, device, threads)
        decoder: Decoder = foreign
    else:
        graphs = [
            _checked(open_graph(path, device, threads, folder.facts_of(path).folded), listed)
            for path, listed in (
                (folder.encoder_path, folder.encoder_signature),
                (folder.decoder_path, folder.decoder_signature),
            )
        ]
        listed = folder.encoder_signature
        inputs = {tensor.name: tensor for tensor in listed.inputs}
        encoder = Encoder(graphs[0], folder.source, inputs, [tensor.name for tensor in listed.outputs])
        decoder = CachedDecoder(graphs[1], folder.decoder)
    files.guard()
    files.check()  # what onnxruntime has read is what was checked

    def close() -> None:
        for graph in graphs:
            graph.close()
        files.release()
        if isinstance(decoder, CachedDecoder):
            decoder.forget()

    return Graphs(encoder, decoder, files, close)


def _checked(graph: Graph, listed: Signature) -> Graph:
    """The graph. Raises FolderError with every difference between its tensors and those that were listed."""
    problems = mismatches("graph", listed, signature(graph))
    if problems:
        raise FolderError(f"{graph.path} is not the graph that fuseline.json describes: {'; '.join(problems)}")
    return graph
