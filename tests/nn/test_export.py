"""Graphs of the compiler, exports of edge lists, and ONNX; dense forms are compiled and exported by the contract."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from lgcn.graph import landmark_graph
from lgcn.nn import LGCN, DenseLGCN, DenseLGCNConv, LandmarkRefiner, LearnableConnectivity, LGCNConv, for_inference
from tests.nn.inputs import CONNECTIVITIES, assert_close, build_connectivity, random_landmarks, randomize

K, C = 5, 3
SIZE = (32, 48)
# What checks of values, and nothing else here, would leave in a graph.
CHECKS = ("aminmax", "isfinite", "nonzero", "isnan", "_assert", "warn")


def images(count: int) -> dict[str, Tensor]:
    """Positions are pixels far from the origin."""
    landmarks = random_landmarks(count, K, C)
    return landmarks._replace(pos=50 * landmarks.pos + 1000)._asdict()


def nodes(count: int) -> dict[str, Tensor]:
    x, pos, confidence = images(count).values()
    batch = landmark_graph(pos, confidence, x)
    ids = {"landmark_id": batch.landmark_id, "confidence": batch.confidence}
    return {"x": batch.x, "edge_index": batch.edge_index, "pos": batch.pos, **ids}


def weighted_nodes(count: int) -> dict[str, Tensor]:
    given = nodes(count)
    given |= {"edge_weight": torch.rand(given["edge_index"].shape[1])}
    return {name: each for name, each in given.items() if name not in ("landmark_id", "confidence")}


def masked(inputs: Callable[[int], dict[str, Tensor]]) -> Callable[[int], dict[str, Tensor]]:
    def with_mask(count: int) -> dict[str, Tensor]:
        given = inputs(count)
        return {**given, "mask": torch.rand(given["x"].shape[:-1]) < 0.8}

    return with_mask


def maps(count: int) -> dict[str, Tensor]:
    """Features of stride 4, positions inside the input, confidences."""
    pos = torch.rand(count, K, 2) * torch.tensor([47, 31])
    return {"features": torch.randn(count, C, 8, 12), "pos": pos, "confidence": torch.rand(count, K)}


def dense(connectivity: str = "learnable", **options: Any) -> DenseLGCN:
    return randomize(DenseLGCN(C, [4, 2], build_connectivity(connectivity, K), **options))


def sparse(connectivity: str = "learnable", **options: Any) -> LGCN:
    return dense(connectivity, **options).to_sparse()


def conv(kind: type[nn.Module] = LGCNConv) -> nn.Module:
    return randomize(kind(C, 4, LearnableConnectivity(K)))


def refiner() -> LandmarkRefiner:
    options = {"visual_channels": (6, 4), "hidden_channels": (4,), "landmark_channels": 2, "num_steps": 2}
    return randomize(LandmarkRefiner(K, C, SIZE, visual_norm="batch_norm", **options))


Case = tuple[Callable[[], nn.Module], Callable[[int], dict[str, Tensor]]]
COMPILED: dict[str, Case] = {
    "LGCNConv": (conv, nodes),
    "LGCNConv-edge_weight": (lambda: randomize(LGCNConv(C, 4)), weighted_nodes),
    "LGCN-edge_weight-mask": (sparse, masked(weighted_nodes)),
    "LGCN-norm-mask": (lambda: sparse(norm="batch_norm").train(), masked(nodes)),
    "LGCN-inference": (lambda: for_inference(sparse(norm="layer_norm")), nodes),
    "DenseLGCN-norm-mask": (lambda: dense(norm="batch_norm").train(), masked(images)),
    "DenseLGCN-inference-mask": (lambda: for_inference(dense(norm="batch_norm")), masked(images)),
    "LandmarkRefiner": (refiner, maps),
    "LandmarkRefiner-inference": (lambda: for_inference(refiner()), maps),
}
for name in CONNECTIVITIES:
    COMPILED[f"DenseLGCN-inference-{name}"] = (lambda name=name: for_inference(dense(name)), images)
    COMPILED[f"LGCN-{name}"] = (lambda name=name: sparse(name), nodes)


@pytest.mark.parametrize("case", COMPILED.values(), ids=list(COMPILED))
def test_one_graph_without_checks_for_any_size(case: Case) -> None:
    build, inputs = case
    module, graphs = build(), []

    def keep(graph: GraphModule, example: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=keep)
    for count in (6, 9):  # no other size here, or the compiler takes both for the same at first
        given = inputs(count)
        assert_close(compiled(**given), module(**given))
    assert not counters["graph_break"]
    assert len(graphs) == 1
    for node in graphs[0].graph.nodes:
        assert not any(check in str(node.target) for check in CHECKS), node


def test_compiled_by_the_inductor() -> None:
    module, given = for_inference(dense()), images(3)
    torch._dynamo.reset()
    with torch.no_grad():
        assert_close(torch.compile(module, fullgraph=True, dynamic=True)(**given), module(**given))


def test_traced_by_fx_with_symbolic_sizes() -> None:
    x, pos, _ = images(2).values()
    module, weight = randomize(DenseLGCNConv(C, 4)), torch.rand(2, K, K)
    parameters = {name: value.detach() for name, value in module.named_parameters()}

    def call(parameters: dict[str, Tensor], x: Tensor, pos: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(module, parameters, (x, pos), {"edge_weight": weight})

    traced = make_fx(call, tracing_mode="symbolic")(parameters, x, pos, weight)
    assert_close(traced(parameters, x, pos, weight), module(x, pos, edge_weight=weight))


def free_sizes(given: dict[str, Tensor], batched: bool) -> dict[str, dict[int, Any]]:
    """The first axis of each input as a free number B of images, or N of nodes and E of edges."""
    first, edges = torch.export.Dim("B" if batched else "N"), torch.export.Dim("E")
    return {name: {1: edges} if name == "edge_index" else {0: first} for name in given}


EXPORTED: dict[str, Case] = {
    "LGCNConv": (lambda: conv().eval(), nodes),
    "LGCN": (lambda: sparse().eval(), nodes),
    "LGCN-inference": (lambda: for_inference(sparse()), nodes),
    "DenseLGCNConv": (lambda: conv(DenseLGCNConv).eval(), images),
    "DenseLGCN-mask": (lambda: for_inference(dense()), masked(images)),
    "LandmarkRefiner": (lambda: for_inference(refiner()), maps),
    **{f"DenseLGCN-{name}": (lambda name=name: for_inference(dense(name)), images) for name in CONNECTIVITIES},
}


@pytest.mark.parametrize("case", EXPORTED.values(), ids=list(EXPORTED))
def test_exported_for_any_size(case: Case) -> None:
    build, inputs = case
    module, example = build(), inputs(2)
    sizes = free_sizes(example, inputs is not nodes)
    exported = torch.export.export(module, (), example, dynamic_shapes=sizes)
    for count in (1, 5):
        given = inputs(count)
        assert_close(exported.module()(**given), module(**given))


@pytest.mark.parametrize("case", EXPORTED.values(), ids=list(EXPORTED))
def test_onnx_runtime_agrees_for_any_size(case: Case, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    build, inputs = case
    module, example = build(), inputs(2)
    sizes = free_sizes(example, inputs is not nodes)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    path = tmp_path / "model.onnx"
    program = torch.onnx.export(module, (), kwargs=example, dynamo=True, dynamic_shapes=sizes, verbose=False)
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    # What a connectivity does not read is no input.
    names = [each.name for each in session.get_inputs()]
    assert set(names) <= set(sizes) and {"pos"} <= set(names)
    assert all(isinstance(each.shape[next(iter(sizes[each.name]))], str) for each in session.get_inputs())
    for count in (1, 5):
        given = inputs(count)
        out = session.run(None, {name: given[name].numpy() for name in names})[0]
        assert_close(torch.from_numpy(out), module(**given))
