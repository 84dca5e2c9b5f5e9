"""python -m fuseline.kernels.cuda: build the library of CUDA operators. It ends with status 2 where that fails."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fuseline.errors import Error

from .build import ARCHITECTURES, Kernel, build


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m fuseline.kernels.cuda",
        description="Build the operators for NVIDIA's GPUs; no GPU is needed for that.",
    )
    parser.add_argument("--toolkit", type=Path, metavar="DIR", help="an installed CUDA (default: NVIDIA's packages)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where the library goes (default: where it is looked for)"
    )
    parser.add_argument("--report", action="store_true", help="what each kernel takes of each architecture, as a table")
    options = parser.parse_args()
    try:
        path, kernels = build(options.output, options.toolkit)
    except Error as error:
        print(f"fuseline.kernels.cuda: {error}", file=sys.stderr)
        return 2
    names = ", ".join(f"sm_{each}" for each in ARCHITECTURES)
    print(f"{path}: {path.stat().st_size} bytes, for {names} and later")
    if options.report:
        print(report(kernels))
    return 0


def report(kernels: list[Kernel]) -> str:
    """A row for each kernel, with what it takes of each architecture."""
    rows: dict[str, dict[int, Kernel]] = {}
    for kernel in kernels:
        rows.setdefault(kernel.name, {})[kernel.architecture] = kernel
    lines = [
        "| kernel | registers, " + ", ".join(f"sm_{each}" for each in ARCHITECTURES) + " | stack | spills | shared |",
        "|---|---|---|---|---|",
    ]
    for name, by in rows.items():
        used = ", ".join(str(by[each].registers) for each in ARCHITECTURES)
        most = {field: max(getattr(each, field) for each in by.values()) for field in ("stack", "spills", "shared")}
        lines.append(f"| `{name}` | {used} | {most['stack']} | {most['spills']} | {most['shared']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
