"""Folders of CTranslate2 as a source of export: the reference is what the package ctranslate2 says of the same folder.

Its float32 and ours differ by some 1e-5 in a logit of size 1 to 10, so texts are equal and their scores within 1e-4.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fuseline
from fuseline.errors import ExportError
from fuseline.export import export

ctranslate2 = pytest.importorskip("ctranslate2")


from fuseline.export.check import compare  # noqa: E402
from fuseline.export.ctranslate2 import write  # noqa: E402
from fuseline.export.ctranslate2.compare import Reference  # noqa: E402
from fuseline.export.ctranslate2.folder import Source, read_source  # noqa: E402
from fuseline.export.ctranslate2.reader import read_binary  # noqa: E402
from fuseline.export.ctranslate2.vocabularies import are_characters  # noqa: E402
from tests.ctranslate2_models import KINDS, MARKS, WORDS, binary, ctranslate2_folder, sources  # noqa: E402

BOUND = 1e-4  # of scores
LONGEST = 20  # tokens of a text: random models often never end


def said(folder: Path, texts: Sequence[Sequence[str]], beams: int) -> Any:
    """What CTranslate2 says, all hypotheses of every text."""
    translator = ctranslate2.Translator(str(folder), compute_type="float32")
    options = {"num_hypotheses": beams, "return_scores": True, "max_decoding_length": LONGEST}
    return translator.translate_batch(texts, beam_size=beams, **options)


def check_same(folder: Path, out: Path, count: int = 12) -> None:
    """Tokens of unequal texts in one batch, greedily and with beams, are those of CTranslate2, and so are scores."""
    model, texts, source = fuseline.Model.from_pretrained(out, "fp32"), sources(folder, count), read_source(folder)
    between = "" if max(map(len, texts[0])) == 1 else " "
    inputs = model.inputs([between.join(text) for text in texts])
    for beams in (1, 2, 5):
        found = model.generate(inputs, num_beams=beams, num_return_sequences=beams, max_new_tokens=LONGEST)
        expected = said(folder, texts, beams)
        assert [ended(row, source) for row in found.sequences] == [
            text for each in expected for text in each.hypotheses
        ]
        assert len({tuple(each.hypotheses[0]) for each in expected}) > count // 3
        if beams > 1:
            scores = [score for each in expected for score in each.scores]
            assert np.abs(np.array(found.sequences_scores) - scores).max() < BOUND


def ended(sequence: np.ndarray, source: Source) -> list[str]:
    """The tokens of a sequence without its start and its end."""
    tokens = sequence[1:].tolist()
    return [source.vocabularies.target[token] for token in tokens[: (*tokens, source.end).index(source.end)]]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_of_ctranslate2(kind: str, tmp_path: Path) -> None:
    folder = ctranslate2_folder(tmp_path / "model", kind)
    report = export(folder, tmp_path / "out")
    agreement = report.agreement["fp32"]
    assert (agreement.greedy, agreement.beam, agreement.reference) == (1, 1, "CTranslate2")
    assert agreement.logits < (1e-2 if kind == "gelus" else BOUND)  # no norm keeps its logits small
    check_same(folder, tmp_path / "out")


@pytest.mark.parametrize("quantization", ["float32", "float16", "int8", "int8_float16", "int16"])
@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_weights_are_unfolded_to_float32(kind: str, quantization: str, tmp_path: Path) -> None:
    folder = ctranslate2_folder(tmp_path / "model", kind, quantization)
    export(folder, tmp_path / "out")
    check_same(folder, tmp_path / "out")


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("quantization", [None, "int8", "int16"])
def test_older_versions_say_the_same(version: int, quantization: str | None, tmp_path: Path) -> None:
    """Tied tables are stored twice before version 3, and what config.json says now was in model.bin before 6."""
    options = {"add_source_eos": True, "bos_token": "<s>", "decoder_start_token": "</s>"}
    newest = ctranslate2_folder(tmp_path / "6", "m2m", quantization, config=options)
    older = ctranslate2_folder(tmp_path / "older", "m2m", quantization, config=options, version=version)
    texts = sources(newest, 6)
    assert [each.hypotheses for each in said(older, texts, 2)] == [each.hypotheses for each in said(newest, texts, 2)]
    one, other = read_source(newest), read_source(older)
    assert (one.start, one.end, one.model.options) == (other.start, other.end, other.model.options)
    assert (one.model.encoder, one.model.decoder) == (other.model.encoder, other.model.decoder)
    assert one.model.weights.keys() == other.model.weights.keys()
    for name, weight in one.model.weights.items():
        np.testing.assert_array_equal(weight, other.model.weights[name])


def test_heads_and_norms_of_old_revisions_are_known_by_the_name(tmp_path: Path) -> None:
    """TransformerBase of revision 2 has 8 heads, which it does not say, and all that is said is said once."""
    folder = ctranslate2_folder(tmp_path / "model", "pre-norm", version=5)
    found = dict(read_binary(folder / "model.bin").variables)
    wide = {name: value for name, value in found.items() if not name.endswith(("num_heads", "pre_norm", "activation"))}
    (folder / "model.bin").write_bytes(binary(wide, version=2, specification="TransformerBig", revision=2))
    with pytest.raises(ExportError, match="width 12 and 16 heads, which do not fit"):
        read_source(folder)
    found = {f"{name}": value for name, value in wide.items()} | {"num_heads": np.int8(3), "pre_norm": np.int8(0)}
    arrays = {name: np.asarray(value) for name, value in found.items()}
    (folder / "model.bin").write_bytes(binary(arrays, version=4, specification="TransformerBase", revision=4))
    source = read_source(folder)
    for part in (source.model.encoder, source.model.decoder):
        assert (part["heads"], part["pre_norm"], part["activation"]) == (3, False, "relu")
    texts = sources(folder, 4)
    export(folder, tmp_path / "out")
    assert said(folder, texts, 2)
    check_same(folder, tmp_path / "out")


def test_source_texts_get_marks_where_the_model_says_so(tmp_path: Path) -> None:
    folder = ctranslate2_folder(
        tmp_path / "model", config={"add_source_bos": True, "add_source_eos": True, "decoder_start_token": "</s>"}
    )
    export(folder, tmp_path / "out")
    model = fuseline.Model.from_pretrained(tmp_path / "out")
    assert model.inputs(["ab"])["input_ids"].tolist() == [[1, 3, 4, 2]]
    check_same(folder, tmp_path / "out")


def test_pieces_are_written_with_spaces_between_them(tmp_path: Path) -> None:
    words = (*MARKS, *WORDS, "<unk>")
    folder = ctranslate2_folder(tmp_path / "model", source=words, target=words)
    assert (folder / "shared_vocabulary.json").exists()
    assert "so a text is its tokens with spaces between them" in export(folder, tmp_path / "out").remark
    model = fuseline.Model.from_pretrained(tmp_path / "out")
    numbers = [words.index(word) for word in ("▁ba", "e", "<unk>", "▁do")]
    assert model.inputs(["▁ba e  nothing ▁do"])["input_ids"].tolist() == [numbers]
    check_same(folder, tmp_path / "out")


def test_letters_that_are_not_known_are_the_unknown_token(tmp_path: Path) -> None:
    folder = ctranslate2_folder(tmp_path / "model")
    export(folder, tmp_path / "out")
    model = fuseline.Model.from_pretrained(tmp_path / "out")
    assert model.inputs(["a ñ<s>"])["input_ids"].tolist() == [[3, 29, 29, 29, 21, 29]]


CHARACTERS: Mapping[str, tuple[Sequence[str], bool]] = {
    "letters": ("abc", True),
    "letters and a space": ("abc ▁", True),
    "letters and a sign for spaces": ("abc▁", False),
    "pieces": (("▁a", "b"), False),
    "marks alone": ((), False),
}


@pytest.mark.parametrize("what", CHARACTERS)
def test_whether_texts_are_characters(what: str) -> None:
    tokens, expected = CHARACTERS[what]
    assert are_characters([*MARKS, "<unk>", "<2de>", "||", *tokens], ["||"]) == expected


def rewritten(folder: Path, name: str, content: str) -> Path:
    for ending in ("json", "txt"):
        (folder / f"{name}.{ending}").unlink(missing_ok=True)
    (folder / f"{name}.txt").write_bytes(content.encode())
    return folder


LINES: Mapping[str, Callable[[list[str]], str]] = {
    "lines": lambda tokens: "\n".join(tokens),
    "with an end": lambda tokens: "\n".join(tokens) + "\n",
    "of Windows": lambda tokens: "\r\n".join(tokens) + "\r\n",
    "without the unknown token, which is the last": lambda tokens: "\n".join(tokens[:-1]),
}


@pytest.mark.parametrize("how", LINES)
def test_vocabularies_in_lines(how: str, tmp_path: Path) -> None:
    folder = ctranslate2_folder(tmp_path / "model")
    expected = said(folder, sources(folder, 4), 2)
    texts = sources(folder, 4)
    for side in ("source", "target"):
        tokens = json.loads((folder / f"{side}_vocabulary.json").read_text())
        rewritten(folder, f"{side}_vocabulary", LINES[how](tokens))
        found = read_source(folder).vocabularies
        assert list(getattr(found, side)) == tokens
    assert [each.hypotheses for each in said(folder, texts, 2)] == [each.hypotheses for each in expected]


def test_smaller_variants_and_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from fuseline.cli import main

    folder = ctranslate2_folder(tmp_path / "model", "bart", "int8")
    assert main(["export", "--variants", "fp32,int8", "--max-length", "9", str(folder), str(tmp_path / "out")]) == 0
    shown = capfd.readouterr().out
    assert "fp32, of 6 generated texts as CTranslate2 says:" in shown
    assert "all tokens are characters, so a text is its characters" in shown
    about = json.loads((tmp_path / "out" / "fuseline.json").read_text())
    assert about["agreement"]["fp32"]["reference"] == "CTranslate2"
    assert about["sources"]["encoder"]["longest"] == 40
    assert about["decoder"]["max_positions"] == 8


def test_without_the_package_nothing_is_compared_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "is_installed", lambda: False)
    folder = ctranslate2_folder(tmp_path / "model")
    report = export(folder, tmp_path / "out")
    assert not report.agreement
    assert report.remark.endswith("; not compared with CTranslate2, which is not installed; pip install ctranslate2")
    check_same(folder, tmp_path / "out", count=3)


def test_neither_torch_nor_transformers_is_needed(tmp_path: Path) -> None:
    folder = ctranslate2_folder(tmp_path / "model", "t5")
    code = f"""
import sys
for name in ("torch", "transformers", "onnxscript"):
    sys.modules[name] = None
from fuseline.export import export
print(export({str(folder)!r}, {str(tmp_path / "out")!r}).agreement["fp32"].beam)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "1.0\n"


def test_a_folder_that_says_something_else_is_refused(tmp_path: Path) -> None:
    one, other = (ctranslate2_folder(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    export(one, tmp_path / "out")
    reference = Reference(read_source(other))
    answers = reference.ask(1024)
    with pytest.raises(ExportError, match="the exported model does not say what CTranslate2 says: greedy, text 0"):
        compare(tmp_path / "out", "fp32", answers, lambda: reference)


TEXTS = [
    "hello world",
    "  the cat   sat on the mat ",
    "Über naïve café, ½ ﬁ! \u4f60\u597d",
    "مرحبا بالعالم",
    "\U0001f600 tabs\tand\nlines",
    "zzzzzz qqq",
]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def pieces(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model, trained on the words of this file."""
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    made = tmp_path_factory.mktemp(request.param) / "made"
    text = Path(__file__).read_text()
    options = {"vocab_size": 300, "model_type": request.param, "minloglevel": 2, "character_coverage": 0.999}
    trainer.train(sentence_iterator=iter(text.splitlines()), model_prefix=str(made), **options)
    return made.with_suffix(".model")


@pytest.mark.parametrize("names", [["spm.model"], ["source.spm", "target.spm"]])
def test_sentencepiece_models_in_the_folder_split_texts(names: list[str], pieces: Path, tmp_path: Path) -> None:
    """As sentencepiece does, and the vocabulary numbers the pieces, in an order of its own and without some."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(pieces))
    known = [processor.id_to_piece(each) for each in range(3, processor.get_piece_size())]
    source, target = (*MARKS, *known[::-1][:-9], "<unk>"), (*MARKS, *known, "<unk>")
    folder = ctranslate2_folder(tmp_path / "model", source=source, target=target, config={"add_source_eos": True})
    for name in names:
        (folder / name).write_bytes(pieces.read_bytes())
    assert export(folder, tmp_path / "out").remark == ""
    model, read = fuseline.Model.from_pretrained(tmp_path / "out"), read_source(folder)
    inputs = model.inputs(TEXTS)
    tokens = [processor.encode(text, out_type=str) for text in TEXTS]
    for row, mask, text in zip(inputs["input_ids"], inputs["attention_mask"], tokens, strict=True):
        assert row[: mask.sum()].tolist() == read.numbers(text)
    expected = said(folder, tokens, 1)
    found = model.generate(inputs, num_beams=1, max_new_tokens=LONGEST)
    texts = [processor.decode([token for token in each.hypotheses[0] if token != "<s>"]) for each in expected]
    assert model.decode(found.sequences) == texts


@pytest.mark.filterwarnings("ignore:Recommended")
def test_what_marian_s_tokenizer_needs_beside_the_model(pieces: Path, tmp_path: Path) -> None:
    """Its SentencePiece models and vocab.json make a text's tokens, and the end after them, as transformers does."""
    import transformers
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(pieces))
    known = [processor.id_to_piece(each) for each in range(3, processor.get_piece_size())]
    words = ("</s>", "<unk>", *known[::-1], ">>fra<<")  # CTranslate2's converter leaves <pad> out, which is the last
    options = {"bos_token": "</s>", "decoder_start_token": "</s>"}
    folder = ctranslate2_folder(tmp_path / "model", "post-norm", source=words, target=words, config=options)
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate((*words, "<pad>"))}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer"}))
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(pieces.read_bytes())
    assert export(folder, tmp_path / "out").remark == ""
    model, read = fuseline.Model.from_pretrained(tmp_path / "out"), read_source(folder)
    names = ("vocab.json", "source.spm", "target.spm")
    theirs = transformers.MarianTokenizer(
        **dict(zip(("vocab", "source_spm", "target_spm"), map(str, map(folder.joinpath, names)), strict=True))
    )
    texts = [*TEXTS, ">>fra<< hello"]
    tokens = [theirs.convert_ids_to_tokens(theirs.encode(text)) for text in texts]
    assert all(text[-1] == "</s>" for text in tokens)
    expected = [each.hypotheses[0] for each in said(folder, tokens, 2)]
    found = model.generate(model.inputs(texts), num_beams=2, max_new_tokens=LONGEST)
    assert [ended(row, read) for row in found.sequences] == expected
    assert model.decode(found.sequences) == theirs.batch_decode(found.sequences, skip_special_tokens=True)


def test_several_sentencepiece_models_are_named(pieces: Path, tmp_path: Path) -> None:
    folder = ctranslate2_folder(tmp_path / "model")
    for name in ("one.model", "two.spm"):
        (folder / name).write_bytes(pieces.read_bytes())
    with pytest.raises(ExportError, match="several SentencePiece models, one.model, two.spm; call them source.spm"):
        export(folder, tmp_path / "out")


SMALL = {"vocab_size": 97, "d_model": 30, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
HEADS = {"encoder_attention_heads": 5, "decoder_attention_heads": 5, "encoder_ffn_dim": 52, "decoder_ffn_dim": 44}
LAYERS = {"encoder_layers": 2, "decoder_layers": 3, "max_position_embeddings": 70, "decoder_start_token_id": 0}
T5_SIZES = {"d_kv": 6, "d_ff": 44, "num_layers": 2, "num_heads": 5, "decoder_start_token_id": 1}
CONVERTED: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "bart": ("BartForConditionalGeneration", "BartConfig", HEADS | LAYERS | {"normalize_before": False}),
    "mbart, as mBART-50": (
        "MBartForConditionalGeneration",
        "MBartConfig",
        HEADS | LAYERS | {"scale_embedding": True, "normalize_before": True, "tokenizer_class": "MBart50Tokenizer"},
    ),
    "pegasus": (
        "PegasusForConditionalGeneration",
        "PegasusConfig",
        HEADS | LAYERS | {"scale_embedding": True, "normalize_before": True, "normalize_embedding": False},
    ),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5_SIZES),
    "t5 v1.1": (
        "T5ForConditionalGeneration",
        "T5Config",
        T5_SIZES | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
}


@pytest.mark.parametrize("quantization", [None, "int8"])
@pytest.mark.parametrize("name", CONVERTED)
def test_what_its_converter_makes_of_transformers_models(name: str, quantization: str | None, tmp_path: Path) -> None:
    """With the tokenizer.json that its users copy beside the model, whose tokens are given to it."""
    import torch
    import transformers
    from ctranslate2.converters import TransformersConverter

    from tests.text_models import write_checkpoint

    kind, config, sizes = CONVERTED[name]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**SMALL | sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3 if name.startswith("t5") else 9).add_(0.01)
    checkpoint = write_checkpoint(model, tmp_path / "checkpoint")
    copied = ["tokenizer.json", "tokenizer_config.json"]
    folder = tmp_path / "model"
    TransformersConverter(str(checkpoint), copy_files=copied).convert(str(folder), quantization=quantization)
    assert export(folder, tmp_path / "out").agreement["fp32"].beam == 1
    opened, source = fuseline.Model.from_pretrained(tmp_path / "out"), read_source(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    texts = [" ".join(text) for text in sources(folder, 8)]
    tokens = [tokenizer.convert_ids_to_tokens(tokenizer.encode(text)) for text in texts]
    for beams in (1, 2, 5):
        found = opened.generate(opened.inputs(texts), num_beams=beams, max_new_tokens=LONGEST)
        expected = [each.hypotheses[0] for each in said(folder, tokens, beams)]
        assert [ended(row, source) for row in found.sequences] == expected


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    from tests import tiny

    folder = ctranslate2_folder(tmp_path / "model")
    (folder / "tokenizer.json").write_text(tiny.word_tokenizer(97))
    with pytest.raises(ExportError, match="the tokenizer in .* belongs to another model"):
        export(folder, tmp_path / "out")
