"""Models on the Hugging Face hub, by huggingface_hub where it is installed; it comes with tokenizers.

Of a repository only what the runtime reads is downloaded, and of the variants only the one that is asked for. What is
in the cache already is used without a connection.
"""

from __future__ import annotations

import glob
import json
import re
from pathlib import Path

from .errors import FolderError

# Read of every folder, where it is there.
_SMALL = ("fuseline.json", "config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json")
_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of one on the hub: org/name."""
    return bool(_ID.fullmatch(name)) and not name.startswith(".") and ".." not in name


def downloaded(name: str, variant: str | None = None) -> Path:
    """The snapshot of a repository in the hub's cache, with what the variant needs (None: the default variant).

    Raises FolderError if huggingface_hub is not installed, the hub cannot be reached and the cache holds nothing, or
    the hub does not give the repository.
    """
    try:
        import huggingface_hub  # noqa: F401 - here only for the sentence
    except ModuleNotFoundError:
        raise FolderError(
            f"there is no model folder {name}, and without huggingface_hub it cannot be looked for on the hub; "
            "pip install huggingface_hub"
        ) from None
    snapshot = _snapshot(name, [glob.escape(file) for file in _SMALL])
    own = snapshot / "fuseline.json"
    wanted = _listed(own) if own.exists() else _graphs(name, snapshot, variant)
    return _snapshot(name, [glob.escape(file) for file in wanted], snapshot.name)


def _snapshot(name: str, patterns: list[str], revision: str | None = None) -> Path:
    """Download what fits the patterns and is not in the cache yet; without a connection, what is in the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        raise FolderError(
            f"there is no model folder {name}, the hub cannot be reached to look for it there, and its cache "
            "holds none of that name"
        ) from error
    except Exception as error:  # of requests or httpx, as the version of huggingface_hub has it, of the disk, its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(". ")
        raise FolderError(f"there is no model folder {name}, and the hub does not give it: {reason}") from error


def _listed(description: Path) -> list[str]:
    """The files that fuseline.json lists; what is wrong with it is said when the folder is opened."""
    try:
        return [str(file) for file in json.loads(description.read_bytes())["files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _graphs(name: str, snapshot: Path, variant: str | None) -> list[str]:
    """The graphs of the variant, and the files beside them that hold their weights by convention."""
    from .foreign.layout import belongs_to, chosen, variants_of

    names = _names(name, snapshot)
    _, graphs = chosen(variants_of(names), variant, name)
    return [file for file in names if any(belongs_to(graph, file) for graph in graphs.graphs)]


def _names(name: str, snapshot: Path) -> list[str]:
    """The files of the repository at the snapshot's commit; without a connection, those in the cache."""
    from huggingface_hub import HfApi

    try:
        return list(HfApi().list_repo_files(name, revision=snapshot.name))
    except Exception:  # as in _snapshot; whatever it is, the cache is what there is
        return [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*")]
