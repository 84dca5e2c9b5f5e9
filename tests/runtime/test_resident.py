"""Inputs, outputs and caches that stay in one place, as CUDA wants them: the same code over the CPU's memory.

The graphs are those of the layout for CUDA, whose operators have kernels on the CPU too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from fuseline import Model
from fuseline.export import layouts
from fuseline.folders.description import CONTRIB
from fuseline.folders.open import open_folder
from fuseline.folders.own import Folder
from fuseline.graphs import decoder as decoders
from fuseline.graphs.bound import Bound
from fuseline.graphs.decoder import CachedDecoder
from fuseline.graphs.resident import Resident
from fuseline.graphs.running import Graph
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A captioner."""
    made = tiny.tiny_folder(tmp_path_factory.mktemp("resident"), 1)
    layouts(made, (CONTRIB,))
    return open_folder(made)


def resident(graph: Graph, in_place: bool) -> Bound:
    """The fused graphs, which are the reference, are bound as ever."""
    return Resident(graph, "cpu") if CONTRIB in str(graph.path) else Bound(graph)


def opened(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The graphs for CUDA, bound as there."""
    monkeypatch.setattr(decoders, "binding_of", resident)
    return Model(folder.using(folder.variant, CONTRIB), threads=1)


def test_tokens_and_what_is_told_of_them_are_the_cpus(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beams, batches of which some texts end before others, prompts, and where it looked."""
    expected = Model(folder, threads=1)
    model = opened(folder, monkeypatch)
    prompt = np.array([[tiny.START, 5, 17], [tiny.START, 9, 4]])
    for count, options in [
        (1, {"num_beams": 4, "max_length": 12}),
        (6, {"num_beams": 1, "max_length": 16}),
        (6, {"num_beams": 3, "max_length": 16}),
        (6, {"num_beams": 3, "max_length": 16}),  # in memory that was used before
        (2, {"num_beams": 2, "max_length": 10, "decoder_input_ids": prompt, "output_attentions": True}),
    ]:
        mine, its = (each.generate(tiny.photos(count), **options) for each in (expected, model))
        np.testing.assert_array_equal(its.sequences, mine.sequences)
        if mine.cross_attentions is not None:
            np.testing.assert_allclose(its.cross_attentions, mine.cross_attentions, atol=2e-5)


def test_searches_that_want_no_logits_read_the_best_of_them(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all of a batch is kept, as on CUDA; what changes logits or returns them reads all."""
    expected, model = Model(folder, threads=1), opened(folder, monkeypatch)
    assert isinstance(model.decoder, CachedDecoder)
    assert model.decoder.offers == 32
    model.decoder.narrows = False
    read: list[set[str]] = []
    real = Resident.read

    def noted(self: Resident, names: Iterable[str]) -> None:
        read.append(set(names))
        real(self, names)

    monkeypatch.setattr(Resident, "read", noted)
    for options, by_best in [
        ({"num_beams": 1}, True),
        ({"num_beams": 4, "num_return_sequences": 3}, True),
        ({"num_beams": 16}, True),
        ({"num_beams": 17}, False),  # of each row 34 may go on
        ({"num_beams": 3, "repetition_penalty": 1.3}, False),
        ({"num_beams": 3, "output_scores": True}, False),
        ({"num_beams": 1, "do_sample": True, "seed": 3}, False),
        ({"num_beams": 3, "output_model_logprobs": True}, False),
    ]:
        read.clear()
        mine, its = (each.generate(tiny.photos(3), max_length=14, **options) for each in (expected, model))
        np.testing.assert_array_equal(its.sequences, mine.sequences, err_msg=str(options))
        np.testing.assert_allclose(its.sequences_scores, mine.sequences_scores, atol=2e-5)
        np.testing.assert_allclose(its.token_logprobs, mine.token_logprobs, atol=2e-5)
        assert all(("best_tokens" in names) is by_best for names in read), options
        assert all(("logits" in names) is not by_best for names in read), options


def test_texts_of_unequal_lengths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What says how long they are is copied up for every call."""
    from tests.layouts import case

    path, inputs, _ = case("texts: bart", tmp_path)
    layouts(path, (CONTRIB,))
    expected = Model(open_folder(path), threads=1)
    model = opened(open_folder(path), monkeypatch)
    for some in (slice(0, 3), slice(3, 6), slice(0, 3)):
        mine, its = (each.generate(inputs(some), num_beams=2, max_length=9) for each in (expected, model))
        np.testing.assert_array_equal(its.sequences, mine.sequences)


def test_a_step_is_recorded_once_for_all_that_lies_where_it_lay(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU records nothing and takes the number all the same."""
    model = opened(folder, monkeypatch)
    assert isinstance(model.decoder, CachedDecoder)
    graph = model.decoder._graph
    graph.records = True
    pixels = tiny.photos(2)
    encoded = model.encode(pixels)
    tokens = np.full((4, 1), tiny.START)
    for _ in range(3):  # the memory of a state that is gone is the next one's
        state = model.decoder.start(encoded, 2, 8)
        for _ in range(4):
            model.decoder.step(state, tokens, None)
        del state
    assert list(graph.recorded.values()) == [1]
    state = model.decoder.start(encoded, 1, 8)
    model.decoder.step(state, tokens[:2], None)
    assert list(graph.recorded.values()) == [1, 2]


def test_what_was_read_goes_with_the_text(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle memory keeps no keys and values of photos."""
    model = opened(folder, monkeypatch)
    assert isinstance(model.decoder, CachedDecoder)
    state = model.decoder.start(model.encode(tiny.photos(1)), 1, 8)
    buffers = state._buffers
    bound = buffers._binding
    assert isinstance(bound, Resident)
    names = list(buffers._types)
    assert all(bound._values[name].tensor_size_in_bytes() > 4 for name in names)
    del state
    assert all(bound._values[name].tensor_size_in_bytes() == 4 for name in names)
