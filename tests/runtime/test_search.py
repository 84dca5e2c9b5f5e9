"""Greedy and beam search against transformers' generate, on a tiny real vision encoder-decoder model.

The decoder here is torch recomputing every row's whole sequence, so that the search alone is under test. Reference:
transformers' generate; sequences must be equal and scores within 1e-4, or one part in a million (a negative
length_penalty multiplies them to hundreds, where float32 itself has steps of 6e-5).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.generation.config import GenerationConfig
from fuseline.generation.result import Generation
from fuseline.search import search

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VOCAB, POSITIONS, START, SIDE = 40, 32, 1, 8
SCORE_TOLERANCE = 1e-4
ANY: Any = None  # what a decoder that looks at no photo is given as encoded


@dataclass
class TorchState:
    """The whole history of every row."""

    history: np.ndarray | None = None  # int64[R, tokens so far]
    encoded: Any = None  # float32[R, S, E]
    beams: int = 1


class TorchDecoder:
    """The step contract over a torch model without a cache: strict about what it gets, miserly in what it returns."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.buffer: np.ndarray | None = None
        self.crossings = 0  # rows that continued another row, after the step in which all continue the first
        self.steps = 0

    def start(self, encoded: Any, num_beams: int, max_length: int, *, attentions: bool = False) -> TorchState:
        self.max_length = max_length
        return TorchState(encoded=encoded.repeat_interleave(num_beams, dim=0), beams=num_beams)

    def step(self, state: TorchState, tokens: np.ndarray, parents: np.ndarray | None) -> np.ndarray:
        rows = len(state.encoded)
        assert tokens.dtype == np.int64 and tokens.shape[0] == rows
        if parents is not None:
            assert parents.dtype == np.int64 and parents.shape == (rows,)
            assert (parents // state.beams == np.arange(rows) // state.beams).all(), "a beam left its photo"
            self.crossings += int((parents != np.arange(rows)).sum()) if self.steps > 1 else 0
        self.steps += 1
        if state.history is None:
            state.history = tokens.copy()
        else:
            assert tokens.shape[1] == 1
            kept = state.history if parents is None else state.history[parents]
            state.history = np.concatenate([kept, tokens], axis=1)
        assert state.history.shape[1] < self.max_length
        with torch.no_grad():
            ids = torch.from_numpy(state.history)
            # With a mask given, transformers does not look for packed sequences, which takes longer than the model.
            mask = torch.ones_like(ids)
            out = self.model.decoder(ids, attention_mask=mask, encoder_hidden_states=state.encoded, use_cache=False)
        if self.buffer is None or len(self.buffer) != rows:
            self.buffer = np.empty((rows, VOCAB), np.float32)
        self.buffer[:] = out.logits[:, -1].numpy()  # one buffer for all steps: a search must not keep the last one
        return self.buffer

    def narrow(self, state: TorchState, photos: np.ndarray) -> TorchState:
        rows = (photos[:, None] * state.beams + np.arange(state.beams)).ravel()
        assert state.history is not None and len(rows) < len(state.history)
        return TorchState(state.history[rows], state.encoded[torch.from_numpy(rows)], state.beams)


def tiny_model(seed: int) -> Any:
    """A 1-layer ViT and a 1-layer GPT-2 with cross-attention; random weights, scaled up so that captions vary."""
    torch.manual_seed(seed)
    vit = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=SIDE, patch_size=4
    )
    gpt2 = transformers.GPT2Config(
        vocab_size=VOCAB,
        n_positions=POSITIONS,
        n_embd=16,
        n_layer=1,
        n_head=2,
        add_cross_attention=True,
        is_decoder=True,
        tie_word_embeddings=False,
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vit, gpt2)
    config.tie_word_embeddings = False
    model = transformers.VisionEncoderDecoderModel(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = {"lm_head": 25, "wte": 4, "wpe": 8, "position_embeddings": 8, "embeddings": 4}
            if weight.ndim >= 2:
                weight.mul_(next((by for part, by in scale.items() if part in name), 20))
    model.generation_config = transformers.GenerationConfig(decoder_start_token_id=START)
    return model


@dataclass
class Bench:
    """A model, photos for it, and the tokens that its captions are made of (for end tokens that occur)."""

    model: Any
    photos: Any = field(default=None)
    common: list[int] = field(default_factory=list)

    def ours(self, photos: Any, prompt: np.ndarray, options: dict[str, Any]) -> tuple[Generation, TorchDecoder]:
        decoder: Any = TorchDecoder(self.model)
        with torch.no_grad():
            encoded = self.model.encoder(photos).last_hidden_state
        config = GenerationConfig(decoder_start_token_id=START).override(**options)
        return search(decoder, encoded, prompt, config), decoder

    def theirs(self, photos: Any, prompt: np.ndarray, options: dict[str, Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.model.generate(
                photos,
                decoder_input_ids=torch.from_numpy(prompt),
                return_dict_in_generate=True,
                output_scores=True,
                output_logits=True,
                **options,
            )

    def their_scores(self, theirs: Any, options: dict[str, Any], start: int) -> np.ndarray:
        """Scores float32[N]; for greedy search, where transformers has none, from its logits by the beam formula."""
        if options.get("num_beams", 1) > 1:
            return np.asarray(theirs.sequences_scores)
        sequences = theirs.sequences
        steps = self.model.compute_transition_scores(sequences, theirs.scores, normalize_logits=True).numpy()
        ends = np.atleast_1d(options.get("eos_token_id", []) if options.get("eos_token_id") is not None else [])
        hit = np.isin(sequences[:, start:].numpy(), ends)
        kept: np.ndarray = np.cumsum(hit, axis=1) - hit == 0  # up to and with the first end token
        totals: np.ndarray = np.where(kept, steps, 0).sum(axis=1)  # what is padded may have had no probability
        penalty: float = options.get("length_penalty", 1.0)
        return np.asarray(totals / kept.sum(axis=1) ** penalty)

    def check_inside(self, ours: Generation, theirs: Any, options: dict[str, Any], start: int) -> None:
        """Log-probabilities of tokens, the rows they continued and what ended the sequences."""
        beams, ends = options.get("num_beams", 1), options.get("eos_token_id")
        ends = np.atleast_1d([] if ends is None else ends)
        if beams == 1 and "stopping_criteria" in options:
            return  # transformers does not say where a sequence was stopped
        generated = ours.sequences[:, start:]
        if beams > 1:
            np.testing.assert_array_equal(ours.beam_indices, theirs.beam_indices.numpy())
            lengths = (theirs.beam_indices.numpy() >= 0).sum(axis=1)
        else:
            assert ours.beam_indices is None
            hit = np.isin(generated, ends)
            lengths = (np.cumsum(hit, axis=1) - hit == 0).sum(axis=1)
        rows = ours.beam_indices if beams > 1 else np.tile(np.arange(len(generated))[:, None], generated.shape)
        # Not compute_transition_scores, which cannot look up the -1 that transformers pads with for want of end tokens.
        steps = [scores if beams > 1 else scores.log_softmax(1) for scores in theirs.scores]
        for row, length in enumerate(lengths.tolist()):
            found = ours.token_logprobs[row]
            expected = [float(steps[place][rows[row, place], generated[row, place]]) for place in range(length)]
            np.testing.assert_allclose(found[:length], expected, rtol=1e-6, atol=SCORE_TOLERANCE)
            assert not found[length:].any()
            if length:
                ended = generated[row, length - 1] in ends
                assert (ours.finish_reasons[row] == "eos_token") == ended

    def check(self, count: int, prompt: np.ndarray, options: dict[str, Any]) -> tuple[Generation, TorchDecoder]:
        photos = self.photos[:count]
        theirs = self.theirs(photos, prompt, options)
        ours, decoder = self.ours(photos, prompt, options)
        what = f"{count} photos, prompt {prompt.tolist()}, {options}"
        np.testing.assert_array_equal(ours.sequences, theirs.sequences.numpy(), err_msg=what)
        expected = self.their_scores(theirs, options, prompt.shape[1])
        np.testing.assert_allclose(ours.sequences_scores, expected, rtol=1e-6, atol=SCORE_TOLERANCE, err_msg=what)
        self.check_inside(ours, theirs, options, prompt.shape[1])
        assert ours.sequences.dtype == np.int64 and ours.sequences_scores.dtype == np.float32
        assert ours.timings.steps == decoder.steps and ours.num_return_sequences == options.get(
            "num_return_sequences", 1
        )
        return ours, decoder


@pytest.fixture(scope="module", params=[0, 1])
def bench(request: pytest.FixtureRequest) -> Bench:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    made = Bench(tiny_model(request.param))
    made.photos = 2 * torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(request.param))
    free, _ = made.ours(made.photos, prompt_of(3), {"num_beams": 4, "num_return_sequences": 4, "max_length": 12})
    tokens, counts = np.unique(free.sequences[:, 1:], return_counts=True)
    made.common = [int(token) for token in tokens[np.argsort(-counts)] if token != START]
    return made


def prompt_of(count: int, *more: int) -> np.ndarray:
    return np.tile(np.array([START, *more], np.int64), (count, 1))


# What each case is about, and its options; `end` stands for end tokens that occur in the model's captions, by rank.
CASES: dict[str, dict[str, Any]] = {
    "greedy without end": {"max_length": 8},
    "greedy, one end": {"max_length": 15, "end": [1], "pad_token_id": 0},
    "greedy, pad is 0": {"max_length": 15, "end": [0, 1, 2], "pad_token_id": 0},
    "greedy, no pad": {"max_length": 15, "end": [2, 0]},
    "one token": {"max_length": 2, "num_beams": 3, "num_return_sequences": 3},
    "default length": {},
    "default length, beams": {"num_beams": 3, "end": [3]},
    "new tokens": {"max_new_tokens": 4, "num_beams": 2},
    "no end": {"max_length": 9, "num_beams": 4, "num_return_sequences": 2},
    "no pad": {"max_length": 20, "num_beams": 4, "num_return_sequences": 4, "end": [0], "early_stopping": True},
    "pad is 0": {"max_length": 20, "num_beams": 4, "num_return_sequences": 4, "end": [0, 2], "pad_token_id": 0},
    "pad is none of them": {
        "max_length": 20,
        "num_beams": 4,
        "num_return_sequences": 4,
        "end": [0],
        "pad_token_id": 39,
    },
    "never": {"max_length": 14, "num_beams": 5, "end": [0], "early_stopping": "never", "length_penalty": 2.0},
    "never, short": {"max_length": 14, "num_beams": 5, "end": [0], "early_stopping": "never", "length_penalty": -1.0},
    "never, canonical": {
        "max_length": 14,
        "num_beams": 3,
        "end": [1],
        "early_stopping": "never",
        "length_penalty": 0.0,
    },
    "long wins": {"max_length": 20, "num_beams": 3, "end": [0], "length_penalty": 2.0, "num_return_sequences": 3},
    "hope rests on open beams": {"max_length": 14, "num_beams": 2, "num_return_sequences": 2, "end": [0, 7, 9, 10]},
    "never, a little short": {
        "max_length": 15,
        "num_beams": 5,
        "num_return_sequences": 5,
        "end": [0, 10, 3, 1],
        "early_stopping": "never",
        "length_penalty": -0.3,
    },
    "end that is the start": {"max_length": 12, "num_beams": 3, "eos_token_id": START},
    "same end twice": {"max_length": 12, "num_beams": 3, "end": [0, 0]},
}


@pytest.mark.parametrize("name", CASES)
def test_case_equals_transformers(bench: Bench, name: str) -> None:
    options = dict(CASES[name])
    if "end" in options:
        options["eos_token_id"] = [bench.common[rank] for rank in options.pop("end")]
    for count in (1, 3):
        bench.check(count, prompt_of(count), options)


def random_case(bench: Bench, rng: np.random.Generator) -> tuple[int, np.ndarray, dict[str, Any]]:
    """Photos, prompt and options, drawn over everything that is supported."""
    count, beams = int(rng.integers(1, 4)), int(rng.integers(1, 7))
    prompt = np.concatenate([prompt_of(count), rng.integers(0, VOCAB, (count, int(rng.integers(0, 4))))], axis=1)
    options: dict[str, Any] = {"num_beams": beams, "length_penalty": float(rng.choice([-1.0, 0.0, 0.5, 1.0, 2.0]))}
    if beams > 1:
        options["num_return_sequences"] = int(rng.integers(1, beams + 1))
        options["early_stopping"] = [True, False, "never"][rng.integers(3)]
    if rng.random() < 0.3:
        options["max_new_tokens"] = int(rng.integers(1, 20))
    else:
        options["max_length"] = int(rng.integers(prompt.shape[1] + 1, 21))
    how_many = int(rng.choice([0, 1, 1, 2, 3]))
    if how_many:
        options["eos_token_id"] = [int(token) for token in rng.choice(bench.common[:12], how_many, replace=False)]
        if how_many == 1 and rng.random() < 0.5:
            options["eos_token_id"] = options["eos_token_id"][0]
    if rng.random() < 0.7:
        options["pad_token_id"] = int(rng.integers(0, VOCAB))
    return count, prompt, options


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_random_options_equal_transformers(bench: Bench, seed: int) -> None:
    """22 draws each, 132 in all; beams must cross, sequences must end at various lengths and searches early."""
    rng = np.random.default_rng(seed)
    crossings, lengths, early, ended = 0, set(), 0, 0
    for _ in range(22):
        count, prompt, options = random_case(bench, rng)
        generation, decoder = bench.check(count, prompt, options)
        crossings += decoder.crossings
        lengths.add(generation.sequences.shape[1])
        early += decoder.steps < decoder.max_length - prompt.shape[1]
        ended += int(
            np.isin(generation.sequences[:, prompt.shape[1] : -1], options.get("eos_token_id", [])).any(axis=1).sum()
        )
    assert crossings > 100 and len(lengths) > 8 and early > 0 and ended > 5


def allow_some(photo: int, sequence: Any) -> list[int]:
    """Half of the tokens, other ones by photo and by the last token; of numpy's and torch's sequences alike."""
    return [token for token in range(VOCAB) if (token + photo + int(sequence[-1])) % 2]


def lower_some(sequences: Any, scores: Any) -> Any:
    """A caller's processor that numpy and torch understand: every third token is less likely, by the length so far."""
    scores = scores + 0
    scores[:, :: 3 + sequences.shape[1] % 2] -= 2.5
    return scores


def stop_on_multiples(sequences: Any, scores: Any) -> Any:
    """A caller's stopping criterion that numpy and torch understand."""
    return (sequences[:, -1] % 7 == 0) & (sequences.shape[1] > 4)


# Options that exclude end tokens: exponential_decay_length_penalty makes NaN of those in transformers, and takes them.
EXCLUDE_ENDS = (
    "min_length",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "bad_words_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "prefix_allowed_tokens_fn",
)


def random_processors(bench: Bench, rng: np.random.Generator) -> dict[str, Any]:
    """A few of the options that change scores or stop, at random."""

    def few(most: int) -> list[int]:
        return [int(token) for token in rng.choice(bench.common[:15], int(rng.integers(1, most)), replace=False)]

    options: dict[str, Any] = {
        "min_length": int(rng.integers(1, 12)),
        "min_new_tokens": int(rng.integers(1, 10)),
        "no_repeat_ngram_size": int(rng.integers(1, 4)),
        "repetition_penalty": float(rng.choice([0.7, 1.3, 2.0])),
        "bad_words_ids": [few(3) for _ in range(4)],
        "sequence_bias": {tuple(few(3)): float(rng.normal(0, 4)) for _ in range(5)},
        "suppress_tokens": few(5),
        "begin_suppress_tokens": few(5),
        "forced_bos_token_id": int(rng.integers(VOCAB)),
        "forced_eos_token_id": few(2)[0],
        "remove_invalid_values": True,
        "renormalize_logits": True,
        "prefix_allowed_tokens_fn": allow_some,
        "logits_processor": [lower_some],
        "stopping_criteria": [stop_on_multiples],
        "exponential_decay_length_penalty": (int(rng.integers(0, 6)), float(rng.choice([1.05, 1.3]))),
    }
    chosen = rng.choice(len(options), int(rng.integers(1, 5)), replace=False)
    return {name: value for rank, (name, value) in enumerate(options.items()) if rank in chosen}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_random_processors_equal_transformers(bench: Bench, seed: int) -> None:
    """20 draws each, 80 in all."""
    rng = np.random.default_rng(1000 + seed)
    for _ in range(20):
        count, prompt, options = random_case(bench, rng)
        options |= {"num_beams": min(options["num_beams"], 4)} | random_processors(bench, rng)
        if "num_return_sequences" in options:
            options["num_return_sequences"] = min(options["num_return_sequences"], options["num_beams"])
        if "exponential_decay_length_penalty" in options:
            if "eos_token_id" not in options:
                del options["exponential_decay_length_penalty"]
            for name in EXCLUDE_ENDS:
                options.pop(name, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            bench.check(count, prompt, options)


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.5, "renormalize_logits": True}], ids=str)
def test_output_scores_and_logits_equal_transformers(bench: Bench, num_beams: int, options: dict[str, Any]) -> None:
    """Without end tokens, so that every row means the same to the last step."""
    options = options | {"num_beams": num_beams, "max_length": 8}
    asked = {"output_scores": True, "output_logits": True, "return_dict_in_generate": True}
    theirs = bench.theirs(bench.photos, prompt_of(3), options)
    ours, _ = bench.ours(bench.photos, prompt_of(3), options | asked)
    assert ours.scores is not None and ours.logits is not None
    assert len(ours.scores) == len(ours.logits) == len(theirs.scores) == 7
    for found, expected in zip([*ours.scores, *ours.logits], [*theirs.scores, *theirs.logits], strict=True):
        # Before the first token all beams are the same, and from then on they stand in the same order.
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=SCORE_TOLERANCE)
    plain, _ = bench.ours(bench.photos, prompt_of(3), options)
    assert plain.scores is None and plain.logits is None
    np.testing.assert_array_equal(plain.sequences, ours.sequences)


def test_captions_vary_between_photos(bench: Bench) -> None:
    """Or else nothing above would tell one photo's beams from another's."""
    generation, _ = bench.ours(bench.photos, prompt_of(3), {"num_beams": 3, "max_length": 12})
    assert len({tuple(row) for row in generation.sequences.tolist()}) == 3
    assert len(set(generation.sequences[:, 1:].ravel().tolist())) > 5


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_a_batch_is_its_photos_one_by_one(bench: Bench, num_beams: int, early_stopping: bool | str) -> None:
    options = {
        "num_beams": num_beams,
        "early_stopping": early_stopping,
        "eos_token_id": bench.common[:2],
        "pad_token_id": 0,
    }
    together, _ = bench.ours(bench.photos, prompt_of(3), options)
    for row in range(3):
        alone, _ = bench.ours(bench.photos[row : row + 1], prompt_of(1), options)
        length = alone.sequences.shape[1]
        np.testing.assert_array_equal(together.sequences[row, :length], alone.sequences[0])
        assert set(together.sequences[row, length:].tolist()) <= {0, bench.common[0]}
        assert together.sequences_scores[row] == pytest.approx(alone.sequences_scores[0], abs=SCORE_TOLERANCE)


class TableDecoder:
    """Logits by the last token alone: float32[V, V], the same for every row."""

    def __init__(self, table: list[list[float]]) -> None:
        self.table = np.array(table, np.float32)

    def start(self, encoded: int, num_beams: int, max_length: int, *, attentions: bool = False) -> None:
        self.seen: list[tuple[np.ndarray, np.ndarray | None]] = []

    def step(self, state: None, tokens: np.ndarray, parents: np.ndarray | None) -> np.ndarray:
        self.seen.append((tokens.copy(), None if parents is None else parents.copy()))
        return np.take(self.table, tokens[:, -1], axis=0)

    def narrow(self, state: None, photos: np.ndarray) -> None:
        pass


def test_of_equal_tokens_the_lowest_is_taken() -> None:
    decoder: Any = TableDecoder([[0.0] * 4] * 4)
    for beams in (1, 2):
        found = search(decoder, ANY, np.zeros((1, 1), np.int64), GenerationConfig(num_beams=beams, max_length=4))
        assert found.sequences.tolist() == [[0, 0, 0, 0]]
        assert found.sequences_scores == pytest.approx(np.log(0.25))


def test_the_prompt_goes_in_whole_and_then_token_by_token_with_parents() -> None:
    decoder: Any = TableDecoder([[3.0, 2.0, 1.0], [0.0, 1.0, 2.0], [9.0, 0.0, 0.0]])
    search(decoder, ANY, np.array([[1, 2], [2, 1]], np.int64), GenerationConfig(num_beams=2, max_length=4))
    (prompt, none), (tokens, parents) = decoder.seen
    assert prompt.tolist() == [[1, 2], [1, 2], [2, 1], [2, 1]] and none is None
    assert tokens.tolist() == [[0], [1], [2], [1]] and parents is not None and parents.tolist() == [0, 0, 2, 2]


def test_time_is_up_after_the_step_in_which_it_ran_out() -> None:
    for beams in (1, 2):
        decoder: Any = TableDecoder([[0.0] * 4] * 4)
        config = GenerationConfig(num_beams=beams, max_length=400, max_time=1e-9)
        found = search(decoder, ANY, np.zeros((2, 1), np.int64), config)
        assert found.sequences.shape == (2, 2) and found.timings.steps == 1


def test_scores_that_stay_out_of_reach_give_the_prompt() -> None:
    """One token is allowed and ends: a second sequence there is none."""
    decoder: Any = TableDecoder([[0.0] * 4] * 4)
    options = {"num_beams": 2, "num_return_sequences": 2, "suppress_tokens": [0, 1, 2], "eos_token_id": 3}
    found = search(decoder, ANY, np.zeros((1, 1), np.int64), GenerationConfig(**options, length_penalty=0.0))
    assert found.sequences[0].tolist()[:2] == [0, 3] and found.sequences_scores[0] == pytest.approx(np.log(0.25))
    assert found.sequences_scores[1] <= -1e9 / 20


def test_timings_add_up() -> None:
    decoder: Any = TableDecoder([[0.0] * 4] * 4)
    prompt = np.zeros((1, 1), np.int64)
    timings = search(decoder, ANY, prompt, GenerationConfig(num_beams=2, max_length=6), encoder_ms=7.0).timings
    assert timings.encoder == 7.0 and timings.steps == 5 and timings.decoder > 0 and timings.search > 0
    assert timings.total == pytest.approx(timings.encoder + timings.decoder + timings.search)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (np.zeros((1, 3), np.int64), {"max_length": 3}, "max_length must be more than that, not 3"),
        (np.zeros(3, np.int64), {}, r"int64 of shape \[photos, tokens\], not int64 of shape \[3\]"),
        (np.zeros((1, 0), np.int64), {}, "shape"),
        (np.zeros((1, 1), np.float32), {}, "not float32"),
        (
            np.zeros((1, 1), np.int64),
            {"bad_words_ids": [[2]], "eos_token_id": 2},
            "bad_words_ids names end tokens only",
        ),
        (np.zeros((1, 1), np.int64), {"exponential_decay_length_penalty": (2, 1.1)}, "give eos_token_id too"),
        (np.zeros((1, 1), np.int64), {"length_penalty": 500.0}, "length_penalty=500.0 is too far from 0"),
        (np.zeros((1, 1), np.int64), {"length_penalty": -500.0, "num_beams": 2}, "too far from 0"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_the_first_step(
    prompt: np.ndarray, options: dict[str, Any], message: str
) -> None:
    decoder: Any = TableDecoder([[0.0] * 4] * 4)
    decoder.seen = []
    with pytest.raises(InputError, match=message):
        search(decoder, ANY, prompt, GenerationConfig(**options))
    assert not decoder.seen
