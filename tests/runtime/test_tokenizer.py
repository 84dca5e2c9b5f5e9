"""The tokenizer of a folder: honest files give what the library gives; what may take endless time or memory, or make
the library panic, is refused in one sentence before it runs."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from fuseline.errors import FolderError, InputError
from fuseline.tokens.tokenizer import LARGEST_FILE, TextTokens, open_tokenizer, read_tokenizer
from tests.tokenizer_damage import KINDS, WORDS, charsmap, damaged_tokenizer, honest

TEXTS = ["a dog runs on the beach.", "", "  a  dog\n", "é ½ ﬁ", "<s> a </s>", "\x00", "黒い犬 \U0001f600"]


def opened(tmp_path: Path, file: Any, vocab_size: int = 10) -> TextTokens:
    """The tokenizer of these contents."""
    path = tmp_path / "tokenizer.json"
    path.write_text(file if isinstance(file, str) else json.dumps(file))
    return open_tokenizer(read_tokenizer(path), vocab_size)


def changed(kind: str, **parts: Any) -> dict[str, Any]:
    """An honest file with other parts; those of the model are named with model_ before."""
    file: dict[str, Any] = json.loads(honest(kind))
    for name, value in parts.items():
        holder, key = (file["model"], name.removeprefix("model_")) if name.startswith("model_") else (file, name)
        holder[key] = value
    return file


def sequence(inner: str, *rules: Any) -> dict[str, Any]:
    return {"type": "Sequence", inner: list(rules)}


def replace(pattern: str, content: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


@pytest.mark.parametrize("kind", KINDS)
def test_honest_files_give_what_the_library_gives(kind: str, tmp_path: Path) -> None:
    theirs, ours = Tokenizer.from_str(honest(kind)), opened(tmp_path, honest(kind), 16)
    for text in TEXTS:
        tokens = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == tokens
        for skipped in (True, False):
            assert ours.decode(tokens, skipped) == theirs.decode(tokens, skip_special_tokens=skipped)


def test_a_file_without_the_type_of_its_model_opens(tmp_path: Path) -> None:
    file = changed("GPT-2")
    del file["model"]["type"]
    assert opened(tmp_path, file).encode("dog") == [257]


def test_lengths_that_training_left_behind_change_nothing(tmp_path: Path) -> None:
    size = 10**12
    padding = {"strategy": {"Fixed": size}, "direction": "Right", "pad_to_multiple_of": size, "pad_id": 0}
    padding |= {"pad_type_id": 0, "pad_token": "<pad>"}
    cut = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    tokens = opened(tmp_path, changed("WordLevel", truncation=cut, padding=padding))
    assert tokens.encode("a dog runs") == [4, 5, 6]
    assert tokens.tokenizer.truncation is None
    assert tokens.tokenizer.padding is None


def test_dropout_that_training_left_behind_takes_no_part(tmp_path: Path) -> None:
    tokens = opened(tmp_path, changed("GPT-2", model_dropout=0.9))
    assert {tuple(tokens.encode("dog")) for _ in range(20)} == {(257,)}


DOUBLING = replace("a", "aa")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "doubling normalizers": ({"normalizer": sequence("normalizers", *[DOUBLING] * 40)}, "normalizer.normalizers[12]"),
    "doubling decoders": ({"decoder": sequence("decoders", *[DOUBLING] * 40)}, "16384 characters"),
    "doubling decoders in each other": (
        {"decoder": sequence("decoders", *[sequence("decoders", *[DOUBLING] * 6)] * 6)},
        "decoder.decoders[1].decoders[5]",
    ),
    "matching nothing": ({"decoder": sequence("decoders", *[replace("", "ab", "Regex")] * 9)}, "characters of a token"),
    "prefixes of pieces": (
        {"pre_tokenizer": sequence("pretokenizers", *[{"type": "Metaspace", "replacement": "x"}] * 13)},
        "4096 times as long",
    ),
    "suffixes of nothing": ({"decoder": sequence("decoders", *[{"type": "BPEDecoder", "suffix": ""}] * 20)}, "token"),
    "too many rules": ({"decoder": sequence("decoders", *[{"type": "Fuse"}] * 101)}, "more than 100"),
    "catastrophic": ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+b"}}}, "endless time"),
    "cubic": ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a*b*c"}}}, "square of a text"),
    "square, of a decoder": ({"decoder": replace("a*b", "", "Regex")}, "grows faster than the text"),
    "strip at the end": ({"decoder": {"type": "Strip", "content": " ", "start": 0, "stop": 1}}, "'stop'"),
    "nothing before": ({"normalizer": {"type": "Prepend", "prepend": ""}}, "puts nothing"),
    "replacing nothing": ({"normalizer": replace("^", "b", "Regex")}, "replaces what may be nothing"),
    "an added token of which nothing is left": (
        {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True},
         "added_tokens": [{"id": 16, "content": " ", "single_word": False, "lstrip": False, "rstrip": False,
                           "normalized": True, "special": False}]},
        "leaves nothing of the added token",
    ),
    "pieces of no length": ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "'length'"),
    "no base64": ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}}, "'precompiled_charsmap'"),
    "an unknown rule": ({"decoder": {"type": "Nonsense"}}, "'Nonsense', which this version does not know"),
    "no rule": ({"decoder": {}}, "'type'"),
    "a long template": (
        {"post_processor": {"type": "TemplateProcessing", "single": [{}] * 101, "pair": [], "special_tokens": {}}},
        "template of more than 100",
    ),
    "an id of two": ({"model_vocab": {"a": 1, "b": 1, "<unk>": 0}}, "gives 3 tokens 2 ids"),
    "an id too large": ({"model_vocab": {"a": 10**12, "<unk>": 0}}, "whole number from 0 to 4294967295"),
    "a negative id": ({"model_vocab": {"a": -1, "<unk>": 0}}, "whole number from 0 to 4294967295"),
    "no vocabulary": ({"model": {"type": "BPE"}}, "'vocab'"),
    "a token of megabytes": ({"model_vocab": {"a" * 10**6: 0, "<unk>": 1}, "added_tokens": []}, "16384 characters"),
    "many added tokens": ({"added_tokens": [{"id": 1, "content": "a"}] * 70_000}, "at most 65536"),
    "long added tokens": ({"added_tokens": [{"id": 0, "content": "a" * 2_000_000}]}, "1048576 characters"),
    "an added token of another id": (
        {"added_tokens": [{"id": 9, "content": "dog", "single_word": False, "lstrip": False, "rstrip": False,
                           "normalized": False, "special": False}]},
        "'dog' is token 9, and by its vocabulary it is 5",
    ),
    "long words": ({"model_max_input_chars_per_word": 10**12}, "'max_input_chars_per_word'"),
    "another model's": ({"model_vocab": {"<unk>": 0, "a": 1, "b": 2}, "added_tokens": []}, "knows 3 of the"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_dangerous_is_refused_in_one_sentence(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parts, words = REFUSED[name]
    with pytest.raises(FolderError) as error:
        opened(tmp_path, changed("WordLevel", **parts), 16)
    assert words in str(error.value)
    assert str(tmp_path / "tokenizer.json") in str(error.value)
    assert capfd.readouterr().err == ""


def test_merges_whose_second_token_is_shorter_than_the_prefix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"second token of the merge \['d', 'o'\] must begin with '##'"):
        opened(tmp_path, changed("GPT-2", model_continuing_subword_prefix="##"))


def test_merges_of_nothing_are_refused_by_the_library(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="not a tokenizers file"):
        opened(tmp_path, changed("GPT-2", model_merges=[["dog", "nothing"]]))


@pytest.mark.parametrize("damage", range(60))
def test_a_damaged_charsmap_is_refused_or_read(damage: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import base64

    random = np.random.default_rng(damage)
    raw = bytearray(charsmap({"ﬁ": "fi", "½": "1/2"}))
    for at in random.choice(np.flatnonzero(np.frombuffer(raw, np.uint8)), 3):
        raw[at] = int(random.integers(256))
    rule = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(raw).decode()}
    try:
        tokens = opened(tmp_path, changed("WordLevel", normalizer=rule), 16)
    except FolderError as error:
        assert "damaged 'precompiled_charsmap'" in str(error)
    else:
        for text in TEXTS:
            tokens.encode(text)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "Expecting value"),
        (b"[]", "must hold a JSON object"),
        (b"\xff", "utf-8"),
        (b'{"version": "1.0", "model": ' + b"[" * 100_000, "not a tokenizers file"),
        (b"[" + b"[]," * 2_100_000 + b"[]]", "values and may have"),
        (b'{"model": {"vocab": {"a": NaN}}}', "whole number"),
    ],
)
def test_what_is_no_tokenizer_is_refused(raw: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(raw)
    with pytest.raises(FolderError, match=words):
        open_tokenizer(read_tokenizer(path), 10)


def test_a_file_that_is_too_large_missing_or_special_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(FolderError, match="cannot be read: No such file"):
        open_tokenizer(read_tokenizer(path), 10)
    os.mkfifo(path)
    with pytest.raises(FolderError, match="not a regular file"):
        open_tokenizer(read_tokenizer(path), 10)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(FolderError, match="bytes and may have"):
        open_tokenizer(read_tokenizer(path), 10)


def test_a_vocabulary_padded_to_a_round_size_is_read_and_its_padding_has_no_text(tmp_path: Path) -> None:
    tokens = opened(tmp_path, honest("WordLevel"), 17)
    assert tokens.decode([4, 16, 5]) == "a dog"
    for wrong in (17, -1, 2**32, 10**30):
        with pytest.raises(InputError, match="from 0 to 16"):
            tokens.decode([4, wrong])


@pytest.mark.parametrize(
    ("vocab_size", "warned"), [(17, False), (18, True), (64, True)], ids=["padded", "many unknown", "most unknown"]
)
def test_a_decoder_of_more_tokens_is_read_and_told(vocab_size: int, warned: bool, tmp_path: Path) -> None:
    """As transformers takes it: whoever trained a tokenizer of their own may have kept a larger decoder."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokens = opened(tmp_path, honest("WordLevel"), vocab_size)
    assert tokens.decode([4, vocab_size - 1, 5]) == "a dog"
    told = [f"knows 16 of the decoder's {vocab_size} tokens" in str(each.message) for each in caught]
    assert told == [True] * warned


def test_a_tokenizer_that_knows_more_than_the_decoder_is_read(tmp_path: Path) -> None:
    tokens = opened(tmp_path, honest("WordLevel"), 10)
    assert tokens.decode([len(WORDS) - 1]) == WORDS[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a \ud800 dog", "half of a surrogate pair at character 3"),
        ("a" * 100_000_000, "has 100000000 characters, and this tokenizer reads"),
        (b"a", "must be a text"),
        (None, "must be a text"),
    ],
)
def test_texts_that_are_none_or_too_long(text: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        opened(tmp_path, honest("WordLevel")).encode(text, "text 1")


def test_an_encoding_that_fails_is_a_sentence(tmp_path: Path) -> None:
    tokens = opened(tmp_path, changed("WordLevel", model_unk_token="<nothing>"), 16)
    with pytest.raises(InputError, match="text cannot be made tokens of: "):
        tokens.encode("unheard of")


def test_a_panic_of_the_library_is_a_sentence_and_ctrl_c_stays_what_it_is() -> None:
    class PanicException(BaseException):
        pass

    class Broken:
        error: BaseException = PanicException("index out of bounds")

        def encode(self, *_: Any, **__: Any) -> Any:
            raise self.error

        decode = encode

    broken = Broken()
    tokens = TextTokens(broken, 10, 10)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="text cannot be made tokens of: index out of bounds"):
        tokens.encode("a")
    with pytest.raises(FolderError, match="cannot make a text of tokens: index out of bounds"):
        tokens.decode([1])
    for own in (KeyboardInterrupt, SystemExit):
        broken.error = own()
        with pytest.raises(own):
            tokens.encode("a")


def test_a_real_panic_is_a_sentence(tmp_path: Path) -> None:
    """In a process of its own: the lines that Rust prints go to its standard error."""
    file = changed("WordLevel", decoder={"type": "Strip", "content": " ", "start": 0, "stop": 2})
    (tmp_path / "file.json").write_text(json.dumps(file))
    program = f"""
from tokenizers import Tokenizer
from fuseline.errors import FolderError
from fuseline.tokens.tokenizer import TextTokens
tokens = TextTokens(Tokenizer.from_file({str(tmp_path / "file.json")!r}), 20, 100)
tokens.tokenizer.add_tokens([" "])
try:
    tokens.decode([16])
except FolderError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tokenizer.json cannot make a text of tokens: ")
    assert "panicked" in done.stderr


@pytest.mark.parametrize("seed", range(300))
def test_damaged_files_open_or_are_refused_in_one_sentence(
    seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(damaged_tokenizer(seed))
    try:
        tokens = open_tokenizer(read_tokenizer(path), 1)
        for text in TEXTS:
            tokens.decode(tokens.encode(text))
        assert len(tokens.decode([4, 5, 0] * 300)) < 20_000_000
    except (FolderError, InputError) as error:
        assert "\n" not in str(error)
    assert "panicked" not in capfd.readouterr().err


def test_a_pickled_error_is_the_same(tmp_path: Path) -> None:
    with pytest.raises(FolderError) as error:
        opened(tmp_path, "{}")
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
