"""The phases of training one after another: cross-entropy, more hints, and what the captioner says itself."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch

from .batches import Corpus, Hints
from .captioner import Captioner, Noise, Shape
from .efficientnet import LITE1, Variant
from .self_critical import SELF_CRITICAL, SelfCritical, keep_encoder
from .train import CrossEntropy, Phase, run_phase

NOISE = Noise(residual=0.2, words=0.1, positions=0.1)
CROSS_ENTROPY = Phase("cross_entropy", 6, 7e-4, 1.5e-4, 1, 200, 0.03, NOISE, Hints(0.4))
UNFAMILIAR = replace(NOISE, mixed=0.2, channels=0.1, covered=0.4)
# What reads photos is known by then and stays as it is.
HINTS = Phase("hints", 10, 5e-4, 0.0, 10, 50, 0.03, UNFAMILIAR, Hints(0.65, 0.08, 0.4, 0.8), average=0.995)


def new_captioner(corpus: Corpus, encoder: Variant = LITE1) -> Captioner:
    """Fresh weights from a fixed seed, the encoder from ImageNet."""
    torch.manual_seed(1)
    shape = Shape(len(corpus.vocabulary), encoder, encoder.image_size)
    model = Captioner(shape, corpus.classes.of_class, corpus.class_tokens())
    model.cnn.load_imagenet()
    return model


def train(corpus: Corpus, work: Path, encoder: Variant = LITE1) -> Captioner:
    """All phases, each from the averaged weights of that before; the captioner that is exported."""
    model = new_captioner(corpus, encoder)
    for phase in (CROSS_ENTROPY, HINTS):
        model = copy.deepcopy(run_phase(phase, corpus, work, model, CrossEntropy(corpus, model)))
    keep_encoder(model)
    return run_phase(SELF_CRITICAL, corpus, work, model, SelfCritical(corpus, model))
