"""What the captioner says itself, rewarded by CIDEr-D (Rennie et al., "Self-critical Sequence Training", 2017).

As Cornia et al. ("Meshed-Memory Transformer", 2020) have it: the likeliest captions of a beam search are judged, each
against the mean of the others. Captions that are drawn word by word do not teach this model: label smoothing left
every tenth word to chance, so that what is learned first is not to say those. The encoder of photos stays as it is.
"""

from __future__ import annotations

import random
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import Corpus, Hints, PhotoBatch
from .captioner import BOS, EOS, PAD, UNK, Captioner, Encoded, Noise
from .cider import CiderD
from .search import hypotheses
from .train import CrossEntropy, Phase, Step

BEAMS, LEARNED = 5, 3  # captions of a photo, and those of them that are learned from: the farthest from the mean
MAX_TOKENS, LENGTH_PENALTY = 20, 0.8
SENTENCES = 0.5  # the weight of cross-entropy of sentences without photos, which keeps everyday words alive
THINGS = 0.3  # what a reward counts of pictures whose captions the recipe wrote: it is up to ten times as large
TRAINED = ("transformer.h.", "transformer.ln_f.", "ln_hint.")  # neither what reads photos nor the words' table

NOISE = Noise(0.1, 0.05, mixed=0.3, channels=0.1, covered=0.6)
HINTS = Hints(0.65, 0.08, 0.5, 0.7)
SELF_CRITICAL = Phase(
    "self_critical",
    epochs=3,
    rate=8e-5,
    warmup_steps=20,
    final=0.1,
    noise=NOISE,
    hints=HINTS,
    average=0.98,
    weight_decay=0.0,
    misled=0.25,
    trained=TRAINED,
)
RUNS = 3  # each from the same weights with a seed of its own; their mean hangs less on chance than one


class SelfCritical:
    """The loss of what the model says of photos, and of sentences without photos."""

    def __init__(self, corpus: Corpus, model: Captioner, misled: float) -> None:
        self.corpus, self.of_sentences = corpus, CrossEntropy(corpus, model, misled).of_sentences
        self.cider = CiderD(photo.captions for each in corpus.sets for photo in each.photos)

    def __call__(self, model: Captioner, batch: PhotoBatch, noise: Noise, rng: random.Random) -> Step:
        every = torch.ones_like(batch.photo_there)  # each photo is there, with its labels
        batch = replace(batch, photo_there=every, labels_there=every)
        with torch.no_grad():  # what reads photos is not trained
            inputs = batch.inputs(model, model.features(batch.seen), noise)
            seen = model.encode_photos(inputs, Noise())
        encoded = model.with_hints(seen, inputs)
        said = hypotheses(model, encoded, BEAMS, MAX_TOKENS, LENGTH_PENALTY)
        rewards = self.rewards(said, batch.tokens)
        counted = rewards * torch.where(batch.written, THINGS, 1.0).unsqueeze(1)
        loss = critical_loss(model, encoded, said, counted)
        sentences = self.of_sentences(model, noise, rng)
        figures = {"loss": loss.item(), "CIDEr": rewards[:, 0].mean().item(), "sentence_loss": sentences.item()}
        return loss + SENTENCES * sentences, figures

    def rewards(self, said: Tensor, captions: Tensor) -> Tensor:
        """CIDEr-D of what is said int64[B, K, T] against the captions int64[B, 5, T + 2] that are no padding alone:
        float32[B, K]; 0 of what has no end."""
        rewards = torch.zeros(said.shape[:2])
        for photo, (texts, wanted) in enumerate(zip(said.tolist(), captions.tolist(), strict=True)):
            references = [self.cider.weighed(self.words(each)) for each in wanted if any(each)]
            for row, text in enumerate(texts):
                if EOS in text:
                    rewards[photo, row] = self.cider.score(self.words(text), references)
        return rewards

    def words(self, tokens: list[int]) -> list[str]:
        return str(self.corpus.tokenizer.decode([token for token in tokens if token > UNK])).split()


def critical_loss(model: Captioner, encoded: Encoded, said: Tensor, rewards: Tensor) -> Tensor:
    """Minus the log-probabilities of tokens int64[B, K, T], each as often as its caption's reward is above the mean of
    the others' (below it: negative), mean of the tokens; of LEARNED captions a photo."""
    others = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    farthest = (rewards - others).abs().topk(LEARNED, 1).indices
    above = (rewards - others).gather(1, farthest).flatten()
    tokens = said.gather(1, farthest.unsqueeze(-1).expand(-1, -1, said.shape[2])).flatten(0, 1)
    keep = tokens != PAD
    given = torch.cat([torch.full((len(tokens), 1), BOS), tokens[:, :-1]], 1)
    hidden = model.transformer(given, keep, model.transformer.memory(encoded), Noise())
    losses = F.cross_entropy(model.logits(hidden).float(), tokens[keep], reduction="none")
    return (losses * above.repeat_interleave(keep.sum(1))).mean()
