"""variant="auto": which variant of a folder is used on this machine, among those that are good enough.

Only whole variants are chosen, whose quality the folder tells: an encoder of one and a decoder of another were never
evaluated together. The default stays unless another is faster by far, so that the same model says the same tomorrow.
On the CPU a variant's time is that of the processor on one thread: unlike the clock on the wall it is about the same
whatever else the machine does, and how many threads a caption gets then changes nothing of what is chosen.
What was measured is kept in the user's cache folder, so a model is measured once a machine.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Any

from ..folders.own import Folder
from ..folders.tensors import PHOTOGRAPH, SPEECH, TEXT
from ..graphs.cores import thread_count
from ..graphs.devices import placed
from ..graphs.open import open_graphs
from ..graphs.running import Limit, RunEnded
from .machine import facts_of, recall, remember
from .timing import Timed

EXACT = "fp32"
# The share of its score that a variant may lose to fp32 where the folder says nothing else: what int4 is made to keep.
MAX_LOSS = 0.02
# Another variant must take this much less time than the one that it replaces. The share of two variants' times differs
# by some percent from try to try, and by a third where many others use the machine; a variant that is worth its loss
# takes half the time.
MARGIN = 0.25
SECONDS = 4.0  # for all that is measured; what does not fit in any more is not chosen
# By which variants are judged where both were measured on the same: captions by CIDEr, other texts by chrF, which needs
# no tokenizer and says something of single words too. Speech is judged by its word error rate, see loss.
JUDGED_BY = ("CIDEr", "chrF")
CONDITIONS = (
    "dataset",
    "dataset_sha256",
    "photos",
    "texts",
    "clips",
    "inputs",
    "num_beams",
    "tokenizer",
    "from",
    "to",
    "prefix",
    "truncated",
)
_ROUNDS, _SECONDS_EACH = 9, 0.6
_GENERATED = {PHOTOGRAPH: "photos", TEXT: "texts", SPEECH: "clips", None: "texts"}
_ABOUT = "auto"

Times = Mapping[str, float]


@dataclass(frozen=True)
class Choice:
    """What was chosen and why.

    variant: its name; left_out: why a variant is not good enough, by its name; times: milliseconds of a caption, or of
    another text, on one thread, the encoder and timing.CAPTION_STEPS steps, by variant, of those that were measured.
    """

    variant: str
    left_out: Mapping[str, str]
    times: Times

    def applied(self, folder: Folder) -> Folder:
        """The folder with this variant in use."""
        return folder.using(self.variant)

    def sentence(self, folder: Folder) -> str:
        """Why it is this one: what it was compared with, then what was left out. Goes on from its name."""
        others = [name for name in folder.variants if name not in self.left_out and name != self.variant]
        if others:
            said = ", ".join(f"{name} {self._time(name)}" for name in others)
            what = "caption" if folder.reads == PHOTOGRAPH else "text"
            first = f"{self._time(self.variant)} for a {what} on one thread ({said})"
        else:
            first = "the only one to choose"
        return "; ".join([first, *(f"{name} is left out: {why}" for name, why in self.left_out.items())])

    def _time(self, name: str) -> str:
        return f"{self.times[name]:.2f} ms" if name in self.times else "not measured, since there was no more time"


def choose(folder: Folder, device: object = "cpu", threads: int | None = None) -> Choice:
    """The folder's default variant, unless another within its quality limit is faster here by MARGIN.

    Measures for some seconds at most, and once only for a model, machine and version; never where there is nothing to
    choose.
    """
    left_out = {name: why for name in folder.variants if (why := _too_bad(folder, name)) is not None}
    order = _order(folder, left_out)
    if len(order) == 1:
        return Choice(order[0], left_out, {})
    on_cpu = placed(device).is_cpu
    facts = facts_of(folder, device, 1 if on_cpu else thread_count(threads)) | {"variants": order}
    times = _valid(recall(_ABOUT, facts), order)
    if times is None:
        times = _measured(folder, order, device, threads)
        remember(_ABOUT, facts, times)
    return Choice(_chosen(order, times), left_out, times)


def loss(folder: Folder, name: str) -> tuple[float, str] | None:
    """What a variant loses to fp32 as a share, and of what; None where the folder does not tell.

    JUDGED_BY and error rates count where both variants were measured on the same; else what the exporter compared.
    """
    found, exact = folder.quality.get(name, {}), folder.quality.get(EXACT, {})
    if found and all(found.get(key) == exact.get(key) for key in CONDITIONS):
        for judge in JUDGED_BY:
            mine, base = _number(found.get(judge)), _number(exact.get(judge))
            if mine is not None and base:
                return 1 - mine / base, f"of {judge}"
        mine, base = _number(found.get("word error rate")), _number(exact.get("word error rate"))
        if mine is not None and base is not None:
            return mine - base, "of the words"
    for key, what in (("tokens", "of the next tokens"), ("beam", "of the texts")):
        share = _number(folder.agreement.get(name, {}).get(key))
        if share is not None:
            return 1 - share, f"{what} on generated {_GENERATED[folder.reads]}"
    return None


def _too_bad(folder: Folder, name: str) -> str | None:
    """Why a variant is not to be chosen by itself; None for one that may be."""
    limit = MAX_LOSS if folder.max_loss is None else folder.max_loss
    if not folder.has(name):
        return "its files are not here"
    if name == EXACT:
        return None
    found = loss(folder, name)
    if found is None:
        return None if name == folder.default_variant else "how good it is was not measured"
    lost, what = found
    return f"it loses {lost:.2%} {what} and may lose {limit:.2%}" if lost > limit else None


def _number(value: object) -> float | None:
    number = isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number and isinstance(value, float | int) else None


def _order(folder: Folder, left_out: Mapping[str, str]) -> list[str]:
    """The variants to choose from: the default first, then those that lose less."""
    good = [name for name in folder.variants if name not in left_out] or [folder.default_variant]
    lost = {name: 0.0 if name == EXACT else (loss(folder, name) or (0.0, ""))[0] for name in good}
    return sorted(good, key=lambda name: (name != folder.default_variant, lost[name], name))


def _chosen(order: Sequence[str], times: Times) -> str:
    """The first, unless it was measured and a later one is faster by far; and so on from that one."""
    best = order[0]
    for name in order[1:]:
        if best in times and name in times and times[name] < times[best] * (1 - MARGIN):
            best = name
    return best


def _valid(times: Mapping[str, Any] | None, order: Sequence[str]) -> dict[str, float] | None:
    if times is None or not times.keys() <= set(order):
        return None
    numbers = [_number(value) for value in times.values()]
    return dict(times) if all(number is not None and number > 0 for number in numbers) else None


def _measured(folder: Folder, order: Sequence[str], device: object, threads: int | None) -> dict[str, float]:
    """Milliseconds of a caption by variant."""
    with ThreadPoolExecutor(1) as pool:  # a thread whose time is its own, see Graph
        return pool.submit(_measured_here, folder, order, device, threads).result()


def _measured_here(folder: Folder, order: Sequence[str], device: object, threads: int | None) -> dict[str, float]:
    """The time of the first, and of each other in turn with it.

    Two variants are open at once, and their runs take turns, so that what else the machine does meets both alike.
    """
    end, times = perf_counter() + SECONDS, dict[str, float]()
    first: Timed | None = None
    longest = 0.0
    for name in order[1:]:
        began = perf_counter()
        if began + longest > end:
            break
        try:
            with Limit(end - began):
                first = first or _opened(folder.using(order[0]), device, threads)
                other = _opened(folder.using(name), device, threads)
                _take_turns(first, other)
        except RunEnded:
            break
        times |= {order[0]: first.milliseconds, name: other.milliseconds}
        other.close()
        longest = max(longest, perf_counter() - began)
    if first is not None:
        first.close()
    return times


def _take_turns(one: Timed, other: Timed) -> None:
    end = perf_counter() + _SECONDS_EACH
    for done in range(_ROUNDS):
        for each in (one, other):
            each.run()
        if done and perf_counter() > end:
            return


def _opened(folder: Folder, device: object, threads: int | None) -> Timed:
    """A variant that is run; on the CPU with one thread."""
    on_cpu = placed(device).is_cpu
    # On Windows a thread's time moves in steps of 16 ms. What runs on a device takes no time of the processor.
    clock = thread_time if on_cpu and sys.platform != "win32" else perf_counter
    return Timed(open_graphs(folder, device, 1 if on_cpu else threads), folder, clock)
