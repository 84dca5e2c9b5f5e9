"""Whole models by the CUDA operators, compiled for the CPU, say the CPU's tokens: greedy, of beams, behind a prompt.

The graphs are those of the layout for CUDA: what the library has runs there, the rest by onnxruntime's operators; and
where there is no library, as the bodies say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

import fuseline.kernels.cuda
from fuseline import Model
from fuseline.export import layouts
from fuseline.folders.description import CONTRIB
from fuseline.folders.open import open_folder
from fuseline.graphs import operators
from fuseline.graphs.devices import CPU, Placement
from fuseline.kernels.cuda import FILE, find
from fuseline.trials import device_check
from tests.bodies import Bodies
from tests.layouts import case, said

# What the library has of each a step: attention without lengths and distances, and with both.
USED = {
    "gpt2: vit": {"CachedSelfAttention": 3, "CrossAttention": 3, "TopCandidates": 1},
    "texts: t5": {"BiasedCachedSelfAttention": 2, "PaddedCrossAttention": 2, "RMSNorm": 2, "TopCandidates": 1},
}
# None of these is for a step: they write a cache, gather its lines, or count and hide what is not there.
GONE = {"ScatterElements", "CumSum", "Equal", "Expand", "MultiHeadAttention", "ReduceLogSumExp", "Slice", "TopK"}


class OnCuda(Bodies):
    """The CPU by bodies, which is CUDA here: see on_cuda."""

    @property
    def layout(self) -> str:
        return CONTRIB

    @property
    def copies(self) -> tuple[str, int]:
        return "cpu", 0


CUDA = OnCuda("cuda", CPU)


@pytest.fixture
def on_cuda(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The CPU by bodies is what CUDA is, and the library lies where it is looked for."""
    (tmp_path / FILE).symlink_to(library)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(device_check, "SECONDS", 600.0)  # a GPU of fibers is slow
    monkeypatch.setattr(operators, "CUDA", CPU)
    monkeypatch.setattr(fuseline.kernels.cuda, "cuda_operators", lambda: find([str(tmp_path)], {}))
    operators._starts.cache_clear()
    yield
    operators._starts.cache_clear()


@pytest.mark.usefixtures("on_cuda")
@pytest.mark.parametrize("format", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["gpt2: vit", pytest.param("texts: t5", marks=pytest.mark.slow)])
def test_a_model_says_the_cpus_tokens(name: str, format: str, library: Path, tmp_path: Path) -> None:
    """Of floats those of the fused layout. Of halves most of those that the bodies say, since opening lets pass what
    is near to them (see test_device_check). A step runs what it should."""
    made = case(name, tmp_path / "model")
    layouts(made[0], (CONTRIB,), format=format)
    folder = open_folder(made[0], "fp32")
    contrib = folder.using("fp32", CONTRIB)
    form = "" if format == "fp32" else "Float16"
    used = {each if each == "TopCandidates" else f"{form}{each}": count for each, count in USED[name].items()}
    ours, others = run_in_a_step(contrib.decoder_path, tmp_path, library)
    assert ours == used and not GONE & others
    ours, others = run_in_a_step(contrib.decoder_path, tmp_path)
    assert not ours and others >= GONE
    with Model(folder if format == "fp32" else contrib, threads=1) as model:
        expected = said(model, made, (2,), 2)
    with Model(folder, Placement(CUDA, CUDA), 1) as model:
        same = [mine == its for mine, its in zip(expected, said(model, made, (2,), 2), strict=True)]
    assert all(same) if format == "fp32" else sum(same) >= len(same) / 2
    assert len(set(expected)) > 1, "texts should differ, or the test shows nothing"


def run_in_a_step(decoder: Path, scratch: Path, *libraries: Path) -> tuple[Counter[str], set[str]]:
    """How often each of our operators is in it once onnxruntime has put bodies in their places, and what else there
    is."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    for each in libraries:
        options.register_custom_ops_library(str(each))
    options.optimized_model_filepath = str(scratch / "optimized.onnx")
    ort.InferenceSession(str(decoder), options, providers=[CPU])
    nodes = onnx.load(scratch / "optimized.onnx", load_external_data=False).graph.node
    return Counter(node.op_type for node in nodes if node.domain == "fuseline"), {node.op_type for node in nodes}
