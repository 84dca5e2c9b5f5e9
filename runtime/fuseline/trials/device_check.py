"""Whether a device says what the CPU says: a model is tried once on each device, and what was found is remembered.

Equal means the same tokens for a made-up photo, or for two made-up texts of unequal length, of greedy search, of the
best of four beams, and of texts that go on from a prompt of several tokens, through the same encoder, decoder and
binding that serve calls. Scores may differ in their last bits: a device adds in another order.
"""

from __future__ import annotations

import numpy as np

from ..arrays import Int64
from ..errors import DeviceError, FolderError
from ..folders.own import Folder
from ..generation.config import GenerationConfig
from ..graphs.contract import Encoded
from ..graphs.devices import CPU, provider_of
from ..graphs.open import Graphs, open_graphs
from ..graphs.running import Limit, RunEnded
from ..search import search
from .machine import facts_of, recall, remember
from .probe import generation_config, inputs

SECONDS = 8.0  # for the runs on both
_STEPS = 10
_PROMPT = 3
_ABOUT = "devices"


def open_checked(folder: Folder, device: str = "cpu", threads: int | None = None) -> Graphs:
    """The graphs of the variant in use, open on the device. Raises what open_graphs does, and DeviceError for a device
    that says something else than the CPU, fails or takes too long."""
    graphs = open_graphs(folder, device, threads)
    provider = provider_of(device)
    if provider == CPU:
        return graphs
    facts = facts_of(folder, device, threads) | {"variant": folder.variant}
    found = recall(_ABOUT, facts)
    if found is None or not isinstance(found.get("same"), bool):
        found = {"same": _says_the_same(folder, graphs, provider, threads)}
        remember(_ABOUT, facts, found)
    if not found["same"]:
        graphs.close()
        raise DeviceError(f"{provider} says other tokens than the CPU for {folder.path}, so it is not used; use cpu")
    return graphs


def _says_the_same(folder: Folder, graphs: Graphs, provider: str, threads: int | None) -> bool:
    on_cpu = open_graphs(folder, "cpu", threads)
    limit = Limit(SECONDS)
    try:
        with limit:
            expected = _tokens(folder, on_cpu, None)
        with limit:
            found = _tokens(folder, graphs, expected[0])
    except RunEnded:
        raise DeviceError(
            f"{provider} could not be compared with the CPU for {folder.path} within {SECONDS:.0f} s; use cpu"
        ) from None
    except FolderError as error:
        raise DeviceError(f"{provider} cannot be used for {folder.path}: {error}") from None
    finally:
        on_cpu.close()
    return all(np.array_equal(mine, its) for mine, its in zip(expected, found, strict=True))


def _tokens(folder: Folder, graphs: Graphs, greedy: Int64 | None) -> list[Int64]:
    """Sequences int64[B, T] of several searches. greedy: what the prompt is made of, None for what is found here."""
    encoded = graphs.encoder.encode(graphs.encoder.checked(inputs(folder, texts=2)))
    start = generation_config(folder)
    first = start.bos_token_id if start.decoder_start_token_id is None else start.decoder_start_token_id
    begin = np.full((encoded.batch, 1), first or 0, np.int64)
    most = folder.decoder.max_positions
    found: list[Int64] = []
    for beams in (1, 4):
        found.append(_search(graphs, encoded, begin, beams, min(_STEPS, most)))
    prompt = (found[0] if greedy is None else greedy)[:, :_PROMPT]
    if prompt.shape[1] <= most:
        found.append(_search(graphs, encoded, prompt, 2, min(_STEPS, most + 1 - prompt.shape[1])))
    return found


def _search(graphs: Graphs, encoded: Encoded, prompt: Int64, beams: int, steps: int) -> Int64:
    config = GenerationConfig(num_beams=beams, max_new_tokens=steps)
    return search(graphs.decoder, encoded, prompt, config).sequences
