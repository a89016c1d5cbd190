"""Whole stacks compiled in one graph, exported, and run by ONNX Runtime, for any number of images or edges."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.fx import GraphModule

from lgcn.nn import CONNECTIVITIES, LGCN, DenseLGCNConv, LandmarkRefiner, LearnableConnectivity, LGCNConv
from tests.nn.inputs import Landmarks, assert_close, build_connectivity, random_landmarks, randomize

K, C = 5, 3
SIZE = (32, 48)
# What the checks of values, and nothing else here, would leave in a graph.
CHECKS = ("aminmax", "isfinite", "nonzero", "isnan", "_assert", "warn")


def images(count: int) -> Landmarks:
    return random_landmarks(count, K, C)


def nodes(count: int) -> tuple[Tensor, ...]:
    batch = images(count).graph()
    return batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id


def layer_nodes(count: int) -> tuple[Tensor, ...]:
    x, pos, confidence, edge_index, landmark_id = nodes(count)
    return x, edge_index, pos, landmark_id, confidence


def weighted_nodes(count: int) -> tuple[Tensor | None, ...]:
    x, edge_index, pos, _, _ = layer_nodes(count)
    return x, edge_index, pos, None, None, torch.rand(edge_index.shape[1])


def masked(inputs: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """With a mask in the place where a stack takes it."""
    there = torch.rand(inputs[2].shape) < 0.8
    return (*inputs, *(None,) * (5 - len(inputs)), there)


def pictures(count: int) -> tuple[Tensor, ...]:
    """Features of stride 4, positions inside the input, confidences."""
    pos = torch.rand(count, K, 2) * torch.tensor([47, 31])
    return torch.randn(count, C, 8, 12), pos, torch.rand(count, K)


def far(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """With positions in pixels of a large picture: the one of two channels."""
    return tuple(50 * each + 1000 if each.shape[-1:] == (2,) else each for each in inputs)


def with_weights(inputs: tuple[Tensor | None, ...], weight: Tensor) -> tuple[Tensor | None, ...]:
    """With a mask, and edge weights behind it, as a stack takes them."""
    return (*masked(inputs), weight)


def conv(connectivity: str | None = "learnable") -> LGCNConv:
    return LGCNConv(C, 4, None if connectivity is None else build_connectivity(connectivity, K))


def lgcn(dense: bool, connectivity: str = "learnable", norm: str | None = None) -> LGCN:
    return LGCN(C, [4, 2], build_connectivity(connectivity, K), norm=norm, dense=dense)


def refiner() -> LandmarkRefiner:
    return LandmarkRefiner(
        K, C, SIZE, (6, 4), visual_norm="batch_norm", hidden_channels=(4,), landmark_channels=2, num_steps=2
    )


COMPILED: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Tensor | None, ...]]]] = {
    "LGCNConv": (conv, layer_nodes),
    "LGCNConv-edge_weight": (lambda: conv(None), weighted_nodes),
    "DenseLGCNConv": (lambda: DenseLGCNConv(C, 4, LearnableConnectivity(K)), images),
    "LGCN-sparse": (lambda: lgcn(False, norm="layer_norm"), nodes),
    "LGCN-sparse-mask": (lambda: lgcn(False), lambda count: masked(nodes(count))),
    "LGCN-sparse-frozen": (lambda: lgcn(False, norm="batch_norm").frozen(), nodes),
    "LGCN-dense": (lambda: lgcn(True, norm="batch_norm"), images),
    "LGCN-dense-frozen": (lambda: lgcn(True, norm="batch_norm").frozen(), images),
    "LGCN-dense-frozen-mask": (lambda: lgcn(True).frozen(), lambda count: masked(images(count))),
    "LandmarkRefiner-frozen": (lambda: refiner().frozen(), pictures),
    "LGCNConv-far": (conv, lambda count: far(layer_nodes(count))),
    "LGCN-dense-frozen-far": (lambda: lgcn(True).frozen(), lambda count: far(images(count))),
    "LGCN-dense-edge_weight-mask": (
        lambda: lgcn(True),
        lambda count: with_weights(images(count), torch.rand(count, K, K)),
    ),
    "LGCN-sparse-edge_weight-mask": (
        lambda: lgcn(False),
        lambda count: with_weights(nodes(count), torch.rand(count * K * (K - 1))),
    ),
}
for name in ("adjacency", "topology", "uniform"):
    COMPILED[f"LGCN-dense-frozen-{name}"] = (lambda name=name: lgcn(True, name).frozen(), images)
    COMPILED[f"LGCN-sparse-{name}"] = (lambda name=name: lgcn(False, name), nodes)


@pytest.mark.parametrize("case", COMPILED.values(), ids=list(COMPILED))
def test_one_graph_without_checks_for_any_size(
    case: tuple[Callable[[], nn.Module], Callable[[int], tuple[Tensor | None, ...]]],
) -> None:
    build, inputs = case
    module, graphs = randomize(build()), []

    def keep(graph: GraphModule, example: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=keep)
    for count in (6, 9):  # no other size here, or the compiler takes both for the same at first
        given = inputs(count)
        torch.manual_seed(0)
        expected = module(*given)
        torch.manual_seed(0)
        assert_close(compiled(*given), expected)
    assert not counters["graph_break"]
    assert len(graphs) == 1
    for node in graphs[0].graph.nodes:
        assert not any(check in str(node.target) for check in CHECKS), node


def test_explained_by_dynamo() -> None:
    for name in ("LGCNConv", "LGCN-dense-frozen"):
        build, inputs = COMPILED[name]
        torch._dynamo.reset()
        explanation = torch._dynamo.explain(build())(*inputs(2))
        assert explanation.graph_count == 1 and explanation.graph_break_count == 0


@pytest.mark.parametrize("dense", [True, False])
def test_batch_norm_over_a_mask_in_training_is_one_graph(dense: bool) -> None:
    module = lgcn(dense, norm="batch_norm").train()
    inputs = masked(images(2) if dense else nodes(2))
    torch._dynamo.reset()
    torch.compile(module, fullgraph=True, dynamic=True, backend="eager")(*inputs)


@pytest.mark.parametrize("name", CONNECTIVITIES.names())
def test_a_frozen_stack_is_exported_for_any_number_of_images(name: str) -> None:
    module = randomize(lgcn(True, name, norm="batch_norm")).frozen()
    exported = torch.export.export(module, tuple(images(2)), dynamic_shapes=free("x", "pos", "confidence"))
    for count in (1, 5):
        inputs = images(count)
        assert_close(exported.module()(*inputs), module(*inputs))


def test_a_stack_with_a_mask_is_exported_for_any_number_of_images() -> None:
    module = randomize(lgcn(True)).eval()
    images_, there = tuple(images(2)), torch.rand(2, K) < 0.8
    shapes = free("x", "pos", "confidence", "mask")
    exported = torch.export.export(module, images_, {"mask": there}, dynamic_shapes=shapes)
    inputs, there = images(5), torch.rand(5, K) < 0.5
    assert_close(exported.module()(*inputs, mask=there), module(*inputs, mask=there))


def test_a_sparse_stack_is_exported_for_any_number_of_nodes_and_edges() -> None:
    module = randomize(lgcn(False)).frozen()
    count, edges = torch.export.Dim("N"), torch.export.Dim("E")
    shapes = {name: {0: count} for name in ("x", "pos", "confidence", "landmark_id")} | {"edge_index": {1: edges}}
    exported = torch.export.export(module, nodes(2), dynamic_shapes=shapes)
    inputs = nodes(4)
    assert_close(exported.module()(*inputs), module(*inputs))


def test_a_frozen_refiner_is_exported_for_any_number_of_images() -> None:
    module = randomize(refiner()).frozen()
    exported = torch.export.export(module, pictures(2), dynamic_shapes=free("features", "pos", "confidence"))
    for count in (1, 5):
        inputs = pictures(count)
        assert_close(exported.module()(*inputs), module(*inputs))


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_bare_layer_is_exported_for_any_size(sparse: bool, frozen: bool) -> None:
    connectivity = build_connectivity("learnable", K)
    connectivity = randomize(connectivity).frozen() if frozen else randomize(connectivity)
    module = (LGCNConv if sparse else DenseLGCNConv)(C, 4, connectivity).eval()
    inputs = layer_nodes if sparse else images
    exported = torch.export.export(module, tuple(inputs(2)), dynamic_shapes=sizes_of("conv" if sparse else "dense"))
    for count in (1, 5):
        tensors = far(tuple(inputs(count)))
        assert_close(exported.module()(*tensors), module(*tensors))


def sizes_of(kind: str) -> dict[str, dict[int, object]]:
    """The axes that are free, of each input."""
    if kind == "dense":
        return free("x", "pos", "confidence")
    if kind == "dense-mask":
        return free("x", "pos", "confidence", "mask")
    if kind == "refiner":
        return free("features", "pos", "confidence")
    order = ("x", "edge_index", "pos", "landmark_id", "confidence")
    if kind == "sparse":
        order = ("x", "pos", "confidence", "edge_index", "landmark_id")
    count, edges = torch.export.Dim("N"), torch.export.Dim("E")
    return {name: {1: edges} if name == "edge_index" else {0: count} for name in order}


def images_and_masks(count: int) -> tuple[Tensor, ...]:
    return (*images(count), torch.rand(count, K) < 0.7)


class Masked(nn.Module):
    """A stack with the mask in the fourth place."""

    def __init__(self, lgcn: LGCN) -> None:
        super().__init__()
        self.lgcn = lgcn

    def forward(self, x: Tensor, pos: Tensor, confidence: Tensor, mask: Tensor) -> Tensor:
        return self.lgcn(x, pos, confidence, mask=mask)


ONNX: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Tensor, ...]], str]] = {
    "LGCN": (lambda: lgcn(True, norm="batch_norm").frozen(), images, "dense"),
    "LGCN-far": (lambda: lgcn(True).frozen(), lambda count: far(images(count)), "dense"),
    "LGCN-mask": (lambda: Masked(lgcn(True).frozen()), images_and_masks, "dense-mask"),
    "LGCN-sparse-far": (lambda: lgcn(False).frozen(), lambda count: far(nodes(count)), "sparse"),
    "LGCNConv": (lambda: conv().eval(), layer_nodes, "conv"),
    "DenseLGCNConv": (lambda: DenseLGCNConv(C, 4, LearnableConnectivity(K)).eval(), images, "dense"),
    "LandmarkRefiner": (lambda: refiner().frozen(), pictures, "refiner"),
    "adjacency": (lambda: lgcn(True, "adjacency").frozen(), images, "dense"),
    "topology": (lambda: lgcn(True, "topology").frozen(), images, "dense"),
    "uniform": (lambda: lgcn(True, "uniform").frozen(), images, "dense"),
}


@pytest.mark.parametrize("case", ONNX)
def test_onnx_runtime_agrees_for_any_size(case: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    build, inputs, kind = ONNX[case]
    module, sizes = randomize(build()), sizes_of(kind)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    path = tmp_path / "model.onnx"
    program = torch.onnx.export(module, tuple(inputs(2)), dynamo=True, dynamic_shapes=sizes, verbose=False)
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.get_inputs()
    # What a connectivity does not read is no input.
    assert [each.name for each in given] == [name for name in sizes if name in {each.name for each in given}]
    assert all(isinstance(each.shape[next(iter(sizes[each.name]))], str) for each in given)
    for count in (1, 5):
        tensors = tuple(inputs(count))
        fed = {name: tensor.numpy() for name, tensor in zip(sizes, tensors, strict=True)}
        out = session.run(None, {each.name: fed[each.name] for each in given})[0]
        assert_close(torch.from_numpy(out), module(*tensors))


def free(*names: str) -> dict[str, dict[int, object]]:
    """The first axis of each input as a free number B of images."""
    return {name: {0: torch.export.Dim("B")} for name in names}
