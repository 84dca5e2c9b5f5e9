"""Words of a text and their tokens, and how much each read of a source text or heard of a sound."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from fuseline import InputError, Model
from fuseline.outputs.reading_maps import speech_map, text_map
from fuseline.outputs.words import Decode, words_of
from fuseline.tokens.tokenizer import TextTokens, made_tokenizer, open_tokenizer
from tests.tokenizer_folders import CORPUS

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    tokenizer.train_from_iterator(
        [*CORPUS, "黒い犬"], trainers.WordPieceTrainer(vocab_size=110, special_tokens=SPECIAL)
    )
    return tokenizer


def sentencepiece() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=SPECIAL, unk_token="<unk>")
    tokenizer.train_from_iterator([*CORPUS, "黒い犬"], trainer)
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "wordpiece": wordpiece,
    "sentencepiece": sentencepiece,
}


def opened(kind: str) -> tuple[TextTokens, Decode]:
    """A tokenizer, and its texts as Model.decode gives them."""
    made = KINDS[kind]()
    file = made_tokenizer(Path(f"{kind}.json"), json.loads(made.to_str()))
    tokens = open_tokenizer(file, made.get_vocab_size())

    def decode(sequences: npt.ArrayLike, skip_special_tokens: bool = True) -> list[str]:
        rows = np.asarray(sequences).tolist()
        return [tokens.decode([each for each in row if each != -1], skip_special_tokens) for row in rows]

    return tokens, decode


@pytest.mark.parametrize("text", [*CORPUS, "  unbelievable   trees!  (dogs)", "-- ' --", ""])
@pytest.mark.parametrize("kind", KINDS)
def test_words_are_those_of_the_text_and_have_all_its_tokens(kind: str, text: str) -> None:
    tokens, decode = opened(kind)
    said = tokens.encode(text)
    row = [2, *said, 3, 0, -1]
    whole, words = words_of(row, decode)
    assert whole == decode([row])[0]
    assert [word.text for word in words] == whole.split()
    used = [token for word in words for token in word.tokens]
    assert used == sorted(set(used)) and set(used) <= set(range(1, 1 + len(said))), "no special token, none twice"
    assert all(word.tokens for word in words)
    for word in words:
        if word.text.isalpha():
            alone = decode([[row[at] for at in word.tokens]])[0].replace("##", "").strip()
            assert alone == word.text, f"{word} is made of {alone!r}"


def test_there_are_words_of_several_tokens() -> None:
    for kind in KINDS:
        tokens, decode = opened(kind)
        _, words = words_of(tokens.encode(CORPUS[1]), decode)
        assert max(len(word.tokens) for word in words) > 1


def test_a_letter_of_several_tokens_has_them_all_and_scripts_without_spaces_are_parted() -> None:
    tokens, decode = opened("byte-level")
    row = tokens.encode("dog 黒い犬 é")
    _, words = words_of(row, decode)
    assert [word.text for word in words] == ["dog", "黒", "い", "犬", "é"]
    assert [len(word.tokens) for word in words[1:4]] == [3, 3, 3]
    tokens, decode = opened("sentencepiece")
    _, words = words_of(tokens.encode("黒い犬"), decode)
    assert "".join(word.text for word in words) == "黒い犬"


def test_marks_count_only_where_there_is_nothing_else() -> None:
    tokens, decode = opened("wordpiece")
    row = tokens.encode("dogs don't run .")
    text, words = words_of(row, decode)
    last = words[-1]
    assert text.endswith(" run.") and last.text == "run."
    assert len(row) - 1 not in last.tokens
    _, [alone] = words_of(row[-1:], decode)
    assert (alone.text, alone.tokens) == (".", (0,))


@pytest.fixture(scope="module")
def translated(text_model_made: Callable[[str], Any]) -> tuple[Model, npt.NDArray[np.int64], Any]:
    """A model that reads texts, the tokens that it read, and what it made of them."""
    model = Model.from_pretrained(text_model_made("T5").folder, threads=1)
    given = model.inputs(["two dogs run on the beach", "the man"])
    row = given["input_ids"][0][given["attention_mask"][0] > 0]
    return model, row, model.generate(given, output_attentions=True, max_new_tokens=12, min_new_tokens=10)


def test_words_of_a_source_are_marked_by_how_much_they_were_read(translated: Any, tmp_path: Path) -> None:
    model, row, made = translated
    planted = np.zeros_like(made.cross_attentions)
    planted[0, :, :, :, 0] = 0.25
    _, source = words_of(row.tolist(), model.decode)
    beach = next(word for word in source if word.text == "beach")
    planted[0, :, :, :, list(beach.tokens)] = 0.5 / len(beach.tokens)
    planted[0, :, :, :, len(row) - 1] += 0.25  # the end token, which is no word
    found = text_map(replace(made, cross_attentions=planted), row, model.decode)
    assert found.source_words == ("two", "dogs", "run", "on", "the", "beach")
    assert found.text == model.decode(made.sequences)[0] and list(found.words) == found.text.split()
    assert found.words and found.weights.shape == (len(found.words), 6)
    np.testing.assert_allclose(found.weights, np.tile([1 / 3, 0, 0, 0, 0, 2 / 3], (len(found.words), 1)), atol=1e-5)
    record = json.loads(json.dumps(found.record()))
    assert record["source"][5] == "beach" and record["words"][0]["weights"][5] == pytest.approx(2 / 3, abs=1e-5)
    found.save(tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text("utf-8")
    assert page.count('class="word"') == len(found.words) and page.count("<span>beach</span>") == 1
    with pytest.raises(InputError, match=r"shown as a \.html file"):
        found.save(tmp_path / "x.png")


def test_what_was_read_in_truth_sums_to_1(translated: Any) -> None:
    model, row, made = translated
    np.testing.assert_allclose(text_map(made, row, model.decode).weights.sum(axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match=r"^source must be the tokens that were read, at most"):
        text_map(made, [*row, *row], model.decode)


def test_words_of_speech_lie_in_time(translated: Any) -> None:
    """The arrays of a text model do: what is asked of them is the same."""
    model, _, made = translated
    planted = np.zeros((2, made.cross_attentions.shape[1], 2, 2, 100), np.float32)
    for step in range(planted.shape[1]):
        planted[0, step, :, :, 5 * step] = 0.5
        planted[0, step, :, :, 90] = 0.5  # behind the end of the sound
    found = speech_map(replace(made, cross_attentions=planted), model.decode, duration=1.5)
    assert found.weights.shape == (len(found.words), 75)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, atol=1e-5)
    _, words = words_of(made.sequences[0].tolist(), model.decode)
    first = [word.tokens[0] - 1 for word in words]  # after the start token
    np.testing.assert_allclose(found.peaks, [(5 * step + 0.5) * 0.02 for step in first], atol=1e-6)
    assert json.loads(json.dumps(found.record()))["seconds"] == 0.02
    for wrong in (0, True, "x"):
        with pytest.raises(InputError, match=r"^duration must be a number of seconds above 0"):
            speech_map(made, model.decode, duration=wrong)  # type: ignore[arg-type]


def test_what_a_model_of_speech_hears_lies_within_the_sound(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests import small_whisper

    folder, _, _ = small_whisper.exported(tmp_path / "whisper")
    model = Model.from_pretrained(folder, threads=1)
    sound = np.random.default_rng(3).normal(0, 0.1, 16000).astype(np.float32)
    made = model.generate(model.inputs([sound], sampling_rate=16000), output_attentions=True, max_new_tokens=20)
    found = speech_map(made, model.decode, duration=1.0)
    assert found.words and list(found.words) == model.decode(made.sequences)[0].split()
    assert found.weights.shape == (len(found.words), 50) and (found.peaks < 1).all()
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, atol=1e-5)
