"""The models that are measured: where they lie in the cache, and the folders that systems make of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import environments, systems
from .client import ROOT
from .errors import BenchmarkError, Refused

SHIPPED = "default-captioner"
_EXPORT_SECONDS = 1800


@dataclass(frozen=True)
class Model:
    """One model. title: what it is; reference: the system whose tokens are right; max_length: of the main table.

    quick: part of `--quick`.
    """

    name: str
    title: str
    reference: str = "transformers-fp32"
    max_length: int = 16
    quick: bool = False

    @property
    def shipped(self) -> bool:
        """Whether it comes with fuseline and not from a checkpoint."""
        return self.name == SHIPPED


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model("vit-gpt2", "ViT-GPT2: ViT-base and GPT-2 with cross-attention, 224 x 224", quick=True),
        # It ends by itself, so all that can be said is how many tokens a caption may have. Its reference is its own
        # graphs without the kernels: there is no other program that reads it.
        Model(SHIPPED, "the captioner that ships", "onnxruntime-int8", max_length=22, quick=True),
        Model("trocr-small", "TrOCR-small: DeiT-small and a decoder of 6 layers of 256, 384 x 384"),
        Model("blip-base", "BLIP-base: ViT-base and a BERT decoder of 12 layers, 384 x 384"),
        Model("donut-base", "Donut-base: Swin-base and an MBart decoder of 4 layers of 1024, 1280 x 960"),
    )
}


def checkpoint(model: Model) -> Path:
    """The folder of the model's checkpoint, made on first use. Raises BenchmarkError if it cannot be."""
    if model.shipped:
        import fuseline

        return Path(fuseline.__file__).parent / "models" / "flickr8k-lite1"
    folder = environments.cache() / "checkpoints" / model.name
    if not folder.is_dir():
        python = environments.python_of("transformers_eager")
        partial = folder.with_name(f"{model.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        command = [str(python), "-m", "benchmarks.checkpoints", model.name, str(partial)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise BenchmarkError(f"{model.name} cannot be built: {(done.stderr.splitlines() or ['?'])[-1][:300]}")
        partial.rename(folder)
    return folder


def reference(model: Model) -> systems.Spec:
    """The system whose tokens are right."""
    return systems.specs()[model.reference]


def facts(model: Model) -> dict[str, Any]:
    """What the model's floors are made of: step_weights and encoder_multiply_adds, where they are known."""
    path = checkpoint(model) / "benchmark.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


@dataclass(frozen=True)
class Made:
    """A folder that a system opens, and what making it took; nothing was made of what is opened as it is."""

    folder: Path
    milliseconds: float | None = None
    peak: int | None = None


def made_for(spec: systems.Spec, model: Model, threads: int) -> Made:
    """The folder that the system reads, exported on first use and again when what exports it has changed.

    Raises Refused with the exporter's reason, which is kept as well: an export that fails takes minutes too.
    """
    if model.shipped:
        if spec.reads != "fuseline":
            raise Refused(
                "this model is a folder of fuseline, and the system reads a checkpoint or what is made of one"
            )
        return Made(checkpoint(model))
    return _made(spec.reads, model, threads)


def _made(name: str, model: Model, threads: int) -> Made:
    if name == systems.CHECKPOINT:
        return Made(checkpoint(model))
    export = systems.exports()[name]
    folder = environments.cache() / "exports" / model.name / f"{name}-{_key(export)}"
    notes = folder.with_suffix(".json")
    if not notes.is_file():
        for old in folder.parent.glob(f"{name}-????????*"):  # made by what is no longer the exporter
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        folder.parent.mkdir(parents=True, exist_ok=True)
        source = _made(export.source, model, threads).folder
        notes.write_text(json.dumps(_export(name, export, source, folder, threads)))
    found = json.loads(notes.read_text())
    if "error" in found:
        raise Refused(found["error"])
    return Made(folder, found["ms"], found["peak"])


def _export(name: str, export: systems.Export, source: Path, out: Path, threads: int) -> dict[str, Any]:
    maker = next(spec for spec in systems.specs().values() if spec.module == export.module)
    with environments.start(maker, threads) as worker:
        try:
            return worker.ask("export", _EXPORT_SECONDS, name=name, source=str(source), out=str(out))
        except BenchmarkError as error:
            return {"error": f"the export fails: {error}"}


def _key(export: systems.Export) -> str:
    """Changes with what makes the folder: the system's file, its requirements, and for ours the exporter."""
    paths = [Path(systems.__file__).parent / f"{export.module}.py"]
    wanted = systems.requirements(export.module)
    if wanted is None:
        paths += sorted((ROOT / "export").rglob("*.py")) + sorted((ROOT / "kernels").glob("*.py"))
    else:
        paths.append(wanted)
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
