"""What each training step learns from: photos with hints, right, wrong or none, and sentences without photos."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from .captioner import PAD, Captioner, Inputs, Noise
from .data import CAPTIONS, Photo, Views
from .unfamiliar import STANDS, similar_photos, unfamiliar
from .words import MIN_COUNT, Classes, Sentences, content_words, hint_ids, measured_hint, padded, some_words, token_ids

PHOTOS_A_STEP = 32
SENTENCES_A_STEP = 48
# Shares of photos that go without the photo or its labels.
NO_PHOTO, NO_LABELS = 0.12, 0.12
# Of sentences: those with a hint, and those of them in which a word is exchanged for a rare one, to be copied.
HINTED_SENTENCES, RARE_WORDS = 0.5, 0.25
NEIGHBOURS = 15


View = tuple[NDArray[np.float16], NDArray[np.float16]]  # what Views has of one view: the front, and the logits


@dataclass
class PhotoSet:
    """Photos with their views and their captions' tokens int64[photos, 5, T]; how often an epoch has each photo."""

    name: str
    photos: list[Photo]
    views: Views
    ids: NDArray[np.int64]
    share: float = 1.0

    @cached_property
    def similar(self) -> NDArray[np.int64]:
        """Which photos may stand for each."""
        return similar_photos(self.views.logits[:, 0], self.photos)

    def view(self, index: int, rng: random.Random) -> View:
        """One of a photo's views."""
        view = rng.randrange(self.views.front.shape[1])
        return self.views.front[index, view], self.views.logits[index, view]

    def similar_view(self, index: int, rng: random.Random) -> View:
        """Mostly one of a similar photo's views, with some of this one's."""
        share = rng.uniform(*STANDS)
        own, other = self.view(index, rng), self.view(int(rng.choice(self.similar[index])), rng)
        front, logits = (share * theirs + (1 - share) * ours for ours, theirs in zip(own, other, strict=True))
        return front, logits


@dataclass
class Corpus:
    """All that training reads. sets: Flickr8k's first; val: by name, what is scored after each epoch."""

    sets: list[PhotoSet]
    val: dict[str, PhotoSet]
    tokenizer: Tokenizer
    classes: Classes
    sentences: Sentences

    @cached_property
    def rare(self) -> list[str]:
        """Words that are written in pieces."""
        counts: dict[str, int] = {}
        for photo in self.sets[0].photos:
            for word in (word for caption in photo.captions for word in content_words(caption)):
                counts[word] = counts.get(word, 0) + 1
        return sorted(word for word, count in counts.items() if count < MIN_COUNT and word.isalpha())

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Ids of tokens."""
        found: dict[str, int] = self.tokenizer.get_vocab()
        return found

    def class_tokens(self) -> NDArray[np.int64]:
        """int64[words, T]: the tokens of each class's everyday words, padded."""
        rows = [self.tokenizer.encode(name, add_special_tokens=False).ids for name in self.classes.names]
        return padded(rows, max(map(len, rows)))


@dataclass
class PhotoBatch:
    """front float32[B, C, h, w]; class_logits float32[B, 1000] of the network as it was; tokens int64[B, 5, T + 2],
    padding alone where a hint is of that caption; written bool[B]: whether this recipe wrote the captions."""

    front: Tensor
    class_logits: Tensor
    tokens: Tensor
    hints: Tensor
    hints_there: Tensor
    photo_there: Tensor
    labels_there: Tensor
    written: Tensor

    def inputs(self, model: Captioner, features: Tensor, noise: Noise) -> Inputs:
        """What the model is given, from what its own encoder says, as unfamiliar as `noise` has it."""
        features, there = unfamiliar(features, self.hints_there.any(1), noise)
        with torch.no_grad():
            labels = model.labels(model.class_logits(features))
        there &= self.photo_there.unsqueeze(1)
        return Inputs(features, *labels, self.hints, self.hints_there, there, self.labels_there)


@dataclass(frozen=True)
class Hints:
    """Shares of photos that have a right hint, and a wrong one; the rest has none. Of the right ones: those that are
    the first words in their order, and those of whose photo a similar one stands for it."""

    right: float
    wrong: float = 0.15
    ordered: float = 0.0
    similar: float = 0.0


def photo_batches(corpus: Corpus, rng: random.Random, hints: Hints) -> Iterator[PhotoBatch]:
    """An epoch over the sets, mixed."""
    chosen = []
    for each in corpus.sets:
        order = rng.sample(range(len(each.photos)), len(each.photos))
        chosen.extend((each, index) for index in order[: round(each.share * len(order))])
    rng.shuffle(chosen)
    for start in range(0, len(chosen), PHOTOS_A_STEP):
        yield _photo_batch(corpus, chosen[start : start + PHOTOS_A_STEP], rng, hints)


def batches_of(corpus: Corpus) -> int:
    """How many batches an epoch has."""
    return -(-sum(round(each.share * len(each.photos)) for each in corpus.sets) // PHOTOS_A_STEP)


class Given(NamedTuple):
    """A hint for a photo: its words; which caption it is from, -1 for none, since that one is no target then; and
    whether it is of the photo."""

    words: list[str]
    caption: int = -1
    right: bool = False


def _photo_batch(corpus: Corpus, chosen: list[tuple[PhotoSet, int]], rng: random.Random, shares: Hints) -> PhotoBatch:
    hints = [_hint(each, index, rng, shares) for each, index in chosen]
    ids, there = hint_ids(corpus.tokenizer, [hint.words for hint in hints])
    tokens = np.stack([each.ids[index] for each, index in chosen])
    views = []
    for row, ((photos, index), hint) in enumerate(zip(chosen, hints, strict=True)):
        if hint.caption >= 0:
            tokens[row, hint.caption] = PAD
        stands_in = hint.right and rng.random() < shares.similar and len(photos.photos) > 1
        views.append(photos.similar_view(index, rng) if stands_in else photos.view(index, rng))
    front, logits = (torch.from_numpy(np.stack(each)).float() for each in zip(*views, strict=True))
    photo, labels = (np.array([rng.random() >= p for _ in chosen]) for p in (NO_PHOTO, NO_LABELS))
    return PhotoBatch(
        front,
        logits,
        trimmed(tokens),
        torch.from_numpy(ids),
        torch.from_numpy(there),
        torch.from_numpy(photo | ~labels),  # never without both
        torch.from_numpy(labels),
        torch.tensor([not each.name.startswith("train") for each, _ in chosen]),
    )


def _hint(photos: PhotoSet, index: int, rng: random.Random, shares: Hints) -> Given:
    photo, draw = photos.photos[index], rng.random()
    if draw < shares.right:
        if photo.names:
            return Given(rng.choice(photo.names).split(), right=True)
        caption = rng.randrange(CAPTIONS)
        ordered = rng.random() < shares.ordered
        words = measured_hint(photo.captions[caption]) if ordered else some_words(photo.captions[caption], rng)
        return Given(words, caption, True) if words else Given([])
    if draw < shares.right + shares.wrong:
        return Given(some_words(rng.choice(rng.choice(photos.photos).captions), rng))
    return Given([])


def trimmed(tokens: NDArray[np.int64]) -> Tensor:
    """Without the columns that are padding alone."""
    return torch.from_numpy(tokens[..., : int((tokens != PAD).sum(-1).max())])


class SentenceBatches:
    """Sentences with what a classifier would say of a photo of them, and with hints."""

    def __init__(self, corpus: Corpus, class_weights: NDArray[np.float32], labels: int) -> None:
        """class_weights: float32[1000, 1280], the classifier's: what it takes for each other has similar ones."""
        self.corpus, self.labels = corpus, labels
        groups = len(corpus.classes.names)
        mean = np.zeros((groups, class_weights.shape[1]), np.float32)
        np.add.at(mean, corpus.classes.of_class, class_weights)
        mean -= mean.mean(0)
        mean /= np.linalg.norm(mean, axis=1, keepdims=True)
        self.neighbours = np.argsort(-(mean @ mean.T), axis=1)[:, 1 : NEIGHBOURS + 1]

    def draw(self, rng: random.Random, count: int) -> tuple[Inputs, Tensor]:
        """The inputs, without photos, and the targets int64[count, 1, T + 2]."""
        sentences, hints, labels, probabilities = [], [], [], []
        for _ in range(count):
            words = self.corpus.sentences.one(rng)
            found, sure = self._labels(self.corpus.classes.in_words(words), rng)
            words, hint = self._hinted(words, rng)
            for kept, value in zip((sentences, hints, labels, probabilities), (words, hint, found, sure), strict=True):
                kept.append(value)
        ids, there = (torch.from_numpy(each) for each in hint_ids(self.corpus.tokenizer, hints))
        tokens = trimmed(token_ids(self.corpus.tokenizer, sentences)[:, None])
        return Inputs(None, torch.tensor(labels), torch.tensor(probabilities), ids, there), tokens

    def _hinted(self, words: list[str], rng: random.Random) -> tuple[list[str], list[str]]:
        """The sentence and its hint, now and then with a word that no sentence has."""
        if rng.random() >= HINTED_SENTENCES:
            return words, []
        hint = some_words(words, rng)
        if hint and self.corpus.rare and rng.random() < RARE_WORDS:
            new = rng.choice(self.corpus.rare)
            words = [new if word == hint[0] else word for word in words]
            hint[0] = new
        return words, hint

    def _labels(self, right: list[int], rng: random.Random) -> tuple[list[int], list[float]]:
        """Classes by falling probability: some that the sentence names, and some that are taken for them."""
        right = rng.sample(right, rng.randint(min(1, len(right)), min(3, len(right))))
        around = self.neighbours[rng.choice(right)] if right else np.arange(len(self.neighbours))
        others = [int(i) for i in rng.sample(list(around), 8) if i not in right]
        chosen = [*right, *others][: self.labels]
        sure = rng.uniform(0.1, 0.95) if right else rng.uniform(0.05, 0.4)
        parts = [rng.uniform(0.2, 1.0) for _ in right]
        weights = [sure * part / sum(parts) for part in parts]
        left = (1 - sum(weights)) * rng.uniform(0.2, 0.9)
        while len(weights) < len(chosen):
            weights.append(left * rng.uniform(0.2, 0.6))
            left -= weights[-1]
        ordered = sorted(zip(weights, chosen, strict=True), reverse=True)
        return [label for _, label in ordered], [weight for weight, _ in ordered]
