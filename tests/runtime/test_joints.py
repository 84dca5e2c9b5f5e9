"""Times of stretches that were heard as one sound go back to the whole sound, and never into a pause.

Three stretches: voices at 0.3 to 3, 18 to 23 and 28 to 31 s, each with 0.3 s around it, which joined begin at 0, 3.3
and 8.9 s and end at 12.5 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from fuseline.speech.joints import Joints, Span
from fuseline.speech.segments import Segment, Word

SPANS = [Span(0.0, 3.3, 0.3, 3.0), Span(17.7, 23.3, 18.0, 23.0), Span(27.7, 31.3, 28.0, 31.0)]
Time = tuple[float, float]


def text_of(tokens: Sequence[int]) -> str:
    """Tokens are letters; 1,000 and more are timestamps."""
    return "".join(chr(token) for token in tokens if token < 1000)


def segment(start: float, end: float, text: str = " hello", words: Sequence[Word] = ()) -> Segment:
    letters = [ord(letter) for letter in text]
    times = [start + (end - start) * (at + 1) / (len(letters) + 2) for at in range(len(letters) + 2)]
    if words:
        of_letters = [word.end for word in words for _ in word.text]
        times = [start, *of_letters, end]
    return Segment(
        start, end, text, (1000, *letters, 1001), 0, 0, 0, 0, words=tuple(words), times=tuple(times) if words else ()
    )


def spoken(*said: tuple[str, float, float]) -> Segment:
    words = [Word(text, start, end, 1.0) for text, start, end in said]
    return segment(said[0][1], said[-1][2], "".join(word.text for word in words), words)


def placed(given: Segment) -> list[Segment]:
    return list(Joints(SPANS, text_of).placed(given))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.5, 2.5, (0.5, 2.5)),
        (0.0, 3.3, (0.3, 3.0)),  # on a joint
        (0.0, 3.7, (0.3, 3.0)),  # shortly behind one
        (3.3, 8.9, (18.0, 23.0)),
        (3.0, 8.0, (18.0, 22.4)),  # from shortly before one
        (3.7, 8.0, (18.1, 22.4)),
        (8.5, 12.5, (28.0, 31.0)),
        (0.0, 0.2, (0.0, 0.2)),  # where the detector heard nobody
        (12.5, 12.5, (31.3, 31.3)),
        (12.6, 13.0, (31.3, 31.3)),
    ],
)
def test_a_segment_of_one_stretch(start: float, end: float, expected: Time) -> None:
    (found,) = placed(segment(start, end))
    assert np.allclose((found.start, found.end), expected)
    assert (found.text, found.tokens) == (" hello", segment(start, end).tokens)


def test_a_segment_of_two_is_cut_at_the_end_of_a_sentence() -> None:
    given = segment(0.0, 8.7, " He was no young man. Unless to be rather cold is to be so")
    first, second = placed(given)
    assert (first.text, second.text) == (" He was no young man.", " Unless to be rather cold is to be so")
    assert np.allclose((first.start, first.end, second.start, second.end), (0.3, 3.0, 18.0, 23.0))
    assert first.tokens + second.tokens == given.tokens
    assert [text_of(each.tokens) for each in (first, second)] == [first.text, second.text]


def test_a_text_without_spaces_and_of_three() -> None:
    parts = placed(segment(0.0, 12.5, "abcdefghijkl"))
    assert "".join(each.text for each in parts) == "abcdefghijkl"
    assert [len(each.text) for each in parts] == [3, 6, 3]
    assert sum((each.tokens for each in parts), ()) == segment(0, 1, "abcdefghijkl").tokens


def test_words_belong_to_the_side_that_has_more_of_them() -> None:
    said = spoken((" young", 2.2, 2.44), (" man.", 2.44, 4.0), (" Unless", 3.2, 4.2), (" to", 4.2, 4.4))
    first, second = placed(said)
    assert [(word.text, round(word.start, 2), round(word.end, 2)) for word in (*first.words, *second.words)] == [
        (" young", 2.2, 2.44),
        (" man.", 2.44, 3.0),
        (" Unless", 18.0, 18.6),
        (" to", 18.6, 18.8),
    ]
    assert (first.text, second.text) == (" young man.", " Unless to")
    assert first.tokens + second.tokens == said.tokens
    for each in (first, second):
        assert len(each.tokens) == len(each.times)
        assert each.start == each.words[0].start
        assert np.isclose(each.end, each.words[-1].end)


def test_the_first_word_begins_with_the_voice() -> None:
    late = Joints([Span(59.7, 63.3, 60.0, 63.0)], text_of)
    (found,) = late.placed(spoken((" He", 0.0, 0.5), (" was", 0.5, 0.7)))
    assert np.allclose([(word.start, word.end) for word in found.words], [(60, 60.2), (60.2, 60.4)])
    assert np.isclose(found.start, 60)


def test_whatever_a_model_says_nothing_reaches_into_a_pause() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        times = np.sort(random.uniform(0, 13, 7)).round(2).tolist()
        said = spoken(*((f" w{at}", start, end) for at, (start, end) in enumerate(pairwise(times))))
        for given in (said, segment(times[0], times[-1], said.text)):
            parts = placed(given)
            assert "".join(each.text for each in parts) == given.text
            assert sum((each.tokens for each in parts), ()) == given.tokens
            for each in (*parts, *(word for part in parts for word in part.words)):
                assert any(span.start <= each.start <= each.end <= span.end for span in SPANS)
            starts = [each.start for each in parts]
            assert starts == sorted(starts)
