"""The cores that a process may use, from files as the Linux kernel has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuseline.errors import InputError
from fuseline.graphs.cores import physical_cores, thread_count


def system(root: Path, siblings: dict[int, str], files: dict[str, str]) -> Path:
    """A root with the topology of some hardware threads and files of cgroups."""
    for cpu, text in siblings.items():
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


PAIRS = {0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}
V1, PERIOD = "cpu/cpu.cfs_quota_us", {"cpu/cpu.cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("siblings", "files", "cores"),
    [
        (PAIRS, {}, 4),
        ({}, {}, 8),  # no topology: each hardware thread
        (PAIRS, {"cpu.max": "max 100000"}, 4),
        (PAIRS, {"cpu.max": "200000 100000"}, 2),
        ({}, {"cpu.max": "100000 100000"}, 1),  # a quota counts without a topology too
        (PAIRS, {"cpu.max": "50000 100000"}, 1),
        (PAIRS, {"cpu.max": "150000 100000"}, 2),
        (PAIRS, {"cpu.max": "0 0"}, 4),
        (PAIRS, {"cpu.max": "nonsense"}, 4),
        ({}, {V1: "200000", **PERIOD}, 2),
        (PAIRS, {V1: "100000", **PERIOD}, 1),
        (PAIRS, {V1: "-1", **PERIOD}, 4),
        (PAIRS, {V1: "100000"}, 4),
    ],
)
def test_cores(
    siblings: dict[int, str], files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert physical_cores(system(tmp_path, siblings, files)) == cores


def test_only_what_the_process_may_use_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4}, raising=False)
    assert physical_cores(system(tmp_path, PAIRS, {})) == 2


def test_this_machine_has_cores() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
    assert thread_count(None) == physical_cores()
    assert thread_count(3) == 3


@pytest.mark.parametrize("threads", [0, -1, 1025, True, 1.0, "2"])
def test_other_numbers_of_threads_are_refused(threads: object) -> None:
    with pytest.raises(InputError, match="threads must be a whole number from 1 to 1024, or None, not "):
        thread_count(threads)  # type: ignore[arg-type]
