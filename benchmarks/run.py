"""`python -m benchmarks run`: every system on every model, in turns, each in its own process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import environments, models, photos
from .client import ROOT, Worker
from .errors import BenchmarkError
from .machine import Floors
from .models import Model
from .records import Recorder
from .systems import WEIGHT_BYTES, Spec

NUM_BEAMS, SHORT = 4, 2  # a caption of 2 tokens is the encoder and the first step
CHECKED_PHOTOS = 4
BATCHES, BEAMS, LENGTHS = (1, 2, 4, 8), (1, 2, 8), (32, 64)
AGAIN = "again"  # what the second process of the same system is called while it runs

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is to be measured. runs, seconds: a system has had enough turns with so many captions, or so much time."""

    specs: Sequence[Spec]
    models: Sequence[Model]
    threads: int
    quick: bool = False
    runs: int = 10
    seconds: float = 20.0
    turn_seconds: float = 0.25
    starts: int = 3

    @classmethod
    def of(cls, specs: Sequence[Spec], chosen: Sequence[Model], threads: int, quick: bool) -> Plan:
        """The full plan, or the quick one."""
        if not quick:
            return cls(specs, chosen, threads)
        return cls(specs, chosen, threads, True, runs=5, seconds=5.0, starts=1)


@dataclass
class Contestant:
    """A system with a model open in a process of its own, and what its turns have given so far."""

    spec: Spec
    worker: Worker
    label: str
    status: str = "ok"
    steps: int = 0
    found: dict[str, list[float]] = field(default_factory=dict)

    def enough(self, plan: Plan) -> bool:
        """Whether it had its captions or its time."""
        spent = sum(sum(values) for values in self.found.values())
        return min(map(len, self.found.values()), default=0) >= plan.runs or spent >= plan.seconds * 1000


def run(plan: Plan, recorder: Recorder, tell: Tell) -> None:
    """Measure everything in the plan. tell: is called with what is being done, once a unit of work."""
    tell("reading memory and multiplying, as fast as the machine can")
    _machine(plan, recorder)
    for model in plan.models:
        ModelRun(plan, model, recorder, tell).run()


def units(plan: Plan) -> int:
    """How often `run` calls tell at most."""
    each = 3 + plan.starts + plan.runs
    scaling = 0 if plan.quick else sum(spec.scaling for spec in plan.specs) * 4
    scaled = sum(model.quick for model in plan.models)
    return 1 + len(plan.models) * (len(plan.specs) + 1) * each + scaled * scaling


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

    def __init__(self, plan: Plan, model: Model, recorder: Recorder, tell: Tell) -> None:
        self.plan, self.model, self.recorder = plan, model, recorder
        self._tell = tell
        self._photos = [str(path) for path in photos.photos()]
        self._folders: dict[str, Path] = {}
        self._main = {"num_beams": NUM_BEAMS, "max_length": model.max_length, "threads": plan.threads, "photos": 1}

    def run(self) -> None:
        """In turns while all processes live, then the starts, each alone."""
        try:
            self._facts()
        except BenchmarkError as error:
            for spec in self.plan.specs:
                self._refuse(spec, str(error))
            return
        contestants: list[Contestant] = []
        try:
            for spec in self.plan.specs:
                self._enter(spec, contestants)
            self._check(contestants)
            contestants += self._again(contestants)
            self._rounds(contestants, [SHORT, self.model.max_length], NUM_BEAMS, 1)
            self._record_rounds(contestants)
            self._rest(contestants)
            if not self.plan.quick and self.model.quick:
                self._scale([each for each in contestants if each.spec.scaling and each.label != AGAIN])
        finally:
            for each in contestants:
                each.worker.close()
        for spec in self.plan.specs:
            if spec.name in self._folders:
                self._starts(spec)

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

    def _enter(self, spec: Spec, contestants: list[Contestant]) -> None:
        """Make what the system reads, start it and open the model; or note why that is not possible."""
        worker = None
        try:
            self.tell("environment and export", spec)
            made = models.made_for(spec, self.model, self.plan.threads)
            self.tell("opening", spec)
            worker = environments.start(spec, self.plan.threads)
            self.recorder.versions[spec.name] = worker.ask("versions")
            worker.ask("load")
            worker.ask("open", folder=str(made.folder), threads=self.plan.threads)
            # Once, so that a system that opens and then fails is refused here, with its sentence.
            worker.ask("generate", photos=self._photos[:1], num_beams=NUM_BEAMS, max_length=self.model.max_length)
        except BenchmarkError as error:
            self._refuse(spec, str(error))
            if worker is not None:
                worker.close()
            return
        contestants.append(Contestant(spec, worker, spec.name))
        self._folders[spec.name] = made.folder
        size = environments.bytes_below(made.folder)
        self.recorder.add(spec.name, self.model.name, "folder_size", [size])
        if made.milliseconds is not None and made.peak is not None:
            self.recorder.add(spec.name, self.model.name, "export_time", [made.milliseconds])
            self.recorder.add(spec.name, self.model.name, "export_memory", [made.peak])
        if (installed := environments.installed(spec.module, self.plan.quick)) is not None:
            self.recorder.add(spec.name, self.model.name, "installed_size", [installed])

    def _check(self, contestants: list[Contestant]) -> None:
        """Compare every system's tokens with the reference's; what must be equal and is not is marked wrong."""
        asked = {"photos": self._photos[:CHECKED_PHOTOS], "num_beams": NUM_BEAMS, "max_length": self.model.max_length}
        try:
            right = self._reference(contestants, asked)
        except BenchmarkError as error:
            for each in contestants:
                reason = f"the reference {self.model.reference} does not run: {error}"
                self.recorder.refuse(each.label, self.model.name, "agreement", reason)
            right = None
        for each in list(contestants):
            self.tell("checking", each.spec)
            try:
                sequences = each.worker.ask("generate", **asked)["sequences"]
                asked_once = {**asked, "photos": self._photos[:1]}
                each.steps = each.worker.ask("generate", **asked_once)["steps"]
            except BenchmarkError as error:
                self._drop(contestants, each, error)
                continue
            if right is not None:
                share = agreement(right, sequences)
                each.status = "wrong" if each.spec.exact and share < 1 else "ok"
                self.recorder.add(each.label, self.model.name, "agreement", [share], each.status)

    def _reference(self, contestants: list[Contestant], asked: dict[str, Any]) -> list[list[int]]:
        """The right tokens, of a process that runs already or of one for this alone."""
        spec = models.reference(self.model)
        there = next((each.worker for each in contestants if each.spec == spec), None)
        if there is not None:
            return list(there.ask("generate", **asked)["sequences"])
        made = models.made_for(spec, self.model, self.plan.threads)
        with environments.start(spec, self.plan.threads) as worker:
            worker.ask("open", folder=str(made.folder), threads=self.plan.threads)
            return list(worker.ask("generate", **asked)["sequences"])

    def _again(self, contestants: list[Contestant]) -> list[Contestant]:
        """A second process of one system: how far it is from the first is what the rest of the run can be off."""
        ours = [each for each in contestants if each.label.startswith("fuseline")] or contestants
        if not ours:
            return []
        worker = environments.start(ours[0].spec, self.plan.threads)
        worker.ask("open", folder=str(self._folders[ours[0].spec.name]), threads=self.plan.threads)
        return [Contestant(ours[0].spec, worker, AGAIN, ours[0].status, ours[0].steps)]

    def _rounds(self, contestants: list[Contestant], lengths: list[int], num_beams: int, count: int) -> None:
        """Turns in an order that moves on by one each round, until all have enough. The first turn warms up."""
        asked = {"photos": self._photos[:count], "num_beams": num_beams, "lengths": lengths}
        for each in contestants:
            each.found = {}
        for number in range(self.plan.runs + 1):
            order = contestants[number % len(contestants) :] + contestants[: number % len(contestants)]
            for each in [each for each in order if not each.enough(self.plan)]:
                self.tell("measuring", each.spec, advance=len(lengths) > 1)
                try:
                    answer = each.worker.ask("turn", seconds=self.plan.turn_seconds if number else 0.0, **asked)
                except BenchmarkError as error:
                    self._drop(contestants, each, error)
                    continue
                for name, values in answer.items() if number else ():
                    each.found.setdefault(name, []).extend(values)

    def _record_rounds(self, contestants: list[Contestant]) -> None:
        long = self.model.max_length
        for each in [each for each in contestants if each.label != AGAIN]:
            whole, short, encoder = (np.array(each.found[name]) for name in (str(long), str(SHORT), "encoder"))
            metrics = {"caption": whole, "encoder": encoder, "first_step": short - encoder}
            metrics |= {"step": (whole - short) / max(1, each.steps - 1), "photo": np.array(each.found["photo"])}
            for metric, values in metrics.items():
                self.recorder.add(each.label, self.model.name, metric, values.tolist(), each.status, **self._main)
        again = next((each for each in contestants if each.label == AGAIN), None)
        first = again and next((each for each in contestants if each.label == again.spec.name), None)
        if again and first:
            one, two = (float(np.median(each.found[str(long)])) for each in (first, again))
            self.recorder.add(first.label, self.model.name, "same_again", [abs(two / one - 1)], **self._main)

    def _rest(self, contestants: list[Contestant]) -> None:
        asked = {"photos": self._photos[:1], "num_beams": NUM_BEAMS, "max_length": self.model.max_length}
        for each in [each for each in contestants if each.label != AGAIN]:
            spent = each.worker.ask("rest", seconds=1.0, **asked)["ms"]
            self.recorder.add(each.label, self.model.name, "rest_cpu", [spent], each.status)
            shares = each.worker.ask("search_share", runs=self.plan.runs, **asked)["shares"]
            if shares:
                self.recorder.add(each.label, self.model.name, "search_share", shares, each.status, **self._main)

    def _scale(self, contestants: list[Contestant]) -> None:
        """Batches, beams, lengths and threads; each pass in turns as well, with fewer of them."""
        short, whole = Plan(self.plan.specs, [], self.plan.threads, runs=3, seconds=6.0, turn_seconds=0.1), self.plan
        self.plan = short
        try:
            for count in BATCHES:
                self._pass(contestants, "throughput", photos=count)
            for num_beams in BEAMS:
                self._pass(contestants, "caption", num_beams=num_beams)
            for length in () if self.model.shipped else LENGTHS:
                self._pass(contestants, "caption", max_length=length)
            if whole.threads > 1:
                self._one_thread(contestants)
        finally:
            self.plan = whole

    def _pass(self, contestants: list[Contestant], metric: str, **changed: int) -> None:
        conditions = {**self._main, **changed}
        length, count = conditions["max_length"], conditions["photos"]
        running = list(contestants)
        self._rounds(running, [length], conditions["num_beams"], count)
        for each in running:
            self.tell("measuring", each.spec)
            values = each.found[str(length)]
            values = [1000 * count / value for value in values] if metric == "throughput" else values
            self.recorder.add(each.label, self.model.name, metric, values, each.status, **conditions)

    def _one_thread(self, contestants: list[Contestant]) -> None:
        alone: list[Contestant] = []
        try:
            for each in contestants:
                worker = environments.start(each.spec, 1)
                alone.append(Contestant(each.spec, worker, each.label, each.status, each.steps))
                worker.ask("open", folder=str(self._folders[each.spec.name]), threads=1)
            self._pass(alone, "caption", threads=1)
        finally:
            for each in alone:
                each.worker.close()

    def _starts(self, spec: Spec) -> None:
        """From process start to first caption, when all files have been read before; and the memory of that process."""
        found: dict[str, list[float]] = {}
        folder = str(self._folders[spec.name])
        for _ in range(self.plan.starts):
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

    def tell(self, what: str, spec: Spec | None = None, advance: bool = True) -> None:
        """Say what is being done; advance=False for what is not counted among the units."""
        if advance:
            self._tell(f"{self.model.name}: {what}" + (f" {spec.name}" if spec else ""))

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
