"""Exported folders of small models of texts, for tests of what is done with them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from fuseline.export import export
from fuseline.model import Model
from tests import text_models
from tests.made_once import made_once

LANGUAGES = {"en_XX": 95, "de_DE": 96}  # of the folder with languages, and their tokens


def text_folder(out: Path, name: str = "bart", variants: tuple[str, ...] = ("fp32", "int8")) -> Path:
    """The fuseline folder of a model in text_models.MODELS."""

    def make(folder: Path) -> None:
        source = text_models.write_checkpoint(text_models.text_model(name, 0), folder / "source")
        export(source, folder / "model", variants)

    made_once(out, f"exported text {name} {variants}", make)
    return out / "model"


def folder_with_languages(out: Path) -> Path:
    """One of an mBART-50 with two languages, whose own options say neither."""
    made_once(out, "exported text with languages", _make_with_languages)
    return out / "model"


def _make_with_languages(out: Path) -> None:
    source = text_models.write_checkpoint(text_models.text_model("mbart", 0), out / "source")
    file = source / "tokenizer.json"
    text = file.read_text()
    for code, token in LANGUAGES.items():
        text = text.replace(f'"word{token}"', f'"{code}"')
    specials = {code: {"id": code, "ids": [token], "tokens": [code]} for code, token in LANGUAGES.items()}
    specials["</s>"] = {"id": "</s>", "ids": [text_models.END], "tokens": ["</s>"]}
    around = [{"SpecialToken": {"id": "en_XX", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    around.append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    pair = [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]
    rule = {"type": "TemplateProcessing", "single": around, "pair": pair, "special_tokens": specials}
    file.write_text(json.dumps(json.loads(text) | {"post_processor": rule}))
    config = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "MBart50Tokenizer"}))
    export(source, out / "model", ("fp32",))


def lines(count: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 30 words of the small models' vocabulary."""
    drawn = random.Random(seed)
    return [" ".join(f"word{drawn.randint(8, 90)}" for _ in range(drawn.randint(1, 30))) for _ in range(count)]


def said(folder: Path, texts: list[str], **options: object) -> list[str]:
    """What the folder's fp32 makes of each text alone."""
    model = Model.from_pretrained(folder, "fp32", threads=1)
    return [model.decode(model.generate(model.inputs([text]), **options).sequences)[0].strip() for text in texts]
