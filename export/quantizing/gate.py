"""What new variants lose to the floats, which of them lose too much, and how what was found is recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseline.errors import counted
from fuseline.folders.open import open_folder
from fuseline.model import Model
from fuseline.trials.auto import JUDGED_BY

from ..quality.agreement import NextTokens, next_tokens
from ..quality.evaluate import Evaluation
from ..quality.reading import Inputs, Reading
from ..quality.record import record, update_card
from ..quality.speech_scores import WORDS


@dataclass(frozen=True)
class Loss:
    """The share that a variant loses to the floats, and of what, for a sentence."""

    share: float
    of: str


@dataclass(frozen=True)
class Measured:
    """What was found of new variants. base: the variant of floats; evaluation: where there is data."""

    base: str
    agreement: Mapping[str, NextTokens]
    evaluation: Evaluation | None

    def loss(self, name: str) -> Loss:
        """By the score of the data's kind of texts, of speech by its words; by the next tokens without data, and where
        the floats have 0."""
        agreed = self.agreement[name]
        of = f"the next tokens ({agreed.positions} on {counted(agreed.inputs, agreed.kind.removesuffix('s'))})"
        if self.evaluation is not None:
            found = self.evaluation.variants
            mine, base = found[name].scores, found[self.base].scores
            judge = next((each for each in JUDGED_BY if each in base), None)
            if judge is None:  # of speech: what the variant hears wrong and the floats do not
                of = f"the words ({mine[WORDS]:.4f} of them wrong, where {self.base} has {base[WORDS]:.4f})"
                return Loss(mine[WORDS] - base[WORDS], of)
            if base[judge]:
                scores = f"({mine[judge]:.4f} where {self.base} has {base[judge]:.4f})"
                return Loss(1 - mine[judge] / base[judge], f"{judge} {scores}")
            of += f", not of {judge}, which is 0 for {self.base} on this data"
        return Loss(1 - agreed.tokens, of)

    def refusals(self, max_loss: float | None) -> dict[str, str]:
        """By variant that loses more than it may, the sentence that says so."""
        losses = {name: self.loss(name) for name in self.agreement}
        return {
            name: f"{name} loses {lost.share:.2%} of {lost.of} and may lose {max_loss:.2%}, so it was not written"
            for name, lost in losses.items()
            if max_loss is not None and lost.share > max_loss
        }

    def record(self, folder: Path, about: dict[str, Any], max_loss: float | None, without: Collection[str]) -> None:
        """Put it into what fuseline.json says and into the model card, but for some variants."""
        agreed = {name: found for name, found in self.agreement.items() if name not in without}
        said = {name: {"compared with": self.base, **found.record()} for name, found in agreed.items()}
        about["agreement"] = about.get("agreement", {}) | said
        if max_loss is not None:
            about["max_loss"] = max_loss
        if self.evaluation is not None:
            record(about, self.evaluation.conditions, self.evaluation.recorded(without=without))
        update_card(folder, about, make=False)


def agreement(
    base: Model, folder: Path, names: Sequence[str], judging: Sequence[Inputs], reading: Reading, threads: int | None
) -> dict[str, NextTokens]:
    """How far variants of a folder agree with base on what the encoder reads."""
    others = [Model(open_folder(folder, name), threads=threads) for name in names]
    return dict(zip(names, next_tokens(base, others, judging, reading), strict=True))
