"""Exports through optimum-onnx: what comes out says what transformers says, also where fuseline has no adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuseline import Model
from fuseline.errors import ExportError
from fuseline.export import export
from fuseline.export.via_optimum import check_optimum
from tests import foreign, tiny


@pytest.mark.parametrize("name", [pytest.param("mbart", marks=pytest.mark.slow), "bert"])
def test_the_folder_opens_and_agrees(tmp_path: Path, name: str) -> None:
    pytest.importorskip("optimum.exporters.onnx")
    source = tiny.write_checkpoint(foreign.captioner(name), tmp_path / "source")
    report = export(source, tmp_path / "out", via="optimum")
    found = report.agreement["fp32"]
    assert (found.greedy, found.beam) == (1.0, 1.0) or found.tie
    assert found.logits < 2e-4
    assert found.texts > 3
    decoder = "decoder_model_merged.onnx" if name in foreign.WITH_PAST else "decoder_model.onnx"
    assert {file for file in report.files if file.endswith(".onnx")} == {"encoder_model.onnx", decoder}
    assert (tmp_path / "out/config.json").read_bytes() == (source / "config.json").read_bytes()
    assert Model.from_pretrained(tmp_path / "out").generate(tiny.photos(1)).sequences.shape[0] == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"via": "magic"}, "optimum is the only other"),
        ({"variants": ("int8",), "via": "optimum"}, "exports fp32 in full"),
    ],
)
def test_what_optimum_cannot_do_is_refused(tmp_path: Path, options: dict[str, object], expected: str) -> None:
    with pytest.raises(ExportError, match=expected):
        export(tmp_path, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_roberta_whose_texts_begin_with_the_pad_token_is_refused(tmp_path: Path) -> None:
    """Without a cache, and so optimum exports it, it gives tokens other positions than transformers with one."""
    pytest.importorskip("optimum.exporters.onnx")
    model = foreign.captioner("roberta")
    model.config.decoder.pad_token_id = tiny.START
    with pytest.raises(ExportError, match=r"the start token is the pad token \(1\)"):
        export(tiny.write_checkpoint(model, tmp_path / "source"), tmp_path / "out", via="optimum")
    assert not (tmp_path / "out").exists()


def test_without_optimum_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optimum.exporters.onnx", None)
    with pytest.raises(ExportError, match="needs optimum-onnx, which is missing .*; pip install 'optimum-onnx"):
        check_optimum()
