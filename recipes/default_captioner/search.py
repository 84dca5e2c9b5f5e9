"""Beam search on the torch model, to watch the training; what ships is searched by fuseline itself."""

from __future__ import annotations

import torch
from torch import Tensor

from .captioner import BOS, EOS, PAD, UNK, Captioner, Encoded, Memory

FORBIDDEN = [PAD, BOS, UNK]


def _log_probs(model: Captioner, tokens: Tensor, position: int, memory: Memory) -> Tensor:
    logits = model.logits(model.transformer.step(tokens, position, memory))
    logits[:, FORBIDDEN] = -torch.inf
    return logits.log_softmax(-1)


@torch.no_grad()
def beam_search(model: Captioner, encoded: Encoded, beams: int = 4, max_tokens: int = 20) -> Tensor:
    """The best caption of each photo by mean log-probability: int64[B, max_tokens + 1], padded after </s>."""
    photos, words = encoded.hidden.shape[0], model.shape.vocab_size
    memory = model.transformer.memory(encoded)
    tokens = torch.full((photos * beams,), BOS)
    scores = torch.full((photos, beams), -torch.inf)
    scores[:, 0] = 0.0
    history = torch.full((photos, beams, max_tokens + 1), PAD)
    best_score = torch.full((photos,), -torch.inf)
    best = torch.full((photos, max_tokens + 1), PAD)
    for position in range(max_tokens + 1):
        log_probs = _log_probs(model, tokens, position, memory).view(photos, beams, words)
        top, flat = (scores.unsqueeze(-1) + log_probs).flatten(1).topk(2 * beams)
        parents, chosen = flat // words, flat % words
        candidates = history.gather(1, parents.unsqueeze(-1).expand(-1, -1, max_tokens + 1)).clone()
        candidates[:, :, position] = chosen
        ended = (chosen == EOS) & (torch.arange(2 * beams) < beams)
        final = (top / (position + 1)).masked_fill(~ended, -torch.inf)
        value, which = final.max(1)
        better = value > best_score
        best_score = torch.where(better, value, best_score)
        best = torch.where(better.unsqueeze(1), candidates[torch.arange(photos), which], best)
        scores, keep = top.masked_fill(chosen == EOS, -torch.inf).topk(beams)
        history = candidates.gather(1, keep.unsqueeze(-1).expand(-1, -1, max_tokens + 1))
        tokens = chosen.gather(1, keep).flatten()
        memory.reorder((parents.gather(1, keep) + torch.arange(photos).unsqueeze(1) * beams).flatten())
        if (scores[:, 0] / (position + 1) < best_score).all():
            break
    unfinished = torch.isinf(best_score)
    return torch.where(unfinished.unsqueeze(1), history[:, 0], best)


@torch.no_grad()
def hypotheses(model: Captioner, encoded: Encoded, count: int, max_tokens: int, length_penalty: float) -> Tensor:
    """The likeliest captions of each photo, ended or not, the best first: int64[B, count, T], padded after </s>.

    An ended caption keeps its place in the beam while its log-probability over length ** length_penalty does.
    """
    photos, words = encoded.hidden.shape[0], model.shape.vocab_size
    memory = model.transformer.memory(encoded)
    tokens = torch.full((photos * count,), BOS)
    sums = torch.full((photos, count), -torch.inf)
    sums[:, 0] = 0.0
    lengths = torch.zeros(photos, count)
    ended = torch.zeros(photos, count, dtype=torch.bool)
    history = torch.full((photos, count, 0), PAD)
    first_rows = torch.arange(photos).unsqueeze(1) * count
    for position in range(max_tokens):
        log_probs = _log_probs(model, tokens, position, memory).view(photos, count, words)
        log_probs = log_probs.masked_fill(ended.unsqueeze(-1), -torch.inf)
        log_probs[:, :, PAD] = torch.where(ended, 0.0, log_probs[:, :, PAD])  # what has ended goes on as it is
        totals = sums.unsqueeze(-1) + log_probs
        longer = (lengths + ~ended).unsqueeze(-1)
        flat = (totals / longer**length_penalty).flatten(1).topk(count).indices
        parents, chosen = flat // words, flat % words
        sums = totals.flatten(1).gather(1, flat)
        kept = history.gather(1, parents.unsqueeze(-1).expand(-1, -1, position))
        history = torch.cat([kept, chosen.unsqueeze(-1)], 2)
        lengths = longer.squeeze(-1).gather(1, parents)
        ended = ended.gather(1, parents) | (chosen == EOS)
        if ended.all():
            break
        tokens = chosen.flatten()
        memory.reorder((parents + first_rows).flatten())
    return history
