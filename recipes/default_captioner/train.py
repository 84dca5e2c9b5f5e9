"""Cross-entropy, first for what is on photos, then with more hints; each epoch leaves a checkpoint."""

from __future__ import annotations

import copy
import math
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fuseline.export.quality.scores import caption_metrics

from .batches import SENTENCES_A_STEP, Corpus, Hints, PhotoBatch, PhotoSet, SentenceBatches, batches_of, photo_batches
from .captioner import PAD, UNK, Captioner, Inputs, Noise
from .data import named
from .progress import record, track
from .search import beam_search
from .words import hint_ids, measured_hint

SCORED, SCORED_EPOCHS = 400, 2  # photos of a set that are scored, after every second epoch and the last
SENTENCE_LOSS, CLASS_LOSS = 0.7, 0.3
# Products in bfloat16 take less than half the time where the CPU has them, and several times as long where it has not.
BFLOAT16 = "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else False


@dataclass(frozen=True)
class Phase:
    """One phase of training. Rates are AdamW's: a linear warm-up, then down a cosine to `final` times themselves.

    misled: of sentences with a hint, the share that is misled by its labels, and by a photo, see SentenceBatches;
    trained: how the names of what is trained begin, beside the encoder's tail, which is from
    `tail_from_epoch` on, or never.
    """

    name: str
    epochs: int
    rate: float
    warmup_steps: int
    final: float
    noise: Noise
    hints: Hints
    tail_rate: float = 0.0
    tail_from_epoch: int | None = None
    average: float = 0.998
    weight_decay: float = 0.05
    misled: float = 0.0
    trained: tuple[str, ...] = ("",)
    seed: int = 1000


Step = tuple[Tensor, dict[str, float]]  # a loss, and what to log
LossOf = Callable[[Captioner, PhotoBatch, Noise, random.Random], Step]
MakeLoss = Callable[[Corpus, Captioner, float], LossOf]  # the last is what the phase has as `misled`


def caption_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Label-smoothed cross-entropy of the tokens that are not padding."""
    targets = tokens[..., 1:].flatten()
    return F.cross_entropy(logits.float(), targets[targets != PAD], ignore_index=UNK, label_smoothing=0.1)


def class_loss(logits: Tensor, before: Tensor) -> Tensor:
    """What the classifier says must stay what it said before the encoder was trained (Hinton et al., 1503.02531)."""
    return F.kl_div(logits.float().log_softmax(-1), before.softmax(-1), reduction="batchmean")


class CrossEntropy:
    """The loss of all captions of all sets, and of sentences without photos."""

    def __init__(self, corpus: Corpus, model: Captioner, misled: float = 0.0) -> None:
        self.corpus = corpus
        weights = model.cnn.classifier.weight.detach().numpy()
        self.sentences = SentenceBatches(corpus, weights, model.shape.labels, misled)

    def __call__(self, model: Captioner, batch: PhotoBatch, noise: Noise, rng: random.Random) -> Step:
        features = model.features(batch.seen)
        loss = caption_loss(model(batch.inputs(model, features, noise), batch.tokens, noise), batch.tokens)
        said = self.of_sentences(model, noise, rng)
        figures = {"loss": loss.item(), "sentence_loss": said.item()}
        loss = loss + SENTENCE_LOSS * said
        if features.requires_grad:
            classes = class_loss(model.class_logits(features), batch.class_logits)
            loss, figures["class_loss"] = loss + CLASS_LOSS * classes, classes.item()
        return loss, figures

    def of_sentences(self, model: Captioner, noise: Noise, rng: random.Random) -> Tensor:
        inputs, tokens = self.sentences.draw(rng, SENTENCES_A_STEP)
        return caption_loss(model(inputs, tokens, noise), tokens)


@torch.no_grad()
def captions_of(model: Captioner, corpus: Corpus, photos: PhotoSet, hints: list[list[str]] | None = None) -> list[str]:
    """Captions of the plain views, by beams of 4."""
    model.eval()
    texts: list[str] = []
    for start in track(range(0, len(photos.photos), 50), "captions", math.ceil(len(photos.photos) / 50)):
        features = model.features(torch.from_numpy(photos.seen(slice(start, start + 50), 0)))
        inputs = Inputs(features, *model.labels(model.class_logits(features)))
        if hints is not None:
            ids, there = hint_ids(corpus.tokenizer, hints[start : start + 50])
            inputs.hints, inputs.hints_there = torch.from_numpy(ids), torch.from_numpy(there)
        rows = beam_search(model, model.encode(inputs, Noise())).tolist()
        texts += [corpus.tokenizer.decode([t for t in row if t > UNK]) for row in rows]
    return texts


def validate(model: Captioner, corpus: Corpus) -> dict[str, float]:
    """Of each set's first photos: scores without a hint; of those with captions CIDEr with two right words too."""
    found: dict[str, float] = {}
    for name, whole in corpus.val.items():
        photos = replace(whole, photos=whole.photos[:SCORED])
        texts = captions_of(model, corpus, photos)
        if photos.photos[0].names:
            found[f"{name} named"] = float(named(photos.photos, texts).mean())
            continue
        references = [[" ".join(words) for words in photo.captions] for photo in photos.photos]
        found |= {f"{name} {metric}": value.value() for metric, value in caption_metrics(references, texts).items()}
        hints = [measured_hint(photo.captions[0]) for photo in photos.photos]
        texts = captions_of(model, corpus, photos, hints)
        found[f"{name} hinted CIDEr"] = caption_metrics([each[1:] for each in references], texts)["CIDEr"].value()
    return {key: round(value, 4) for key, value in found.items()}


class Trainer:
    """The state of a phase: model, averaged weights, optimizer, and where it stands."""

    def __init__(self, phase: Phase, corpus: Corpus, work: Path, model: Captioner, make_loss: MakeLoss) -> None:
        self.phase, self.corpus, self.work, self.model = phase, corpus, work, model
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        self.loss_of = make_loss(corpus, model, phase.misled)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(phase.trained) and not name.startswith("cnn.front."))
        tail = [*model.cnn.tail.parameters(), *model.cnn.classifier.parameters()]
        ids = {id(p) for p in tail}
        rest = [p for p in model.parameters() if p.requires_grad and id(p) not in ids]
        groups = [{"params": rest, "peak": phase.rate}, {"params": tail, "peak": phase.tail_rate}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=phase.weight_decay, betas=(0.9, 0.98), fused=True)
        self.epoch = self.step = 0
        self.steps = batches_of(corpus) * phase.epochs

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

    def run_epoch(self) -> None:
        torch.manual_seed(self.phase.seed + self.epoch)
        rng = random.Random(self.phase.seed + self.epoch)
        first = self.phase.tail_from_epoch
        trained = first is not None and self.epoch >= first
        for part in (self.model.cnn.tail, self.model.cnn.classifier):
            part.requires_grad_(trained)
        self.model.train()
        totals: dict[str, float] = {}
        count = batches_of(self.corpus)
        label = f"{self.phase.name} {self.epoch + 1}/{self.phase.epochs}"
        for batch in track(photo_batches(self.corpus, rng, self.phase.hints), label, count):
            self.set_rates()
            with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
                loss, figures = self.loss_of(self.model, batch, self.phase.noise, rng)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.update_average()
            self.step += 1
            totals = {key: totals.get(key, 0.0) + value / count for key, value in figures.items()}
        self.epoch += 1
        self.save()
        means = {key: round(value, 4) for key, value in totals.items()}
        last = self.epoch == self.phase.epochs
        scores = validate(self.averaged, self.corpus) if last or self.epoch % SCORED_EPOCHS == 0 else {}
        record(self.work, phase=self.phase.name, epoch=self.epoch, **means, **scores)


def run_phase(phase: Phase, corpus: Corpus, work: Path, model: Captioner, make_loss: MakeLoss) -> Captioner:
    """Train a copy of the model to the phase's end; the averaged weights."""
    trainer = Trainer(phase, corpus, work, copy.deepcopy(model), make_loss)
    trainer.resume()
    if trainer.epoch < phase.epochs:
        record(work, phase=phase.name, begins_at_epoch=trainer.epoch, **{"settings": asdict(phase)})
    while trainer.epoch < phase.epochs:
        trainer.run_epoch()
    return trainer.averaged
