"""Times of tokens and words against transformers' own functions, on random attention and on that of a tiny model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.speech.alignment import _median, places, split_into_words, token_times, word_times, words
from tests import whisper_tokens

torch = pytest.importorskip("torch")
hf: Any = pytest.importorskip("transformers.models.whisper.generation_whisper")
tokens_of_hf: Any = pytest.importorskip("transformers.models.whisper.tokenization_whisper")

SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (5, 40), (40, 5), (33, 250)]
HEADS = [(0, 1), (1, 0), (1, 2), (0, 3)]
START, END = 1, 2


def first_places(cost: Any) -> list[int]:
    """Where each token begins on transformers' path."""
    tokens, positions = hf._dynamic_time_warping(cost.astype(np.float64))
    return [int(positions[tokens == token].min()) for token in range(len(cost))]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_paths_are_those_of_transformers(shape: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.standard_normal(shape).astype(np.float32)
    ties = random.integers(-2, 2, shape).astype(np.float32)
    ramp = -np.abs(np.linspace(0, 1, shape[0])[:, None] - np.linspace(0, 1, shape[1])).astype(np.float32)
    for cost in (scores, ties, np.zeros(shape, np.float32), -ramp + scores / 20, 1000 * scores):
        found = places(cost)
        assert found.tolist() == first_places(cost)
        assert (np.diff(found) >= 0).all()


def test_a_position_that_is_not_a_number_costs_nothing() -> None:
    cost = np.random.default_rng(0).standard_normal((6, 30)).astype(np.float32)
    cost[:, 4:9] = np.nan
    assert places(cost).tolist() == first_places(np.nan_to_num(cost))


@pytest.mark.parametrize("positions", [1, 3, 4, 5, 7, 60])
def test_medians_are_those_of_transformers(positions: int) -> None:
    random = np.random.default_rng(positions)
    values = random.standard_normal((5, positions)).astype(np.float32)
    values[2] = np.round(values[2])
    values[random.random(values.shape) < 0.15] = np.nan
    theirs = hf._median_filter(torch.from_numpy(values)[None], 7)[0].numpy()
    np.testing.assert_array_equal(_median(values), theirs)


@pytest.fixture(scope="module")
def model() -> Any:
    """Whisper with three layers of four heads, whose attention varies."""
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=60, num_mel_bins=8, d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=16, decoder_ffn_dim=16, max_source_positions=150,
        max_target_positions=60, decoder_start_token_id=START, eos_token_id=END, pad_token_id=0, bos_token_id=START,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    made = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            tensor.mul_(12.0 if tensor.ndim > 1 and "conv" not in name else 1.0)
    made.set_attn_implementation("eager")
    return made


def generated(model: Any, clips: int, prompt: int, **options: Any) -> Any:
    """What generate says of random features, by transformers' own search, with its attention."""
    import transformers

    features = torch.randn((clips, 8, 300), generator=torch.Generator().manual_seed(clips + prompt))
    start = torch.full((clips, prompt), START)
    with torch.no_grad():
        return transformers.GenerationMixin.generate(
            model, features, decoder_input_ids=start, return_dict_in_generate=True, output_attentions=True, **options
        )


def as_generation(found: Any, row: int, steps: int, each: int) -> Any:
    """The cross-attention of a row's tokens, float32[T, L, H, S], as Generation has it: of the row each continued."""
    rows = found.beam_indices[row].tolist() if "beam_indices" in found else [row] * steps
    return np.stack(
        [np.stack([layer[rows[at], :, -1].numpy() for layer in found.cross_attentions[at]]) for at in range(steps)]
    )


@pytest.mark.parametrize("frames", [None, 300, 217, 8, 3])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("prompt", [1, 4])
def test_times_of_tokens_are_those_of_transformers(model: Any, frames: int | None, beams: int, prompt: int) -> None:
    seen = set()
    for clips in (1, 2):  # an end token would make rows of different length, which transformers pads
        options = {"num_beams": beams, "max_new_tokens": 20, "min_new_tokens": 20}
        found = generated(model, clips, prompt, **options)
        given = None if frames is None else torch.tensor([frames] * clips)
        theirs = model._extract_token_timestamps(found, HEADS, num_frames=given, num_input_ids=prompt)
        tokens = found.sequences[:, prompt:].tolist()
        for row in range(clips):
            attention = as_generation(found, row, len(tokens[row]), beams)
            ours = token_times(tokens[row], attention, HEADS, frames)
            assert ours.dtype == np.float64
            np.testing.assert_allclose(ours, theirs[row, prompt:].numpy(), rtol=0, atol=1e-5)
            seen.update(ours.tolist())
    assert len(seen) > 1 or (frames or 300) < 10, "or the comparison shows nothing"


@pytest.mark.parametrize("seed", range(4))
def test_times_of_random_attention(model: Any, seed: int) -> None:
    """As of a real window: attention that moves on with the tokens."""
    random = np.random.default_rng(seed)
    steps, positions = 30, 150
    centre = np.sort(random.random(steps)) * positions
    logits = -((np.arange(positions) - centre[:, None, None, None]) ** 2) / random.uniform(5, 80, (1, 2, 4, 1))
    logits = logits + random.standard_normal((steps, 2, 4, positions))
    weights = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
    steps_of_hf = tuple(tuple(torch.from_numpy(layer[None, :, None]) for layer in step) for step in weights)
    found = hf_outputs(sequences=torch.zeros((1, 1 + steps), dtype=torch.long), cross_attentions=steps_of_hf)
    for frames in (None, 240, 61):
        given = None if frames is None else torch.tensor([frames])
        theirs = model._extract_token_timestamps(found, HEADS, num_frames=given, num_input_ids=1)[0, 1:]
        ours = token_times([9] * steps, weights, HEADS, frames)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5)
        assert ours.max() <= (frames or 300) / 100


def hf_outputs(**fields: Any) -> Any:
    from transformers.generation.utils import GenerateEncoderDecoderOutput

    return GenerateEncoderDecoderOutput(**fields)


def test_nothing_to_align() -> None:
    attention = np.full((3, 2, 4, 10), 0.1, np.float32)
    assert token_times([], attention, HEADS, 8).tolist() == []
    assert token_times([7], attention, HEADS, 8).tolist() == [0]
    assert token_times([7, 8, END], attention, HEADS, 1).tolist() == [0, 0, 0]
    assert token_times([7, 8, END], attention, HEADS, -20).tolist() == [0, 0, 0]
    assert np.isfinite(token_times([7, 8, END], attention, HEADS, None)).all()


def test_what_does_not_belong_together_is_refused() -> None:
    attention = np.full((3, 2, 4, 10), 0.1, np.float32)
    with pytest.raises(
        InputError, match=r"of 4 tokens must have the shape \[4, layers, heads, positions\], not \[3, 2"
    ):
        token_times([7, 7, 7, 7], attention, HEADS, 8)
    with pytest.raises(
        InputError, match=r"head \[2, 0\] is not one of the decoder's 2 layers of 4 heads; correct align"
    ):
        token_times([7, 7], attention, [(0, 0), (2, 0)], 8)
    with pytest.raises(InputError, match="words need alignment heads, and there are none; ask for segments"):
        token_times([7, 7], attention, [], 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return whisper_tokens.save(folder)


Split = Callable[[Sequence[int], str | None], bool]


@pytest.fixture(scope="module")
def compare(theirs: Any, folder: Path) -> Split:
    """Words of tokens beside transformers' own; whether there are any to compare with."""
    ours = whisper_tokens.opened(folder)

    def compare(tokens: Sequence[int], language: str | None) -> bool:
        found = split_into_words(tokens, lambda ids: ours.decode(ids, skip_special_tokens=False), language)
        try:
            expected, _, indices = tokens_of_hf._combine_tokens_into_words(theirs, list(tokens), language)
        except IndexError:  # where bytes at the end are no character
            return False
        assert found == list(zip(expected, indices, strict=True))
        return True

    return compare


@pytest.mark.parametrize("language", [*whisper_tokens.TEXTS, None])
def test_words_are_those_of_transformers(compare: Split, theirs: Any, language: str | None) -> None:
    for text in whisper_tokens.TEXTS.values():  # in the rules of each other's language too
        assert compare(theirs(text, add_special_tokens=False).input_ids, language)


MARKS = [
    " “",
    "“",
    "”",
    " (",
    "(",
    ")",
    ".",
    " .",
    ",",
    " -",
    "-",
    "...",
    "?!",
    " ",
    "  ",
    "\n",
    "'",
    " '",
    "¿",
    "、",
    "。",
]


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_words_among_many_marks(compare: Split, theirs: Any, language: str) -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        parts = random.choice(["we", " we", "'ve", " 12", "天", "ü", *MARKS], random.integers(0, 12))
        assert compare(theirs("".join(parts), add_special_tokens=False).input_ids, language)


@pytest.mark.parametrize("language", ["english", "japanese"])
def test_words_of_broken_characters(compare: Split, language: str) -> None:
    """Bytes that are no character, within and at the end, as a sequence that was cut off has them."""
    random = np.random.default_rng(1)
    compared = [compare(random.integers(0, 400, random.integers(1, 12)).tolist(), language) for _ in range(60)]
    assert sum(compared) > 20


def spoken(tokens: Sequence[int]) -> str:
    return "".join({5: " it", 6: "'s", 7: " so", 8: "!"}.get(token, "<|x|>") for token in tokens)


def test_words_have_times_and_probabilities() -> None:
    """Tokens from 50 on are timestamps: they have times, and are in no word."""
    logprobs = np.log([0.9, 0.5, 0.7, 0.25, 0.75, 0.9]).tolist()
    times = [0.1, 0.52, 0.8, 1.004, 1.3, 1.3]
    found = words([50, 5, 6, 7, 8, 90], times, spoken, "en", 50, logprobs)
    assert [(word.text, word.start, word.end) for word in found] == [(" it's", 0.1, 0.8), (" so!", 0.8, 1.3)]
    assert [word.probability for word in found] == pytest.approx([0.6, 0.5])
    (first,) = words([5], [0.4], spoken, None, 50, start=0.2)
    assert (first.start, first.end, first.probability) == (0.2, 0.4, 1.0)
    assert words([50, 90], [0.0, 1.0], spoken, "en", 50) == ()


def test_words_of_a_window() -> None:
    """Each token looks at a stretch of its own, so the times are known."""
    attention = np.full((5, 2, 4, 60), 1e-4, np.float32)
    for step, first in enumerate([50, 0, 15, 30, 45]):  # the step that gives the first token is looked past
        attention[step, ..., first : first + 15] = 1.0
    found = word_times([5, 6, 7, 8, END + 50], attention, HEADS, 120, spoken, "en", 50)
    assert [(word.text, word.start) for word in found] == [(" it's", 0.0), (" so!", pytest.approx(0.3, abs=0.07))]
    assert found[-1].end == pytest.approx(0.9, abs=0.07)
