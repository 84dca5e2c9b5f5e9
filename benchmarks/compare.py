"""`python -m benchmarks compare A B`: what changed between two result files, and whether it is more than noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .records import Record, pick

# A metric of which more is better has -1; those that are no cost are not compared.
WORSE = {
    **dict.fromkeys(("caption", "encoder", "first_step", "step", "photo", "start", "rest_cpu", "export_time"), 1),
    **dict.fromkeys(("peak_memory", "installed_size", "folder_size", "export_memory"), 1),
    **dict.fromkeys(("throughput", "agreement"), -1),
}
# What nobody notices, whatever its ratio: a millisecond of CPU at rest, a hundredth of a millisecond of anything.
NEGLIGIBLE = {"ms": 0.01, "bytes": 1e6, "photos/s": 0.01, "share": 0.0}
REST_NEGLIGIBLE_MS = 2.0
LEAST_NOISE = 0.03
_DRAWS, _CONFIDENCE = 2000, (2.5, 97.5)


@dataclass(frozen=True)
class Change:
    """One measurement in both files. ratio: median of B over that of A, with its 95 % interval.

    verdict: "slower", "faster" (for a size or a share: "worse", "better"), "same", or "wrong" for tokens that no
    longer are the reference's.
    """

    system: str
    model: str
    metric: str
    conditions: str
    before: float
    after: float
    ratio: float
    interval: tuple[float, float]
    verdict: str


def compare(before: Sequence[Record], after: Sequence[Record]) -> list[Change]:
    """All that is in both runs. A change counts when its whole interval lies beyond what A/A measured as noise."""
    noise = max(_noise(before), _noise(after))
    ones, twos = _by_place(before), _by_place(after)
    both = [(ones[place], two) for place, two in twos.items() if place in ones]
    return [_change(one, two, noise) for one, two in both if one["values"] and two["values"]]


def lost(before: Sequence[Record], after: Sequence[Record]) -> Iterator[str]:
    """What was measured before and is refused now, as sentences."""
    refused = {(record["system"], record["model"]): record["reason"] for record in pick(after, status="refused")}
    for record in before:
        key = (record["system"], record["model"])
        if record["metric"] == "caption" and record["status"] == "ok" and key in refused:
            yield f"{key[0]} no longer runs {key[1]}: {refused.pop(key)}"


def regressions(changes: Sequence[Change]) -> list[Change]:
    """Those that are worse beyond noise."""
    return [change for change in changes if change.verdict in ("slower", "worse", "wrong")]


def interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the ratio of the medians, by a bootstrap; the ratio itself where each is one value.

    Percentile bootstrap, Efron and Tibshirani 1993, chapter 13; the same draws every time.
    """
    random = np.random.default_rng(0)

    def medians(values: Sequence[float]) -> np.ndarray:
        array = np.asarray(values, np.float64)
        return np.median(array[random.integers(0, len(array), (_DRAWS, len(array)))], axis=1)

    ratios = medians(after) / np.maximum(medians(before), 1e-12)
    low, high = np.percentile(ratios, _CONFIDENCE)
    return float(low), float(high)


def _change(before: Record, after: Record, noise: float) -> Change:
    one, two = before["median"], after["median"]
    low, high = interval(before["values"], after["values"])
    return Change(
        after["system"],
        after["model"],
        after["metric"],
        ", ".join(f"{name} {value}" for name, value in after["conditions"].items() if name not in ("means", "heat")),
        one,
        two,
        two / max(one, 1e-12),
        (low, high),
        _verdict(before, after, (low, high), noise),
    )


def _verdict(before: Record, after: Record, ratios: tuple[float, float], noise: float) -> str:
    if after["status"] == "wrong" and before["status"] != "wrong":
        return "wrong"
    metric, unit = after["metric"], after["unit"]
    # Sizes and shares are the same every time; only times and memory have noise.
    bound = 0.001 if metric in ("installed_size", "folder_size", "agreement") else noise
    small = REST_NEGLIGIBLE_MS if metric == "rest_cpu" else NEGLIGIBLE.get(unit, 0.0)
    if abs(after["median"] - before["median"]) <= small:
        return "same"
    low, high = ratios if WORSE[metric] > 0 else (1 / max(ratios[1], 1e-12), 1 / max(ratios[0], 1e-12))
    timed = unit in ("ms", "photos/s")
    if low > 1 + bound:
        return "slower" if timed else "worse"
    if high < 1 / (1 + bound):
        return "faster" if timed else "better"
    return "same"


def _noise(records: Sequence[Record]) -> float:
    """The largest A/A difference of a run, and at least LEAST_NOISE."""
    return max([LEAST_NOISE, *(record["median"] for record in pick(records, metric="same_again"))])


def _by_place(records: Sequence[Record]) -> dict[tuple[str, ...], Record]:
    """What can be compared, whatever heat it was in; of the anchor, which runs in every heat, the first."""
    found: dict[tuple[str, ...], Record] = {}
    for record in records:
        named = sorted((name, value) for name, value in record["conditions"].items() if name != "heat")
        conditions = ",".join(f"{name}={value}" for name, value in named)
        if record["metric"] in WORSE:
            found.setdefault((record["system"], record["model"], record["metric"], conditions), record)
    return found
