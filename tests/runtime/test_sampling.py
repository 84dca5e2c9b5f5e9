"""Sampling: the same uniform numbers give transformers' tokens; the shares of what is drawn are the probabilities.

transformers draws with torch.multinomial, whose random numbers nobody can give. Here it is replaced by its definition
over given uniform numbers, so that transformers' generate and fuseline's search can be compared token by token.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.generation.config import GenerationConfig
from fuseline.search import search
from fuseline.search.sample import draw_one, draw_several

from .test_search import ANY, VOCAB, Bench, TableDecoder, bench, prompt_of, random_processors

torch = pytest.importorskip("torch")
__all__ = ["bench"]


def multinomial_of(seed: int, photos: int, beams: int) -> Any:
    """torch.multinomial over the uniform numbers that each photo's generator gives."""
    generators = [np.random.default_rng(seed) for _ in range(photos)]

    def multinomial(probabilities: Any, num_samples: int) -> Any:
        each = len(probabilities) * probabilities.shape[1] if beams > 1 else len(probabilities)
        uniforms = np.stack([generator.random(each // photos) for generator in generators])
        if beams > 1:
            waiting = torch.from_numpy(-np.log1p(-uniforms))
            return torch.topk(probabilities.double() / waiting, num_samples).indices
        cumulated = probabilities.double().cumsum(1)
        target = torch.from_numpy(uniforms.reshape(-1, 1)) * cumulated[:, -1:]
        return torch.searchsorted(cumulated, target, right=True)

    return multinomial


def random_sampling(bench: Bench, rng: np.random.Generator) -> dict[str, Any]:
    """Warpers, beams or sequences to return, ends, and sometimes processors."""
    warpers: dict[str, Any] = {
        "temperature": float(rng.choice([0.5, 1.5, 4.0])),
        "top_k": int(rng.choice([0, 10, 20])),
        "top_p": float(rng.uniform(0.3, 0.95)),
        "min_p": float(rng.uniform(0.01, 0.3)),
        "typical_p": float(rng.uniform(0.3, 0.95)),
        "epsilon_cutoff": float(rng.uniform(0.001, 0.1)),
        "eta_cutoff": float(rng.uniform(0.001, 0.3)),
    }
    chosen = rng.choice(len(warpers), int(rng.integers(0, 4)), replace=False)
    options = {name: value for rank, (name, value) in enumerate(warpers.items()) if rank in chosen}
    options |= {"do_sample": True, "max_length": int(rng.integers(5, 14)), "num_beams": int(rng.integers(1, 5))}
    options["num_return_sequences"] = int(
        rng.integers(1, (options["num_beams"] if options["num_beams"] > 1 else 4) + 1)
    )
    if rng.random() < 0.7:
        options["eos_token_id"] = [int(token) for token in rng.choice(bench.common[:12], 2, replace=False)]
        options["pad_token_id"] = 0
    if rng.random() < 0.3:
        options |= random_processors(bench, rng)
        options.pop("exponential_decay_length_penalty", None)
    return options


def draws_enough(options: dict[str, Any]) -> bool:
    """Whether beams always find as many continuations as are drawn: torch.multinomial must not be asked for more."""
    narrow = {"top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"}
    narrow |= {"forced_bos_token_id", "forced_eos_token_id", "prefix_allowed_tokens_fn", "remove_invalid_values"}
    return options["num_beams"] == 1 or not narrow & set(options)


@pytest.mark.parametrize("seed", range(4))
def test_the_same_uniform_numbers_give_the_tokens_of_transformers(
    bench: Bench, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 draws of options each, 160 in all."""
    rng = np.random.default_rng(2000 + seed)
    cases = 0
    while cases < 20:
        options, count = random_sampling(bench, rng), int(rng.integers(1, 4))
        if not draws_enough(options):
            continue
        cases += 1
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            patch.setattr(torch, "multinomial", multinomial_of(cases, count, options["num_beams"]))
            theirs = bench.theirs(bench.photos[:count], prompt_of(count), options)
            ours, _ = bench.ours(bench.photos[:count], prompt_of(count), options | {"seed": cases})
        what = f"{count} photos, {options}"
        np.testing.assert_array_equal(ours.sequences, theirs.sequences.numpy(), err_msg=what)
        if options["num_beams"] == 1 and "stopping_criteria" in options:
            continue  # transformers gives no scores, and the sequences do not tell where one was stopped
        expected = bench.their_scores(theirs, options, 1)
        np.testing.assert_allclose(ours.sequences_scores, expected, rtol=1e-6, atol=1e-4, err_msg=what)


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """How many standard deviations the statistic lies above its mean; 5 is out of the question by chance."""
    possible = probabilities > 0
    assert not counts[~possible].any()
    expected = counts.sum() * probabilities[possible]
    statistic = float(((counts[possible] - expected) ** 2 / expected).sum())
    free = int(possible.sum()) - 1
    return (statistic - free) / np.sqrt(2 * free)


@pytest.mark.parametrize("options", [{"top_k": 0}, {"temperature": 2.0, "top_k": 5}, {"top_p": 0.8}, {"min_p": 0.1}])
def test_tokens_come_as_often_as_transformers_warped_probabilities_say(options: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    logits = np.random.default_rng(5).normal(0, 1.5, 10)
    decoder: Any = TableDecoder([logits.tolist()] * 10)
    settings = options | {"do_sample": True, "max_length": 2, "num_return_sequences": 20_000}
    found = search(decoder, ANY, np.zeros((1, 1), np.int64), GenerationConfig(seed=11, **settings))
    config = transformers.GenerationConfig(**settings)
    config._eos_token_tensor = None
    warp = transformers.GenerationMixin()._get_logits_processor(config, 1)
    warped = warp(torch.zeros((1, 1), dtype=torch.long), torch.from_numpy(logits.astype(np.float32))[None])
    counts = np.bincount(found.sequences[:, 1], minlength=10)
    assert chi_square(counts, warped.softmax(1).numpy()[0].astype(np.float64)) < 5


def test_drawing_without_replacement_takes_each_order_as_often_as_it_should() -> None:
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    rows = np.tile(np.log(probabilities).astype(np.float32), (20_000, 1))
    drawn = draw_several(rows, 2, np.random.default_rng(3).random(rows.shape))
    expected = probabilities[:, None] * probabilities / (1 - probabilities)[:, None]
    np.fill_diagonal(expected, 0)
    assert chi_square(np.bincount(drawn[:, 0] * 4 + drawn[:, 1], minlength=16), expected.ravel()) < 5


def test_a_token_without_probability_is_never_drawn() -> None:
    scores = np.array([[-np.inf, 0, -np.inf, 0, -np.inf]], np.float32)
    below_1 = float(np.nextafter(1, 0))
    assert [int(draw_one(scores, np.array([u]))[0]) for u in (0.0, 0.4999, 0.5, below_1)] == [1, 1, 3, 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("num_beams", [1, 2])
def test_scores_that_nothing_can_be_drawn_from_are_refused(bad: float, num_beams: int) -> None:
    decoder: Any = TableDecoder([[bad] * 4] * 4)
    config = GenerationConfig(do_sample=True, num_beams=num_beams, top_k=0)
    with pytest.raises(InputError, match="there is no token to sample"):
        search(decoder, ANY, np.zeros((1, 1), np.int64), config)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_seed_gives_a_photo_the_same_text_in_any_company(bench: Bench, num_beams: int) -> None:
    options = {"do_sample": True, "num_beams": num_beams, "num_return_sequences": 2, "seed": 4, "max_length": 10}
    together, _ = bench.ours(bench.photos, prompt_of(3), options)
    for photo in range(3):
        alone, _ = bench.ours(bench.photos[photo : photo + 1], prompt_of(1), options)
        np.testing.assert_array_equal(together.sequences[2 * photo : 2 * photo + 2], alone.sequences)


def test_without_a_seed_texts_differ_and_a_generator_goes_on() -> None:
    decoder: Any = TableDecoder([[0.0] * VOCAB] * VOCAB)
    prompt = np.zeros((2, 1), np.int64)
    free = search(decoder, ANY, prompt, GenerationConfig(do_sample=True)).sequences
    assert free[0].tolist() != free[1].tolist()
    generator = np.random.default_rng(1)
    first, second = (search(decoder, ANY, prompt, GenerationConfig(do_sample=True, seed=generator)) for _ in range(2))
    assert first.sequences.tolist() != second.sequences.tolist()
