"""Backends: ONNX Runtime, AOTInductor and torch-scatter."""

import shutil

import pytest
import torch
import torch_geometric.typing

from benchmarks.backends import HAS_TORCH_SCATTER, ONNX_PACKAGES, OnnxRuntime, UnavailableError, torch_scatter
from benchmarks.layer_candidates import Case, networks


def has_compiler() -> bool:
    return any(shutil.which(name) for name in ("g++", "clang++"))


def test_onnx_runtime_agrees_at_every_batch_size() -> None:
    for package in ONNX_PACKAGES:
        pytest.importorskip(package)
    torch.manual_seed(0)
    candidates = {each.name: each for each in networks(4)}
    for images in (1, 3):
        case = Case.draw(4, images)
        with torch.no_grad():
            expected = candidates["literal"].run(case).view(images, 4, 2)
            torch.testing.assert_close(candidates["ONNX Runtime"].run(case), expected, rtol=1e-5, atol=1e-5)


def test_memory_of_onnx_runtime_is_the_size_of_its_tensors() -> None:
    for package in ONNX_PACKAGES:
        pytest.importorskip(package)
    # 32 MB of output; the input is allocated before.
    given = torch.ones(8, 1 << 20)
    peak = OnnxRuntime(torch.nn.ReLU(), [torch.ones(2, 1 << 20)], threads=1).peak_bytes(given)
    assert peak is None or 0.9 * given.nbytes < peak < 1.5 * given.nbytes


@pytest.mark.skipif(not has_compiler(), reason="needs a C++ compiler")
def test_aot_inductor_agrees_at_every_batch_size() -> None:
    torch.manual_seed(0)
    candidates = {each.name: each for each in networks(4, "inductor")}
    for images in (1, 3):
        case = Case.draw(4, images)
        with torch.no_grad():
            expected = candidates["literal"].run(case).view(images, 4, 2)
            torch.testing.assert_close(candidates["DenseLGCN AOTInductor"].run(case), expected, rtol=1e-5, atol=1e-5)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.backends.find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(UnavailableError, match="not installed: onnxscript$"):
        OnnxRuntime(torch.nn.ReLU(), [torch.ones(2, 3)], threads=1)


def test_torch_scatter_is_used_within_the_context_only(monkeypatch: pytest.MonkeyPatch) -> None:
    if not HAS_TORCH_SCATTER:
        with pytest.raises(UnavailableError, match="torch-scatter"), torch_scatter():
            pass
        return
    monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SCATTER", False)
    with torch_scatter():
        assert torch_geometric.typing.WITH_TORCH_SCATTER
    assert not torch_geometric.typing.WITH_TORCH_SCATTER
