"""`evaluate` of models with several sources: data sets, scores, and what each source is worth."""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseline import InputError, Model, cli
from fuseline.export import evaluate, export, quantize
from fuseline.export.fusion import FusionEncoderDecoder
from fuseline.export.quality.by_source import changes, shuffled
from fuseline.export.quality.data import DataSet, read_sources
from fuseline.export.quality.scores import caption_metrics
from fuseline.export.quality.sources import Several
from fuseline.folders.open import open_folder
from fuseline.generation.config import PIPELINE_NEW_TOKENS
from tests.fused_folders import described, exported, save
from tests.fusion_models import bert, decoder, whisper
from tests.tiny import tiny_folder

COUNT = 6
Line = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("fused"), "gated", variants=("fp32", "int8"))[1]


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "models" / "tiny"))


def written(place: Path, lines: list[Line]) -> Path:
    place.mkdir(exist_ok=True)
    file = place / "inputs.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


@pytest.fixture
def lines(tmp_path: Path) -> list[Line]:
    """The second input has no hint, no input has the other photo but the third."""
    random, place = np.random.default_rng(5), tmp_path / "data"
    place.mkdir()
    found: list[Line] = []
    for number in range(COUNT):
        pixels = random.integers(0, 256, (4, 4, 3), np.uint8).repeat(9, axis=0).repeat(9, axis=1)
        Image.fromarray(pixels).save(place / f"{number}.png")
        hint = " ".join(f"word{word}" for word in random.integers(5, 53, 3 + number % 3))
        found.append({"sources": {"image": f"{number}.png", "hint": hint}, "captions": ["word9"]})
    found[1]["sources"]["hint"] = None
    found[2]["sources"]["other"] = "0.png"
    return found


@pytest.fixture
def model(folder: Path) -> Model:
    return Model.from_pretrained(folder, "fp32", threads=1)


def said(model: Model, place: Path, sources: Mapping[str, str | None]) -> str:
    """By hand: arrays of one input into a text."""
    inputs: dict[str, Any] = {}
    for name, given in sources.items():
        if given is not None:
            made = model.inputs_of(name)
            inputs[name] = made([given]) if name == "hint" else made([Image.open(place / given)])
    return model.decode(model.generate(inputs).sequences)[0].strip()


@pytest.fixture
def data(model: Model, lines: list[Line], tmp_path: Path) -> Path:
    """References are what the model says, and the half of that, so that no score is 0."""
    place = tmp_path / "data"
    for line in lines:
        words = said(model, place, line["sources"]).split()
        line["captions"] = [" ".join(words), " ".join(["word9", *words[: len(words) // 2]])]
    return written(place, lines)


def test_scores_are_those_of_a_loop_by_hand(
    folder: Path, model: Model, data: Path, lines: list[Line], tmp_path: Path
) -> None:
    found = evaluate(folder, data, threads=1)
    place, references = tmp_path / "data", [line["captions"] for line in lines]
    whole = found.variants["fp32"]
    assert list(whole.texts) == [said(model, place, line["sources"]) for line in lines]
    assert whole.scores["BLEU-1"] == pytest.approx(1) and list(found.variants) == ["fp32", "int8"]
    assert list(whole.sources) == ["image", "hint", "other"] and not found.variants["int8"].sources
    metrics = {"whole": caption_metrics(references, list(whole.texts), "words")}
    for name, of in whole.sources.items():
        # Without the photo the second input has nothing, and nobody else has the other photo of the third.
        assert list(of) == {"image": ["of others"], "hint": ["without", "of others"], "other": ["without"]}[name]
        for how, changed in of.items():
            texts = [said(model, place, each) for each in by_hand([line["sources"] for line in lines], name, how)]
            assert list(changed.texts) == texts, (name, how)
            metrics[how] = caption_metrics(references, texts, "words")
            for score, value in changed.scores.items():
                assert value == metrics[how][score].value()
                less = changed.less_whole[score]
                assert less.value == value - metrics["whole"][score].value() and less.low <= less.value <= less.high
            assert changed.same == np.mean([a == b for a, b in zip(texts, whole.texts, strict=True)])
    assert whole.sources["hint"]["without"].scores["CIDEr"] < whole.scores["CIDEr"]
    assert whole.sources["image"]["of others"].same < 1
    # Only the third input has the other photo.
    assert list(whole.sources["other"]["without"].texts)[3:] == list(whole.texts)[3:]


def by_hand(sources: list[dict[str, str | None]], name: str, how: str) -> list[dict[str, str | None]]:
    if how == "without":
        return [{key: each for key, each in of.items() if key != name} for of in sources]
    have = [row for row, of in enumerate(sources) if of.get(name) is not None]
    drawn = np.random.default_rng(0).permutation(len(have))
    circle = [have[place] for place in np.argsort(drawn)]  # each gets what the next one has
    following = dict(zip(circle, [*circle[1:], circle[0]], strict=True))
    return [of | {name: sources[following[row]][name]} if row in following else of for row, of in enumerate(sources)]


def test_it_is_recorded_and_shown(folder: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(folder), "--data", str(data), "--threads", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    about = open_folder(folder).quality["fp32"]
    assert about["inputs"] == report["inputs"] == COUNT and "photos" not in about
    assert about["sources"] == report["variants"]["fp32"]["sources"]
    found = about["sources"]["hint"]["of others"]
    assert set(found) > {"CIDEr", "BLEU-4", "same as whole", "less whole", "texts_sha256"}
    assert set(found["less whole"]["CIDEr"]) == {"value", "low", "high"}
    card = (folder / "MODEL_CARD.md").read_text()
    assert "| fp32 with hint of others | " in card and "(paired bootstrap over the inputs). Where a source is" in card
    assert cli.main(["evaluate", str(folder), "--data", str(data), "--threads", "1", "--variants", "fp32"]) == 0
    shown = capsys.readouterr().out
    assert f"data, {COUNT} inputs, beam 1\n" in shown and " ms an input\n" in shown
    assert "\nfp32 without hint: " in shown and "\nfp32 with image of others: " in shown
    # What comes from evaluating without sources leaves what was found of the same texts.
    evaluate(folder, data, ["fp32"], threads=1, by_source=False)
    assert described(folder)["quality"]["fp32"]["sources"] == about["sources"]
    # On other data it is an entry of its own.
    evaluate(folder, data, ["fp32"], threads=1, limit=1)
    evaluate(folder, data, ["fp32"], threads=1, limit=4)
    first, second = (each["variants"]["fp32"] for each in described(folder)["evaluations"])
    assert "of others" not in first["sources"]["hint"] and "of others" in second["sources"]["hint"]


def test_an_interrupted_run_goes_on_within_the_sources(
    folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = evaluate(folder, data, ["fp32"], threads=1, write=False).variants["fp32"]
    steps: list[int] = []

    def stop(done: int, of: int, what: str) -> None:
        steps.append(done)
        if len(steps) == COUNT + 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, data, ["fp32"], threads=1, write=False, progress=stop)
    (kept,) = folder.parent.glob(".*evaluation*")
    assert len(kept.read_text().splitlines()) == COUNT + 3
    calls: list[object] = []
    generate = Model.generate

    def counted(*given: Any, **options: Any) -> Any:
        calls.append(given)
        return generate(*given, **options)

    monkeypatch.setattr(Model, "generate", counted)
    again = evaluate(folder, data, ["fp32"], threads=1, write=False).variants["fp32"]
    assert (again.texts, again.sources) == (expected.texts, expected.sources) and not kept.exists()
    rows = sum(map(len, expected.sources.values()))
    assert len(calls) == rows * COUNT - 3


def items(values: list[str | None]) -> list[Several]:
    return [Several(f"line {row}", {} if each is None else {"hint": each}, ("a",)) for row, each in enumerate(values)]


@pytest.mark.parametrize("kinds", [2, 3, 5, 40])
def test_nobody_keeps_its_own(kinds: int) -> None:
    random = np.random.default_rng(kinds)
    values = [None if each == 0 else f"hint {each}" for each in random.integers(0, kinds, 40)]
    values += [f"more {row % 2}" for row in range(41)]
    found = shuffled(items(values), "hint")
    assert found is not None and [item.name for item in found] == [f"line {row}" for row in range(81)]
    after = [item.given.get("hint") for item in found]
    assert all((a is None) == (b is None) and (a is None or a != b) for a, b in zip(values, after, strict=True))
    assert sorted(filter(None, after)) == sorted(filter(None, values)) and found == shuffled(items(values), "hint")


def test_what_cannot_be_shuffled_is_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert shuffled(items(["a", "b", "a"]), "hint") is None and shuffled(items(["a"]), "hint") is None
    sources = open_folder(folder).sources
    same = [Several(f"line {row}", {"image": Path(f"{row}"), "hint": "a"}, ("a",)) for row in range(4)]
    found = changes(DataSet("x", "", None, tuple(same), kind="inputs"), sources)
    assert [part.row("fp32") for part in found] == [
        "fp32 without image",
        "fp32 with image of others",
        "fp32 without hint",
    ]
    assert "what is said with hint of others is not measured, since more than half have the same" in caplog.text


def refusing(folder: Path, source: str, absent: str = "refuse") -> None:
    about = described(folder)
    about["sources"][source]["absent"] = absent
    (folder / "fuseline.json").write_text(json.dumps(about))


def test_a_source_that_is_needed(folder: Path, lines: list[Line], tmp_path: Path) -> None:
    refusing(folder, "image")
    data = written(tmp_path / "data", lines)
    found = evaluate(folder, data, ["fp32"], threads=1, limit=3).variants["fp32"]
    assert list(found.sources["image"]) == ["of others"] and "without" in found.sources["hint"]
    refusing(folder, "hint")
    with pytest.raises(InputError, match=r"inputs.jsonl, line 2 is without hint, and this model needs it; give every"):
        evaluate(folder, data, threads=1)
    photos = written(tmp_path / "photos", [{"file": "../data/0.png", "captions": ["word9"]}])
    with pytest.raises(InputError, match=r'has photos alone, and this model needs hint; give its lines "sources"'):
        evaluate(folder, photos, threads=1)


def test_zeros_stand_for_what_is_absent(folder: Path, lines: list[Line], tmp_path: Path) -> None:
    refusing(folder, "image", "zeros")
    data = written(tmp_path / "data", lines)
    found = evaluate(folder, data, ["fp32"], threads=1).variants["fp32"]
    with Model.from_pretrained(folder, "fp32", threads=1) as model:
        black = np.zeros((1, 3, 32, 32), np.float32)
        expected = model.decode(model.generate({"image": black}).sequences)[0].strip()
    assert found.sources["image"]["without"].texts[1] == expected  # the input that has an image alone


def test_plain_captions_are_of_the_source_of_the_task(
    folder: Path, model: Model, lines: list[Line], tmp_path: Path
) -> None:
    place = tmp_path / "data"
    file = place / "captions.jsonl"
    file.write_text("".join(json.dumps({"file": f"{n}.png", "captions": ["word9"]}) + "\n" for n in range(3)))
    found = evaluate(folder, file, ["fp32"], threads=1, write=False)
    assert found.conditions["inputs"] == 3
    assert list(found.variants["fp32"].texts) == [said(model, place, {"image": f"{n}.png"}) for n in range(3)]
    assert {name: list(of) for name, of in found.variants["fp32"].sources.items()} == {"image": ["of others"]}


def test_quantize_judges_by_the_same_data(folder: Path, data: Path) -> None:
    before = evaluate(folder, data, ["fp32"], threads=1).variants["fp32"]
    report = quantize(folder, ["int8"], data=data, threads=1)
    assert report.variants["int8"].measured.startswith("CIDEr (")
    about = described(folder)["quality"]
    expected = 1 - about["int8"]["CIDEr"] / about["fp32"]["CIDEr"]
    assert report.variants["int8"].loss == pytest.approx(expected, abs=1e-3)
    assert list(about["fp32"]["sources"]) == list(before.sources)


Damage = Callable[[Line], Any]
BAD: list[tuple[Damage, str]] = [
    (lambda line: line.update(sources=[]), '"sources" must be an object with some of image, hint, other, not []'),
    (lambda line: line.pop("sources"), '"sources" must be an object with some of image, hint, other, not None'),
    (lambda line: line["sources"].update(sound="a.wav"), "this model has no source sound; it has image, hint, other"),
    (lambda line: line.update(sources={"hint": None}), "line 3 has no source; give it one or more of image, hint"),
    (lambda line: line["sources"].update(hint=" "), "hint must be a text of whole characters, not ' '; leave it out"),
    (lambda line: line["sources"].update(hint="\ud800"), "hint must be a text of whole characters, not "),
    (lambda line: line["sources"].update(image=3), "image must be the path of a file, not 3"),
    (lambda line: line["sources"].update(image="a\0b"), "image must be the path of a file, not 'a"),
    (lambda line: line.update(captions=[]), '"captions" must be a list of one or more texts'),
    (lambda line: line.pop("captions"), '"captions" must be a list of one or more texts'),
    (lambda line: line.update(split=1), '"split" must be a text, not 1'),
    (lambda line: line["sources"].update(image="no.png"), "1 of the 8 files of "),
    (lambda line: line["sources"].update(hint="word5 " * 50), "line 3: hint: text 1 has 50 tokens, and 40 fit"),
]


@pytest.mark.parametrize(("damage", "sentence"), BAD)
def test_wrong_files_are_named(folder: Path, lines: list[Line], tmp_path: Path, damage: Damage, sentence: str) -> None:
    damage(lines[2])
    lines.append({"sources": {"image": "1.png"}, "captions": ["a"]})
    data = written(tmp_path / "data", lines)
    with pytest.raises(InputError) as error:
        evaluate(folder, data, threads=1)
    message = str(error.value)
    assert sentence in message and "\n" not in message and ("line 3" in message or "no.png" in message)


def test_lines_that_are_no_objects(folder: Path, tmp_path: Path) -> None:
    second = '{"sources": {"hint": "a"}, "text": "b"}\n[]\n'
    for content, sentence in (("", "has no photos"), (second, "line 2 must hold a JSON object")):
        (tmp_path / "x.jsonl").write_text(content)
        with pytest.raises(InputError, match=sentence):
            evaluate(folder, tmp_path / "x.jsonl", threads=1)


def test_data_of_the_wrong_kind(folder: Path, lines: list[Line], tmp_path: Path) -> None:
    data = written(tmp_path / "data", lines)
    captioner = tiny_folder(tmp_path, 1)
    for call in (evaluate, quantize):
        given: dict[str, Any] = {"data": data, "threads": 1}
        with pytest.raises(InputError, match="tiny reads one source, and .*inputs.jsonl has inputs of several"):
            call(captioner, **given)
    with pytest.raises(InputError, match="says itself what belongs to each input; leave photos out"):
        evaluate(folder, data, photos=tmp_path)
    with pytest.raises(InputError, match="says itself what belongs to each input; leave references out"):
        evaluate(folder, data, references=data)
    with pytest.raises(InputError, match="several sources, without languages and prefixes; leave them out"):
        evaluate(folder, data, prefix="say: ", threads=1)


def test_speech_beside_a_text(tmp_path: Path) -> None:
    """Words are what is scored where the task is to hear; a clip is read as far as the source goes."""
    encoders = {"sound": whisper(bands=80, positions=100), "hint": bert()}
    heard = FusionEncoderDecoder(encoders, decoder("gpt2"), "flat").eval()
    export(save(heard, tmp_path / "checkpoint"), tmp_path / "folder")
    random, lines = np.random.default_rng(2), []
    (tmp_path / "data").mkdir()
    for number in range(4):
        samples = (random.normal(size=16_000 * (number + 1)) * 9000).clip(-32768, 32767).astype("<i2")
        with wave.open(str(tmp_path / "data" / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
        lines.append({"sources": {"sound": f"{number}.wav", "hint": f"word{number + 7}"}, "text": "word9 word8"})
    found = evaluate(tmp_path / "folder", written(tmp_path / "data", lines), threads=1)
    (scored,) = found.variants.values()
    assert (found.conditions["tokenizer"], found.conditions["words"]) == ("basic", 8)
    assert set(scored.scores) == set(scored.intervals) == {"word error rate", "character error rate"}
    assert list(scored.sources) == ["sound", "hint"]
    assert all(list(of) == ["without", "of others"] for of in scored.sources.values())
    with Model.from_pretrained(tmp_path / "folder", threads=1) as model:
        for line, text in zip(lines, scored.texts, strict=True):
            sound = model.inputs_of("sound")([tmp_path / "data" / line["sources"]["sound"]])
            inputs = {"sound": sound, "hint": model.inputs_of("hint")([line["sources"]["hint"]])}
            options = model.generation_config.with_default_length(PIPELINE_NEW_TOKENS)
            assert model.decode(model.generate(inputs, generation_config=options).sequences)[0].strip() == text


def test_splits_texts_and_names_that_lead_out(folder: Path, lines: list[Line], tmp_path: Path) -> None:
    lines[0] |= {"split": "val", "sources": {"image": "../data/0.png", "hint": "0.png"}}
    lines[1] |= {"split": "test"}
    read = read_sources(written(tmp_path / "data", lines), open_folder(folder).sources)
    (item,) = read.items
    assert item.given == {"image": tmp_path / "data" / "../data/0.png", "hint": "0.png"} and read.split == "val"
    (remark,) = read.remarks
    assert remark.startswith("1 file that ") and remark.endswith(f"lies outside of {tmp_path / 'data'}: ../data/0.png")
