"""The cached decoder against plain runs of the same graph, which carry the caches as arrays and copy them each step.

The graph and its kernels are the same on both sides, so results are compared to the bit. Where a hypothesis is computed
again from its first token the order of additions differs: 2e-4 on logits of size 1 to 5, float32 gives 1e-5.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from fuseline.errors import InputError
from fuseline.folders.open import open_folder
from fuseline.folders.own import Folder
from fuseline.graphs.contract import Encoded, State, rows_of
from fuseline.graphs.decoder import CachedDecoder
from fuseline.graphs.foreign_decoder import ForeignDecoder, ForeignState
from fuseline.graphs.running import Graph
from fuseline.graphs.session import open_graph
from tests import tiny

CAPACITY = 9
Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return open_folder(tiny.tiny_folder(tmp_path_factory.mktemp("decoder"), seed=0))


@pytest.fixture(scope="module")
def graph(folder: Folder) -> Graph:
    return open_graph(folder.decoder_path, threads=1)


@pytest.fixture(scope="module")
def session(graph: Graph) -> onnxruntime.InferenceSession:
    return graph.session


@pytest.fixture
def decoder(folder: Folder, graph: Graph) -> CachedDecoder:
    return CachedDecoder(graph, folder.decoder)


def cross_arrays(folder: Folder, batch: int, seed: int = 0) -> dict[str, Array]:
    """Cross-attention K/V of 5 encoder positions."""
    random = np.random.default_rng(seed)
    names = [tensor.name for tensor in folder.encoder_signature.outputs]
    return {name: random.normal(size=(batch, 5, folder.decoder.width)).astype(np.float32) for name in names}


def encoded(arrays: dict[str, Array]) -> Encoded:
    batch = len(next(iter(arrays.values())))
    return Encoded(batch, {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()})


class Plain:
    """The same steps with session.run: every input given anew, every output a new array."""

    def __init__(
        self, session: onnxruntime.InferenceSession, folder: Folder, cross: dict[str, Array], rows: int
    ) -> None:
        self.session, self.cross = session, cross
        self.table = np.tile(np.arange(rows)[:, None], (1, CAPACITY))
        shape = (CAPACITY, rows, folder.decoder.width)
        names = [tensor.name for tensor in folder.decoder_signature.inputs if ".decoder." in tensor.name]
        self.caches = {name: np.zeros(shape, np.float32) for name in names}
        self.position = 0

    def step(self, tokens: Array, parents: Array | None) -> Array:
        if parents is not None:
            self.table[:, : self.position] = self.table[parents][:, : self.position]
        steering = {"input_ids": tokens, "position": np.array([self.position]), "beam_table": self.table}
        names = [output.name for output in self.session.get_outputs()]
        outputs = dict(zip(names, self.session.run(names, steering | self.caches | self.cross), strict=True))
        self.caches = {name: outputs[name.replace("past_key_values", "present")] for name in self.caches}
        self.position += tokens.shape[1]
        logits: Array = outputs["logits"]
        return logits


def steps_of(rows: int, beams: int, prompt: int, count: int, seed: int = 0) -> list[tuple[Array, Array | None]]:
    """Tokens and parents of a search that reorders the rows of each photo at every step."""
    random = np.random.default_rng(seed)
    first = np.arange(rows) // beams * beams
    steps: list[tuple[Array, Array | None]] = [(random.integers(3, 97, (rows, prompt)), None)]
    return steps + [(random.integers(3, 97, (rows, 1)), first + random.integers(0, beams, rows)) for _ in range(count)]


def walk(decoder: CachedDecoder, state: State, steps: list[tuple[Array, Array | None]]) -> list[Array]:
    return [decoder.step(state, tokens, parents).copy() for tokens, parents in steps]


@pytest.mark.parametrize(("batch", "beams", "prompt"), [(1, 1, 1), (1, 4, 1), (2, 3, 1), (2, 3, 3), (3, 1, 4)])
def test_steps_equal_plain_runs(
    decoder: CachedDecoder, session: onnxruntime.InferenceSession, folder: Folder, batch: int, beams: int, prompt: int
) -> None:
    cross = cross_arrays(folder, batch)
    steps = steps_of(batch * beams, beams, prompt, CAPACITY - prompt)
    plain = Plain(session, folder, cross, batch * beams)
    expected = [plain.step(tokens, parents) for tokens, parents in steps]
    found = walk(decoder, decoder.start(encoded(cross), beams, CAPACITY), steps)
    for index, (ours, reference) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_array_equal(ours, reference, err_msg=f"step {index}")


def test_parents_continue_whole_hypotheses(decoder: CachedDecoder, folder: Folder) -> None:
    """Whatever the beam table does, a row's logits are those of its tokens given at once as a prompt."""
    beams, rows = 3, 6
    cross, steps = encoded(cross_arrays(folder, 2)), steps_of(6, 3, 1, 5)
    logits = walk(decoder, decoder.start(cross, beams, CAPACITY), steps)[-1]
    hypotheses = steps[0][0]
    for tokens, parents in steps[1:]:
        hypotheses = np.concatenate([hypotheses[parents], tokens], axis=1)
    assert hypotheses.shape == (rows, 6)
    at_once = decoder.step(decoder.start(cross, beams, CAPACITY), hypotheses, None)
    np.testing.assert_allclose(logits, at_once, atol=2e-4)


def test_caches_and_logits_are_bound_once_and_written_in_place(decoder: CachedDecoder, folder: Folder) -> None:
    state = decoder.start(encoded(cross_arrays(folder, 1)), 2, CAPACITY)
    buffers = state._buffers
    caches, logits = list(buffers._binding.caches()), buffers._logits
    assert len(caches) == 2 * folder.decoder.layers
    addresses = {logits.ctypes.data, *(cache.ctypes.data for cache in caches)}
    tokens = np.full((2, 1), 7)
    for position in range(3):
        assert decoder.step(state, tokens, None) is logits
        bound = {value.data_ptr() for value in buffers._binding._binding.get_outputs()}
        assert bound == addresses, "the graph wrote elsewhere than into the bound arrays"
        for cache in caches:
            assert np.abs(cache[: position + 1]).min(axis=(1, 2)).all(), "a position that was computed is empty"
            assert not cache[position + 1 :].any(), "a position beyond the present one was written"


def test_memory_is_used_again_and_forgets_the_last_caption(decoder: CachedDecoder, folder: Folder) -> None:
    first, second = encoded(cross_arrays(folder, 1, seed=1)), encoded(cross_arrays(folder, 1, seed=2))
    steps = steps_of(4, 4, 2, 5)
    state = decoder.start(second, 4, CAPACITY)
    expected = walk(decoder, state, steps)
    del state
    state = decoder.start(first, 4, CAPACITY)
    buffers = state._buffers
    assert not np.array_equal(walk(decoder, state, steps)[-1], expected[-1])
    del state
    state = decoder.start(second, 4, CAPACITY)
    assert state._buffers is buffers
    for ours, reference in zip(walk(decoder, state, steps), expected, strict=True):
        np.testing.assert_array_equal(ours, reference)


def test_states_in_use_share_nothing(decoder: CachedDecoder, folder: Folder) -> None:
    cross, steps = encoded(cross_arrays(folder, 1)), steps_of(2, 2, 1, 4)
    expected = walk(decoder, decoder.start(cross, 2, CAPACITY), steps)
    one, other = decoder.start(cross, 2, CAPACITY), decoder.start(cross, 2, CAPACITY)
    assert one._buffers is not other._buffers
    for (tokens, parents), reference in zip(steps, expected, strict=True):
        decoder.step(other, (tokens + 1) % 97, parents)
        np.testing.assert_array_equal(decoder.step(one, tokens, parents), reference)


def test_the_pool_is_small(decoder: CachedDecoder, folder: Folder) -> None:
    cross = encoded(cross_arrays(folder, 1))
    for beams in range(1, 12):
        decoder.start(cross, beams, CAPACITY)
    decoder.start(cross, 1, CAPACITY)
    assert len(decoder._idle) <= decoder._IDLE


def test_the_pool_has_no_more_bytes_than_it_may(decoder: CachedDecoder, folder: Folder) -> None:
    cross = encoded(cross_arrays(folder, 1))
    one = decoder.start(cross, 4, CAPACITY)._buffers.bytes
    decoder.forget()
    decoder._IDLE_BYTES = 2 * one + one // 2  # type: ignore[misc]
    for beams in (4, 3, 4, 3, 4):
        states = [decoder.start(cross, beams, CAPACITY) for _ in range(3)]
        del states
        assert sum(each.bytes for each in decoder._idle) <= decoder._IDLE_BYTES
    assert decoder._idle
    decoder._IDLE_BYTES = 1  # type: ignore[misc]
    decoder.start(cross, 4, CAPACITY)
    assert not decoder._idle


def test_idle_memory_holds_no_photo(decoder: CachedDecoder, folder: Folder) -> None:
    """Whoever has encoded a photo and dropped it has its memory back, also while the caption's waits for the next."""
    arrays = cross_arrays(folder, 1)
    kept = weakref.WeakValueDictionary(enumerate(arrays.values()))
    cross = Encoded(1, {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()})
    owner = weakref.ref(cross)
    walk(decoder, decoder.start(cross, 2, CAPACITY), steps_of(2, 2, 1, 3))
    assert len(decoder._idle) == 1
    del cross, arrays
    gc.collect()
    assert owner() is None
    assert not list(kept.values())
    assert decoder._idle[0]._encoded is None


def another_layer(arrays: dict[str, Array]) -> None:
    arrays["past_key_values.9.encoder.key"] = arrays["past_key_values.0.encoder.key"]


def a_layer_less(arrays: dict[str, Array]) -> None:
    del arrays["past_key_values.0.encoder.key"]


def wider(arrays: dict[str, Array]) -> None:
    arrays.update({name: np.concatenate([array, array], axis=2) for name, array in arrays.items()})


def other_positions(arrays: dict[str, Array]) -> None:
    name = next(iter(arrays))
    arrays[name] = arrays[name][:, :3]


def doubles(arrays: dict[str, Array]) -> None:
    arrays.update({name: array.astype(np.float64) for name, array in arrays.items()})


@pytest.mark.parametrize("change", [another_layer, a_layer_less, wider, other_positions, doubles, dict.clear])
def test_what_another_model_has_encoded_is_refused(
    change: Callable[[dict[str, Array]], None], decoder: CachedDecoder, folder: Folder
) -> None:
    arrays = cross_arrays(folder, 1)
    change(arrays)
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    with pytest.raises(InputError, match=r"what is encoded is of another model: it holds \d+ keys and values, "):
        decoder.start(Encoded(1, values), 2, CAPACITY)


def test_what_is_encoded_must_be_of_as_many_photos_as_it_says(decoder: CachedDecoder, folder: Folder) -> None:
    with pytest.raises(InputError, match="of another model"):
        decoder.start(Encoded(2, encoded(cross_arrays(folder, 1)).values), 2, CAPACITY)


def test_the_caches_outlive_the_photos_arrays(decoder: CachedDecoder, folder: Folder) -> None:
    """A state keeps alive what it is bound to: nothing else here does."""
    steps = steps_of(2, 2, 1, 6)
    expected = walk(decoder, decoder.start(encoded(cross_arrays(folder, 1)), 2, CAPACITY), steps)
    state = decoder.start(encoded(cross_arrays(folder, 1)), 2, CAPACITY)
    rubbish = [np.full((5, folder.decoder.width), np.nan, np.float32) for _ in range(50)]
    np.testing.assert_array_equal(walk(decoder, state, steps), expected)
    assert rubbish


def test_threads_do_not_disturb_each_other(decoder: CachedDecoder, folder: Folder) -> None:
    crosses = [encoded(cross_arrays(folder, 1, seed)) for seed in range(8)]
    steps = steps_of(3, 3, 1, 8)

    def caption(cross: Encoded) -> Array:
        return np.stack(walk(decoder, decoder.start(cross, 3, CAPACITY), steps))

    expected = [caption(cross) for cross in crosses]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for ours, reference in zip(pool.map(caption, crosses), expected, strict=True):
                np.testing.assert_array_equal(ours, reference)


def test_capacity_is_that_of_the_positions(decoder: CachedDecoder, folder: Folder) -> None:
    cross = encoded(cross_arrays(folder, 1))
    assert decoder.start(cross, 1, 5).capacity == 5
    assert decoder.start(cross, 1, 10_000).capacity == folder.decoder.max_positions == 40


def test_more_tokens_than_capacity_are_refused(decoder: CachedDecoder, folder: Folder) -> None:
    state = decoder.start(encoded(cross_arrays(folder, 1)), 1, 3)
    decoder.step(state, np.full((1, 2), 5), None)
    with pytest.raises(InputError, match="room for 3 positions and 2 are taken, so 2 more do not fit"):
        decoder.step(state, np.full((1, 2), 5), None)
    assert state.position == 2
    decoder.step(state, np.full((1, 1), 5), None)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (2, 0)])
def test_tokens_of_another_shape_are_refused(decoder: CachedDecoder, folder: Folder, shape: tuple[int, int]) -> None:
    state = decoder.start(encoded(cross_arrays(folder, 1)), 2, 3)
    with pytest.raises(InputError, match=r"must be \[2, T\]"):
        decoder.step(state, np.full(shape, 5), None)


@pytest.mark.parametrize(("beams", "length"), [(0, 5), (2, 0), (-1, 5)])
def test_a_state_of_no_rows_or_positions_is_refused(
    decoder: CachedDecoder, folder: Folder, beams: int, length: int
) -> None:
    with pytest.raises(InputError, match="must be at least 1"):
        decoder.start(encoded(cross_arrays(folder, 1)), beams, length)


def test_a_narrowed_state_goes_on_as_the_whole_one_does(decoder: CachedDecoder, folder: Folder) -> None:
    """Photos 0 and 2 of 4, with beams that have crossed. 1e-4: the number of rows decides how a product is made."""
    cross, kept = cross_arrays(folder, 4), np.array([0, 2])
    rows = rows_of(kept, 3)
    assert rows.tolist() == [0, 1, 2, 6, 7, 8]
    whole, other = (decoder.start(encoded(cross), 3, CAPACITY) for _ in range(2))
    for state in (whole, other):
        rng = np.random.default_rng(0)
        decoder.step(state, np.ones((12, 1), np.int64), None)
        for _ in range(3):
            parents = (np.arange(12) // 3 * 3 + rng.integers(0, 3, 12)).astype(np.int64)
            decoder.step(state, rng.integers(3, 90, (12, 1)), parents)
    narrow = decoder.narrow(other, kept)
    for _ in range(3):
        parents = (np.arange(12) // 3 * 3 + rng.integers(0, 3, 12)).astype(np.int64)
        tokens = rng.integers(3, 90, (12, 1))
        expected = decoder.step(whole, tokens, parents)[rows]
        found = decoder.step(narrow, tokens[rows], np.searchsorted(rows, parents[rows]))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_memory_of_a_step_that_did_not_return_is_not_used_again(
    decoder: CachedDecoder, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cross = encoded(cross_arrays(folder, 1))
    for broken in (False, True):
        state = decoder.start(cross, 5, CAPACITY)
        buffers = weakref.ref(state._buffers)
        if broken:
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(state._buffers._binding, "_graph", Interrupted())
                decoder.step(state, np.ones((5, 1), np.int64), None)
        else:
            decoder.step(state, np.ones((5, 1), np.int64), None)
        del state
        again = decoder.start(cross, 5, CAPACITY)
        assert (buffers() is again._buffers) == (not broken)


class Interrupted:
    """A graph that Ctrl-C reaches."""

    def run_bound(self, binding: object, size: int) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("hidden_rows", [4, 12])
def test_a_state_over_graphs_of_other_tools_narrows_to_its_photos(folder: Folder, hidden_rows: int) -> None:
    """Whether the later steps read the hidden states, which are then those of rows, or only the caches."""
    nothing: Any = None
    foreign, random = ForeignDecoder(nothing, None, folder.decoder), np.random.default_rng(0)
    state = ForeignState(random.normal(size=(4, 5, 8)), np.ones((4, 5), np.int64), 3, CAPACITY)
    state.hidden = state.hidden.repeat(hidden_rows // 4, axis=0)
    state.position, state.tokens = 2, random.integers(0, 9, (12, 2))
    cache = random.normal(size=(12, 2, 2, 4)).astype(np.float32)
    state.caches = {"past_key_values.0.key": onnxruntime.OrtValue.ortvalue_from_numpy(cache)}
    narrow = foreign.narrow(state, np.array([1, 3]))
    rows = rows_of(np.array([1, 3]), 3)
    assert (narrow.rows, narrow.position, narrow.capacity, narrow.num_beams) == (6, 2, CAPACITY, 3)
    np.testing.assert_array_equal(narrow.tokens, state.tokens[rows])
    np.testing.assert_array_equal(narrow.hidden, state.hidden[[1, 3] if hidden_rows == 4 else rows])
    np.testing.assert_array_equal(narrow.caches["past_key_values.0.key"].numpy(), cache[rows])
