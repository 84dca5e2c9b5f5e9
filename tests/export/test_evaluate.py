"""`evaluate`: data sets that are read or refused, what is written into a folder, and going on after an interrupt."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseline import cli
from fuseline.errors import Error, ExportError, FolderError, InputError
from fuseline.export import evaluate
from fuseline.export.quality.data import read_data
from fuseline.export.quality.texts import partial_file
from fuseline.export.writing.place import claimed
from fuseline.folders.open import open_folder
from fuseline.model import Model

PHOTOS = 6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """captions.jsonl with PHOTOS photos of val, and one of train that is not there."""
    random = np.random.default_rng(0)
    lines = [{"file": "gone.png", "captions": ["word4"], "split": "train"}]
    (tmp_path / "images").mkdir()
    for number in range(PHOTOS):
        pixels = random.integers(0, 255, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((40, 32), Image.Resampling.NEAREST).save(tmp_path / f"images/{number}.png")
        captions = [f"word{number + 4} word9 word{number + 20}", "word5 word6"]
        lines.append({"file": f"images/{number}.png", "captions": captions, "split": "val"})
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "captions.jsonl"


@pytest.fixture
def folder(tiny_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_path, tmp_path / "models" / "tiny"))


def test_what_is_measured_is_in_the_folder_and_its_hashes_hold(folder: Path, data: Path) -> None:
    (folder / "MODEL_CARD.md").write_text("# By hand\n")
    found = evaluate(folder, data, ["int8"], num_beams=2)
    opened = open_folder(folder, "int8")  # checks every hash
    assert dict(opened.quality) == found.quality()
    about = opened.quality["int8"]
    assert (about["dataset"], about["photos"], about["num_beams"]) == (f"{data.parent.name} val", PHOTOS, 2)
    assert set(about["less fp32"]) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"}
    texts = found.variants["int8"].texts
    assert about["same as fp32"] == pytest.approx(
        np.mean([a == b for a, b in zip(texts, found.variants["fp32"].texts, strict=True)]), abs=1e-4
    )
    assert sorted(path.name for path in folder.parent.iterdir()) == ["tiny"]
    card = (folder / "MODEL_CARD.md").read_text()
    assert card.startswith("# By hand\n") and "| int8 |" in card
    again = evaluate(folder, data, num_beams=2)
    assert again.quality() == found.quality()
    assert (folder / "MODEL_CARD.md").read_text() == card  # replaced, not added


def test_the_texts_are_those_of_the_model(folder: Path, data: Path) -> None:
    from fuseline import pipeline

    found = evaluate(folder, data, ["fp32"], write=False)
    says = pipeline(model=folder, variant="fp32")
    assert list(found.variants["fp32"].texts) == [
        says(data.parent / f"images/{n}.png")[0]["generated_text"].strip() for n in range(PHOTOS)
    ]
    assert open_folder(folder).quality == {}


def test_an_interrupted_run_goes_on_where_it_was(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(folder, data, write=False)
    calls: list[int] = []
    generate = Model.generate

    def counted(self: Model, *arguments: Any, **fields: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return generate(self, *arguments, **fields)

    monkeypatch.setattr(Model, "generate", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, data)
    assert open_folder(folder).quality == {}
    (left,) = (path for path in folder.parent.iterdir() if path.name != "tiny")
    left.write_bytes(left.read_bytes()[:-4])  # as if killed in the middle of the fifth line
    found = evaluate(folder, data, write=False)
    assert len(calls) == 6 + 2 * PHOTOS - 4
    assert found.quality() == whole.quality()
    assert not left.exists()


def test_coco_is_read_as_lines_are(data: Path) -> None:
    read = read_data(data)
    images = [{"id": 10 + i, "file_name": photo.name} for i, photo in enumerate(read.items)]
    notes = [{"image_id": 10 + i, "caption": text} for i, photo in enumerate(read.items) for text in photo.references]
    coco = data.parent / "coco.json"
    coco.write_text(json.dumps({"images": images, "annotations": notes[::-1]}))
    assert [(p.name, set(p.references)) for p in read_data(coco).items] == [
        (p.name, set(p.references)) for p in read.items
    ]


BAD_LINES: list[tuple[str, str]] = [
    ("", "has no photos"),
    ('{"file": "a.png"', "line 1 is not JSON"),
    ("[1]", "line 1 must hold a JSON object"),
    ('{"file": 3, "captions": ["a"]}', 'line 1: "file" must be the path of a photo, not 3'),
    ('{"file": "a.png", "captions": []}', 'line 1: "captions" must be a list of one or more texts'),
    ('{"file": "a.png", "captions": [" "]}', 'line 1: "captions" must be a list of one or more texts'),
    ('{"file": "a.png", "captions": ["\\ud800"]}', 'line 1: "captions" must be a list of one or more texts, of whole'),
    ('{"file": "\\ud800.png", "captions": ["a"]}', "1 of the 1 photo of"),
    ('{"file": "' + "x" * 5000 + '.png", "captions": ["a"]}', "1 of the 1 photo of"),
    ('{"file": "a\\u0000.png", "captions": ["a"]}', "1 of the 1 photo of"),
    ('{"file": "a.png", "captions": ["a"], "n": ' + "9" * 5000 + "}", "line 1 is not JSON"),
    ('{"file": "/dev/zero", "captions": ["a"]}', "1 of the 1 photo of"),
    ("[" * 100_000, "line 1 is not JSON"),
    ('{"file": "a.png", "captions": ["a"], "split": 1}', 'line 1: "split" must be a text, not 1'),
    ('{"file": "a.png", "captions": ["a"]}\n' * 2, "line 2: a.png is there twice"),
    ('{"file": "a.png", "captions": ["a"]}', "1 of the 1 photo of"),
    ('{"file": "a.png", "captions": ["a"], "split": "test"}', "has no split 'val'; it has test"),
]


@pytest.mark.parametrize(("content", "sentence"), BAD_LINES)
def test_wrong_lines_are_named(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "captions.jsonl").write_text(content)
    with pytest.raises(InputError) as error:
        read_data(tmp_path / "captions.jsonl")
    assert sentence in str(error.value) and "\n" not in str(error.value)


BAD_COCO: list[tuple[Any, str]] = [
    ([], "must hold a JSON object"),
    ({"images": []}, 'must hold the lists "images" and "annotations"'),
    ({"images": [{"id": 1}], "annotations": []}, 'an image has no "id" or no "file_name"'),
    ({"images": [{"id": 1, "file_name": "a"}], "annotations": []}, "has 1 photo without captions: a"),
    ({"images": [], "annotations": [{"image_id": 5, "caption": "a"}]}, "the photo 5 has a caption and is not among"),
    ({"images": [], "annotations": [{"image_id": 5}]}, 'an annotation has no "caption"'),
    ({"images": [3], "annotations": []}, "images[0] must be an object"),
    ({"images": [{"id": [1], "file_name": "a"}], "annotations": []}, 'an image has no "id" or no "file_name"'),
    ({"images": [{"id": 1, "file_name": "a"}] * 2, "annotations": []}, "a or the id 1 is there twice"),
    ({"images": [], "annotations": [{"image_id": {}, "caption": "a"}]}, "the photo {} has a caption and is not among"),
]


@pytest.mark.parametrize(("content", "sentence"), BAD_COCO)
def test_wrong_coco_files_are_named(content: Any, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        read_data(tmp_path / "coco.json")
    assert sentence in str(error.value)


def test_wrong_options(folder: Path, data: Path) -> None:
    with pytest.raises(FolderError, match="has no variant int4; it has fp32, int8"):
        evaluate(folder, data, ["int4"])
    with pytest.raises(InputError, match="limit must be at least 1 photo, not 0"):
        evaluate(folder, data, limit=0)
    (data.parent / "images/3.png").write_text("no photo")
    with pytest.raises(InputError, match="the data set cannot be captioned whole: .*3.png"):
        evaluate(folder, data)
    assert open_folder(folder).quality == {}


# Where results go ---------------------------------------------------------------------------------


def six(data: Path) -> Path:
    """Another data set: three of the photos, with other captions."""
    lines = [{"file": f"images/{number}.png", "captions": ["word7"]} for number in range(3)]
    other = data.parent / "mine.jsonl"
    other.write_text("\n".join(map(json.dumps, lines)))
    return other


def test_other_data_does_not_replace_what_a_model_is_known_by(folder: Path, data: Path) -> None:
    known = evaluate(folder, data).quality()
    found = evaluate(folder, six(data))
    about = json.loads((folder / "fuseline.json").read_text())
    assert about["quality"] == known
    assert about["evaluations"] == [{"conditions": dict(found.conditions), "variants": found.recorded()}]
    card = (folder / "MODEL_CARD.md").read_text()
    assert "### On other data" in card
    assert card.count("| int8 |") == 2
    evaluate(folder, six(data), ["fp32"], name="the same photos, called <!-- otherwise")  # takes its place
    evaluate(folder, six(data), ["fp32"], num_beams=1)  # another one
    evaluate(folder, data, ["int8"])
    about = json.loads((folder / "fuseline.json").read_text())
    assert about["quality"] == known
    assert [each["conditions"]["num_beams"] for each in about["evaluations"]] == [4, 1]
    assert about["evaluations"][0]["variants"] == found.recorded()
    assert "otherwise" not in str(about["quality"])
    assert open_folder(folder, whole=True).quality == known
    card = (folder / "MODEL_CARD.md").read_text()
    assert card.count("<!--") == 2
    assert card.count("| fp32 |") == 3


def test_results_without_a_data_set_are_kept(folder: Path, data: Path) -> None:
    """Those that the captioner that ships has: they name no file, so nobody can say that it is the same."""
    about = json.loads((folder / "fuseline.json").read_text())
    about["quality"] = {"int8": {"dataset": "flickr8k val", "photos": PHOTOS, "num_beams": 4, "CIDEr": 0.5}}
    (folder / "fuseline.json").write_text(json.dumps(about))
    evaluate(folder, data, name="flickr8k val")
    after = json.loads((folder / "fuseline.json").read_text())
    assert after["quality"] == about["quality"]
    assert len(after["evaluations"]) == 1


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def installed(folder: Path) -> Path:
    home = folder.parent / "lib" / "site-packages" / "captioner" / "models"
    return Path(shutil.move(folder, home / "x")) if home.mkdir(parents=True) is None else home


def in_the_hubs_cache(folder: Path) -> Path:
    (folder.parent / "models--org--name" / "snapshots").mkdir(parents=True)
    return Path(shutil.move(folder, folder.parent / "models--org--name" / "snapshots" / "abc"))


@pytest.mark.parametrize(
    ("move", "sentence"), [(installed, "belongs to an installed package"), (in_the_hubs_cache, "lies in the cache of")]
)
def test_folders_that_take_no_results(
    move: Any, sentence: str, folder: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = move(folder)
    before = tree(folder.parent)
    said: list[str] = []
    found = evaluate(folder, data, limit=2, progress=lambda *_: said.extend(caplog.messages))
    assert said[0].startswith("the results are not written: ") and sentence in said[0]  # before the first photo
    assert found.not_written is not None and sentence in found.not_written
    assert found.report()["not written"] == found.not_written
    assert found.variants["int8"].scores["CIDEr"] >= 0
    assert tree(folder.parent) == before
    caplog.clear()
    assert evaluate(folder, data, limit=2, write=False).not_written is None
    assert caplog.messages == []


def test_the_captioner_that_ships_takes_no_results(data: Path) -> None:
    from fuseline.folders.open import find

    before = tree(find(None).parent)
    found = evaluate(None, data, limit=1)
    assert found.not_written is not None and "belongs to an installed package" in found.not_written
    assert tree(find(None).parent) == before


def test_a_full_disk_does_not_cost_the_results(
    folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    before = tree(folder)
    monkeypatch.setattr("fuseline.export.writing.place._fsync", full)
    monkeypatch.setattr(os, "fsync", full)
    found = evaluate(folder, data, limit=2)
    assert found.variants["int8"].scores["CIDEr"] >= 0
    assert found.not_written is not None and "cannot be written into" in found.not_written
    assert "No space left on device" in caplog.messages[-1]
    assert tree(folder) == before


def test_a_file_of_texts_that_cannot_grow_is_given_up(folder: Path, data: Path) -> None:
    """No file may grow past 200 bytes in this process, as on a full disk."""
    script = (
        "import resource, sys; from fuseline.export import evaluate; from fuseline.folders.open import open_folder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "found = evaluate(sys.argv[1], sys.argv[2]); print(len(found.variants), found.not_written)"
    )
    before = tree(folder.parent)
    arguments = [sys.executable, "-c", script, str(folder), str(data)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 what was measured cannot be written into")
    assert "cannot keep what comes now: File too large" in done.stderr
    assert tree(folder.parent) == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 200


def test_files_of_other_weights_are_removed(folder: Path, data: Path) -> None:
    """What an interrupted run of an older model kept, also under the name that it had once; nothing of others."""
    for name in ("tiny.fuseline-evaluation-0-1", "tiny.evaluation-0123456789ab", "tiny2.fuseline-evaluation-1-2"):
        (folder.parent / f".{name}.jsonl").write_text("{}")
    evaluate(folder, data, limit=1)
    assert sorted(path.name for path in folder.parent.iterdir()) == [".tiny2.fuseline-evaluation-1-2.jsonl", "tiny"]


def test_texts_of_somebody_else_are_not_taken(folder: Path, data: Path) -> None:
    """In a folder where others may write too: a link in the place of the file that keeps texts."""
    opened, read = open_folder(folder), read_data(data, limit=1)
    kept = partial_file(opened, [read.facts])
    assert kept is not None
    (folder.parent / "theirs").write_text("{}")
    kept.symlink_to(folder.parent / "theirs")
    assert partial_file(opened, [read.facts]) is None
    assert (folder.parent / "theirs").read_text() == "{}"


def test_one_process_at_a_time(folder: Path, data: Path) -> None:
    with claimed(folder), pytest.raises(ExportError, match="another process is writing"):
        evaluate(folder, data)
    with claimed(folder):
        evaluate(folder, data, limit=1, write=False)


def test_other_files_of_the_folder_stay(folder: Path, data: Path) -> None:
    """A card with line ends of Windows and bytes that are no UTF-8; and one that fuseline.json lists."""
    (folder / "MODEL_CARD.md").write_bytes(b"# Mine\r\n\xff\r\n")
    evaluate(folder, data, limit=1)
    assert (folder / "MODEL_CARD.md").read_bytes().startswith(b"# Mine\r\n\xff\n\n<!--")
    about = json.loads((folder / "fuseline.json").read_text())
    card = (folder / "MODEL_CARD.md").read_bytes()
    about["files"]["MODEL_CARD.md"] = {"bytes": len(card), "sha256": hashlib.sha256(card).hexdigest()}
    (folder / "fuseline.json").write_text(json.dumps(about))
    evaluate(folder, data, limit=2)
    open_folder(folder, whole=True)
    assert (folder / "MODEL_CARD.md").read_bytes() == card


def test_photos_outside_of_the_data_are_told(folder: Path, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    (data.parent / "set").mkdir()
    lines = [
        {"file": "../images/0.png", "captions": ["a"]},
        {"file": str(data.parent / "images/1.png"), "captions": ["a"]},
    ]
    (data.parent / "set" / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert len(evaluate(folder, data.parent / "set" / "captions.jsonl", write=False).variants["fp32"].texts) == 2
    assert "2 photos that" in caplog.text and f"lie outside of {data.parent / 'set'}" in caplog.text


def test_the_command_says_as_notes_what_is_to_be_known(
    folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (data.parent / "set").mkdir()
    monkeypatch.chdir(data.parent / "set")
    Path("captions.jsonl").write_text(json.dumps({"file": "../images/0.png", "captions": ["a"]}))
    (folder / "fuseline.json").chmod(0o400)
    shutil.copytree(folder, "snapshots/folder")
    assert cli.main(["evaluate", "snapshots/folder", "--data", "captions.jsonl"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == (
        "fuseline: note: 1 photo that captions.jsonl names lies outside of the current folder: ../images/0.png"
    )
    assert said[1].startswith("fuseline: note: the results are not written: ")
    assert len(said) == 2


def test_data_that_is_no_file_or_has_bad_photos(folder: Path, data: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InputError, match=r"pipe\.jsonl cannot be read: it is no regular file"):
        read_data(tmp_path / "pipe.jsonl")
    with pytest.raises(InputError, match="cannot be read: it is no regular file"):
        read_data(tmp_path)
    with pytest.raises(Error, match="cannot be read"):
        read_data("a\0b.jsonl")
    (data.parent / "images/3.png").unlink()
    os.mkfifo(data.parent / "images/3.png")
    with pytest.raises(InputError, match=r"1 of the 6 photos of .* is not below .*: images/3\.png"):
        read_data(data)
    (data.parent / "images/3.png").unlink()
    (data.parent / "images/3.png").touch()
    with pytest.raises(InputError, match=r"1 of the 6 photos of .* is empty or may not be read: images/3\.png"):
        read_data(data)


def test_the_command(folder: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", str(folder), "--data", str(data), "--limit", "3", "--ocr", "--json", "--no-write"]
    assert cli.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["photos"] == 3 and list(found["variants"]) == ["fp32", "int8"]
    assert found["variants"]["int8"]["word error rate"] > 0
    assert cli.main([*arguments[:-2]]) == 0
    assert "int8: " in capsys.readouterr().out
    assert "word error rate" in open_folder(folder).quality["int8"]
    assert cli.main(["evaluate", str(folder), "--data", "nowhere.jsonl"]) == 2
    assert "nowhere.jsonl cannot be read" in capsys.readouterr().err
