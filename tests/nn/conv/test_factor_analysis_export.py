"""The Gaussian layer compiled in one graph, exported, and run by ONNX Runtime, for any number of images."""

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from lgcn.nn.conv.factor_analysis_conv import FactorAnalysisConv
from lgcn.nn.functional.gaussian import GaussianPosterior, solve_spd
from tests.nn.conv.gaussian_reference import COMPONENTS, FORMS, assert_close, random_prior, random_scene

B = torch.export.Dim("B")


class Everything(nn.Module):
    """Posterior and edges as a forward."""

    def __init__(self, num_components: int = 1) -> None:
        super().__init__()
        self.conv = FactorAnalysisConv(random_prior(torch.float32, num_components)).to_dense()

    def forward(self, pos: Tensor, variance: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        return (*self.conv.posterior(pos, variance, mask), self.conv.edge_weight(variance, mask, pos))


def images(count: int, form: str = "full") -> tuple[Tensor, Tensor, Tensor]:
    return random_scene(count, form, torch.float32).dense()


@pytest.mark.parametrize(("form", "num_components"), [*((form, 1) for form in FORMS), ("full", 3)])
def test_dense_is_one_graph_for_any_number_of_images(form: str, num_components: int) -> None:
    module = Everything(num_components)
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="eager")
    for count in (5, 9):  # no other size here, which the compiler would take for the same
        inputs = images(count, form)
        for one, other in zip(compiled(*inputs), module(*inputs), strict=True):
            assert_close(one, other)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


@pytest.mark.parametrize("num_components", COMPONENTS)
def test_sparse_is_one_graph_for_any_number_of_nodes(num_components: int) -> None:
    conv = FactorAnalysisConv(random_prior(torch.float32, num_components))
    torch._dynamo.reset()
    counters.clear()

    def run(*scene: Tensor, size: int) -> GaussianPosterior:
        return conv.posterior(*scene, batch_size=size)

    compiled = torch.compile(run, fullgraph=True, dynamic=True, backend="eager")
    for count in (5, 9):  # no other size here, which the compiler would take for the same
        scene = random_scene(count, dtype=torch.float32)
        for one, other in zip(compiled(*scene, size=count), conv.posterior(*scene), strict=True):
            assert_close(one, other)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


def test_inductor_agrees() -> None:
    module = Everything()
    torch._dynamo.reset()
    inputs = images(4)
    for one, other in zip(torch.compile(module, fullgraph=True)(*inputs), module(*inputs), strict=True):
        assert_close(one, other)


def exported(form: str, num_components: int) -> tuple[nn.Module, torch.export.ExportedProgram]:
    torch.manual_seed(0)
    module = Everything(num_components)
    shapes = {name: {0: B} for name in ("pos", "variance", "mask")}
    return module, torch.export.export(module, images(2, form), dynamic_shapes=shapes)


@pytest.mark.parametrize("num_components", COMPONENTS)
@pytest.mark.parametrize("form", FORMS)
def test_exported_for_any_number_of_images(form: str, num_components: int) -> None:
    module, program = exported(form, num_components)
    for count in (1, 5):
        inputs = images(count, form)
        for one, other in zip(program.module()(*inputs), module(*inputs), strict=True):
            assert_close(one, other)


@pytest.mark.parametrize(
    ("form", "num_components"),
    [
        *(("isotropic", 1), ("diagonal", 1), ("full", 3)),
        *(pytest.param(*rest, marks=pytest.mark.slow) for rest in (("full", 1), ("isotropic", 3), ("diagonal", 3))),
    ],
)
def test_onnx_runtime_agrees_for_any_number_of_images(form: str, num_components: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    module, program = exported(form, num_components)
    torch.onnx.export(program, dynamo=True, verbose=False).save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    tolerance = 1e-4 if num_components == 1 else 1e-3
    for count in (1, 5):
        inputs = images(count, form)
        results = session.run(None, dict(zip(names, (each.numpy() for each in inputs), strict=True)))
        for one, other in zip(results, module(*inputs), strict=True):
            torch.testing.assert_close(torch.from_numpy(one), other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", [1, 2, 16])
def test_elimination_equals_cholesky(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    factor = torch.randn(4, size, size, dtype=torch.double)
    matrix, rhs = factor @ factor.mT + torch.eye(size), torch.randn(4, size, 3, dtype=torch.double)
    expected, pivots = solve_spd(matrix, rhs)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    for one, other in zip(solve_spd(matrix, rhs), (expected, pivots), strict=True):
        assert_close(one, other)
    assert_close(matrix @ expected, rhs)
    assert_close(pivots.prod(-1), matrix.det())


def test_elimination_is_as_exact_as_a_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(4, 60, 12, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, 1.3, 12)
    matrix, rhs = torch.eye(12) + rows.mT @ rows, rows.mT @ torch.ones(60, 1)
    exact = torch.linalg.solve(matrix.double(), rhs.double())
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    found = solve_spd(matrix, rhs)[0]
    assert ((found - exact).abs().amax(dim=(1, 2)) < 1e-6 * exact.abs().amax(dim=(1, 2))).all(), "1e-4 unless scaled"
