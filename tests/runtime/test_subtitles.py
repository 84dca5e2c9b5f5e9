"""Subtitles and the other formats of what was said."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline import InputError
from fuseline.outputs.cues import COLUMNS, SHORTEST, Cue, cues, fold, width
from fuseline.outputs.subtitles import FORMATS, subtitles, written_as
from fuseline.speech.segments import Segment, Transcription, Word

LONG = (
    " The moment he had said it, everybody who was standing in the hall of the old house turned round, because nobody"
    " had expected it; and then, after a while, they all began to laugh. It was the first time that year."
)


def segment(start: float, end: float, text: str, **more: object) -> Segment:
    return Segment(start, end, text, (), -0.3, 0.01, 1.2, 0.0, **more)  # type: ignore[arg-type]


def transcription(*segments: Segment, duration: float = 100.0) -> Transcription:
    return Transcription.of(segments, "en", duration)


def test_a_short_segment_is_a_cue() -> None:
    assert list(cues([segment(1.5, 3.25, " Hello there.")])) == [Cue(1500, 3250, ("Hello there.",))]


def test_a_line_has_42_columns_and_a_cue_two_lines() -> None:
    found = list(cues([segment(0, 14, LONG)]))
    assert len(found) > 2
    assert all(width(line) <= COLUMNS for cue in found for line in cue.lines)
    assert {len(cue.lines) for cue in found} <= {1, 2}
    assert " ".join(line for cue in found for line in cue.lines) == LONG.strip()


def test_a_cue_ends_where_a_sentence_does_if_it_can() -> None:
    found = list(cues([segment(0, 14, LONG)]))
    assert found[-1].lines == ("after a while, they all began to laugh.", "It was the first time that year.")
    assert all(cue.lines[-1][-1] in ",;." or cue.lines[-1].endswith("then,") for cue in found[1:])


def test_two_lines_are_of_about_the_same_width() -> None:
    assert fold("She asked him twice, and then she went home alone.") == (
        "She asked him twice,",
        "and then she went home alone.",
    )
    assert fold("a" * 42) == ("a" * 42,)
    assert fold("word " * 20) is None


def test_times_without_words_are_in_proportion_to_characters() -> None:
    text = "x" * 40 + " " + "y" * 40 + " " + "z" * 20  # 102 characters, of which the last 20 do not fit
    first, second = cues([segment(10, 20.2, text)])
    assert (first.start, second.end) == (10_000, 20_200)
    assert [first.end, second.start] in ([14_000, 14_100], [18_100, 18_200])


def test_times_of_words_are_their_own() -> None:
    texts = [" One", " two", ",", " three", " four", " five."]
    words = tuple(Word(text, at, at + 0.5, 0.9) for at, text in enumerate(texts))
    assert [(cue.start, cue.end) for cue in cues([segment(0, 30, "".join(texts), words=words)])] == [(0, 5500)]
    far = (*words[:3], *(Word(word.text, word.start + 10, word.end + 10, 0.9) for word in words[3:]))
    first, second = cues([segment(0, 30, "".join(texts), words=far)])
    assert first == (0, 2500, ("One two,",))
    assert second == (13_000, 15_500, ("three four five.",))


def test_words_of_another_text_are_not_looked_at() -> None:
    found = cues([segment(1, 4, " One two.", words=(Word(" One", 2, 3, 0.9),))])
    assert list(found) == [Cue(1000, 4000, ("One two.",))]


def test_a_short_cue_lasts_into_the_silence_after_it() -> None:
    first, second = cues([segment(1, 1.1, " Yes."), segment(5, 5.2, "x" * 80)])
    assert (first.start, first.end) == (1000, 1700)
    assert (second.start, second.end) == (5000, 5700)


def test_no_cue_lasts_beyond_the_sound() -> None:
    assert list(cues([segment(4.5, 4.8, " Yes.")], duration=5.0)) == [Cue(4300, 5000, ("Yes.",))]
    assert list(cues([segment(0, 0.3, " Yes.")], duration=0.3)) == [Cue(0, 300, ("Yes.",))]


def test_short_cues_in_a_row_are_put_together_or_borrow_time() -> None:
    assert list(cues([segment(1, 1.2, " Yes."), segment(1.2, 3, " I know.")])) == [Cue(1000, 3000, ("Yes. I know.",))]
    full = "word " * 16
    first, second = cues([segment(1, 1.2, full), segment(1.2, 3, full)])
    assert (first.start, first.end) == (1000, 1700)
    assert (second.start, second.end) == (1700, 3000)


def test_a_text_without_spaces_is_split_at_its_marks() -> None:
    text = "我昨天去了图书馆，借了三本关于历史的书，然后在公园里读了一个下午。天气非常好，所以我一直待到了晚上。"
    found = list(cues([segment(0, 12, text)]))
    assert "".join(line for cue in found for line in cue.lines) == text
    assert all(width(line) <= COLUMNS for cue in found for line in cue.lines)
    assert all(cue.lines[-1][-1] in "，。" for cue in found)


def test_a_word_wider_than_a_line_is_cut() -> None:
    found = list(cues([segment(0, 12, "x" * 200)]))
    assert "".join(line for cue in found for line in cue.lines) == "x" * 200
    assert all(len(line) <= COLUMNS for cue in found for line in cue.lines)


def test_control_characters_and_breaks_are_not_shown() -> None:
    assert list(cues([segment(0, 2, " a\r\n\n b\x00\x1b[2Jc\u2028d")])) == [Cue(0, 2000, ("a b[2Jc d",))]
    assert list(cues([segment(0, 2, " \x00 "), segment(2, 4, "")])) == []


def test_srt() -> None:
    said = transcription(
        segment(0, 1.5, " One --> two."), segment(3661.0005, 3662.25, " Three & <four>."), duration=4000
    )
    assert subtitles(said, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne -> two.\n\n2\n01:01:01,000 --> 01:01:02,250\nThree & <four>.\n"
    )


def test_vtt_escapes() -> None:
    said = transcription(segment(0, 1.5, " One --> two."), segment(2, 3, " Three & <b>four</b>."))
    assert subtitles(said, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne --&gt; two.\n"
        "\n00:00:02.000 --> 00:00:03.000\nThree &amp; &lt;b&gt;four&lt;/b&gt;.\n"
    )


def test_txt_and_tsv_have_a_line_a_segment() -> None:
    said = transcription(segment(0, 1.5, " One\ttwo\n."), segment(2, 3.0004, LONG), segment(4, 5, " "))
    assert subtitles(said, "txt") == f"One two .\n{LONG.strip()}\n"
    assert subtitles(said, "tsv") == f"start\tend\ttext\n0\t1500\tOne two .\n2000\t3000\t{LONG.strip()}\n"


def test_json_has_everything() -> None:
    word = Word(" One.", 0.25, 1.0, 0.5)
    dropped = segment(2, 3, " Thank you.", dropped="no speech")
    said = transcription(segment(0, 1.5, " One.", words=(word,)), dropped)
    assert json.loads(subtitles(said, "json")) == {
        "text": " One.",
        "language": "en",
        "duration": 100.0,
        "segments": [
            {
                **{"start": 0, "end": 1.5, "text": " One.", "tokens": [], "avg_logprob": -0.3, "no_speech_prob": 0.01},
                **{"compression_ratio": 1.2, "temperature": 0.0, "dropped": None},
                "words": [{"text": " One.", "start": 0.25, "end": 1.0, "probability": 0.5}],
                "times": [],
            },
            {
                **{"start": 2, "end": 3, "text": " Thank you.", "tokens": [], "avg_logprob": -0.3},
                **{"no_speech_prob": 0.01, "compression_ratio": 1.2, "temperature": 0.0, "dropped": "no speech"},
                "words": [],
                "times": [],
            },
        ],
    }
    nowhere = Segment(0, 1, " One.", (), -math.inf, math.nan, 1.0, 0.0)
    assert json.loads(subtitles(transcription(nowhere), "json"))["segments"][0]["avg_logprob"] is None


@pytest.mark.parametrize("format", [each for each in FORMATS if each != "json"])
def test_what_is_dropped_is_only_in_json(format: str) -> None:
    said = transcription(segment(0, 1, " One."), segment(2, 3, " Nonsense.", dropped="loop"))
    assert "One." in subtitles(said, format)
    assert "Nonsense" not in subtitles(said, format)


def test_of_nothing() -> None:
    said = transcription()
    assert [subtitles(said, each) for each in ("txt", "srt", "vtt", "tsv")] == [
        "",
        "",
        "WEBVTT\n",
        "start\tend\ttext\n",
    ]


def test_a_format_that_there_is_not() -> None:
    with pytest.raises(InputError, match="format must be one of txt, srt, vtt, tsv, not 'ass'"):
        subtitles(transcription(), "ass")


def test_cues_come_before_the_last_segment_is_there() -> None:
    came = 0

    def coming() -> list[Segment]:
        nonlocal came
        for at in range(5):
            came += 1
            yield segment(2 * at, 2 * at + 1, f" Number {at}.")

    pieces = written_as("srt", coming())
    assert "Number 0." in next(pieces)
    assert came == 2


@pytest.mark.parametrize("title", ["Mr.", "Mrs.", "Ms.", "Dr.", "St.", "Prof.", "J."])
def test_titles_and_initials_do_not_end_sentences(title: str) -> None:
    text = f" We were shown around the garden at last by {title} Johnson, who had planted all of it himself."
    for cue in cues([segment(0, 7, text)]):
        assert not any(line.endswith(title) for line in cue.lines)


def test_the_word_i_ends_a_sentence() -> None:
    text = " So nobody else went there, neither they nor I. The others had been waiting for the whole day."
    assert any(line.endswith("nor I.") for cue in cues([segment(0, 6, text)]) for line in cue.lines)


_WORDS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["Zs", "Zl", "Zp", "Cc"]), min_size=1, max_size=50),
    max_size=30,
)
_SEGMENTS = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 30), _WORDS), max_size=6)


@settings(max_examples=200, deadline=None)
@given(_SEGMENTS)
def test_whatever_is_said_cues_are_in_order_and_lose_nothing(drawn: list[tuple[float, float, list[str]]]) -> None:
    segments, at = [], 0.0
    for gap, lasts, words in drawn:
        segments.append(segment(at + gap, at + gap + lasts, "".join(f" {word}" for word in words)))
        at += gap + lasts
    found = list(cues(segments, duration=at + 10))
    assert all(cue.start < cue.end for cue in found)
    assert all(before.end <= after.start for before, after in pairwise(found))
    assert all(1 <= len(cue.lines) <= 2 and width(line) <= COLUMNS for cue in found for line in cue.lines)
    said = re.sub(r"\s", "", "".join(each.text for each in segments))
    assert "".join("".join(line.split()) for cue in found for line in cue.lines) == said
    if found and len(segments) == 1 and drawn[0][1] > 3 * SHORTEST / 1000 * len(found):
        assert all(cue.end - cue.start >= SHORTEST for cue in found[-1:])
