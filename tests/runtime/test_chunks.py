"""Chunks of sounds and how they are joined, against transformers' own functions on outputs of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.speech import chunks
from fuseline.speech.chunks import Marks, Output, Stride, Timestamps, bounded, chunks_of, joined, merged
from tests import whisper_tokens

torch = pytest.importorskip("torch")
pipelines: Any = pytest.importorskip("transformers.pipelines.automatic_speech_recognition")
tokenization: Any = pytest.importorskip("transformers.models.whisper.tokenization_whisper")

RATE = 16_000


class Both:
    """Outputs merged by both."""

    def __init__(self, folder: Path) -> None:
        self.theirs = whisper_tokens.save(folder)
        self.marks: Marks = whisper_tokens.marks_of(self.theirs)
        tokens = whisper_tokens.opened(folder)
        self.decode = lambda ids: tokens.decode(ids, skip_special_tokens=False)

    def check(self, outputs: Sequence[Output], timestamps: Timestamps, language: bool = False) -> dict[str, Any]:
        """Ours, which must be theirs."""
        given = [
            {"tokens": np.array([each.tokens], np.int64), "token_timestamps": np.array([each.times or []], np.float32)}
            | ({} if each.stride is None else {"stride": tuple(each.stride)})
            for each in outputs
        ]
        ours = merged(outputs, self.marks, self.decode, timestamps, language)
        text, more = self.theirs._decode_asr(
            given, return_timestamps=timestamps, return_language=language, time_precision=0.02
        )
        assert ours == {"text": text, **more}
        return ours

    def tokens(self, text: str) -> list[int]:
        """Of a text in which <|..|> are special tokens and timestamps."""
        found: list[int] = self.theirs(text, add_special_tokens=False).input_ids
        return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(tmp_path_factory.mktemp("tokens"))


MODES: list[tuple[Timestamps, bool]] = list(product((False, True, "word"), (False, True)))  # type: ignore[arg-type]


def timed(tokens: list[int], stride: Stride | None = None, until: float = 28.0) -> Output:
    return Output(tokens, stride, np.linspace(0, until, len(tokens)).tolist())


@pytest.mark.parametrize(("timestamps", "language"), MODES, ids=str)
def test_one_window(both: Both, timestamps: Timestamps, language: bool) -> None:
    texts = {
        "<|en|><|transcribe|><|0.00|> He said<|2.00|><|2.50|> so<|4.00|>": " He said so",
        "<|startoftranscript|><|en|><|notimestamps|> He said so<|endoftext|>": " He said so",
        "<|startofprev|> Before<|startoftranscript|><|de|><|0.00|> schön<|1.00|>": " schön",
        "<|0.00|> He said<|2.00|><|2.00|> so": " He said so",
        "<|0.00|><|0.00|> He said<|0.00|> so": " He said so",
        "": "",
        "<|0.00|><|endoftext|>": "",
        "<|startofprev|> never begun": "",
    }
    for text, said in texts.items():
        if text.startswith("<|startofprev|>") and timestamps == "word":
            continue  # transformers counts the times from the prompt on
        assert both.check([timed(both.tokens(text))], timestamps, language)["text"] == said


def test_languages_that_change(both: Both) -> None:
    outputs = [timed(both.tokens(f"<|{code}|> schön{code}")) for code in ("en", "en", "de", "zh")]
    for timestamps, language in MODES:
        both.check(outputs, timestamps, language)
    found = both.check(outputs, False, True)
    assert [each["language"] for each in found["chunks"]] == ["english", "german", "chinese"]


WINDOWS = [
    "<|0.00|> He<|4.00|><|4.00|> said<|12.00|><|0.00|> so<|3.00|>",  # another window begins where a pair ended
    "<|0.00|> He<|4.00|><|5.00|> said<|28.00|><|0.00|> so<|3.00|><|4.00|> is<|5.00|><|1.00|> it<|9.00|>",
    "<|3.00|> He<|1.00|> said<|0.00|><|2.00|><|1.00|> so",
]


@pytest.mark.parametrize("text", WINDOWS)
def test_windows_of_a_long_sound(both: Both, text: str) -> None:
    for timestamps, language in MODES:
        both.check([timed(both.tokens(text), until=60.0)], timestamps, language)


def strided(both: Both, texts: Sequence[str], length: float = 30.0, aside: float = 5.0) -> list[Output]:
    """Outputs of chunks that overlap by `aside` seconds on each side, and none at the ends."""
    last = len(texts) - 1
    return [
        timed(both.tokens(text), Stride(length, aside if at else 0.0, aside if at < last else 0.0))
        for at, text in enumerate(texts)
    ]


OVERLAPS = [
    [" He said we have been there", " we have been there and back", " and back again"],
    [" He said we have", " completely other words", ""],
    [" we we we we", " we we we", " we we we we we"],
    ["", "", " He said"],
    [" He", " He", " He"],
    ["<|0.00|> He said<|8.00|><|8.00|> we have<|27.00|>", "<|4.00|> we have<|9.00|><|9.00|> been there<|29.00|>"],
    ["<|0.00|> He said<|26.00|><|26.50|> we", "<|0.00|> said<|2.00|> we<|4.00|><|6.00|> have<|12.00|>", "<|0.00|> x"],
    ["<|0.00|> He said<|27.00|><|27.00|> so<|29.00|>", "<|0.00|> so<|3.00|>", "<|1.00|> so<|6.00|>"],
    ["<|29.00|> He<|30.00|>", "<|0.00|> said<|5.00|>"],
]


@pytest.mark.parametrize("texts", OVERLAPS, ids=str)
def test_chunks_that_overlap(both: Both, texts: list[str]) -> None:
    for timestamps, language in MODES:
        both.check(strided(both, texts), timestamps, language)


def adversarial(both: Both, random: np.random.Generator) -> list[Output]:
    """Anything a model may say: few different words, so that chunks agree in many places, and times of every order."""
    words = both.tokens(" he said so 天 üb")
    specials = sorted(both.marks.special)
    count = int(random.integers(1, 5))
    length, left, right = random.choice([30.0, 12.5, 7.333]), *random.choice([0.0, 1.25, 3.0, 5.0 / 6], 2)
    has_strides = random.random() < 0.7
    often = random.choice([0.0, 0.1, 0.5]), random.choice([0.0, 0.05, 0.3])  # timestamps, other special tokens
    outputs = []
    for at in range(count):
        tokens: list[int] = []
        times = np.round(np.sort(random.uniform(0, length, 60)) / 0.02) * 0.02
        for when in times[: random.integers(0, 60)]:
            kind = random.random()
            if kind < often[0]:
                moment = when if random.random() < 0.8 else random.uniform(0, length)
                tokens += [both.marks.timestamps + int(moment / 0.02)] * int(random.integers(1, 3))
            elif kind < sum(often):
                tokens.append(int(random.choice(specials)))
            else:
                tokens.append(int(random.choice(words)))
        if tokens and tokens[0] == both.marks.prompt:
            tokens.pop(0)
        stride = Stride(length, left if at else 0.0, right if at < count - 1 else 0.0) if has_strides else None
        moments = np.sort(random.uniform(0, length, len(tokens))).tolist()
        outputs.append(Output(tokens, stride, moments))
    return outputs


@pytest.mark.parametrize("seed", range(100))
def test_whatever_is_said(both: Both, seed: int) -> None:
    outputs = adversarial(both, np.random.default_rng(seed))
    for timestamps, language in MODES:
        both.check(outputs, timestamps, language)


def test_what_is_compared_is_of_every_kind(both: Both) -> None:
    found = [
        merged(adversarial(both, np.random.default_rng(seed)), both.marks, both.decode, True) for seed in range(100)
    ]
    ends = [chunk["timestamp"][1] for each in found for chunk in each["chunks"]]
    assert None in ends and len({len(each["chunks"]) for each in found}) > 4


def test_words_are_later_than_those_before(both: Both) -> None:
    """Times decide where tokens agree in several places."""
    same = both.tokens(" he") * 4
    early = Output(same, Stride(10.0, 0.0, 5.0), np.linspace(6, 9, len(same)).tolist())
    for begin in (0.0, 1.0, 2.0, 4.0):
        late = Output(same, Stride(10.0, 5.0, 0.0), np.linspace(begin, begin + 3, len(same)).tolist())
        both.check([early, late], "word")


def test_no_end_is_after_the_sound_or_missing() -> None:
    given = [
        {"text": " a", "timestamp": (0.0, 2.5), "language": "english"},
        {"text": " b", "timestamp": (None, None)},
        {"text": " c", "timestamp": (9.0, 12.0)},
        {"text": " d", "timestamp": (11.0, None)},
        {"text": " e"},
    ]
    found = bounded(given, 10.5)
    assert [each.get("timestamp") for each in found] == [(0.0, 2.5), (2.5, 10.5), (9.0, 10.5), (10.5, 10.5), None]
    assert [each["text"] for each in found] == [" a", " b", " c", " d", " e"] and found[0]["language"] == "english"
    assert given[3]["timestamp"] == (11.0, None), "what is given stays"


def test_sequences_without_timestamps() -> None:
    """As transformers joins them, whose own function fails where a sequence is longer than all before it."""

    class Special:
        all_special_ids = (0, 1)

    random = np.random.default_rng(0)
    for _ in range(200):
        rows = [random.integers(0, 6, size).tolist() for size in (40, *random.integers(0, 12, 3))]
        theirs = pipelines._find_longest_common_sequence([np.array([row]) for row in rows], Special)
        assert joined(rows, frozenset(Special.all_special_ids)) == theirs.tolist()
    assert joined([[5], [5, 6, 7], [6, 7, 8]], frozenset()) == [5, 5, 6, 7, 8]
    assert joined([[], [0], []], frozenset([0])) == []


class Plain:
    """Stands where a feature extractor does, and gives the samples."""

    sampling_rate = RATE

    def __call__(self, chunk: Any, **more: Any) -> dict[str, Any]:
        return {"chunk": chunk}


def cut(samples: Any, random: np.random.Generator) -> Iterator[Any]:
    """The samples in blocks of any size."""
    while len(samples):
        size = int(random.integers(0, 90))
        yield samples[:size]
        samples = samples[size:]


@pytest.mark.parametrize("count", [1, 9, 10, 11, 40, 41, 99, 100, 101, 1000])
@pytest.mark.parametrize(("length", "left", "right"), [(100, 10, 10), (40, 0, 0), (40, 0, 9), (50, 24, 25), (10, 5, 0)])
def test_chunks_of_a_sound_are_those_of_transformers(count: int, length: int, left: int, right: int) -> None:
    samples = np.arange(count, dtype=np.float32)
    theirs = list(pipelines.chunk_iter(samples, Plain(), length, left, right))
    ours = list(chunks_of(cut(samples, np.random.default_rng(count)), length, left, right))
    assert [stride for _, stride in ours] == [each["stride"] for each in theirs]
    for (found, _), expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(found, expected["chunk"])


@pytest.mark.parametrize(("length", "left", "right"), [(10, 5, 5), (10, 20, 0), (0, 0, 0), (10, -1, 0)])
def test_chunks_that_never_go_on(length: int, left: int, right: int) -> None:
    with pytest.raises(InputError, match=f"a chunk of {length} samples with strides of {left} and {right} never goes"):
        list(chunks_of([np.zeros(30, np.float32)], length, left, right))


def test_no_more_than_a_chunk_is_in_memory() -> None:
    begun = []

    def blocks() -> Iterator[Any]:
        for at in range(100):
            begun.append(at)
            yield np.zeros(100, np.float32)

    first, _ = next(chunks_of(blocks(), 250, 50, 50))
    assert len(first) == 250 and begun == [0, 1, 2]


def test_seconds() -> None:
    assert Stride(480_000, 80_000, 0).seconds(RATE) == (30.0, 5.0, 0.0)
    assert chunks.PRECISION * 1500 == 30.0
