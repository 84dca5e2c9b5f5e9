"""What each training step learns from: photos with hints, right, wrong or none, and sentences without photos."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from .captioner import PAD, Captioner, Inputs, Noise
from .data import CAPTIONS, FEATURE_STEP, Photo, Views
from .unfamiliar import STANDS, similar_photos, unfamiliar
from .words import MIN_COUNT, Classes, Sentences, content_words, hint_ids, measured_hint, padded, some_words, token_ids

PHOTOS_A_STEP = 32
SENTENCES_A_STEP = 48
# Shares of photos that go without the photo or its labels.
NO_PHOTO, NO_LABELS = 0.12, 0.12
# Of sentences: those with a hint, and those of them in which a word is exchanged for a rare one, to be copied.
HINTED_SENTENCES, RARE_WORDS = 0.5, 0.25
NEIGHBOURS = 15
# Photos beside sentences that are misled: those that share a word with it, and how much of a photo is covered.
SHARES_A_WORD, COVERED_OF_OTHERS = 0.7, (0.0, 0.9)


View = tuple[NDArray[Any], NDArray[np.float16]]  # the front of one view or its features, and the logits


@dataclass
class PhotoSet:
    """Photos with their views and their captions' tokens int64[photos, 5, T]; how often an epoch has each photo; and
    what the encoder sees of the views, uint8[photos, views, P, 1280] in steps of FEATURE_STEP, once it is trained."""

    name: str
    photos: list[Photo]
    views: Views
    ids: NDArray[np.int64]
    share: float = 1.0
    features: NDArray[np.uint8] | None = None

    @cached_property
    def similar(self) -> NDArray[np.int64]:
        """Which photos may stand for each."""
        return similar_photos(self.views.logits[:, 0], self.photos)

    def view(self, index: int, rng: random.Random) -> View:
        """One of a photo's views."""
        view = rng.randrange(self.views.front.shape[1])
        return self.seen(index, view), self.views.logits[index, view]

    def seen(self, photos: int | slice, view: int) -> NDArray[Any]:
        """Features float32[..., P, 1280] of photos, or where there are none the encoder's front [..., C, h, w]."""
        if self.features is None:
            return self.views.front[photos, view].astype(np.float32)
        return self.features[photos, view] * np.float32(FEATURE_STEP)

    def similar_view(self, index: int, rng: random.Random) -> View:
        """Mostly one of a similar photo's views, with some of this one's."""
        share = rng.uniform(*STANDS)
        own, other = self.view(index, rng), self.view(int(rng.choice(self.similar[index])), rng)
        seen, logits = (share * theirs + (1 - share) * ours for ours, theirs in zip(own, other, strict=True))
        return seen, logits


@dataclass
class Corpus:
    """All that training reads. sets: Flickr8k's first; val: by name, what is scored after every second epoch."""

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
    """seen float32[B, C, h, w] of the encoder's front, or its features [B, P, 1280]; class_logits float32[B, 1000] of
    the network as it was; tokens int64[B, 5, T + 2], padding alone where a hint is of that caption; written bool[B]:
    whether this recipe wrote the captions."""

    seen: Tensor
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
    seen, logits = (torch.from_numpy(np.stack(each)).float() for each in zip(*views, strict=True))
    photo, labels = (np.array([rng.random() >= p for _ in chosen]) for p in (NO_PHOTO, NO_LABELS))
    return PhotoBatch(
        seen,
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

    def __init__(self, corpus: Corpus, class_weights: NDArray[np.float32], labels: int, misled: float = 0.0) -> None:
        """class_weights: float32[1000, 1280], the classifier's: what it takes for each other has similar ones.

        misled: of sentences with a hint, the share whose labels are of what it is taken for, and the share that comes
        with a training photo of something else: so the hint is to be trusted. Photos must have features then.
        """
        self.corpus, self.labels, self.misled = corpus, labels, misled
        groups = len(corpus.classes.names)
        mean = np.zeros((groups, class_weights.shape[1]), np.float32)
        np.add.at(mean, corpus.classes.of_class, class_weights)
        mean -= mean.mean(0)
        mean /= np.linalg.norm(mean, axis=1, keepdims=True)
        self.neighbours = np.argsort(-(mean @ mean.T), axis=1)[:, 1 : NEIGHBOURS + 1]

    def draw(self, rng: random.Random, count: int) -> tuple[Inputs, Tensor]:
        """The inputs, mostly without photos, and the targets int64[count, 1, T + 2]."""
        sentences, hints, labels, probabilities, photos = [], [], [], [], []
        for _ in range(count):
            words = self.corpus.sentences.one(rng)
            named = self.corpus.classes.in_words(words)
            words, hint = self._hinted(words, rng)
            misled, with_photo = (bool(hint) and rng.random() < self.misled for _ in range(2))
            found, sure = self._labels(self._taken_for(named, rng) if misled else named, rng)
            photo = self._other_photo(words, hint, rng) if with_photo else None
            row = words, hint, found, sure, photo
            for kept, value in zip((sentences, hints, labels, probabilities, photos), row, strict=True):
                kept.append(value)
        ids, there = (torch.from_numpy(each) for each in hint_ids(self.corpus.tokenizer, hints))
        tokens = trimmed(token_ids(self.corpus.tokenizer, sentences)[:, None])
        inputs = Inputs(None, torch.tensor(labels), torch.tensor(probabilities), ids, there)
        return (self._with_photos(inputs, photos, rng) if self.misled else inputs), tokens

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

    @cached_property
    def _photos_with(self) -> dict[str, list[int]]:
        """Which training photos have each word in a caption."""
        found: dict[str, list[int]] = {}
        for index, photo in enumerate(self.corpus.sets[0].photos):
            for word in {word for caption in photo.captions for word in content_words(caption)}:
                found.setdefault(word, []).append(index)
        return found

    def _other_photo(self, words: list[str], hint: list[str], rng: random.Random) -> int:
        """Mostly a photo that shares a word with the sentence, but none of the hint."""
        shared = [word for word in content_words(words) if word not in hint and word in self._photos_with]
        if shared and rng.random() < SHARES_A_WORD:
            return rng.choice(self._photos_with[rng.choice(shared)])
        return rng.randrange(len(self.corpus.sets[0].photos))

    def _with_photos(self, inputs: Inputs, photos: list[int | None], rng: random.Random) -> Inputs:
        """Some of the positions of these photos beside what there is."""
        train = self.corpus.sets[0]
        features = [train.view(photo or 0, rng)[0] for photo in photos]
        covered = np.array([1.0 if photo is None else rng.uniform(*COVERED_OF_OTHERS) for photo in photos])
        there = torch.rand(len(photos), features[0].shape[0]) >= torch.from_numpy(covered)[:, None]
        labels_there = torch.ones(len(photos), dtype=torch.bool)
        seen = torch.from_numpy(np.stack(features))
        return replace(inputs, features=seen, photo_there=there, labels_there=labels_there)

    def _taken_for(self, named: list[int], rng: random.Random) -> list[int]:
        """For each class another one that is like it, and none of them."""
        others = [[int(i) for i in self.neighbours[each] if i not in named] for each in named]
        return list(dict.fromkeys(rng.choice(each) for each in others if each))

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
