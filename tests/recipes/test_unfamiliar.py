"""How training makes photos unfamiliar."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.default_captioner.batches import Hints, PhotoSet, photo_batches
from recipes.default_captioner.captioner import Noise
from recipes.default_captioner.data import Photo, Views
from recipes.default_captioner.unfamiliar import SIMILAR, STANDS, similar_photos, unfamiliar
from recipes.default_captioner.words import build_tokenizer
from tests.recipes.test_default_captioner import a_corpus, made_captions


def test_similar_photos_are_those_of_the_nearest_classes() -> None:
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(4, 1000))
    logits = (np.repeat(middles, 15, 0) + 0.1 * rng.normal(size=(60, 1000))).astype(np.float16)
    found = similar_photos(logits, [Photo(Path("p.jpg"), [])] * 60)
    assert found.shape == (60, SIMILAR)
    for photo, others in enumerate(found.tolist()):
        assert photo not in others and {other // 15 for other in others} == {photo // 15}


@pytest.mark.parametrize(("together", "photos"), [(7, 40), (40, 40), (3, 5), (3, 1)])
def test_they_are_the_nearest_however_many_are_compared_at_once(
    monkeypatch: pytest.MonkeyPatch, together: int, photos: int
) -> None:
    monkeypatch.setattr("recipes.default_captioner.unfamiliar.TOGETHER", together)
    logits = np.random.default_rng(2).normal(size=(photos, 1000)).astype(np.float16)
    found = similar_photos(logits, [Photo(Path("p.jpg"), [])] * photos)
    vectors = logits.astype(np.float64) - logits.astype(np.float64).mean(0)
    for photo, others in enumerate(found.tolist()):
        alike = vectors @ vectors[photo] / np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)
        expected = [other for other in np.argsort(-alike).tolist() if other != photo]
        assert others == expected[:SIMILAR]


def test_things_are_like_things_of_other_kinds() -> None:
    logits = np.random.default_rng(1).normal(size=(40, 1000)).astype(np.float16)
    things = [Photo(Path("t.jpg"), [], (f"kind {i % 4}",)) for i in range(40)]
    assert all(i % 4 not in found % 4 for i, found in enumerate(similar_photos(logits, things)))


def test_without_noise_nothing_is_changed() -> None:
    features = torch.rand(5, 9, 7)
    found, there = unfamiliar(features, torch.ones(5, dtype=torch.bool), Noise())
    assert torch.equal(found, features) and there.shape == (5, 9) and there.all()


def test_channels_are_left_out_of_a_whole_photo_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    features = torch.rand(50, 9, 200) + 1
    found, _ = unfamiliar(features, torch.zeros(50, dtype=torch.bool), Noise(channels=0.25))
    gone = found == 0
    assert torch.equal(gone.any(1), gone.all(1))
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert found.mean().item() == pytest.approx(features.mean().item(), rel=0.02)


def test_a_mixed_photo_is_mostly_itself() -> None:
    torch.manual_seed(0)
    features = torch.eye(60).unsqueeze(1).repeat(1, 3, 1)
    found, _ = unfamiliar(features, torch.zeros(60, dtype=torch.bool), Noise(mixed=0.5))
    torch.testing.assert_close(found.sum(2), torch.ones(60, 3))
    own = found[:, 0].diagonal()
    assert (own >= 0.5 - 1e-6).all() and 15 < (own < 1 - 1e-6).sum() < 45


def test_more_is_covered_where_there_is_a_hint() -> None:
    torch.manual_seed(0)
    hinted = torch.arange(400) % 2 == 0
    _, there = unfamiliar(torch.zeros(400, 64, 1), hinted, Noise(covered=1.0))
    lacking = 1 - there.float().mean(1)
    assert lacking[hinted].mean().item() == pytest.approx(0.6, abs=0.05)
    assert lacking[~hinted].mean().item() == pytest.approx(0.24, abs=0.05)


def test_a_similar_photo_stands_for_one_with_a_right_hint_alone() -> None:
    """Photo i is seen as the number i; its hint is its own all the same."""
    photos = made_captions(np.random.default_rng(3), 64)
    known = build_tokenizer([caption for photo in photos for caption in photo.captions], [])
    whole = a_corpus(known, photos, [])
    numbers = np.broadcast_to(np.arange(64, dtype=np.float16)[:, None, None, None, None], (64, 1, 112, 5, 5))
    logits = np.random.default_rng(4).normal(size=(64, 1, 1000)).astype(np.float16)
    whole.sets[:] = [PhotoSet("train", photos, Views(numbers, logits), whole.sets[0].ids)]
    stood = {True: 0, False: 0}
    for batch in photo_batches(whole, random.Random(1), Hints(0.5, 0.3, 0.5, 1.0)):
        for row, tokens in enumerate(batch.tokens):
            kept = [each for each in tokens.tolist() if any(each)]
            width = tokens.shape[1]
            mine = next(i for i, ids in enumerate(whole.sets[0].ids) if all(k in ids[:, :width].tolist() for k in kept))
            seen, right = batch.seen[row, 0, 0, 0].item(), len(kept) == 4
            others = whole.sets[0].similar[mine]
            if right:
                lows, highs = zip(*(sorted((o * s + mine * (1 - s)) for s in STANDS) for o in others), strict=True)
                assert any(low - 0.1 <= seen <= high + 0.1 for low, high in zip(lows, highs, strict=True))
                stood[True] += seen != mine
            else:
                assert seen == mine
                stood[False] += 1
    assert stood[True] > 10 and stood[False] > 10
