"""Models on the Hugging Face hub, by huggingface_hub where it is installed; it comes with tokenizers.

Of a repository only what the runtime reads is downloaded, and of the variants only the one that is asked for. What is
in the cache already is used without a connection. Besides the repository nothing is told to anybody.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from ..errors import FolderError
from ..files.reading import DESCRIPTION
from .description import CONFIGS
from .processor_file import NESTED

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_Result = TypeVar("_Result")


def has_form(name: str) -> bool:
    """Whether a name has the form of one on the hub: org/name."""
    return bool(_ID.fullmatch(name)) and ".." not in name


def is_hub_id(name: str) -> bool:
    """Whether a name may be one on the hub: of its form, and neither it nor its first part is a path here."""
    return has_form(name) and not os.path.lexists(name) and not os.path.lexists(PurePosixPath(name).parts[0])


def downloaded(name: str, variant: str | None = None) -> Path:
    """The snapshot of a repository in the hub's cache, with what the variant needs (None: the default variant).

    Raises FolderError if huggingface_hub is not installed, the hub cannot be reached and the cache holds nothing, or
    the hub does not give the repository.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported
    try:
        import huggingface_hub  # noqa: F401 - here only for the sentence
    except ModuleNotFoundError:
        raise FolderError(
            f"there is no model folder {name}, and without huggingface_hub it cannot be looked for on the hub; "
            "pip install huggingface_hub"
        ) from None
    from ..tokens.hf import ABOUT, TOKENIZER

    # Read of every folder, where it is there.
    small = (DESCRIPTION, *CONFIGS, NESTED, TOKENIZER, *ABOUT)
    snapshot = _snapshot(name, [glob.escape(file) for file in small])
    own = snapshot / DESCRIPTION
    wanted = _listed(own, variant) if os.path.lexists(own) else _graphs(name, snapshot, variant)
    return _snapshot(name, [glob.escape(file) for file in wanted], snapshot.name) if wanted else snapshot


def _snapshot(name: str, patterns: list[str], revision: str | None = None) -> Path:
    """Download what fits the patterns and is not in the cache yet; without a connection, what is in the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(_untold(lambda: snapshot_download(name, revision=revision, allow_patterns=patterns)))
    except LocalEntryNotFoundError as error:
        raise FolderError(
            f"there is no model folder {name}, the hub cannot be reached to look for it there, and its cache "
            "holds none of that name"
        ) from error
    except Exception as error:  # of requests or httpx, as the version of huggingface_hub has it, of the disk, its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(". ")
        raise FolderError(f"there is no model folder {name}, and the hub does not give it: {reason}") from error


def _untold(call: Callable[[], _Result]) -> _Result:
    """What a call of huggingface_hub returns, made without telling which other packages are installed here."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        return call()
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before


def _listed(description: Path, variant: str | None) -> list[str]:
    """The files that fuseline.json lists, without those of other variants.

    What is wrong with it is said when the folder is opened; so here nothing is downloaded then.
    """
    try:
        about = json.loads(description.read_bytes())
        files = [file for file in about["files"] if isinstance(file, str)]
        variants = about["variants"]
        wanted = set(_graph_names(variants[about["default_variant"] if variant is None else variant]))
        others = {graph for each in variants.values() for graph in _graph_names(each)} - wanted
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return [file for file in files if _graph(file) not in others]


def _graph_names(variant: Mapping[str, Any]) -> Collection[str]:
    """In every layout."""
    return [each[part] for each in (variant, *variant.get("layouts", {}).values()) for part in ("encoder", "decoder")]


def _graph(file: str) -> str:
    from .layout import graph_of

    return graph_of(file)


def _graphs(name: str, snapshot: Path, variant: str | None) -> list[str]:
    """The graphs of the variant, the files beside them that hold their weights by convention, and a vocabulary's own
    files where there is no tokenizer.json."""
    from ..tokens.hf import TOKENIZER, VOCABULARIES
    from .layout import chosen, graph_of, variants_of

    names = _names(name, snapshot)
    _, graphs = chosen(variants_of(names), variant, name)
    vocabularies = () if TOKENIZER in names else VOCABULARIES
    return [file for file in names if graph_of(file) in graphs.graphs or file in vocabularies]


def _names(name: str, snapshot: Path) -> list[str]:
    """The files of the repository at the snapshot's commit; without a connection, those in the cache."""
    from huggingface_hub import HfApi

    try:
        return list(_untold(lambda: HfApi().list_repo_files(name, revision=snapshot.name)))
    except Exception:  # as in _snapshot; whatever it is, the cache is what there is
        return [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*")]
