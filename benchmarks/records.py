"""Measurements as lines of JSON: written with all that they depend on, checked against schema.json, and read again."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import machine
from .errors import BenchmarkError

Record = dict[str, Any]
SCHEMA = Path(__file__).with_name("schema.json")
UNITS: Mapping[str, str] = {
    **dict.fromkeys(("caption", "encoder", "first_step", "step", "photo", "rest_cpu", "export_time"), "ms"),
    **dict.fromkeys(("start", "start_import", "start_open", "start_first"), "ms"),
    **dict.fromkeys(("peak_memory", "mapped_memory", "installed_size", "folder_size", "export_memory"), "bytes"),
    **dict.fromkeys(("step_weights", "encoder_multiply_adds"), "count"),
    **dict.fromkeys(("multiply_adds", "dot_multiply_adds"), "1/s"),
    "read_bandwidth": "bytes/s",
    "throughput": "photos/s",
    "agreement": "share",
    "same_again": "share",
    "search_share": "share",
}


def validator() -> Any:
    """Of one record. Raises BenchmarkError without jsonschema."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError as error:
        raise BenchmarkError("jsonschema is missing; pip install jsonschema") from error
    return Draft202012Validator(json.loads(SCHEMA.read_text()))


@dataclass
class Recorder:
    """Appends the measurements of one run to a file."""

    path: Path
    quick: bool = False
    versions: dict[str, Mapping[str, str]] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self._validator = validator()
        self._header: Record = {
            "run": f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:4]}",
            "commit": machine.commit(),
            "quick": self.quick,
            "machine": {**machine.machine(), "load": round(os.getloadavg()[0], 2)},
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("a").close()
        except OSError as error:
            raise BenchmarkError(f"{self.path} cannot be written: {error.strerror}") from error

    @property
    def run(self) -> str:
        """The name of this run."""
        return str(self._header["run"])

    def add(
        self, system: str, model: str, metric: str, values: Sequence[float], status: str = "ok", **conditions: Any
    ) -> None:
        """One measurement: all its values, and their median and 95th percentile."""
        rounded = [float(f"{value:.6g}") for value in values]
        middle = {"median": float(np.median(rounded)), "p95": float(f"{np.percentile(rounded, 95):.6g}")}
        self._write(system, model, metric, status, conditions, {"values": rounded, **middle})

    def refuse(self, system: str, model: str, metric: str, reason: str, **conditions: Any) -> None:
        """A case that a system could not run, with the reason."""
        self._write(system, model, metric, "refused", conditions, {"values": [], "reason": reason or "no reason given"})

    def _write(self, system: str, model: str, metric: str, status: str, conditions: Any, found: Record) -> None:
        record = {
            **self._header,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": self.versions.get(system, {}),
            "system": system,
            "model": model,
            "metric": metric,
            "unit": UNITS[metric],
            "status": status,
            "conditions": conditions,
            **found,
        }
        self._validator.validate(record)  # a failure here is a mistake in this package, so it may be loud
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.count += 1


def read(path: Path, run: str | None = None) -> list[Record]:
    """The measurements of one run in a file, by default of each model's last run on the CPU of the last of all.

    Raises BenchmarkError for a file that is not there or a line that the schema does not allow.
    """
    check = validator()
    records: list[Record] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BenchmarkError(
            f"{path} cannot be read: {error.strerror}; `python -m benchmarks run` writes it"
        ) from error
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise BenchmarkError(f"{path}, line {number} is not JSON: {error}") from error
        problem = next(check.iter_errors(record), None)
        if problem is not None:
            where = "/".join(map(str, problem.absolute_path)) or "the measurement"
            raise BenchmarkError(
                f"{path}, line {number}: {where} is not as schema.json has it: {problem.message[:200]}"
            )
        records.append(record)
    if not records:
        raise BenchmarkError(f"{path} is empty; `python -m benchmarks run` writes measurements into it")
    here = [record for record in records if record["machine"]["cpu"] == records[-1]["machine"]["cpu"]]
    last = {record["model"]: record["run"] for record in here}
    chosen = [record for record in (records if run else here) if record["run"] == (run or last[record["model"]])]
    if not chosen:
        raise BenchmarkError(f"{path} has no run {run}; it has {', '.join(sorted({r['run'] for r in records}))}")
    return chosen


def pick(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """Those whose fields, or conditions, have these values."""
    found = []
    for record in records:
        fields = {**record["conditions"], **{key: record[key] for key in ("system", "model", "metric", "status")}}
        if all(fields.get(key) == value for key, value in wanted.items()):
            found.append(record)
    return found


def median(records: Iterable[Record], **wanted: Any) -> float | None:
    """Of the first measurement that fits; None where there is none, or only a reason."""
    found = [record for record in pick(records, **wanted) if record["status"] != "refused"]
    return float(found[0]["median"]) if found else None
