"""What the recipe's captioner is rewarded for, and what it learns from that."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch

from fuseline.export.quality.scores import caption_metrics
from recipes.default_captioner.batches import Corpus, Hints, photo_batches
from recipes.default_captioner.captioner import BOS, EOS, PAD, Captioner, Encoded, Inputs, Noise, Shape
from recipes.default_captioner.cider import CiderD
from recipes.default_captioner.moments import moments
from recipes.default_captioner.search import beam_search, hypotheses
from recipes.default_captioner.self_critical import SELF_CRITICAL, SelfCritical, critical_loss
from recipes.default_captioner.train import Trainer
from recipes.default_captioner.words import Sentences, build_tokenizer
from tests.recipes.test_default_captioner import a_corpus, made_captions

TINY = Shape(
    vocab_size=23, image_size=80, width=32, heads=4, bridge_layers=1, bridge_inner=64, layers=2, max_positions=12
)
WORDS = ["a", "man", "dog", "woman", "child", "red", "runs", "jumps", "plays", "sits", "in", "the", "grass", "ball"]


@pytest.fixture
def captioner() -> Captioner:
    """A tiny captioner whose outputs vary."""
    torch.manual_seed(3)
    model = Captioner(TINY, np.arange(1000) % 7, np.arange(4, 11)[:, None]).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.startswith("cnn") and weight.ndim == 2:
                weight.mul_(9)
    return model


def some_captions(rng: np.random.Generator, photos: int) -> list[list[list[str]]]:
    return [[list(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(5)] for _ in range(photos)]


def test_the_reward_is_pycocoevalcaps_where_a_captions_end_is_a_word():
    """Each text is a caption of its photo with two words exchanged, so that all orders count."""
    rng = np.random.default_rng(0)
    photos = some_captions(rng, 40)
    texts = [[*captions[0][:-2], "dog", "runs"] for captions in photos]
    cider = CiderD(photos)
    found = [cider.score(text, [cider.weighed(each) for each in of]) for text, of in zip(texts, photos, strict=True)]
    references = [[" ".join([*each, "endofit"]) for each in captions] for captions in photos]
    theirs = caption_metrics(references, [" ".join([*text, "endofit"]) for text in texts])["CIDEr"].parts[:, 0]
    np.testing.assert_allclose(found, theirs, rtol=1e-9)
    assert 0 < min(found) < max(found)
    assert cider.score(["dog"], []) == 0


def test_hypotheses_are_different_the_likeliest_first_and_one_is_greedy(captioner):
    torch.manual_seed(1)
    encoded = Encoded(torch.randn(6, 9, TINY.width))
    said = hypotheses(captioner, encoded, 5, 8, 1.0)
    for texts in said.tolist():
        assert len({tuple(text) for text in texts}) == 5
        for text in texts:
            end = text.index(EOS) if EOS in text else len(text)
            assert all(t > EOS for t in text[:end]) and not any(text[end + 1 :])
    means = means_of(captioner, encoded, said)
    assert (means.diff(dim=1) <= 1e-5).all()
    one = hypotheses(captioner, encoded, 1, 8, 1.0)[:, 0]
    greedy = beam_search(captioner, encoded, 1, 8)
    for ours, theirs in zip(one.tolist(), greedy.tolist(), strict=True):
        assert ours == theirs[: len(ours)] or EOS not in ours


def means_of(model: Captioner, encoded: Encoded, said: torch.Tensor) -> torch.Tensor:
    """Mean log-probability of each caption int64[B, K, T], teacher-forced: float32[B, K]."""
    tokens = said.flatten(0, 1)
    given = torch.cat([torch.full((len(tokens), 1), BOS), tokens[:, :-1]], 1)
    keep = tokens != PAD
    with torch.no_grad():
        logits = model.logits(model.transformer(given, keep, model.transformer.memory(encoded), Noise()))
    logits[:, [PAD, BOS, 3]] = -torch.inf
    chosen = logits.log_softmax(-1).gather(1, tokens[keep].unsqueeze(1)).squeeze(1)
    sums = torch.zeros(len(tokens)).index_add(0, keep.nonzero()[:, 0], chosen)
    return (sums / keep.sum(1)).view(said.shape[:2])


def test_what_is_praised_becomes_likelier(captioner):
    torch.manual_seed(1)
    encoded = Encoded(torch.randn(2, 9, TINY.width))
    said = hypotheses(captioner, encoded, 4, 8, 1.0)
    rewards = torch.tensor([[0.1, 0.9, 0.2, 0.2], [0.5, 0.5, 0.5, 0.5]])
    before = means_of(captioner, encoded, said)
    optimizer = torch.optim.SGD(captioner.transformer.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        critical_loss(captioner, encoded, said, rewards).backward()
        optimizer.step()
    change = means_of(captioner, encoded, said) - before
    assert change[0, 1] > 0 and change[0, 1] == change[0].max()


def test_hints_that_count_three_are_read_as_in_the_shipped_captioner(captioner):
    """exp(score) three times, as the runtime weighs a source."""
    torch.manual_seed(2)
    seen, hint = torch.randn(1, 9, TINY.width), torch.tensor([[5, EOS]])
    none = torch.zeros(1, TINY.labels, dtype=torch.long)
    inputs = Inputs(None, none, none, hint, hint != PAD)
    with torch.no_grad():
        encoded = captioner.with_hints(Encoded(seen), inputs)
        assert encoded.hidden.shape == (1, 9 + 6, TINY.width) and encoded.there.all()
        once = torch.cat([seen, captioner.encode_hint(hint)], 1)
        memory, other = (captioner.transformer.memory(each) for each in (encoded, Encoded(once, hints=2)))
        query = torch.randn(1, 1, TINY.width)
        found = captioner.transformer.cross(query, memory, 0)
        key, value = other.cross[0]
        q = query.view(1, 1, TINY.heads, -1).transpose(1, 2)
        weights = (q @ key.transpose(-1, -2) * q.shape[-1] ** -0.5).exp()
        weights[..., 9:] *= 3
        expected = (weights / weights.sum(-1, keepdim=True)) @ value
    torch.testing.assert_close(found, expected.transpose(1, 2).flatten(2), atol=1e-5, rtol=1e-5)


def test_what_has_no_end_is_not_rewarded_and_what_people_wrote_is():
    whole, model = corpus_and_captioner()
    critical = SelfCritical(whole, model, 0.0)
    captions = torch.from_numpy(whole.sets[0].ids)
    said = captions[:, :, 1:].clone()
    said[:, 1][said[:, 1] == EOS] = PAD
    left_out = captions.clone()
    left_out[:, 0] = PAD
    rewards, without = critical.rewards(said, captions), critical.rewards(said, left_out)
    assert (rewards[:, 1] == 0).all() and (rewards[:, [0, 2, 3, 4]] > 1).all()
    assert (without[:, 0] < rewards[:, 0]).all()  # its own caption is no reference then


def test_a_step_trains_the_decoder_and_keeps_the_encoder(tmp_path):
    whole, model = corpus_and_captioner()
    whole.sets[0] = dataclasses.replace(whole.sets[0], features=np.full((6, 2, 9, 1280), 40, np.uint8))
    trainer = Trainer(SELF_CRITICAL, whole, tmp_path, model, SelfCritical)
    batch = next(photo_batches(whole, random.Random(1), Hints(0.5, 0.1)))
    assert batch.written.tolist() == [False] * 6
    loss, figures = trainer.loss_of(model, batch, Noise(0.1, 0.05), random.Random(1))
    loss.backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert trained and all(name.startswith(SELF_CRITICAL.trained) for name in trained)
    assert np.isfinite(list(figures.values())).all()


def test_moments_are_of_the_inputs_of_the_decoders_layers():
    """Those of the first layer, recomputed."""
    whole, model = corpus_and_captioner()
    found = moments(model, whole)
    ids = torch.from_numpy(whole.sets[0].ids[:, :2]).flatten(0, 1)
    given, keep = ids[:, :-1], ids[:, 1:] != PAD
    decoder = model.transformer
    with torch.no_grad():
        x = decoder.h[0].ln_1(decoder.wte(given) + decoder.wpe.weight[: given.shape[1]])[keep].double().numpy()
    np.testing.assert_allclose(found["h.0.attn.c_attn"], x.T @ x / len(x), atol=1e-5)
    assert len(found) == TINY.layers * 6 and "h.0.crossattention.c_attn" not in found


def corpus_and_captioner() -> tuple[Corpus, Captioner]:
    photos = made_captions(np.random.default_rng(3), 6)
    words = list(Sentences.read().words())
    whole = a_corpus(build_tokenizer([caption for photo in photos for caption in photo.captions], words), photos, [])
    torch.manual_seed(3)
    shape = dataclasses.replace(TINY, vocab_size=len(whole.vocabulary), max_positions=32)
    return whole, Captioner(shape, whole.classes.of_class, whole.class_tokens())
