"""README.md and what a package index shows: commands that work as typed, links that lead somewhere, the terms."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from fuseline import cli
from fuseline.folders.open import find

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README, INDEX = (ROOT / "README.md").read_text(), (ROOT / PROJECT["readme"]).read_text()
PAGES = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md"]
PAGES += [ROOT / folder / "README.md" for folder in ("examples", "benchmarks", "runtime")]
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def test_the_first_caption_is_what_the_readme_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = re.search(r"^\$ fuseline (caption .*)\n(.*)\n", README, re.MULTILINE)
    assert first is not None
    monkeypatch.chdir(ROOT)
    assert cli.main(first[1].split()) == 0
    assert capsys.readouterr().out == f"{first[2]}\n"


def test_the_extra_that_fetching_needs_is_named_before_it_and_every_extra_is_there() -> None:
    extras = re.findall(r"pip install (?:-e )?'\.\[([\w,]+)\]'", README)
    assert {name for names in extras for name in names.split(",")} <= PROJECT["optional-dependencies"].keys()
    before = README.partition("$ fuseline get ")[0]
    assert re.search(r"pip install '\.\[[\w,]*\bget\b", before)
    assert "docs/models.md" in README


def test_photos_are_small_and_their_terms_stand_beside_them() -> None:
    about = (ROOT / "examples" / "README.md").read_text()
    photos = [path for path in (ROOT / "examples").iterdir() if path.is_file() and path.suffix != ".md"]
    assert photos
    for photo in photos:
        assert f"`{photo.name}`" in about and photo.stat().st_size < 100_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_a_package_index_shows_no_link_into_the_repository_and_commands_of_the_readme() -> None:
    assert all("://" in target for target in LINK.findall(INDEX))
    commands = re.findall(r"^fuseline .*?(?= {2,}#)", INDEX, re.MULTILINE)
    assert commands
    assert [command for command in commands if command not in README] == []


def test_the_terms_of_the_captioner_are_said_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    terms = json.loads((find(None) / "fuseline.json").read_text())["license"]
    assert terms["id"] in PROJECT["license"]
    assert "runtime/fuseline/models/flickr8k-lite1/MODEL_CARD.md" in PROJECT["license-files"]
    assert cli.main(["info"]) == 0
    said = capsys.readouterr().out
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["license"] == terms
    for text in (said, README[:1500], INDEX, (find(None) / "MODEL_CARD.md").read_text()):
        assert "non-commercial research and education only" in " ".join(text.split()).replace("**", "")


def test_the_recipe_gives_the_captioner_the_terms_that_it_has() -> None:
    recipe = pytest.importorskip("recipes.default_captioner.export")
    assert json.loads((find(None) / "fuseline.json").read_text())["license"] == recipe.LICENSE


def test_the_example_of_data_is_data(tmp_path: Path) -> None:
    from fuseline.export.quality.data import read_data

    for page in (README, (ROOT / "docs" / "data.md").read_text()):
        [lines] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
        (tmp_path / "captions.jsonl").write_text(lines)
        for line in lines.splitlines():
            photo = tmp_path / json.loads(line)["file"]
            photo.parent.mkdir(exist_ok=True)
            photo.write_bytes(b"a photo")
        assert len(read_data(tmp_path / "captions.jsonl").items) == 1
