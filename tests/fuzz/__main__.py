"""python -m tests.fuzz: random cases of every kind, and what they found. Exit status 1 if there is anything."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Before numpy and onnxruntime are imported: workers are forked from here, and no thread may run then.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "RUST_BACKTRACE": "0"}

from tqdm import tqdm

from tests.fuzz.pool import run_cases
from tests.fuzz.registry import NAMES, kinds_of
from tests.fuzz.report import Summary


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    options = _parser().parse_args(arguments)
    seed = random.randrange(2**32) if options.seed is None else options.seed
    names = options.kinds.split(",")
    kinds = kinds_of(names)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops it is told what there is so far
    numbers = range(options.count) if options.case is None else [int(number) for number in options.case.split(",")]
    orders = [(name, number) for number in numbers for name in names]
    print(f"seed {seed}: {len(numbers)} cases each of {', '.join(names)}", file=sys.stderr)
    summary, began = Summary(seed), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="fuseline-fuzz-"))
    try:
        templates = (options.templates or folder / "templates").absolute()
        if any(kind.templates for kind in kinds.values()) and not templates.exists():
            subprocess.run([sys.executable, "-m", "tests.fuzz.templates", str(templates)], check=True)
        workers = min(options.workers, len(orders))
        keep = None if options.keep is None else options.keep.absolute() / f"{names[0]}-{options.case}"
        tqdm.monitor_interval = 0  # its thread would be there when workers fork
        with tqdm(total=len(orders), unit="case", disable=None) as bar:
            for result in run_cases(seed, kinds, orders, folder, templates, workers, keep):
                summary.add(result)
                bar.update()
                if options.case is not None:
                    print(f"{result.what}\n{result.report.outcome}: {result.report.sentence}", file=sys.stderr)
    except KeyboardInterrupt:
        print("broken off; what there is so far:", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(summary.json(), indent=1))
    else:
        print("\n".join(summary.lines()))
        print(f"\n{time.monotonic() - began:.0f} s with {options.workers} workers")
    return int(summary.found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, help="of all random numbers (default: another one every time)")
    parser.add_argument("--kinds", default=",".join(NAMES), help="names with commas between (default: %(default)s)")
    parser.add_argument("--count", type=int, default=500, help="cases of each kind (default: %(default)s)")
    parser.add_argument("--case", help="run only this one, of the one kind; several with commas between")
    parser.add_argument("--keep", type=Path, help="with --case: a folder for the files of the case, which then stay")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--templates", type=Path, help="a folder for the models that are damaged, kept for other runs")
    parser.add_argument("--json", action="store_true", help="print JSON with all cases of each finding")
    return parser


if __name__ == "__main__":
    sys.exit(main())
