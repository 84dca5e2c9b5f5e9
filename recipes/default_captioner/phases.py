"""The phases of training one after another: cross-entropy, more hints, and what the captioner says itself."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from .batches import Corpus, Hints
from .captioner import Captioner, Noise, Shape
from .efficientnet import LITE1, Variant
from .features import with_features
from .self_critical import RUNS, SELF_CRITICAL, SelfCritical
from .train import CrossEntropy, Phase, run_phase

KEPT = 0.2  # of the weights that self-critical training starts from; chosen on `val`
NOISE = Noise(residual=0.2, words=0.1, positions=0.1)
CROSS_ENTROPY = Phase(
    "cross_entropy",
    epochs=6,
    rate=7e-4,
    tail_rate=1.5e-4,
    tail_from_epoch=1,
    warmup_steps=200,
    final=0.03,
    noise=NOISE,
    hints=Hints(0.4),
)
HINTS = Phase(
    "hints",
    epochs=12,
    rate=5e-4,
    warmup_steps=50,
    final=0.03,
    noise=replace(NOISE, mixed=0.2, channels=0.1, covered=0.4),
    hints=Hints(0.65, 0.05, 0.5, 0.8),
    average=0.995,
    misled=0.25,
)


def new_captioner(corpus: Corpus, encoder: Variant = LITE1) -> Captioner:
    """Fresh weights from a fixed seed, the encoder from ImageNet."""
    torch.manual_seed(1)
    shape = Shape(len(corpus.vocabulary), encoder, encoder.image_size)
    model = Captioner(shape, corpus.classes.of_class, corpus.class_tokens())
    model.cnn.load_imagenet()
    return model


def train(corpus: Corpus, work: Path, encoder: Variant = LITE1) -> Captioner:
    """All phases, each from the averaged weights of that before; the captioner that is exported."""
    model = run_phase(CROSS_ENTROPY, corpus, work, new_captioner(corpus, encoder), CrossEntropy)
    corpus = with_features(corpus, model, work)
    model = run_phase(HINTS, corpus, work, model, CrossEntropy)
    runs = [replace(SELF_CRITICAL, name=f"{SELF_CRITICAL.name}_{n + 1}", seed=1000 * (n + 1)) for n in range(RUNS)]
    return mean_of(model, [run_phase(run, corpus, work, model, SelfCritical) for run in runs])


@torch.no_grad()
def mean_of(start: Captioner, models: Sequence[Captioner]) -> Captioner:
    """The mean of weights that come from the same ones (Wortsman et al., "Model soups", 2203.05482), and KEPT of these
    (the same, "Robust fine-tuning of zero-shot models", 2109.01903)."""
    mean = copy.deepcopy(start)
    for parameter, *each in zip(mean.parameters(), *(model.parameters() for model in models), strict=True):
        parameter.mul_(KEPT).add_(torch.stack(each).mean(0), alpha=1 - KEPT)
    return mean
