"""Steps 2 to 4: cross-entropy with word dropout and label smoothing, then self-critical training on CIDEr.

Sources: Rennie et al., "Self-critical Sequence Training for Image Captioning" (2017), with the mean reward of a photo's
other samples as the baseline (Luo, "A Better Variant of Self-Critical Sequence Training", 2020).
Each epoch ends with a checkpoint and a score on `val`; a run that was stopped goes on from the last checkpoint.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fuseline.export.quality.scores import caption_metrics

from .captioner import BOS, PAD, UNK, Captioner, Noise, Shape
from .cider import CiderReward
from .data import MAX_WORDS, Photo, caption_ids, load_views
from .efficientnet import imagenet_weights
from .progress import record, track
from .search import FORBIDDEN, beam_search, sample

PHOTOS_A_STEP = 32
SAMPLES = 5


@dataclass(frozen=True)
class Phase:
    """One phase of training. Rates are AdamW's: a linear warm-up, then down a cosine to `final` times themselves."""

    name: str
    epochs: int
    rate: float
    tail_rate: float
    tail_from_epoch: int
    warmup_steps: int
    final: float
    noise: Noise
    average: float = 0.998
    weight_decay: float = 0.05


CROSS_ENTROPY = Phase("cross_entropy", 10, 7e-4, 1.5e-4, 1, 200, 0.03, Noise(residual=0.2, words=0.1, positions=0.1))
SELF_CRITICAL = Phase("self_critical", 8, 8e-5, 0.0, 99, 50, 0.1, Noise(residual=0.1))
# A last epoch in which a caption that breaks off costs something.
ENDINGS = Phase("endings", 1, 4e-5, 0.0, 99, 20, 0.1, Noise(residual=0.1))


@dataclass
class Corpus:
    """What a phase reads."""

    photos: list[Photo]
    val_photos: list[Photo]
    views: NDArray[np.float16]
    val_views: NDArray[np.float16]
    ids: NDArray[np.int64]
    vocabulary: list[str]


Step = tuple[Tensor, dict[str, float]]  # a loss, and what to log
Loss = Callable[[Captioner, Corpus, NDArray[np.int64], Tensor, Noise], Step]


def batches(corpus: Corpus, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Every photo once in a random order, each in a random one of its views: indices, front float32[B, 112, h, w]."""
    order = rng.permutation(len(corpus.photos))
    for start in range(0, len(order), PHOTOS_A_STEP):
        chosen = order[start : start + PHOTOS_A_STEP]
        view = rng.integers(corpus.views.shape[1], size=len(chosen))
        front = np.stack([corpus.views[p, v] for p, v in zip(chosen, view, strict=True)])
        yield chosen, torch.from_numpy(front).float()


def cross_entropy(model: Captioner, corpus: Corpus, chosen: NDArray[np.int64], front: Tensor, noise: Noise) -> Step:
    """Label-smoothed cross-entropy of all five captions; <unk> is never a target, so it is never said."""
    tokens = torch.from_numpy(corpus.ids[chosen])
    tokens = tokens[..., : int((tokens != PAD).sum(-1).max())]
    logits = model(model.features(front), tokens, noise)
    targets = tokens[..., 1:].flatten()
    targets = targets[targets != PAD]
    loss = F.cross_entropy(logits, targets, ignore_index=UNK, label_smoothing=0.1)
    return loss, {"loss": loss.item()}


def self_critical(reward: CiderReward, penalize_ends: bool) -> Loss:
    """The loss whose gradient raises the expected CIDEr of sampled captions."""

    def loss_of(model: Captioner, corpus: Corpus, chosen: NDArray[np.int64], front: Tensor, noise: Noise) -> Step:
        model.eval()
        with torch.no_grad():
            features = model.features(front)
            drawn = sample(model, model.encode(features, Noise()), SAMPLES, MAX_WORDS)
        drawn = drawn[..., : int((drawn != PAD).sum(-1).max())]
        rewards = torch.from_numpy(reward.batch(chosen, drawn.numpy(), penalize_ends))
        advantage = (rewards - rewards.mean(1, keepdim=True)) * SAMPLES / (SAMPLES - 1)
        model.train()
        tokens = torch.cat([torch.full((*drawn.shape[:2], 1), BOS), drawn], -1)
        logits = model(features, tokens, noise)
        logits[:, FORBIDDEN] = -torch.inf
        keep = drawn.flatten() != PAD
        log_probs = logits.log_softmax(-1).gather(1, drawn.flatten()[keep].unsqueeze(1)).squeeze(1)
        weight = advantage.unsqueeze(-1).expand_as(drawn).flatten()[keep]
        return -(weight * log_probs).mean(), {"reward": rewards.mean().item()}

    return loss_of


def validate(model: Captioner, corpus: Corpus) -> dict[str, float]:
    """Beam 4 on every photo of val."""
    model.eval()
    captions: list[str] = []
    for start in track(range(0, len(corpus.val_photos), 50), "val", math.ceil(len(corpus.val_photos) / 50)):
        front = torch.from_numpy(np.asarray(corpus.val_views[start : start + 50, 0], np.float32))
        with torch.no_grad():
            encoded = model.encode(model.features(front), Noise())
        for row in beam_search(model, encoded).tolist():
            captions.append(" ".join(corpus.vocabulary[t] for t in row if t > UNK))
    references = [[" ".join(words) for words in photo.captions] for photo in corpus.val_photos]
    return {name: round(metric.value(), 4) for name, metric in caption_metrics(references, captions).items()}


class Trainer:
    """The state of a phase: model, averaged weights, optimizer, and where it stands."""

    def __init__(self, phase: Phase, corpus: Corpus, work: Path, model: Captioner) -> None:
        self.phase, self.corpus, self.work, self.model = phase, corpus, work, model
        self.averaged = copy.deepcopy(model).eval()
        tail = list(model.cnn.tail.parameters())
        ids = {id(p) for p in tail}
        rest = [p for p in model.parameters() if p.requires_grad and id(p) not in ids]
        groups = [{"params": rest, "peak": phase.rate}, {"params": tail, "peak": phase.tail_rate}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=phase.weight_decay, betas=(0.9, 0.98), fused=True)
        self.epoch = self.step = 0
        self.steps = math.ceil(len(corpus.photos) / PHOTOS_A_STEP) * phase.epochs

    @property
    def checkpoint(self) -> Path:
        return self.work / f"{self.phase.name}.pt"

    def save(self) -> None:
        """Write the checkpoint under a temporary name and rename it."""
        state = {"epoch": self.epoch, "step": self.step, "optimizer": self.optimizer.state_dict()}
        state |= {"model": self.model.state_dict(), "averaged": self.averaged.state_dict()}
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self.checkpoint)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.epoch, self.step = state["epoch"], state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])

    def set_rates(self) -> None:
        phase = self.phase
        progress = self.step / self.steps
        factor = phase.final + (1 - phase.final) * 0.5 * (1 + math.cos(math.pi * progress))
        factor *= min(1.0, (self.step + 1) / phase.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    def update_average(self) -> None:
        """Exponential moving average of the weights, plain averaging at the start."""
        decay = min(self.phase.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            ours, theirs = list(self.averaged.parameters()), list(self.model.parameters())
            torch._foreach_lerp_(ours, theirs, 1 - decay)

    def run_epoch(self, loss_of: Loss) -> None:
        torch.manual_seed(1000 + self.epoch)
        rng = np.random.default_rng(1000 + self.epoch)
        self.model.cnn.tail.requires_grad_(self.epoch >= self.phase.tail_from_epoch)
        self.model.train()
        totals: dict[str, float] = {}
        count = math.ceil(len(self.corpus.photos) / PHOTOS_A_STEP)
        label = f"{self.phase.name} {self.epoch + 1}/{self.phase.epochs}"
        for chosen, front in track(batches(self.corpus, rng), label, count):
            self.set_rates()
            loss, figures = loss_of(self.model, self.corpus, chosen, front, self.phase.noise)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.update_average()
            self.step += 1
            totals = {key: totals.get(key, 0.0) + value / count for key, value in figures.items()}
        self.epoch += 1
        self.save()
        scores = validate(self.averaged, self.corpus)
        means = {key: round(value, 4) for key, value in totals.items()}
        record(self.work, phase=self.phase.name, epoch=self.epoch, **means, **scores)


def run_phase(phase: Phase, corpus: Corpus, work: Path, model: Captioner, loss_of: Loss) -> Captioner:
    """Train to the phase's end; the averaged weights."""
    trainer = Trainer(phase, corpus, work, model)
    trainer.resume()
    if trainer.epoch < phase.epochs:
        record(work, phase=phase.name, begins_at_epoch=trainer.epoch, **{"settings": asdict(phase)})
    while trainer.epoch < phase.epochs:
        trainer.run_epoch(loss_of)
    return trainer.averaged


def load_corpus(work: Path, photos: list[Photo], val_photos: list[Photo], vocabulary: list[str]) -> Corpus:
    """The captions as ids and the cached views."""
    ids = caption_ids(photos, vocabulary)
    return Corpus(photos, val_photos, load_views(work, "train"), load_views(work, "val"), ids, vocabulary)


def new_captioner(vocabulary: list[str]) -> Captioner:
    """Fresh weights from a fixed seed, the encoder from ImageNet."""
    torch.manual_seed(1)
    model = Captioner(Shape(vocab_size=len(vocabulary)))
    model.cnn.load_imagenet(imagenet_weights())
    return model


def train(corpus: Corpus, work: Path) -> Captioner:
    """All phases; the captioner that is exported."""
    model = run_phase(CROSS_ENTROPY, corpus, work, new_captioner(corpus.vocabulary), cross_entropy)
    reward = CiderReward(corpus.photos, corpus.vocabulary)
    for phase, penalize_ends in ((SELF_CRITICAL, False), (ENDINGS, True)):
        model = run_phase(phase, corpus, work, copy.deepcopy(model), self_critical(reward, penalize_ends))
    return model
