"""`python -m benchmarks.page_sharing FOLDER`: what two processes with the same model open have in memory together.

Weights lie in the file as the kernels read them and are mapped, so their pages belong to both processes and can be
dropped at any time; what each process has for itself is anonymous memory. Linux only (/proc/PID/smaps_rollup).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

CAPTION = """
import sys
from PIL import Image
import fuseline

model = fuseline.Model.from_pretrained(sys.argv[1] or None, sys.argv[2] or None, threads=1)
model.generate(model.image_processor([Image.new("RGB", (64, 64))]), num_beams=4)
print("ready", flush=True)
sys.stdin.readline()
"""


def memory_mb(process: int) -> dict[str, float]:
    """Of a process, in MB: all that is resident, its own share of that (pages of two count half), and anonymous."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    fields = {name: int(value.split()[0]) * 1024 / 1e6 for name, value in (line.split(":") for line in lines)}
    shared = fields["Shared_Clean"] + fields["Shared_Dirty"]
    return {"resident": fields["Rss"], "share": fields["Pss"], "shared": shared, "anonymous": fields["Anonymous"]}


def main() -> None:
    """Print one line of JSON a process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="", help="default: the captioner that ships")
    parser.add_argument("--variant", default="")
    options = parser.parse_args()
    command = [sys.executable, "-c", CAPTION, options.folder, options.variant]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout and process.stdout.readline() == b"ready\n"
        for process in processes:
            print(json.dumps({name: round(value, 1) for name, value in memory_mb(process.pid).items()}))
    finally:
        for process in processes:
            process.kill()


if __name__ == "__main__":
    main()
