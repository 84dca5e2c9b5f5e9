"""The layouts of every architecture beside the fused one, on the CPU: the same tokens, greedy and of four beams.

Floats are added in another order, so logits of size 1 to 10 may differ by 2e-4; tokens are equal.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fuseline.export import layouts
from fuseline.folders.description import STANDARD, STATIC
from fuseline.folders.open import open_folder
from fuseline.model import Model
from tests.layouts import NAMES, case, said

QUICK = ("gpt2: vit", "photos: roberta", "texts: t5", "texts: m2m_100", "speech: moonshine", "fusion: flat")
CASES = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES]


def made_of(name: str) -> tuple[str, ...]:
    """The layouts that there are of a model."""
    return (STANDARD,) if name.startswith(("fusion", "speech: moonshine")) else (STANDARD, STATIC)


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_those_of_the_fused_layout(name: str, tmp_path: Path) -> None:
    made = case(name, tmp_path)
    report = layouts(made[0], made_of(name), capacity=16, positions=64)
    assert all(share == 1.0 for found in report.agreement.values() for share in found.values())
    folder = open_folder(made[0], whole=True)
    expected = said(Model(folder, threads=1), made)
    for layout in made_of(name):
        assert said(Model(folder.using("fp32", layout), threads=1), made) == expected
    assert len(set(expected)) > 4, "texts should differ, or the test shows nothing"
