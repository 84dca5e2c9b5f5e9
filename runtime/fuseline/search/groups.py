"""Diverse beam search (https://arxiv.org/abs/1610.02424): groups of beams, each kept from saying what others say.

The answer of transformers 4.50 for num_beam_groups (generation/utils.py, `_group_beam_search`; later versions have
moved it out). At every step the groups choose in turn, and a token that earlier groups of the photo have chosen in
this step costs diversity_penalty for each of them. Each group has a pool of its own; the best of all pools are the
answer.
"""

from __future__ import annotations

from itertools import chain
from typing import Self

import numpy as np

from fuseline.kernels import beam_candidates

from ..arrays import Float32, Int64
from ..generation.processors import Lengths, processors
from .beam import Beams, Candidates, processed
from .endings import REASONS
from .model_logprobs import ModelLogprobs
from .pool import Pool, shared_prefix
from .steps import Hypothesis, Log, Prefix, Task, shifts


class Group(Beams):
    """The beams of one group, of all photos. It ends in ways that 4.57's beams do not."""

    def __init__(self, task: Task, size: int) -> None:
        super().__init__(task, size)
        self.cut = ""  # why what is open ends, once it does
        self.pools = [Pool(size, takes_all=True) for _ in self.pools]

    @property
    def count(self) -> int:
        """Steps so far; the last of all adds a token too."""
        return self.open.length - self._task.start

    def extended(self, candidates: Candidates, ranked: bool = True) -> Self:
        """These with the best candidates that are no end tokens, the others in the pools."""
        ends, length = self._config.ends, self.open.length + 1
        why = self._task.endings(candidates.tokens, length, lambda: candidates.tokens)
        ending, pools = np.isin(candidates.tokens, ends), self.pools
        if ending.any():  # whichever end token it was, the first stands there
            ended = candidates._replace(tokens=np.where(ending, ends[0], candidates.tokens))
            pools = self._collected(ended, np.where(ending, why, np.int8(0)))
        gone_on = self._gone_on(candidates.picked(np.argsort(ending, axis=1, kind="stable")[:, : self._size]))
        hopeful = self._config.early_stopping == "never" and self._config.length_penalty > 0
        divisor = self._divisors[-1 if hopeful else length - self._task.start]
        pools = [
            pool.closed_if(pool.full and (self._config.early_stopping is True or pool.entries[-1].score >= best))
            for pool, best in zip(pools, (candidates.scores[:, 0] / divisor).tolist(), strict=True)
        ]
        cut = REASONS[int(np.where(ending, 0, why).max())]
        over = bool(cut) or all(pool.closed for pool in pools)
        return self._with(pools=pools, open=gone_on, cut=cut, over=over)


class GroupSearch:
    """The num_return_sequences best sequences of each photo, of all its groups together."""

    def __init__(self, task: Task) -> None:
        config = task.config
        count, self._size = config.num_beam_groups, config.num_beams // config.num_beam_groups
        self._task, self._groups = task, [Group(task, self._size) for _ in range(count)]
        self._taken: list[Int64] = []
        self._process = processors(config, Lengths(task.start, task.longest, task.inputs, self._taken))
        self._keep = max(2, 1 + len(config.ends)) * self._size
        self.scores, self.shifts = Log(config.output_scores), Log(config.output_confidences)
        self.model_logprobs = ModelLogprobs(config.keeps_model_logprobs)

    @property
    def count(self) -> int:
        """Steps so far."""
        return self._groups[0].count

    @property
    def _over(self) -> bool:
        return all(group.over for group in self._groups)

    def advance(self) -> bool:
        """One token more for every hypothesis; whether there is something to go on with."""
        opened = [group.open for group in self._groups]
        parents = None if opened[0].parents is None else self._rows([each.parents for each in opened])
        tokens = np.stack([self._by_photo(group.last) for group in self._groups], axis=1)
        live = ~np.all([group.closed for group in self._groups], axis=0)
        place = self.count
        logits = self._task.steps(place, tokens.reshape(-1, tokens.shape[-1]), parents, live)
        by_group = logits.reshape(len(self._task.prompt), len(self._groups), self._size, -1)
        self._taken.clear()
        found = [self._step(group, by_group[:, index]) for index, group in enumerate(self._groups)]
        if self.scores:
            by_photo = [self._by_photo(scores) for _, scores in found]
            self.scores.put(place, np.stack(by_photo, axis=1).reshape(logits.shape))
        if self.shifts:
            each = [self._by_photo(shifts(scores, self._task.config, normalized=False)) for _, scores in found]
            self.shifts.put(place, np.stack(each, axis=1).reshape(len(logits)))
        if self.model_logprobs:
            self.model_logprobs.put(place, logits, *self._followed([group for group, _ in found], len(logits)))
        self._groups = [group for group, _ in found]  # in one go, see Beams
        return not self._over

    def _step(self, group: Group, logits: Float32) -> tuple[Group, Float32]:
        """The group with one token more, and the scores it was chosen by, float32[B x size, V].

        logits: float32[B, size, V].
        """
        scores = processed(
            logits.reshape(-1, logits.shape[-1]), self._process, group.sequences, self._task.steps.normalized
        )
        extended = group.extended(Candidates(*beam_candidates(scores, group.open.scores, self._keep, normalized=True)))
        # A group that has closed pads, and its pad tokens count against the groups after it.
        pad = 0 if self._task.config.pad is None else self._task.config.pad
        self._taken.append(np.where(group.closed[:, None], pad, self._by_photo(extended.last[:, -1])))
        return extended, scores

    def _followed(self, extended: list[Group], rows: int) -> tuple[Int64, Int64]:
        """The rows of all and the tokens, int64[K] each, that sequences may go on with: the last of those that are
        open, and after any row the end, as the first end token stands for others. extended: the groups after a step."""
        parents = [
            self._row(group.open.parents, index)
            for index, group in enumerate(extended)
            if group.open.parents is not None  # which there are after a step
        ]
        tokens = [group.last[:, -1] for group in extended]
        if ends := self._task.config.ends:
            parents, tokens = [*parents, np.arange(rows)], [*tokens, np.full(rows, ends[0])]
        return np.concatenate(parents), np.concatenate(tokens)

    def _by_photo(self, array: np.ndarray) -> np.ndarray:
        """[B x size, ...] of a group as [B, size, ...]."""
        return array.reshape(-1, self._size, *array.shape[1:])

    def _rows(self, parents: list[Int64 | None]) -> Int64:
        """Rows of each group, int64[B x size], as rows of all, int64[R]."""
        count = len(self._groups)
        each = [self._row(self._by_photo(rows), group) for group, rows in enumerate(parents) if rows is not None]
        return np.stack(each, axis=1).reshape(count * len(self._task.prompt) * self._size)

    def _row(self, row: Int64, group: int) -> Int64:
        """A row of a group as a row of all."""
        return (row // self._size * len(self._groups) + group) * self._size + row % self._size

    def prefix(self, photo: int) -> Prefix:
        """What is known of a photo's best sequence: what all hypotheses share that may become it."""
        if self._over or all(group.pools[photo].closed for group in self._groups):
            [best] = self._best(photo, "", 1)
            return Prefix(best.tokens, best.tokens[:0], best.reason)
        found = [[*group.pools[photo].entries[:1], *group.hypotheses(photo)] for group in self._groups]
        return shared_prefix(list(chain.from_iterable(found)), self._task.prompt[photo])

    def found(self, reason: str) -> list[Hypothesis]:
        """The sequences, those of a photo together. reason: why those that are open end here."""
        each = self._task.config.num_return_sequences
        return [best for photo in range(len(self._task.prompt)) for best in self._best(photo, reason, each)]

    def _best(self, photo: int, reason: str, count: int) -> list[Hypothesis]:
        found: list[Hypothesis] = []
        for index, group in enumerate(self._groups):
            entries = list(group.pools[photo].entries)
            opened = [each._replace(reason=group.cut or reason) for each in group.hypotheses(photo)]
            entries = sorted(entries + opened, key=lambda each: -each.score)[: self._size]
            found += [each._replace(rows=self._row(each.rows, index)) for each in entries]
        best = sorted(range(len(found)), key=lambda at: (-found[at].score, -at))  # of equal ones the last, as there
        return [found[at] for at in best[:count]]
