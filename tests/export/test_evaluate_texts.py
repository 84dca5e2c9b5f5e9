"""`evaluate` of models that read texts: data sets that are read or refused, scores, languages, and what is recorded."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from fuseline import cli
from fuseline.errors import InputError
from fuseline.export import evaluate
from fuseline.export.quality.data import read_texts
from fuseline.folders.open import open_folder
from fuseline.model import Model
from tests.exported_texts import folder_with_languages, lines, said, text_folder

COUNT = 6
SCORES = ["BLEU", "chrF", "ROUGE-1", "ROUGE-2", "ROUGE-L", "exact match", "word error rate", "character error rate"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_folder(tmp_path_factory.mktemp("texts"), "t5")


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_with_languages(tmp_path_factory.mktemp("languages"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "models" / "tiny"))


@pytest.fixture
def sources() -> list[str]:
    return lines(COUNT)


def table(tmp_path: Path, sources: list[str], references: list[str]) -> Path:
    file = tmp_path / "data.tsv"
    file.write_text("".join(f"{a}\t{b}\n" for a, b in zip(sources, references, strict=True)))
    return file


def test_what_the_model_says_is_as_good_as_can_be_and_is_recorded(
    folder: Path, tmp_path: Path, sources: list[str]
) -> None:
    references = said(folder, sources)
    found = evaluate(folder, table(tmp_path, sources, references))
    base = found.variants["fp32"]
    assert list(base.scores) == SCORES
    assert [round(base.scores[name], 6) for name in SCORES] == [100.0, 100.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert list(base.texts) == references
    about = open_folder(folder).quality["int8"]  # checks every hash
    assert (about["texts"], about["num_beams"], about["tokenizer"]) == (COUNT, 4, "13a")
    assert about["BLEU signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert "photos" not in about
    assert set(about["less fp32"]) == set(SCORES)
    low, high = about["less fp32"]["chrF"]["low"], about["less fp32"]["chrF"]["high"]
    assert low <= about["less fp32"]["chrF"]["value"] <= high
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"{COUNT} texts, beam 4, tokenizer 13a, BLEU nrefs:1|case:mixed" in card
    assert "(paired bootstrap over the texts)" in card


def test_the_scores_are_those_of_sacrebleu(folder: Path, tmp_path: Path, sources: list[str]) -> None:
    found = evaluate(folder, table(tmp_path, sources, sources), ["int8"], tokenizer="char", write=False)
    for name, scored in found.variants.items():
        texts = list(scored.texts)
        expected = sacrebleu.corpus_bleu(texts, [sources], tokenize="char").score
        assert scored.scores["BLEU"] == pytest.approx(expected), name
        assert scored.scores["chrF"] == pytest.approx(sacrebleu.corpus_chrf(texts, [sources]).score), name
    assert "|tok:char|" in found.conditions["BLEU signature"]


def test_two_files_and_objects_are_read_as_a_table_is(tmp_path: Path, sources: list[str]) -> None:
    wanted = [(text, (text[::-1],)) for text in sources]
    (tmp_path / "a.src").write_bytes("\r\n".join(sources).encode())  # as Windows writes it, without an end
    (tmp_path / "a.ref").write_text("".join(f"{text[::-1]}\n" for text in sources))
    objects = [{"source": text, "references": [text[::-1]], "split": "val"} for text in sources]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, [*objects, objects[0] | {"split": "test"}])))
    for read in (
        read_texts(table(tmp_path, sources, [text[::-1] for text in sources])),
        read_texts(tmp_path / "a.src", tmp_path / "a.ref"),
        read_texts(tmp_path / "a.jsonl"),
    ):
        assert [(pair.given, pair.references) for pair in read.items] == wanted
    assert len(read_texts(tmp_path / "a.jsonl", split="test").items) == 1
    (tmp_path / "odd.tsv").write_text("a line\u2028that goes on\tone\ttwo\n\nanother\tone\n")
    assert [len(pair.references) for pair in read_texts(tmp_path / "odd.tsv").items] == [2, 1]


BAD: list[tuple[str, bytes, bytes | None, str]] = [
    ("x.tsv", b"", None, "x.tsv has no texts; it must be a table"),
    ("x.tsv", b"a\tb\nno tab\n", None, "x.tsv, line 2 has no tab; it must be a text, a tab and a reference"),
    ("x.tsv", b"a\t \n", None, "x.tsv, line 1: a text or a reference is empty"),
    ("x.tsv", b"a\tb\n\xff\tb\n", None, "x.tsv, line 2: byte 1 is no UTF-8; save the file as UTF-8"),
    ("x.tsv", b"a\0\tb\n", None, "x.tsv, line 1 has a zero byte"),
    ("x.jsonl", b"{", None, "x.jsonl, line 1 is not JSON"),
    ("x.jsonl", b"[" * 100_000, None, "x.jsonl, line 1 is not JSON"),
    ("x.jsonl", b"[]", None, "x.jsonl, line 1 must hold a JSON object"),
    ("x.jsonl", b'{"source": 1}', None, 'x.jsonl, line 1: "source" must be a text'),
    ("x.jsonl", b'{"source": "a", "references": "b"}', None, 'line 1: "references" must be a list of one or more'),
    ("x.jsonl", b'{"source": "\\ud800", "references": ["b"]}', None, "line 1: a text must be of whole characters"),
    ("x.jsonl", b'{"source": "a", "references": ["b"], "split": 1}', None, 'line 1: "split" must be a text'),
    ("x.src", b"a\nb\n", b"a\n", "x.src has 2 lines and "),
    ("x.src", b"a\n \n", b"a\nb\n", "x.src, line 2: a text or a reference is empty"),
    ("x.src", b"a\nb\n", b"a\n\n", "x.ref, line 2: a text or a reference is empty"),
]


@pytest.mark.parametrize(("name", "content", "references", "sentence"), BAD)
def test_wrong_files_are_named(
    name: str, content: bytes, references: bytes | None, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    if references is not None:
        (tmp_path / "x.ref").write_bytes(references)
    with pytest.raises(InputError) as error:
        read_texts(tmp_path / name, None if references is None else tmp_path / "x.ref")
    assert sentence in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"task": "caption"}, "task must be text for .*, not 'caption'"),
        ({"tokenizer": "ptb"}, "tokenizer must be 13a or intl or zh or char or none, not 'ptb'"),
        ({"photos": "."}, "reads texts, so there is no folder of photos"),
        ({"limit": 0}, "limit must be at least 1 text, not 0"),
        ({"src_lang": "en"}, "go together: give both, or none"),
        ({"src_lang": "en", "tgt_lang": "de"}, "no tokens for languages and no task translation_en_to_de; leave"),
    ],
)
def test_wrong_options(options: Any, sentence: str, folder: Path, tmp_path: Path, sources: list[str]) -> None:
    with pytest.raises(InputError, match=sentence):
        evaluate(folder, table(tmp_path, sources, sources), **options)


def test_photos_have_no_languages_and_no_references(tiny_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no photo")
    (tmp_path / "captions.jsonl").write_text('{"file": "a.png", "captions": ["a"]}')
    for options in ({"src_lang": "en", "tgt_lang": "de"}, {"prefix": "say: "}, {"truncation": True}):
        with pytest.raises(InputError, match="this model reads photos, which have no languages and are not cut"):
            evaluate(tiny_path, tmp_path / "captions.jsonl", write=False, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="reads photos, whose captions lie in the data; leave references out"):
        evaluate(tiny_path, tmp_path / "captions.jsonl", references="x", write=False)


def test_texts_that_are_too_long_are_named_before_the_first_is_read_or_cut(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = text_folder(tmp_path_factory.mktemp("bart"), "bart", ("fp32",))
    long = " ".join(["word9"] * 80)
    file, steps = table(tmp_path, ["word9", long], ["word9", "word9"]), list[int]()
    with pytest.raises(InputError, match=r"data\.tsv, line 2: .* 80 tokens, and 70 fit"):
        evaluate(folder, file, progress=lambda step, *_: steps.append(step))
    assert not steps
    found = evaluate(folder, file, truncation=True)
    assert found.conditions["truncated"] is True
    assert found.variants["fp32"].texts[1] == said(folder, [" ".join(["word9"] * 70)])[0]


def test_languages_are_those_of_the_model(translator: Path, tmp_path: Path, sources: list[str]) -> None:
    file = table(tmp_path, sources, sources)
    with pytest.raises(
        InputError, match="must be told from which language into which it translates; it knows .*de_DE, en_XX"
    ):
        evaluate(translator, file)
    with pytest.raises(InputError, match="'xx' is no language of this model"):
        evaluate(translator, file, src_lang="xx", tgt_lang="de_DE")
    found = evaluate(translator, file, src_lang="de_DE", tgt_lang="en_XX", write=False)
    assert (found.conditions["from"], found.conditions["to"]) == ("de_DE", "en_XX")
    model = Model.from_pretrained(translator, "fp32")
    inputs = [model.inputs([text], src_lang="de_DE") for text in sources]
    assert all(each["input_ids"][0, 0] == 96 for each in inputs)
    generated = [model.generate(each, forced_bos_token_id=95).sequences for each in inputs]
    assert [model.decode(each)[0].strip() for each in generated] == list(found.variants["fp32"].texts)


def test_a_task_of_config_json_gives_what_texts_begin_with(folder: Path, tmp_path: Path, sources: list[str]) -> None:
    """As T5 is told what to do. A prefix that is given comes in its place."""
    task = {"prefix": "word11 ", "num_beams": 2, "max_length": 9}
    config = json.loads((folder / "config.json").read_text())
    content = json.dumps(config | {"task_specific_params": {"translation_en_to_de": task}})
    (folder / "config.json").write_text(content)
    about = json.loads((folder / "fuseline.json").read_text())
    digest = hashlib.sha256(content.encode()).hexdigest()
    about["files"]["config.json"] = {"bytes": len(content.encode()), "sha256": digest}
    (folder / "fuseline.json").write_text(json.dumps(about))
    file = table(tmp_path, sources, sources)
    found = evaluate(folder, file, ["fp32"], src_lang="en", tgt_lang="de", write=False)
    expected = said(folder, [f"word11 {text}" for text in sources], num_beams=2, max_length=9)
    assert list(found.variants["fp32"].texts) == expected
    assert found.conditions["num_beams"] == 2
    found = evaluate(folder, file, ["fp32"], prefix="word12 ", write=False)
    assert list(found.variants["fp32"].texts) == said(folder, [f"word12 {text}" for text in sources])


def test_an_interrupted_run_goes_on_where_it_was(
    folder: Path, tmp_path: Path, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = table(tmp_path, sources, sources)
    whole = evaluate(folder, file, write=False)
    calls: list[int] = []
    generate = Model.generate

    def counted(self: Model, *arguments: Any, **fields: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return generate(self, *arguments, **fields)

    monkeypatch.setattr(Model, "generate", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, file)
    assert len([path for path in folder.parent.iterdir() if path.suffix == ".jsonl"]) == 1
    found = evaluate(folder, file, write=False)
    assert len(calls) == 5 + 2 * COUNT - 4
    assert found.quality() == whole.quality()


def test_the_command(folder: Path, tmp_path: Path, sources: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.src").write_text("\n".join(sources))
    (tmp_path / "a.ref").write_text("\n".join(sources))
    arguments = ["evaluate", str(folder), "--data", str(tmp_path / "a.src"), "--references", str(tmp_path / "a.ref")]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{tmp_path.name}, {COUNT} texts, beam 4"
    assert any(line.startswith("  chrF ") for line in out) and any("ms a text" in line for line in out)
    assert cli.main([*arguments, "--json", "--limit", "2", "--no-write"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == 2
    assert cli.main([*arguments, "--ocr"]) == 2
    assert "task must be text for " in capsys.readouterr().err
