"""`python -m benchmarks run`: every system on every model, in turns, each in its own process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import environments, heats, models, photos
from .client import ROOT, Worker
from .errors import BenchmarkError
from .machine import Floors
from .models import Model
from .plan import BATCHES, BEAMS, LENGTHS, SCALING, Plan, Turns
from .records import Recorder
from .systems import WEIGHT_BYTES, Spec

NUM_BEAMS, SHORT = 4, 2  # a caption of 2 tokens is the encoder and the first step
CHECKED_PHOTOS = 4
AGAIN = "again"  # what the second process of the same system is called while it runs

Tell = Callable[[str], None]


@dataclass
class Contestant:
    """A system with a model open in a process of its own, and what its turns have given so far.

    steps: of one caption. anew: the anchor in a later heat, of which only the turns are missing.
    """

    spec: Spec
    worker: Worker
    label: str
    steps: int
    status: str = "ok"
    anew: bool = False
    found: dict[str, list[float]] = field(default_factory=dict)

    def enough(self, turns: Turns, had: int) -> bool:
        """Whether it had its captions in enough turns, of which it had so many, or its time."""
        spent = sum(sum(values) for values in self.found.values())
        captions = min(map(len, self.found.values()), default=0)
        return (captions >= turns.captions and had >= turns.least) or spent >= turns.seconds * 1000


def run(plans: Sequence[Plan], recorder: Recorder, tell: Tell, say: Tell) -> None:
    """Measure everything in the plans.

    tell: is called with what is being done, once a unit of work. say: with what has been done, once a stage.
    """
    tell("reading memory and multiplying, as fast as the machine can")
    _machine(plans[0], recorder)
    say("the machine's floors")
    for plan in plans:
        for model in plan.models:
            ModelRun(plan, model, recorder, tell, say).run()


def _machine(plan: Plan, recorder: Recorder) -> None:
    floors = Floors()
    for threads in sorted({1, plan.threads}):
        conditions = {"threads": threads, "means": floors.means}
        recorder.add("machine", "", "multiply_adds", [floors.multiply_adds(threads)], **conditions)
        if (dots := floors.dots(threads)) is not None:
            recorder.add("machine", "", "dot_multiply_adds", [dots], **conditions)
        recorder.add("machine", "", "read_bandwidth", [floors.read(1 << 30, threads)], bytes=1 << 30, **conditions)


class ModelRun:
    """All measurements of one model."""

    def __init__(self, plan: Plan, model: Model, recorder: Recorder, tell: Tell, say: Tell) -> None:
        self.plan, self.model, self.recorder = plan, model, recorder
        self._tell, self._say = tell, say
        self._photos = [str(path) for path in photos.photos()]
        self._folders: dict[str, Path] = {}
        self._right: list[list[int]] | None = None
        self._heat = 0
        self._main = {"num_beams": NUM_BEAMS, "max_length": model.max_length, "threads": plan.threads, "photos": 1}

    def run(self) -> None:
        """In heats, each in turns while all its processes live; then the starts, each alone."""
        try:
            self._facts()
        except BenchmarkError as error:
            for spec in self.plan.specs:
                self._refuse(spec, str(error))
            return
        waiting = deque(heats.in_order(self.plan.specs, self.model.reference))
        while waiting:
            self._next_heat(waiting)
        for spec in self.plan.specs:
            if spec.name in self._folders:
                self._starts(spec)
        self.say("starts")

    def _next_heat(self, waiting: deque[Spec]) -> None:
        """Measure those of the waiting that fit the memory together."""
        self._heat += 1
        self._main["heat"] = self._heat
        contestants: list[Contestant] = []
        try:
            self._fill(contestants, waiting)
            self._check(contestants)
            if self._heat == 1:
                contestants += self._again(contestants)
            self._rounds(contestants, [SHORT, self.model.max_length], NUM_BEAMS, 1, self.plan.turns)
            self._record_rounds(contestants)
            self.say(f"heat {self._heat}, measured")
            first = [each for each in contestants if each.label != AGAIN and not each.anew]
            self._rest(first)
            scaled = [each for each in first if each.spec.scaling and self.model.quick and not self.plan.quick]
            self._scale(scaled)
        finally:
            for each in contestants:
                each.worker.close()
        self._one_thread(scaled)

    def _fill(self, contestants: list[Contestant], waiting: deque[Spec]) -> None:
        """Open the anchor and what waits until one does not fit, which waits on. One beside the anchor always runs."""
        anchor = models.reference(self.model)
        if anchor.name in self._folders:
            waiting.appendleft(anchor)
        while waiting:
            each = self._enter(waiting[0])
            least = 1 + any(other.spec == anchor for other in contestants)
            if each and len(contestants) >= least and not self._fit([*contestants, each]):
                each.worker.close()
                break
            waiting.popleft()
            if each:
                contestants.append(each)
        gigabytes = heats.resident(each.worker for each in contestants) / 1e9
        self.say(f"heat {self._heat}, {len(contestants)} systems opened, {gigabytes:.1f} GB")

    def _fit(self, contestants: list[Contestant]) -> bool:
        return heats.needed([each.worker for each in contestants]) <= self.plan.memory_bytes

    def _facts(self) -> None:
        """What the floors are made of, and how fast the decoder's weights can be read here."""
        self.tell("the checkpoint")
        facts = models.facts(self.model)
        for name in ("step_weights", "encoder_multiply_adds"):
            if name in facts:
                self.recorder.add("machine", self.model.name, name, [facts[name]])
        for precision in {spec.precision for spec in self.plan.specs} if facts else ():
            size = int(facts["step_weights"] * WEIGHT_BYTES[precision])
            speed = Floors().read(size, self.plan.threads)
            conditions = {"threads": self.plan.threads, "bytes": size}
            self.recorder.add("machine", self.model.name, "read_bandwidth", [speed], **conditions)

    def _enter(self, spec: Spec) -> Contestant | None:
        """Make what the system reads, start it and open the model; or note why that is not possible."""
        worker, anew = None, spec.name in self._folders
        try:
            self.tell("environment and export", spec, advance=not anew)
            made = models.made_for(spec, self.model, self.plan.threads)
            self.tell("opening", spec, advance=not anew)
            worker = environments.start(spec, self.plan.threads)
            self.recorder.versions[spec.name] = worker.ask("versions")
            worker.ask("load")
            worker.ask("open", folder=str(made.folder), threads=self.plan.threads)
            # So that a system that opens and then fails is refused here, with its sentence; and once more, since what
            # a process keeps of the first caption for the next ones is there only then.
            said = worker.ask("generate", **self._asked(1))
            worker.ask("generate", **self._asked(1))
        except BenchmarkError as error:
            self._refuse(spec, str(error))
            if worker is not None:
                worker.close()
            return None
        if not anew:
            self._folders[spec.name] = made.folder
            self._record_folder(spec, made)
        return Contestant(spec, worker, spec.name, said["steps"], anew=anew and spec == models.reference(self.model))

    def _record_folder(self, spec: Spec, made: models.Made) -> None:
        """What the system needs on disk, and what making it took."""
        size = environments.bytes_below(made.folder)
        self.recorder.add(spec.name, self.model.name, "folder_size", [size])
        if made.milliseconds is not None and made.peak is not None:
            self.recorder.add(spec.name, self.model.name, "export_time", [made.milliseconds])
            self.recorder.add(spec.name, self.model.name, "export_memory", [made.peak])
        if (installed := environments.installed(spec.module, self.plan.quick)) is not None:
            self.recorder.add(spec.name, self.model.name, "installed_size", [installed])

    def _check(self, contestants: list[Contestant]) -> None:
        """Compare every system's tokens with the reference's; what must be equal and is not is marked wrong."""
        unchecked = [each for each in contestants if not each.anew]
        try:
            self._right = self._right or self._reference(contestants)
        except BenchmarkError as error:
            for each in unchecked:
                reason = f"the reference {self.model.reference} does not run: {error}"
                self.recorder.refuse(each.label, self.model.name, "agreement", reason)
        for each in unchecked:
            self.tell("checking", each.spec)
            try:
                sequences = self._said(each.worker)
            except BenchmarkError as error:
                self._drop(contestants, each, error)
                continue
            if self._right is not None:
                share = agreement(self._right, sequences)
                each.status = "wrong" if each.spec.exact and share < 1 else "ok"
                self.recorder.add(each.label, self.model.name, "agreement", [share], each.status)

    def _reference(self, contestants: list[Contestant]) -> list[list[int]]:
        """The right tokens, of a process that runs already or of one for this alone."""
        spec = models.reference(self.model)
        there = next((each.worker for each in contestants if each.spec == spec), None)
        if there is not None:
            return self._said(there)
        made = models.made_for(spec, self.model, self.plan.threads)
        with environments.start(spec, self.plan.threads) as worker:
            worker.ask("open", folder=str(made.folder), threads=self.plan.threads)
            return self._said(worker)

    def _said(self, worker: Worker) -> list[list[int]]:
        """The tokens that are compared, photo by photo: a batch of large ones takes memory that the others have."""
        asked = self._asked(CHECKED_PHOTOS)
        return [worker.ask("generate", **asked | {"photos": [photo]})["sequences"][0] for photo in asked["photos"]]

    def _again(self, contestants: list[Contestant]) -> list[Contestant]:
        """A second process of one system: how far it is from the first is what the rest of the run can be off."""
        ours = [each for each in contestants if each.label.startswith("fuseline")] or contestants
        if not ours:
            return []
        worker = environments.start(ours[0].spec, self.plan.threads)
        worker.ask("open", folder=str(self._folders[ours[0].spec.name]), threads=self.plan.threads)
        return [Contestant(ours[0].spec, worker, AGAIN, ours[0].steps, ours[0].status)]

    def _rounds(
        self, contestants: list[Contestant], lengths: list[int], num_beams: int, count: int, turns: Turns
    ) -> None:
        """Turns in an order that moves on by one each round, until all have enough. The first turn warms up."""
        asked = {"photos": self._photos[:count], "num_beams": num_beams, "lengths": lengths}
        for each in contestants:
            each.found = {}
        for number in range(turns.captions + 1):
            order = deque(contestants)
            order.rotate(-number)
            for each in [each for each in order if not each.enough(turns, number - 1)]:
                self.tell("measuring", each.spec, advance=len(lengths) > 1 and not each.anew)
                try:
                    answer = each.worker.ask("turn", seconds=turns.each if number else 0.0, **asked)
                except BenchmarkError as error:
                    self._drop(contestants, each, error)
                    continue
                for name, values in answer.items() if number else ():
                    each.found.setdefault(name, []).extend(values)

    def _record_rounds(self, contestants: list[Contestant]) -> None:
        long = self.model.max_length
        for each in [each for each in contestants if each.label != AGAIN]:
            whole, short, encoder = (np.array(each.found[name]) for name in (str(long), str(SHORT), "encoder"))
            metrics = {"caption": whole, "encoder": encoder, "photo": np.array(each.found["photo"])}
            if np.median(short) < np.median(whole):  # not so where each length is compiled anew
                metrics |= {"first_step": short - encoder, "step": (whole - short) / max(1, each.steps - 1)}
            for metric, values in metrics.items():
                self.recorder.add(each.label, self.model.name, metric, values.tolist(), each.status, **self._main)
        again = next((each for each in contestants if each.label == AGAIN), None)
        first = again and next((each for each in contestants if each.label == again.spec.name), None)
        if again and first:
            one, two = (float(np.median(each.found[str(long)])) for each in (first, again))
            self.recorder.add(first.label, self.model.name, "same_again", [abs(two / one - 1)], **self._main)

    def _rest(self, contestants: list[Contestant]) -> None:
        asked = self._asked(1)
        for each in contestants:
            spent = each.worker.ask("rest", seconds=1.0, **asked)["ms"]
            self.recorder.add(each.label, self.model.name, "rest_cpu", [spent], each.status)
            shares = each.worker.ask("search_share", runs=self.plan.shares, **asked)["shares"]
            if shares:
                self.recorder.add(each.label, self.model.name, "search_share", shares, each.status, **self._main)

    def _scale(self, contestants: list[Contestant]) -> None:
        """Batches, beams and lengths; each pass in turns as well, with fewer of them."""
        for count in BATCHES:
            self._pass(contestants, "throughput", photos=count)
        for num_beams in BEAMS:
            self._pass(contestants, "caption", num_beams=num_beams)
        for length in () if self.model.shipped else LENGTHS:
            self._pass(contestants, "caption", max_length=length)

    def _pass(self, contestants: list[Contestant], metric: str, **changed: int) -> None:
        conditions = {**self._main, **changed}
        length, count = conditions["max_length"], conditions["photos"]
        running = list(contestants)
        self._rounds(running, [length], conditions["num_beams"], count, SCALING)
        for each in running:
            self.tell("measuring", each.spec)
            values = each.found[str(length)]
            values = [1000 * count / value for value in values] if metric == "throughput" else values
            self.recorder.add(each.label, self.model.name, metric, values, each.status, **conditions)

    def _one_thread(self, contestants: list[Contestant]) -> None:
        """The same systems in new processes, when those that had all threads are gone: both do not fit the memory."""
        if self.plan.threads == 1 or not contestants:
            return
        alone: list[Contestant] = []
        try:
            for each in contestants:
                worker = environments.start(each.spec, 1)
                alone.append(Contestant(each.spec, worker, each.label, each.steps, each.status))
                worker.ask("open", folder=str(self._folders[each.spec.name]), threads=1)
            self._pass(alone, "caption", threads=1)
        finally:
            for each in alone:
                each.worker.close()
        self.say(f"heat {self._heat}, batches, beams, lengths and threads")

    def _starts(self, spec: Spec) -> None:
        """From process start to first caption, when all files have been read before; and the memory of that process."""
        found: dict[str, list[float]] = {}
        folder = str(self._folders[spec.name])
        while not self._started_enough(found.get("start", [])):
            self.tell("starting", spec)
            with environments.start(spec, self.plan.threads) as worker:
                asked = {"photo": self._photos[0], "num_beams": NUM_BEAMS, "max_length": self.model.max_length}
                try:
                    answer = worker.ask("first", folder=folder, threads=self.plan.threads, **asked)
                except BenchmarkError as error:
                    self.recorder.refuse(spec.name, self.model.name, "start", str(error))
                    return
                answer["start"] = worker.seconds_since_start() * 1000
            names = {"start": "start", "import": "start_import", "open": "start_open", "first": "start_first"}
            for key, metric in (names | {"peak": "peak_memory", "mapped": "mapped_memory"}).items():
                found.setdefault(metric, []).append(answer[key])
        for metric, values in found.items():
            self.recorder.add(spec.name, self.model.name, metric, values, threads=self.plan.threads)

    def _started_enough(self, milliseconds: list[float]) -> bool:
        return len(milliseconds) >= self.plan.starts or sum(milliseconds) >= self.plan.start_seconds * 1000

    def _asked(self, count: int) -> dict[str, Any]:
        """What is asked of a system for the captions of some photos."""
        return {"photos": self._photos[:count], "num_beams": NUM_BEAMS, "max_length": self.model.max_length}

    def tell(self, what: str, spec: Spec | None = None, advance: bool = True) -> None:
        """Say what is being done; advance=False for what is not counted among the units."""
        if advance:
            self._tell(f"{self.model.name}: {what}" + (f" {spec.name}" if spec else ""))

    def say(self, what: str) -> None:
        """Say what has been done."""
        self._say(f"{self.model.name}: {what}")

    def _drop(self, contestants: list[Contestant], each: Contestant, error: BenchmarkError) -> None:
        contestants.remove(each)
        each.worker.close()
        if each.label != AGAIN:
            self._refuse(each.spec, str(error))

    def _refuse(self, spec: Spec, reason: str) -> None:
        # A result is read elsewhere, where the places of this machine say nothing.
        for place in (environments.cache(), ROOT, Path.home()):
            reason = reason.replace(f"{place}/", "")
        self.recorder.refuse(spec.name, self.model.name, "caption", reason, **self._main)


def agreement(right: list[list[int]], found: list[list[int]]) -> float:
    """The share of positions after the first with the reference's token; a missing token is a wrong one."""
    equal = total = 0
    for one, two in zip(right, found, strict=True):
        total += max(len(one), len(two)) - 1
        equal += sum(a == b for a, b in zip(one[1:], two[1:], strict=False))
    return equal / max(1, total)
