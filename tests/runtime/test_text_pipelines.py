"""Pipelines of texts against transformers' of the same names, on the same checkpoints: equal as whole results."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Model, pipeline
from fuseline.errors import Error, InputError
from fuseline.migrating.copied_calls import TABLE, TEXT
from fuseline.pipelines.text_to_text import TextToText
from tests import source_folders
from tests.difficult_texts import TEXTS as DIFFICULT

torch = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

TEXTS = ["two dogs run on the beach", "the man's hat isn't red .", "a", "we've seen 12 bikes in 2024, and the camera!"]
SHORT = {"max_new_tokens": 9}
# Languages from and to, by the model.
LANGUAGES = {"NLLB": ("fra_Latn", "deu_Latn"), "M2M100": ("de", "zu"), "mBART": ("de_DE", "ro_RO")}


class Both:
    """Pipelines of both, made with the same keywords."""

    def __init__(self, made: Any, task: str, **keywords: Any) -> None:
        self.theirs = transformers.pipeline(task, model=str(made.source), device="cpu", **keywords)
        model = Model.from_pretrained(made.folder, threads=1)
        self.ours: TextToText = pipeline(task, model, **keywords)  # type: ignore[assignment]

    def say(self, texts: Any, **keywords: Any) -> tuple[Any, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.ours(texts, **keywords), self.theirs(texts, **keywords)


@pytest.fixture(scope="module")
def t5(text_model_made: Callable[[str], Any]) -> Any:
    return text_model_made("T5")


@pytest.fixture(scope="module")
def nllb(text_model_made: Callable[[str], Any]) -> Any:
    return text_model_made("NLLB")


@pytest.fixture(scope="module")
def rewriter(t5: Any) -> Both:
    return Both(t5, "text2text-generation", **SHORT)


CALLS: list[dict[str, Any]] = [
    {},
    {"num_beams": 1},
    {"num_return_sequences": 3},
    {"batch_size": 3},
    {"batch_size": 2, "num_beams": 2, "num_return_sequences": 2},
    {"min_length": 7, "max_new_tokens": 5},
    {"repetition_penalty": 1.5, "encoder_no_repeat_ngram_size": 2},
    {"return_text": True, "clean_up_tokenization_spaces": True, "truncation": True},
]


@pytest.mark.parametrize("keywords", CALLS, ids=str)
@pytest.mark.parametrize("texts", [TEXTS[0], TEXTS, TEXTS[:1]], ids=["a text", "texts", "a list of one"])
def test_results_equal_transformers(rewriter: Both, texts: Any, keywords: dict[str, Any]) -> None:
    ours, theirs = rewriter.say(texts, **keywords)
    assert ours == theirs


def test_texts_are_told_apart(rewriter: Both) -> None:
    said = [each["generated_text"] for each in rewriter.ours(TEXTS)]
    assert len(set(said)) > 2, "or the comparisons show nothing"


@pytest.mark.parametrize("task", ["text2text-generation", "summarization", "translation", "translation_en_to_de"])
def test_tasks_have_their_names_prefixes_and_options(t5: Any, task: str) -> None:
    """config.json says something of two of them. The texts are of 20 tokens, so its max_length of 14 would show."""
    both = Both(t5, task)
    for keywords in ({"max_new_tokens": 20}, {"max_new_tokens": 20, "num_beams": 1}):
        ours, theirs = both.say(TEXTS, **keywords)
        assert ours == theirs
    assert both.ours.task == both.theirs.task
    assert both.ours.generation_config.num_beams == both.theirs.generation_config.num_beams


def test_prefixes_matter(t5: Any) -> None:
    model = Model.from_pretrained(t5.folder, threads=1)
    said = [TextToText(model, task)(TEXTS[1], **SHORT)[0] for task in ("translation_en_to_fr", "translation_en_to_de")]
    assert said[0] != said[1]


def test_256_new_tokens_where_nobody_says(t5: Any) -> None:
    both = Both(t5, "summarization")
    more = {"num_beams": 1, "eos_token_id": None, "return_tensors": True}
    with pytest.warns(UserWarning, match="a text ended after 256 new tokens"):
        found = both.ours(TEXTS[0], **more)
    assert len(found[0]["summary_token_ids"]) == 257
    theirs = both.theirs(TEXTS[0], **more)
    assert found[0]["summary_token_ids"].tolist() == theirs[0]["summary_token_ids"].tolist()
    assert len(both.ours(TEXTS[0], max_length=5, return_tensors=True)[0]["summary_token_ids"]) == 5


@pytest.mark.parametrize("name", LANGUAGES)
def test_languages(text_model_made: Callable[[str], Any], name: str) -> None:
    made, (source, target) = text_model_made(name), LANGUAGES[name]
    both = Both(made, "translation", src_lang=source, tgt_lang=target, **SHORT)
    ours, theirs = both.say(TEXTS)
    assert ours == theirs
    turned = {"src_lang": target, "tgt_lang": source}
    again, theirs = both.say(TEXTS, **turned)
    assert again == theirs and again != ours
    without = Both(made, "translation")
    ours, theirs = without.say(TEXTS, **turned, **SHORT)
    assert ours == theirs == again
    both = Both(made, "text2text-generation", **SHORT)
    ours, theirs = both.say(TEXTS)
    assert ours == theirs
    with pytest.raises(InputError, match=f"src_lang and tgt_lang must say which; it knows .*{source[:2]}"):
        without.ours(TEXTS)
    with pytest.raises(InputError, match="'xx_YY' is no language of this model; .*it knows "):
        without.ours(TEXTS, src_lang=source, tgt_lang="xx_YY")


def test_languages_in_the_name_of_the_task(text_model_made: Callable[[str], Any]) -> None:
    both = Both(text_model_made("M2M100"), "translation_de_to_zu", **SHORT)
    ours, theirs = both.say(TEXTS)
    assert ours == theirs


def test_tokens_in_the_place_of_texts(rewriter: Both) -> None:
    for texts, keywords in ((TEXTS[0], {}), (TEXTS, {}), (TEXTS, {"batch_size": 4, "num_return_sequences": 2})):
        ours, theirs = rewriter.say(texts, return_tensors=True, **keywords)
        flat = [
            itertools.chain.from_iterable(found) if isinstance(found[0], list) else found for found in (ours, theirs)
        ]
        for mine, reference in zip(*flat, strict=True):
            assert list(mine) == list(reference) == ["generated_token_ids"]
            assert mine["generated_token_ids"].dtype == np.int64
            np.testing.assert_array_equal(mine["generated_token_ids"], reference["generated_token_ids"].numpy())


def test_forms_of_several_texts(rewriter: Both) -> None:
    expected = rewriter.ours(TEXTS)
    assert rewriter.ours(tuple(TEXTS)) == rewriter.ours.predict(TEXTS) == expected
    assert rewriter.ours([]) == rewriter.theirs([]) == []
    streams = (list(each(text for text in TEXTS)) for each in (rewriter.ours, rewriter.theirs))
    assert next(streams) == next(streams) == [[each] for each in expected]


def test_streams_are_read_as_they_are_asked_for(rewriter: Both) -> None:
    read = []

    def stream() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    results = rewriter.ours(stream(), batch_size=2)
    assert read == []
    next(results)
    assert read == TEXTS[:2]


def test_a_text_in_pieces(rewriter: Both) -> None:
    for keywords in ({}, {"num_beams": 1}, {"clean_up_tokenization_spaces": True}):
        pieces = list(rewriter.ours(TEXTS[1], stream=True, **keywords))
        assert len(pieces) > 1
        assert "".join(pieces) == rewriter.ours(TEXTS[1], **keywords)[0]["generated_text"]
    with pytest.raises(InputError, match="call it for each text"):
        rewriter.ours(TEXTS, stream=True)  # type: ignore[call-overload]


def test_stop_sequence(rewriter: Both) -> None:
    tokens = rewriter.ours(TEXTS[0], return_tensors=True)[0]["generated_token_ids"]
    word = rewriter.theirs.tokenizer.convert_ids_to_tokens(int(tokens[3])).replace("\u2581", " ")
    ours, theirs = rewriter.say(TEXTS[0], stop_sequence=word)
    assert ours == theirs


LONG = " ".join(["two dogs run on the beach"] * 12)


def test_truncation(nllb: Any) -> None:
    """The model reads 70 positions."""
    from_to = dict(zip(("src_lang", "tgt_lang"), LANGUAGES["NLLB"], strict=True))
    both = Both(nllb, "translation", **from_to, **SHORT)
    both.theirs.tokenizer.model_max_length = 70  # their positions have no end, which computes them anew
    for truncation in (True, "longest_first"):
        ours, theirs = both.say([LONG, TEXTS[0]], truncation=truncation)
        assert ours == theirs
    said = r"tokens, 2 of them the model's own, and 70 fit"
    with pytest.raises(InputError, match=rf"^text 2 has \d+ {said}; .*truncation=True cut it"):
        both.ours([TEXTS[0], LONG])
    with pytest.raises(InputError, match=rf"^the text has \d+ {said}"):
        both.ours(LONG, truncation=False)


@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_batches_change_nothing(rewriter: Both, size: int) -> None:
    texts = [*TEXTS, LONG[:200], "b"]
    assert rewriter.ours(texts, batch_size=size) == [rewriter.ours(text)[0] for text in texts]


@pytest.mark.parametrize("name", ["BERT", "T5", "NLLB", "BART"])
@pytest.mark.parametrize("clean_up", [True, False, None])
def test_clean_up_of_spaces(tmp_path: Path, name: str, clean_up: bool | None) -> None:
    """BERT's class cleans up where nothing is said, and a pipeline of texts says False."""
    from fuseline.tokens.hf import read_folder
    from fuseline.tokens.tokenizer import open_tokenizer

    folder = source_folders.made(name, tmp_path / "tokenizer")
    theirs: Any = transformers.AutoTokenizer.from_pretrained(folder)
    ours = open_tokenizer(read_folder(folder), len(theirs))
    for text in ("the man ' s hat isn ' t red .", "they 've seen , and do n't !", *DIFFICULT.values()):
        ids = theirs(text)["input_ids"]
        expected = theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up)
        assert ours.decode(ids, True, clean_up) == expected


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("text2text-generation", {"src_lang": "en"}, {}, "src_lang and tgt_lang are of the task translation, and this is"),
    (
        "translation",
        {"src_lang": "en", "tgt_lang": "de"},
        {},
        "this model has no tokens for languages, so 'en' cannot be",
    ),
    ("translation", {"src_lang": 5}, {}, "src_lang must be a text, not 5"),
    (
        "summarization",
        {"prompt": "a photo of"},
        {},
        "prompt='a photo of' is not taken by pipeline: it is of pipelines that",
    ),
    ("summarization", {"allow_downloads": True}, {}, "it is of pipelines that read photos"),
    (
        "summarization",
        {"truncation": "middle"},
        {},
        "truncation must be True, False or one of do_not_truncate, longest_fi",
    ),
    ("summarization", {"return_text": False}, {}, "return_text=False leaves nothing to return"),
    ("summarization", {"return_type": "TEXT"}, {}, "return_type must be transformers' ReturnType.TENSORS or .TEXT"),
    (
        "summarization",
        {"clean_up_tokenization_spaces": "yes"},
        {},
        "clean_up_tokenization_spaces must be True or False",
    ),
    ("summarization", {"num_beam": 2}, {}, "num_beam is no argument of pipeline; did you mean num_beams?"),
    ("summarization", {"batch_size": 0}, {}, "batch_size must be a whole number"),
    ("summarization", {"assistant_model": "x"}, {}, "assistant_model='x' is not supported"),
    ("summarization", {}, {"inputs": b"bytes"}, "the text must be a text, not b'bytes'"),
    ("summarization", {}, {"inputs": ["a", 5]}, "text 2 must be a text, not 5"),
    ("summarization", {}, {"inputs": None}, "there is no text; give one, or a list of them"),
    ("summarization", {}, {"inputs": "a\ud800"}, "the text has half of a surrogate pair"),
    (
        "summarization",
        {},
        {"inputs": "a", "truncaton": True},
        "truncaton is no argument of a text pipeline's call; did you",
    ),
    ("summarization", {}, {"inputs": "a", "images": 1}, "it is of pipelines that read photos"),
    ("summarization", {}, {"inputs": "a", "stop_sequence": ""}, "stop_sequence must have a token"),
    ("summarization", {}, {"inputs": "a", "max_new_tokens": 0}, "max_new_tokens must be a whole number of at least 1"),
    (
        "translate",
        {},
        {},
        "there is no task 'translate'; there is image-to-text, text2text-generation, summarization, tr",
    ),
    ("translation_en_de", {}, {}, "there is no task 'translation_en_de'; "),
    (
        "image-to-text",
        {},
        {},
        "this model reads texts and no photos, so pipeline('image-to-text') cannot use it; pipeline(",
    ),
    (
        "image-to-text",
        {"src_lang": "en"},
        {},
        "src_lang='en' is not taken by pipeline: it is of pipelines that read tex",
    ),
]


@pytest.mark.parametrize(("task", "keywords", "call", "sentence"), REFUSED, ids=str)
def test_what_cannot_be_used_is_refused(
    rewriter: Both, task: str, keywords: dict[str, Any], call: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Error) as caught:
        pipeline(task, rewriter.ours.model, **keywords)(**call)
    assert sentence in str(caught.value)


def test_every_row_of_the_table_is_asked(rewriter: Both) -> None:
    """Whatever stands for a keyword of another pipeline, an error names it."""
    for keyword in (name for row in TABLE if TEXT in row.calls for name in row.names):
        with pytest.raises(InputError, match=f"^{keyword}="):
            rewriter.ours("a", **{keyword: object()})


def test_models_of_other_tasks(tiny_path: Path) -> None:
    with pytest.raises(InputError, match=r"this model reads photos and no texts.*the command fuseline caption can"):
        pipeline("translation", tiny_path)
    with pytest.raises(InputError, match="the captioner that ships reads photos; give model="):
        pipeline("summarization")  # type: ignore[call-overload]


def test_the_task_of_a_model(rewriter: Both, tiny_path: Path) -> None:
    assert pipeline(None, rewriter.ours.model).task == "text2text-generation"
    assert pipeline(None, tiny_path).task == "image-to-text"


PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text(encoding="utf-8")


def test_the_programs_in_the_documents(nllb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of docs/migrating.md say the same in both; the one in examples prints what the pipeline says."""
    (tmp_path / "CHECKPOINT").symlink_to(nllb.source)
    (tmp_path / "FOLDER").symlink_to(nllb.folder)
    monkeypatch.chdir(tmp_path)
    said = []
    for begin in ("from transformers", "from fuseline"):
        program = next(
            found
            for found in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
            if f"{begin} import pipeline  # texts" in found
        )
        *before, last = program.strip().splitlines()
        names: dict[str, Any] = {}
        exec("\n".join(before), names)
        said.append(eval(last.partition("  #")[0], names))
    assert said[0] == said[1] and len(said[0]) == 2
    (tmp_path / "letter.txt").write_text("two dogs run\n\na man\n")
    example = Path(__file__).parents[2] / "examples" / "translate.py"
    words = [sys.executable, str(example), "FOLDER", "fra_Latn", "deu_Latn", "letter.txt"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if not line.startswith(" ")] == ["two dogs run", "a man"]
