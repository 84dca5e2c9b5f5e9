"""What each source of a model with several is worth: a data set without it, and with that of other inputs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fuseline.folders.tensors import ZEROS, Source

from .bootstrap import Difference, differences
from .data import DataSet
from .scores import Metric, same_share
from .sources import Several, lacking

WITHOUT, OF_OTHERS = "without", "of others"
LOG = logging.getLogger("fuseline.export")
Metrics = Mapping[str, Mapping[str, Metric]]


@dataclass(frozen=True)
class Change:
    """A data set with one source changed. how: WITHOUT or OF_OTHERS."""

    source: str
    how: str
    data: DataSet

    def row(self, variant: str) -> str:
        """What a variant's texts of it are called."""
        return row_name(variant, self.source, self.how)


@dataclass(frozen=True)
class Changed:
    """What a variant says with one source changed. less_whole: the differences to what it says of the data as they
    are; same: the share of inputs of which it says word for word the same."""

    scores: Mapping[str, float]
    less_whole: Mapping[str, Difference]
    same: float
    texts: Sequence[str]


def row_name(variant: str, source: str, how: str) -> str:
    """As tables have it."""
    return f"{variant} without {source}" if how == WITHOUT else f"{variant} with {source} of others"


def changes(data: DataSet, sources: Mapping[str, Source]) -> list[Change]:
    """The data set without each source, and with each source of others. What cannot be had is warned of; a source that
    no input has is passed over."""
    items = [item for item in data.items if isinstance(item, Several)]
    there = [name for name in sources if any(name in item.given for item in items)]
    return [change for name in there for change in _of(name, data, items, sources)]


def _of(name: str, data: DataSet, items: Sequence[Several], sources: Mapping[str, Source]) -> Iterator[Change]:
    left = [replace(item, given={key: each for key, each in item.given.items() if key != name}) for item in items]
    others = shuffled(items, name)
    if any(lacking(sources, item.given) is not None for item in left):
        LOG.warning("what is said without %s is not measured, since it needs that source", name)
    elif not all(item.given or ZEROS in {each.absent for each in sources.values()} for item in left):
        LOG.warning("what is said without %s is not measured, since an input has no other source", name)
    else:
        yield Change(name, WITHOUT, replace(data, items=tuple(left)))
    if others is None:
        LOG.warning(
            "what is said with %s of others is not measured, since more than half have the same or one has it", name
        )
    else:
        yield Change(name, OF_OTHERS, replace(data, items=tuple(others)))


def shuffled(items: Sequence[Several], source: str) -> list[Several] | None:
    """Inputs with the source of others of them; who has none gets none. Always the same ones.

    Nobody gets what is equal to its own; None where more than half of those that have the source have the same.
    """
    have = [place for place, item in enumerate(items) if source in item.given]
    values = [str(items[place].given[source]) for place in have]
    first = {value: place for place, value in reversed(list(enumerate(values)))}
    most = max(Counter(values).values())
    if 2 * most > len(values):
        return None
    # In a drawn order, but equal values side by side: who goes on by as many as are equal at most meets another value.
    drawn = np.random.default_rng(0).permutation(len(values))
    order = sorted(range(len(values)), key=lambda place: (drawn[first[values[place]]], drawn[place]))
    found = list(items)
    for here, there in zip(order, [*order[most:], *order[:most]], strict=True):
        item = items[have[here]]
        found[have[here]] = replace(item, given={**item.given, source: items[have[there]].given[source]})
    return found


def changed(
    variant: str, parts: Sequence[Change], metrics: Metrics, texts: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Changed]]:
    """By source and how it was changed. metrics, texts: by variant, and by the rows of the changes."""
    found: dict[str, dict[str, Changed]] = {}
    for part in parts:
        row = part.row(variant)
        found.setdefault(part.source, {})[part.how] = Changed(
            scores={key: metric.value() for key, metric in metrics[row].items()},
            less_whole=differences(metrics[row], metrics[variant]),
            same=same_share(texts[row], texts[variant]).value(),
            texts=texts[row],
        )
    return found
