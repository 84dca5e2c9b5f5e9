"""`evaluate`: data sets that are read or refused, what is written into a folder, and going on after an interrupt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseline import cli
from fuseline.errors import FolderError, InputError
from fuseline.export import evaluate
from fuseline.export.quality.data import read_data
from fuseline.folder import Folder
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
    opened = Folder.open(folder, "int8")  # checks every hash
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
    assert Folder.open(folder).quality == {}


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
    assert Folder.open(folder).quality == {}
    (left,) = (path for path in folder.parent.iterdir() if path.name != "tiny")
    left.write_bytes(left.read_bytes()[:-4])  # as if killed in the middle of the fifth line
    found = evaluate(folder, data, write=False)
    assert len(calls) == 6 + 2 * PHOTOS - 4
    assert found.quality() == whole.quality()
    assert not left.exists()


def test_coco_is_read_as_lines_are(data: Path) -> None:
    read = read_data(data)
    images = [{"id": 10 + i, "file_name": photo.name} for i, photo in enumerate(read.photos)]
    notes = [{"image_id": 10 + i, "caption": text} for i, photo in enumerate(read.photos) for text in photo.references]
    coco = data.parent / "coco.json"
    coco.write_text(json.dumps({"images": images, "annotations": notes[::-1]}))
    assert [(p.name, set(p.references)) for p in read_data(coco).photos] == [
        (p.name, set(p.references)) for p in read.photos
    ]


BAD_LINES: list[tuple[str, str]] = [
    ("", "has no photos"),
    ('{"file": "a.png"', "line 1 is not JSON"),
    ("[1]", "line 1 must hold a JSON object"),
    ('{"file": 3, "captions": ["a"]}', 'line 1: "file" must be the path of a photo, not 3'),
    ('{"file": "a.png", "captions": []}', 'line 1: "captions" must be a list of one or more texts'),
    ('{"file": "a.png", "captions": [" "]}', 'line 1: "captions" must be a list of one or more texts'),
    ('{"file": "a.png", "captions": ["a"], "split": 1}', 'line 1: "split" must be a text, not 1'),
    ('{"file": "a.png", "captions": ["a"]}\n' * 2, "line 2: a.png is there twice"),
    ('{"file": "a.png", "captions": ["a"]}', "1 of the 1 photos"),
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
    ({"images": [{"id": 1, "file_name": "a"}], "annotations": []}, "has 1 photos without captions: a"),
    ({"images": [], "annotations": [{"image_id": 5, "caption": "a"}]}, "the photo 5 has a caption and is not among"),
    ({"images": [], "annotations": [{"image_id": 5}]}, 'an annotation has no "caption"'),
    ({"images": [3], "annotations": []}, "images[0] must be an object"),
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
    assert Folder.open(folder).quality == {}


def test_the_command(folder: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", str(folder), "--data", str(data), "--limit", "3", "--ocr", "--json", "--no-write"]
    assert cli.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["photos"] == 3 and list(found["variants"]) == ["fp32", "int8"]
    assert found["variants"]["int8"]["word error rate"] > 0
    assert cli.main([*arguments[:-2]]) == 0
    assert "int8: " in capsys.readouterr().out
    assert "word error rate" in Folder.open(folder).quality["int8"]
    assert cli.main(["evaluate", str(folder), "--data", "nowhere.jsonl"]) == 2
    assert "nowhere.jsonl cannot be read" in capsys.readouterr().err
