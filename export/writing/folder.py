"""Writes a fuseline folder: the Hugging Face files, every variant's graphs, fuseline.json as docs/design.md has it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack

import onnx

from fuseline.errors import ExportError, FolderError
from fuseline.files.reading import DESCRIPTION, sha256_of
from fuseline.folders.description import Fields, confidence_in, read_description
from fuseline.folders.open import AUTO, find, open_folder
from fuseline.folders.own import Folder

from ..refusals import in_one_sentence
from .graphs import UNFINISHED, GraphSource, _hash, _weights_of, write_graphs, write_plain
from .parts import DECODER, ENCODER, LAYOUTS, all_files, encoders_of, flat, nested
from .place import Place, check_out, check_place, claimed, recovered, replace_file

FORMAT, TEXTS_FORMAT = 1, 2  # of models that read photos, and that read texts
# Sections of fuseline.json that say what was measured: by variant, and a list of evaluations on other data.
MEASURED, EVALUATIONS = ("quality", "agreement"), "evaluations"

Json = Mapping[str, Any] | Path  # a value to write, or a file to copy as it is


class Contents(TypedDict):
    """What a folder is written of; see write_folder."""

    config: Json
    generation_config: Json
    preprocessor_config: NotRequired[Json | None]
    tokenizer_json: str | Path
    tokenizer_files: NotRequired[Mapping[str, str | Path] | None]
    reads: NotRequired[Mapping[str, Any] | None]
    decoder_info: Mapping[str, int]
    variants: Mapping[str, Mapping[str, GraphSource]]
    default_variant: str
    quality: NotRequired[Mapping[str, Any] | None]
    license: NotRequired[Mapping[str, str] | None]
    confidence: NotRequired[Mapping[str, Any] | None]
    check: NotRequired[Callable[[Path], Mapping[str, Any]] | None]


@in_one_sentence("written")
def write_folder(out: Path, **contents: Unpack[Contents]) -> None:
    """Write the folder beside `out` and put it there in one step, so that `out` is complete or as it was.

    preprocessor_config: of a model that reads photos; tokenizer_json: the text itself, or the file that holds it, and
    tokenizer_files others beside it, by name, also those in folders of several sources; reads: of a model that reads
    texts, several sources or none, the "task", the "sources" and the "fusion" of fuseline.json; decoder_info: layers,
    heads, head_size, vocab_size and max_positions; variants: the "encoder" and "decoder" of each, without sources the
    "decoder", graphs, files that hold them or what makes them; license: under which terms the model may be used, an
    SPDX "id" and the "terms" in words; confidence: how sure the model is of a text, {"intercept": float, "weights":
    {feature: float}, "unsure_below": float}, see docs/design.md; check: is called with the complete folder before it
    takes its place, and what it returns becomes fuseline.json's "agreement"; where it raises, nothing is written. The
    same inputs give the same bytes.
    Raises ExportError if `out` exists and is not a fuseline folder, if the graphs do not fit each other or
    decoder_info, or if confidence is not as the runtime reads it.
    """
    with claimed(Path(out)) as place:
        write_to(place, **contents)


def write_to(
    place: Place,
    *,
    config: Json,
    generation_config: Json,
    preprocessor_config: Json | None = None,
    tokenizer_json: str | Path,
    tokenizer_files: Mapping[str, str | Path] | None = None,
    reads: Mapping[str, Any] | None = None,
    decoder_info: Mapping[str, int],
    variants: Mapping[str, Mapping[str, GraphSource]],
    default_variant: str,
    quality: Mapping[str, Any] | None = None,
    license: Mapping[str, str] | None = None,
    confidence: Mapping[str, Any] | None = None,
    check: Callable[[Path], Mapping[str, Any]] | None = None,
) -> None:
    """As write_folder, at a place that is claimed already."""
    check_out(place.path)
    sureness = _confidence(confidence)
    _check_variants(variants, default_variant, read=reads is None or bool(reads["sources"]))
    texts = {
        "config.json": _text(config),
        "generation_config.json": _text(generation_config),
        "tokenizer.json": _text(tokenizer_json),
        **{name: _text(file) for name, file in (tokenizer_files or {}).items()},
    }
    if preprocessor_config is not None:
        texts["preprocessor_config.json"] = _text(preprocessor_config)
    with place.replaced() as folder:
        for name, text in texts.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(text)
        graphs, tensors, sizes = write_graphs(folder, variants, decoder_info)
        about: dict[str, Any] = {
            "format": FORMAT if reads is None else TEXTS_FORMAT,
            **({} if reads is None else _reading(reads)),
            "made_by": {package: _version(package) for package in ("fuseline", "onnxruntime")},
            **({"license": dict(license)} if license else {}),
            **sureness,
            "decoder": sizes,
            "default_variant": default_variant,
            "variants": graphs,
            "files": _files(folder, _all_files(folder)),
            "tensors": tensors,
            "quality": dict(quality or {}),
        }
        (folder / DESCRIPTION).write_bytes(_text(about))
        if check is not None:
            about["agreement"] = dict(check(folder))
            (folder / DESCRIPTION).write_bytes(_text(about))


@in_one_sentence("given more variants")
def add_variants(
    folder: Path,
    variants: Mapping[str, Mapping[str, GraphSource]],
    *,
    default_variant: str | None = None,
    check: Callable[[Path, dict[str, Any]], None] | None = None,
) -> None:
    """Write more variants into a fuseline folder that exists, or the same ones anew; it is complete or as it was.

    variants: as for write_folder. check: is called with the complete folder before it takes its place and with what its
    fuseline.json says, which it may add to; where it raises, nothing is written. default_variant: a new default
    (default: the old one). Graphs that no variant uses any more go, and what was measured of a variant whose graphs
    change. Everything else stays to the byte, files of others too.
    Raises ExportError if a graph has other inputs or outputs than those of the folder's variants, FolderError if the
    folder is not one or a file that it lists is damaged.
    """
    with claimed(find(recovered(folder))) as place:
        add_to(place, variants, default_variant=default_variant, check=check)


def add_to(
    place: Place,
    variants: Mapping[str, Mapping[str, GraphSource]],
    *,
    default_variant: str | None = None,
    check: Callable[[Path, dict[str, Any]], None] | None = None,
) -> None:
    """As add_variants, at a place that is claimed already."""
    with prepared(place, variants, default_variant=default_variant) as new:
        if check is not None:
            check(new.path, new.about)
        new.put()


def add_layouts(
    source: Path,
    place: Place,
    made: Mapping[str, Mapping[str, Mapping[str, GraphSource]]],
    *,
    check: Callable[[Path], None],
) -> list[str]:
    """Write graphs of a checked folder's variants in other layouts; returns their paths in the folder.

    made: by variant, layout and part; place: that of the folder itself, or of a copy of it. check: as for write_folder.
    """
    with place.beside() as new:
        about = json.loads((source / DESCRIPTION).read_bytes())
        before = {file for parts in about["variants"].values() for file in all_files(parts)}
        for variant, graphs in made.items():
            own = about["variants"][variant]
            own[LAYOUTS] = {name: parts for name, parts in own.get(LAYOUTS, {}).items() if name not in graphs}
        kept = {file for parts in about["variants"].values() for file in all_files(parts)}
        gone = {name for file in before - kept for name in (file, f"{file}_data")}
        taken = set(_all_files(source)) - gone
        for variant, graphs in made.items():
            for layout, parts in graphs.items():
                written = write_plain(new, f"{variant}_{layout}", parts, taken)
                about["variants"][variant][LAYOUTS][layout] = nested(written)
        files = _all_files(new)
        _copy(source, new, leave={*gone, DESCRIPTION})  # last: onnx reads no weights that are linked twice
        listed = {name: facts for name, facts in about["files"].items() if name not in gone}
        about["files"] = dict(sorted((listed | _files(new, files)).items()))
        _describe(new, about, source)
        check(new)
        place.put(new)
    return [name for name in files if name.endswith(".onnx")]


@dataclass(frozen=True)
class Prepared:
    """A folder with its new variants, complete and not yet in its place. about: what its fuseline.json says, which may
    be added to until `put`."""

    path: Path
    about: dict[str, Any]
    place: Place

    def put(self) -> None:
        """Let it take its place, which is as it was where that fails."""
        _describe(self.path, self.about, self.place.path)
        self.place.put(self.path)


@contextmanager
def prepared(
    place: Place, variants: Mapping[str, Mapping[str, GraphSource]], *, default_variant: str | None = None
) -> Iterator[Prepared]:
    """As add_variants, but the folder takes its place only where `put` is called, and else goes at the end."""
    folder = place.path
    check_place(folder)
    opened = open_folder(folder, whole=True)  # what is listed anew below was compared with its hash before
    default = default_variant or opened.default_variant
    _check_variants(variants, default, others=opened.variants, read=bool(opened.sources))
    with place.beside() as made:
        about = json.loads((folder / DESCRIPTION).read_bytes())
        before = {name: _hashes(about, name) for name in variants}
        for name in about["variants"].keys() & variants.keys():
            del about["variants"][name]
        kept = {file for parts in about["variants"].values() for file in all_files(parts)}
        gone = {file for file in _graph_files(opened) if file.removesuffix("_data") not in kept}
        _copy(folder, made, leave={*gone, DESCRIPTION})
        others = set(_all_files(made))
        written = {}
        for file in sorted(kept):
            graph = onnx.load(made / file, load_external_data=False)
            written[_hash(graph, _weights_of(made / file))] = file
        graphs, _, _ = write_graphs(made, variants, about["decoder"], about["tensors"], written)
        listed = {name: facts for name, facts in about["files"].items() if name not in gone}
        listed |= _files(made, [name for name in _all_files(made) if name not in others])
        about["files"] = dict(sorted(listed.items()))
        about |= {"variants": about["variants"] | graphs, "default_variant": default}
        _forget(about, [name for name in variants if _hashes(about, name) != before[name]])
        _describe(made, about, folder)
        yield Prepared(made, about, place)


def _reading(reads: Mapping[str, Any]) -> dict[str, Any]:
    fusion = reads.get("fusion")
    order = {} if fusion is None else {"order": list(reads["sources"])}
    return {"task": reads["task"], "sources": reads["sources"], "fusion": fusion, **order}


def _confidence(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The field "confidence", if there is one. Raises ExportError for what the runtime would not read."""
    fields = Fields({"confidence": dict(given) if isinstance(given, Mapping) else given}, DESCRIPTION)
    try:
        found = confidence_in(fields)
    except FolderError as error:
        raise ExportError(str(error)) from error
    return {} if found is None else {"confidence": asdict(found)}


@in_one_sentence("written")
def write_confidence(folder: Path, confidence: Mapping[str, Any] | None) -> None:
    """Write how sure a folder's model is of a text into its fuseline.json, whole or not at all; None takes it out.

    confidence: as for write_folder. Raises ExportError if it is not as the runtime reads it, FolderError if the folder
    is not one of fuseline's.
    """
    field = _confidence(confidence)

    def change(about: dict[str, Any]) -> None:
        about.pop("confidence", None)
        about.update(field)

    path = find(recovered(folder))
    read_description(path)
    with claimed(path) as place:
        update_description(place.path, change)


def _describe(made: Path, about: Mapping[str, Any], like: Path) -> None:
    """Write fuseline.json, with the permissions that it has in the folder `like`."""
    (made / DESCRIPTION).write_bytes(_text(about))
    os.chmod(made / DESCRIPTION, stat.S_IMODE((like / DESCRIPTION).stat().st_mode))


def update_description(folder: Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Rewrite fuseline.json with what `change` makes of it, whole or not at all. Returns what was written.

    The hashes it lists are those of other files, so they stay right. Raises OSError if it cannot be written.
    """
    about: dict[str, Any] = json.loads((folder / DESCRIPTION).read_bytes())
    change(about)
    replace_file(folder / DESCRIPTION, _text(about))
    return about


def _graph_files(folder: Folder) -> set[str]:
    """The files of all variants in all layouts, weights beside the graphs included, as fuseline.json lists them."""
    graphs = {file for variant in folder.variants.values() for file in variant.all_graphs}
    return {file for file in folder.sizes if file in graphs or file.removesuffix("_data") in graphs}


def _copy(folder: Path, made: Path, leave: set[str]) -> None:
    """Everything in a folder but the files in `leave`, linked where the file system can, since graphs are large.

    So nothing in `made` may be written in place: a file that is there is the old folder's too.
    """

    def left(where: str, names: list[str]) -> set[str]:
        inside = Path(where).relative_to(folder)
        return {each for each in names if (inside / each).as_posix() in leave or each.endswith(UNFINISHED)}

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if not stat.S_ISREG(os.lstat(source).st_mode):
                raise ExportError(f"{source} is no file that can be copied; move it out of the folder") from error
            shutil.copy2(source, target)

    try:
        shutil.copytree(folder, made, symlinks=True, ignore=left, copy_function=link, dirs_exist_ok=True)
    except shutil.Error as error:
        source, _, why = error.args[0][0]
        raise ExportError(f"{source} cannot be copied: {why}") from error


def _files(folder: Path, names: Collection[str]) -> dict[str, dict[str, int | str]]:
    """Size and hash of files in the folder, by their paths with forward slashes, sorted."""
    with ThreadPoolExecutor(2) as pool:
        hashes = dict(zip(names, pool.map(lambda name: sha256_of(folder / name), names), strict=True))
    return {name: {"bytes": (folder / name).stat().st_size, "sha256": hashes[name]} for name in sorted(hashes)}


def _all_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _forget(about: dict[str, Any], variants: Collection[str]) -> None:
    """Take out what was measured of variants whose graphs are others now."""
    sections = [about.get(name) for name in MEASURED]
    others = about.get(EVALUATIONS)
    for each in others if isinstance(others, list) else []:
        sections.append(each.get("variants") if isinstance(each, dict) else None)
    for section in sections:
        for name in variants:
            if isinstance(section, dict):
                section.pop(name, None)


def _hashes(about: Mapping[str, Any], variant: str) -> list[Any]:
    """Of a variant's graphs and the weights beside them, as fuseline.json has them."""
    graphs = flat(about["variants"].get(variant, {})).values()
    return [about["files"].get(name) for graph in graphs for name in (graph, f"{graph}_data")]


def _check_variants(
    variants: Mapping[str, Mapping[str, GraphSource]], default_variant: str, others: Collection[str] = (), *, read: bool
) -> None:
    """read: whether there are sources."""
    if default_variant not in {*variants, *others}:
        known = ", ".join([*others, *variants])
        raise ExportError(f"the default variant {default_variant!r} is not among the variants {known}")
    for variant, parts in variants.items():
        if not re.fullmatch(r"[a-z0-9_]+", variant) or variant == AUTO:
            raise ExportError(
                f"a variant cannot be called {variant!r}: use lower case letters, digits and underscores, not {AUTO}"
            )
        encoders = encoders_of(parts)
        if DECODER not in parts or bool(encoders) != read or (ENCODER in encoders and len(encoders) > 1):
            right = f"{ENCODER} and {DECODER}, or an encoder of each source" if read else f"{DECODER} alone"
            raise ExportError(f"variant {variant!r} has {', '.join(sorted(parts))} and must have {right}")


def check_schemes(variants: Sequence[str], known: Collection[str]) -> None:
    """Raises ExportError where the variants that are to be made are not some of those known, each once."""
    if not variants or not set(variants) <= set(known) or len(set(variants)) < len(variants):
        given = ", ".join(str(name) or "an empty name" for name in variants) or "none"
        raise ExportError(f"variants are {given} and must be some of {', '.join(known)}, each once")


def _text(source: Mapping[str, Any] | str | Path) -> bytes:
    if isinstance(source, Path):
        return source.read_bytes()
    if isinstance(source, str):
        return source.encode()
    return (json.dumps(source, indent=2, ensure_ascii=False) + "\n").encode()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"  # run from a source tree, or on a machine that only exports
