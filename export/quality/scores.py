"""How good captions are beside what people wrote: pycocoevalcap's metrics, and error rates for text that was read.

Every metric is a function of sums over items (photos or texts), so that it can be computed again for any sample of
them without scoring a text twice. Dimensions: `N` items, `W` weightings of the items (how often each was drawn), `K`
sums that a metric needs of an item.
"""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from fuseline.errors import InputError

Floats = npt.NDArray[np.float64]
Tokenizer = Literal["words", "ptb"]

WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
ORDERS = 4
# pycocoevalcap's own guards against a division by zero.
_SMALL, _TINY = 1e-9, 1e-15


@dataclass(frozen=True)
class Metric:
    """One figure of a set of texts. parts: float64[N, K], what it needs of each item; of_sums: [W, K] -> [W]."""

    parts: Floats
    of_sums: Callable[[Floats], Floats]
    better: Literal["high", "low"] = "high"

    def value(self) -> float:
        """Of all items once."""
        return float(self.of_sums(self.parts.sum(axis=0, keepdims=True))[0])

    def values(self, weights_WN: Floats) -> Floats:
        """float64[W], of the items as often as the weights say."""
        return self.of_sums(weights_WN @ self.parts)


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation; a word may hold hyphens and apostrophes."""
    return WORD.findall(text.lower())


def java_is_here() -> bool:
    """Whether a Java machine can be started."""
    try:
        return subprocess.run(["java", "-version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def caption_metrics(
    references: Sequence[Sequence[str]], texts: Sequence[str], tokenizer: Tokenizer = "words"
) -> dict[str, Metric]:
    """BLEU-1..4, ROUGE-L and CIDEr of one text a photo, as pycocoevalcap computes them; with "ptb" METEOR too.

    tokenizer: "words" is words_of; "ptb" is that of COCO's evaluation (Stanford's, which needs Java, as METEOR does).
    """
    wanted, got = _tokenized(references, texts, tokenizer)
    metrics = _bleu(wanted, got) | {"ROUGE-L": _rouge(wanted, got), "CIDEr": _cider(wanted, got)}
    return metrics | {"METEOR": _meteor(wanted, got)} if tokenizer == "ptb" else metrics


def ocr_metrics(references: Sequence[Sequence[str]], texts: Sequence[str]) -> dict[str, Metric]:
    """Word and character error rate: edits over the reference's length, against the nearest reference of each photo.

    Nothing is left out of a text but white space at its ends and more than one blank in a row.
    """
    rates = {}
    for name, units in (("word error rate", str.split), ("character error rate", _characters)):
        pairs = zip(references, texts, strict=True)
        parts = [_edits([units(reference) for reference in wanted], units(text)) for wanted, text in pairs]
        rates[name] = error_rate(parts)
    return rates


def error_rate(parts: Sequence[tuple[int, int]]) -> Metric:
    """Of the edits and the reference's length of each item."""
    return Metric(np.array(parts, np.float64), _ratio, "low")


def same_share(texts: Sequence[str], others: Sequence[str]) -> Metric:
    """The share of items of which both say the same."""
    return mean_of([float(text == other) for text, other in zip(texts, others, strict=True)])


def edit_distance(wanted: Sequence[object], got: Sequence[object]) -> int:
    """Fewest insertions, deletions and substitutions that make one sequence of the other (Levenshtein, 1966)."""
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys([*wanted, *got]))}
    codes, places = np.array([numbers[unit] for unit in got], np.int64), np.arange(len(got) + 1)
    row = places
    for number, one in enumerate(wanted, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (codes != numbers[one]))
        # Insertions from the left: row[j] is the least of best[i] + (j - i).
        row = np.minimum.accumulate(np.concatenate([[number], best]) - places) + places
    return int(row[-1])


def _tokenized(
    references: Sequence[Sequence[str]], texts: Sequence[str], tokenizer: Tokenizer
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Both as pycocoevalcap takes them: by photo, words apart by one blank."""
    wanted, got = dict(enumerate(map(list, references))), {photo: [text] for photo, text in enumerate(texts)}
    if tokenizer == "words":
        return _words_of_each(wanted), _words_of_each(got)
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    if not java_is_here():
        raise InputError("the tokenizer ptb and METEOR run on Java, which is not here; install Java, or use words")
    made = [PTBTokenizer().tokenize(_captions(of)) for of in (wanted, got)]
    return made[0], made[1]


def _words_of_each(texts: Mapping[int, Iterable[str]]) -> dict[int, list[str]]:
    return {photo: [" ".join(words_of(text)) for text in each] for photo, each in texts.items()}


def _captions(texts: Mapping[int, Iterable[str]]) -> dict[int, list[dict[str, str]]]:
    # A line for each, or the tokenizer counts wrong.
    return {photo: [{"caption": " ".join(text.split()) or "."} for text in each] for photo, each in texts.items()}


def _bleu(wanted: Mapping[int, list[str]], got: Mapping[int, list[str]]) -> dict[str, Metric]:
    """Papineni et al., "BLEU" (2002), with the closest reference's length, over the whole corpus."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=ORDERS)
    for photo, references in wanted.items():
        scorer += (got[photo][0], references)
    rows = []
    for counts in scorer.ctest:
        nearest = min((abs(length - counts["testlen"]), length) for length in counts["reflen"])[1]
        rows.append([counts["testlen"], nearest, *counts["guess"], *counts["correct"]])
    parts = np.array(rows, np.float64)
    return {f"BLEU-{order}": Metric(parts, _bleu_of(order)) for order in range(1, ORDERS + 1)}


def _bleu_of(order: int) -> Callable[[Floats], Floats]:
    def of_sums(sums: Floats) -> Floats:
        length, nearest, guessed, correct = sums[:, 0], sums[:, 1], sums[:, 2 : 2 + ORDERS], sums[:, 2 + ORDERS :]
        precision = ((correct + _TINY) / (guessed + _SMALL))[:, :order].prod(axis=1) ** (1 / order)
        ratio = (length + _TINY) / (nearest + _SMALL)
        penalty: Floats = np.exp(np.minimum(0.0, 1 - 1 / ratio))
        result: Floats = precision * penalty
        return result

    return of_sums


def _rouge(wanted: Mapping[int, list[str]], got: Mapping[int, list[str]]) -> Metric:
    """Lin, "ROUGE" (2004): the longest common subsequence, mean of the photos."""
    from pycocoevalcap.rouge.rouge import Rouge

    return mean_of(Rouge().compute_score(wanted, got)[1])


def _cider(wanted: Mapping[int, list[str]], got: Mapping[int, list[str]]) -> Metric:
    """Vedantam et al., "CIDEr" (2015), variant D. What is rare is counted among the references, so a photo's score
    does not depend on the other texts, and the mean of a sample of the photos is exact."""
    from pycocoevalcap.cider.cider import Cider

    with redirect_stdout(io.StringIO()):
        return mean_of(Cider().compute_score(wanted, got)[1])


def _meteor(wanted: Mapping[int, list[str]], got: Mapping[int, list[str]]) -> Metric:
    """Denkowski and Lavie, "Meteor Universal" (2014), mean of the photos (COCO's evaluation sums counts instead)."""
    from pycocoevalcap.meteor.meteor import Meteor

    return mean_of(Meteor().compute_score(wanted, got)[1])


def mean_of(values: Sequence[float] | Floats) -> Metric:
    """The mean of a value an item."""
    parts = np.stack([np.asarray(values, np.float64), np.ones(len(values))], axis=1)
    return Metric(parts, _ratio)


def _ratio(sums: Floats) -> Floats:
    """First sum over second. Where all references are empty any edit is one too many."""
    result: Floats = sums[:, 0] / np.maximum(sums[:, 1], 1)
    return result


def _edits(wanted: Sequence[Sequence[object]], got: Sequence[object]) -> tuple[int, int]:
    """Edits to the nearest reference, and that reference's length."""
    return min((edit_distance(reference, got), len(reference)) for reference in wanted)


def _characters(text: str) -> str:
    return " ".join(text.split())
