"""Whether a device says what the CPU says: a model is tried once on each device, and what was found is remembered.

Equal means the same tokens for a made-up photo, or for two made-up texts of unequal length, of greedy search, of the
best of four beams, and of texts that go on from a prompt of several tokens, through the same encoder, decoder and
binding that serve calls. Scores may differ in their last bits: a device adds in another order. Of graphs of halves,
where such bits decide between two words now and then, and where somebody asked for fewer bits, other tokens are let
pass if logits along the CPU's tokens are near, of beams that change places. The same is tried with caches that are
written where they are read, which some providers keep right and some do not.

What the CPU says is what it says by the graphs that the device runs. Where they are of another layout, it may say
something else by its own: the fused layout of 8 bits rounds activations, too. That is remembered beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ..arrays import Float32, Int64, log_softmax
from ..errors import DeviceError, FolderError, written
from ..folders.own import Folder
from ..generation.config import GenerationConfig
from ..graphs.contract import Best, Encoded, State
from ..graphs.decoder import CachedDecoder
from ..graphs.devices import Placement, placed
from ..graphs.open import Graphs, laid_out, open_graphs
from ..graphs.running import Limit, RunEnded
from ..search import search
from .machine import facts_of, recall, remember
from .probe import generation_config, inputs, room

Found = TypeVar("Found")
Given = TypeVar("Given")

SECONDS = 60.0  # for the runs on each; a GPU compiles a program for every operator first
_STEPS = 10
_PROMPT = 3
_NEAR = 0.02  # of the largest logit: what fewer bits may differ by, see docs/layouts.md
_ENDED = "max_time"
_ABOUT, _SAME, _IN_PLACE, _AS_FUSED = "devices", "same", "in place", "as fused"


class OtherTokens(DeviceError):
    """A device says something else than the CPU."""


def open_checked(
    folder: Folder, device: object = "cpu", threads: int | None = None, *, as_fused: bool = False
) -> Graphs:
    """The graphs of the variant in use, opened where `placed` says.

    as_fused: whether it must say what the CPU says by the layout in use, too, and not only by the device's. Raises what
    open_graphs does, and DeviceError for a device that says something else than the CPU, fails or takes too long.
    """
    placement = placed(device)
    graphs = open_graphs(folder, placement, threads)
    if placement.is_cpu:
        return graphs
    facts = facts_of(folder, placement, threads) | {"variant": folder.variant}
    found = recall(_ABOUT, facts)
    if found is None or not all(isinstance(found.get(key), bool) for key in (_SAME, _IN_PLACE, _AS_FUSED)):
        found = _tried(folder, graphs, placement, threads)
        remember(_ABOUT, facts, found)
    if not found[_SAME]:
        graphs.close()
        raise OtherTokens(f"{placement} says other tokens than the CPU for {folder.path}, so it is not used; use cpu")
    if as_fused and not found[_AS_FUSED]:
        graphs.close()
        raise OtherTokens(
            f"the graphs that {placement} runs say other tokens than the {folder.layout} ones for {folder.path}, "
            f"on the CPU too; whoever asks for device={written(placement.asked)} gets them"
        )
    _keep_in_place(graphs, found[_IN_PLACE])
    return graphs


def _tried(folder: Folder, graphs: Graphs, placement: Placement, threads: int | None) -> dict[str, bool]:
    """Whether it says what the CPU says by the same graphs, whether it does so too with caches that are read and
    written in one memory, and whether the CPU says the same by its own."""
    limit, most = Limit(SECONDS), room(graphs.decoder, folder)
    own = all(laid_out(folder, device) is folder for device in placement.parts)
    try:
        with limit:
            expected = _on_cpu(folder, placement, threads, most)
        with limit:
            same = _says(expected, folder, graphs, placement, threads, most)
        _keep_in_place(graphs, True)
        with limit:
            in_place = same and _says(expected, folder, graphs, placement, threads, most)
        with limit:
            as_fused = same and (own or _equal(expected, _on_cpu(folder, placed(), threads, most, expected[0])))
    except RunEnded:
        graphs.close()
        raise DeviceError(
            f"{placement} could not be compared with the CPU for {folder.path} within {SECONDS:.0f} s; "
            "try again when less else runs, or use cpu"
        ) from None
    except (DeviceError, FolderError) as error:
        graphs.close()
        raise DeviceError(f"{placement} cannot be used for {folder.path}: {error}") from None
    return {_SAME: same, _IN_PLACE: in_place, _AS_FUSED: as_fused}


def _says(
    expected: list[Int64],
    folder: Folder,
    graphs: Graphs,
    placement: Placement,
    threads: int | None,
    most: tuple[int, int],
) -> bool:
    """Whether it says what is expected, or in fewer bits something as near as halves are."""
    if _equal(expected, _tokens(folder, graphs, most, expected[0])):
        return True
    fewer = isinstance(graphs.decoder, CachedDecoder) and graphs.decoder.halves
    if not (fewer or any(device.may_round for device in placement.parts)):
        return False
    found = np.array(list(_along(folder, graphs, expected[0], graphs.decoder.step)))
    right = _with_cpu(
        folder, placement, threads, lambda cpu: np.array(list(_along(folder, cpu, expected[0], cpu.decoder.step)))
    )
    near = _NEAR * np.abs(right).max()
    if not np.abs(found - right).max() <= near:  # a NaN is near nothing
        return False
    if not isinstance(graphs.decoder, CachedDecoder) or not graphs.decoder.offers:
        return True
    best = list(_along(folder, graphs, expected[0], graphs.decoder.best))
    return all(_is_best(each, log_softmax(logits), near) for each, logits in zip(best, found, strict=True))


def _is_best(best: Best, logprobs: Float32, near: float) -> bool:
    """Whether these are the largest of float32[R, V], as far as they are not equally near."""
    count = best.tokens.shape[1]
    largest = np.sort(logprobs, axis=1)[:, : -count - 1 : -1]
    own = np.take_along_axis(logprobs, best.tokens, axis=1)
    return bool(max(np.abs(best.logprobs - each).max() for each in (largest, own)) <= near)


def _along(
    folder: Folder, graphs: Graphs, greedy: Int64, step: Callable[[State, Int64, Int64 | None], Given]
) -> Iterator[Given]:
    """What each step gives of two beams for each input, one along these tokens, int64[B, T], the other along them from
    behind; the beams change places at every other step."""
    encoded = graphs.encoder.encode(graphs.encoder.checked(inputs(folder, texts=2)))
    tokens = np.repeat(greedy[:, : folder.decoder.max_positions], 2, axis=0)
    tokens[1::2] = tokens[1::2, ::-1]
    state = graphs.decoder.start(encoded, 2, tokens.shape[1])
    yield deepcopy(step(state, tokens[:, :_PROMPT], None))  # the next step writes there
    for at in range(_PROMPT, tokens.shape[1]):
        parents = np.arange(len(tokens)) ^ 1 if at % 2 else None
        yield deepcopy(step(state, tokens[:, at : at + 1], parents))


def _on_cpu(
    folder: Folder, placement: Placement, threads: int | None, most: tuple[int, int], greedy: Int64 | None = None
) -> list[Int64]:
    """What the CPU says by the graphs of a placement, see _tokens."""
    return _with_cpu(folder, placement, threads, lambda graphs: _tokens(folder, graphs, most, greedy))


def _with_cpu(folder: Folder, placement: Placement, threads: int | None, work: Callable[[Graphs], Found]) -> Found:
    """What work makes of the graphs of a placement on the CPU."""
    encoding = open_graphs(laid_out(folder, placement.encoder), "cpu", threads)
    decoding = encoding
    try:
        if len(placement.parts) > 1:
            decoding = open_graphs(laid_out(folder, placement.decoder), "cpu", threads)
        return work(replace(decoding, encoder=encoding.encoder))
    finally:
        for graphs in {id(each): each for each in (encoding, decoding)}.values():
            graphs.close()


def _keep_in_place(graphs: Graphs, in_place: bool) -> None:
    """Only decoders of our own folders have caches that can be."""
    if isinstance(graphs.decoder, CachedDecoder):
        graphs.decoder.forget()
        graphs.decoder.in_place = in_place


def _equal(expected: list[Int64], found: list[Int64]) -> bool:
    return all(np.array_equal(mine, its) for mine, its in zip(expected, found, strict=True))


def _tokens(folder: Folder, graphs: Graphs, most: tuple[int, int], greedy: Int64 | None) -> list[Int64]:
    """Sequences int64[B, T] of several searches. most: beams and tokens of a text; greedy: what the prompt is made of,
    None for what is found here."""
    encoded = graphs.encoder.encode(graphs.encoder.checked(inputs(folder, texts=2)))
    start = generation_config(folder)
    first = start.bos_token_id if start.decoder_start_token_id is None else start.decoder_start_token_id
    begin = np.full((encoded.batch, 1), first or 0, np.int64)
    (rows, tokens), found = most, list[Int64]()
    for beams in (1, 4):
        found.append(_search(graphs, encoded, begin, min(beams, rows), min(_STEPS, tokens - 1)))
    prompt = (found[0] if greedy is None else greedy)[:, :_PROMPT]
    if prompt.shape[1] < tokens:
        found.append(_search(graphs, encoded, prompt, min(2, rows), min(_STEPS, tokens - prompt.shape[1])))
    return found


def _search(graphs: Graphs, encoded: Encoded, prompt: Int64, beams: int, steps: int) -> Int64:
    config = GenerationConfig(num_beams=beams, max_new_tokens=steps)
    found = search(graphs.decoder, encoded, prompt, config)
    if _ENDED in found.finish_reasons:  # a search that is over its time returns what it has
        raise RunEnded(_ENDED)
    return found.sequences
