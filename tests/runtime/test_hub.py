"""Models by their names on the hub: against a server of our own that speaks its protocol, and from the cache alone."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import onnx
import pytest

from fuseline.errors import FolderError
from fuseline.folders.hub import is_hub_id
from fuseline.folders.open import find

pytest.importorskip("huggingface_hub")

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """The files of org/name, served as the hub serves them. asked: what was downloaded; agents: who asked."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.agents: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                self.answer(with_body=True)

            def answer(self, with_body: bool) -> None:
                hub.agents.append(self.headers["User-Agent"])
                path, files = self.path.partition("?")[0], f"/org/name/resolve/{SHA}/"
                if path.startswith("/api/models/org/name"):
                    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
                    if "/tree/" in path:
                        entries = [{"type": "file", "path": n, "size": 1, "oid": "0" * 40} for n in names]
                        body = json.dumps(entries).encode()
                    else:
                        about = {"id": "org/name", "sha": SHA, "siblings": [{"rfilename": n} for n in names]}
                        body = json.dumps(about).encode()
                elif path.startswith(files) and (folder / path.removeprefix(files)).is_file():
                    name = path.removeprefix(files)
                    body = (folder / name).read_bytes()
                    if with_body:
                        hub.asked.append(name)
                else:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "RepoNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Repo-Commit", SHA)
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hub(tiny_path: Path) -> Iterator[Hub]:
    served = Hub(tiny_path)
    yield served
    served.server.shutdown()
    served.server.server_close()


def opened(name: str, cache: Path, endpoint: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`fuseline info --json NAME` in a process of its own: huggingface_hub reads its settings once."""
    environment = os.environ | {"HF_HOME": str(cache), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", **more}
    command = [sys.executable, "-m", "fuseline", "info", "--json", name]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cache, timeout=120)


def test_a_fuseline_folder_is_downloaded_once_and_then_kept(hub: Hub, tiny_path: Path, tmp_path: Path) -> None:
    (tiny_path / "onnx/unlisted.bin").write_bytes(b"not needed")
    try:
        online = opened("org/name", tmp_path, hub.endpoint)
    finally:
        (tiny_path / "onnx/unlisted.bin").unlink()
    assert online.returncode == 0, online.stderr
    assert sorted(json.loads(online.stdout)["model"]["variants"]) == ["fp32", "int8"]
    assert "onnx/unlisted.bin" not in hub.asked
    assert not [name for name in hub.asked if "int8" in name]  # that is another variant
    count = len(hub.asked)
    assert opened("org/name", tmp_path, hub.endpoint).returncode == 0
    assert len(hub.asked) == count
    offline = opened("org/name", tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert json.loads(offline.stdout)["model"] == json.loads(online.stdout)["model"]


def test_of_a_fuseline_folder_another_variant_is_downloaded_when_it_is_asked_for(hub: Hub, tmp_path: Path) -> None:
    ask = (
        "import sys; from fuseline.folders.open import open_folder\n"
        "print(open_folder('org/name', sys.argv[1]).decoder_path.name)"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1"}
    for variant, other in (("int8", "fp32"), ("fp32", "int8")):
        hub.asked.clear()
        command = [sys.executable, "-c", ask, variant]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert found.stdout.strip() == f"decoder_model_{variant}.onnx", found.stderr
        assert [name for name in hub.asked if name.startswith("onnx/")]
        assert not [name for name in hub.asked if other in name]


def test_the_hub_is_told_nothing_but_the_name(hub: Hub, tmp_path: Path) -> None:
    """huggingface_hub would tell which versions of torch and others are installed."""
    assert opened("org/name", tmp_path, hub.endpoint).returncode == 0
    assert hub.agents
    for agent in hub.agents:
        assert not any(word in agent for word in ("torch", "tensorflow", "onnxruntime", "session_id")), agent


def test_a_path_that_is_mistyped_is_not_asked_for_on_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    found = opened("models/typo", tmp_path, hub.endpoint)
    assert found.returncode == 2
    assert "there is no model folder models/typo; models is there, so the name is a path here" in found.stderr
    assert hub.agents == []
    (tmp_path / "org").mkdir()
    (tmp_path / "org/name").symlink_to("nowhere")
    assert "there is no model folder org/name" in opened("org/name", tmp_path, hub.endpoint).stderr
    assert hub.agents == []
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FolderError, match="there is no model folder other/name; name a folder"):
        find(Path("other/name"))  # a path is never a name


def made_by(producer: str) -> bytes:
    """The smallest graph that is one; its producer keeps each apart from the others."""
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "graph", [], [])
    return bytes(onnx.helper.make_model(graph, producer_name=producer).SerializeToString())


def test_of_another_tools_repository_only_the_default_variant_is_downloaded(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    names = [f"onnx/{part}{end}.onnx" for part in ("encoder_model", "decoder_model_merged") for end in ("", "_q4")]
    for name in (*names, "onnx/encoder_model.onnx_data", "onnx/decoder_model.onnx", "model.safetensors", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(made_by(name))
    for name in ("config.json", "preprocessor_config.json", "tokenizer.json"):
        text = {"vocab_size": 9, "n_layer": 1, "n_head": 1, "n_embd": 8, "name": name}  # equal files are loaded once
        (folder / name).write_text(json.dumps(text | {"image_processor_type": "ViTImageProcessor"}))
    served = Hub(folder)
    (tmp_path / "cache").mkdir()
    found = opened("org/name", tmp_path / "cache", served.endpoint)
    served.server.shutdown()
    assert found.returncode == 0, found.stderr
    small = ["config.json", "preprocessor_config.json", "tokenizer.json"]
    graphs = ["onnx/decoder_model_merged.onnx", "onnx/encoder_model.onnx", "onnx/encoder_model.onnx_data"]
    assert sorted(served.asked) == sorted(small + graphs)


VOCABULARY = ("sentencepiece.bpe.model", "vocab.json", "merges.txt")


@pytest.mark.parametrize("whole", [True, False], ids=["with tokenizer.json", "without"])
def test_a_vocabulary_comes_where_there_is_no_tokenizer_json(whole: bool, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    for name in ("encoder_model.onnx", "decoder_model_merged.onnx"):
        (folder / name).write_bytes(made_by(name))
    about = ["config.json", "preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json"]
    about += ["added_tokens.json", *(["tokenizer.json"] if whole else [])]
    sizes = {"vocab_size": 9, "n_layer": 1, "n_head": 1, "n_embd": 8, "image_processor_type": "ViTImageProcessor"}
    for name in (*about, *VOCABULARY, "chat_template.jinja", "training_args.bin"):
        (folder / name).write_text(json.dumps(sizes | {"name": name}))
    served = Hub(folder)
    (tmp_path / "cache").mkdir()
    found = opened("org/name", tmp_path / "cache", served.endpoint)
    served.server.shutdown()
    assert found.returncode == 0, found.stderr
    graphs = ["encoder_model.onnx", "decoder_model_merged.onnx"]
    assert sorted(served.asked) == sorted([*about, *graphs, *(() if whole else VOCABULARY)])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("org/name", "the hub cannot be reached"), ("org/other", "the hub does not give it")],
)
def test_a_model_that_cannot_be_had_is_one_sentence(hub: Hub, tmp_path: Path, name: str, expected: str) -> None:
    endpoint = hub.endpoint if name == "org/other" else "http://127.0.0.1:9"
    found = opened(name, tmp_path, endpoint)
    assert found.returncode == 2
    said = [line for line in found.stderr.splitlines() if line.startswith("fuseline: ")]
    assert len(said) == 1
    assert f"there is no model folder {name}" in said[0]
    assert expected in said[0]


def test_without_huggingface_hub_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FolderError, match="there is no model folder org/name, and without huggingface_hub"):
        find("org/name")


@pytest.mark.parametrize(
    "name", ["a/b/c", "/a/b", "../b", "a/..", "./b", "name", "a b/c", "ä/b", "a/b\n", "-a/b", "a" * 99 + "/b", "a/"]
)
def test_a_path_is_no_name_on_the_hub(name: str) -> None:
    assert not is_hub_id(name)
