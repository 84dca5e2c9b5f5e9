"""Exports through optimum-onnx: what comes out says what transformers says, also where fuseline has no adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuseline import Model
from fuseline.errors import ExportError
from fuseline.export import export
from fuseline.export.adapters.registry import BY_OPTIMUM
from fuseline.export.via_optimum import check_optimum
from fuseline.export.writing.place import check_out
from tests import foreign, tiny, zoo


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


@pytest.mark.parametrize("name", ["rembert", pytest.param("megatron-bert", marks=pytest.mark.slow)])
def test_what_only_optimum_exports_is_pointed_to_it(tmp_path: Path, name: str) -> None:
    pytest.importorskip("optimum.exporters.onnx")
    assert set(zoo.ONLY_BY_OPTIMUM) == BY_OPTIMUM
    source = zoo.write_checkpoint(zoo.vision_encoder_decoder(name, 0), tmp_path / "source")
    with pytest.raises(ExportError, match="cannot be exported; known are .*; --via optimum can export it"):
        export(source, tmp_path / "out")
    found = export(source, tmp_path / "out", via="optimum").agreement["fp32"]
    assert (found.greedy, found.beam) == (1.0, 1.0) or found.tie
    assert found.texts > 2


def test_an_earlier_export_via_optimum_is_replaced_by_force(tmp_path: Path) -> None:
    files = ("encoder_model.onnx", "decoder_model_merged.onnx", "decoder_model_merged.onnx_data", "config.json")
    out = tmp_path / "out"
    out.mkdir()
    for name in files:
        (out / name).touch()
    check_out(out)
    with pytest.raises(ExportError, match="is an export via optimum already; replace it with --force"):
        check_out(out, replace=False)
    (out / "mine.txt").touch()
    with pytest.raises(ExportError, match="holds something else than a fuseline folder"):
        check_out(out)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"via": "magic"}, "optimum is the only other"),
        ({"variants": ("int8",), "via": "optimum"}, "exports fp32 in full"),
        ({"interpolate_pos_encoding": True, "via": "optimum"}, "optimum exports no interpolated positions"),
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
