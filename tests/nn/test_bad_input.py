"""Input that cannot be used, given to each layer: one error that names the argument, and none while compiling."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lgcn.checks import InputError
from lgcn.nn import LGCN, DenseLGCN, DenseLGCNConv, LearnableConnectivity, LGCNConv, for_inference
from tests.nn.inputs import CONNECTIVITIES, build_connectivity

K, C, N, E, B = 6, 3, 9, 30, 2
NAN, INF = float("nan"), float("inf")
LAYERS: dict[str, nn.Module] = {
    "LGCNConv": LGCNConv(C, 4, LearnableConnectivity(K)),
    "LGCN": LGCN(C, [4, 2], LearnableConnectivity(K)),
    "DenseLGCNConv": DenseLGCNConv(C, 4, LearnableConnectivity(K)),
    "DenseLGCN": DenseLGCN(C, [4, 2], LearnableConnectivity(K)),
}
LAYERS |= {f"{name}-inference": for_inference(LAYERS[name]) for name in list(LAYERS)}
SPARSE = tuple(name for name in LAYERS if not name.startswith("Dense"))
DENSE = tuple(name for name in LAYERS if name.startswith("Dense"))


def good(layer: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    if layer in DENSE:
        return {"x": torch.rand(B, K, C), "pos": torch.rand(B, K, 2), "confidence": torch.rand(B, K)}
    nodes = {"x": torch.rand(N, C), "pos": torch.rand(N, 2), "confidence": torch.rand(N)}
    return nodes | {"landmark_id": torch.randint(0, K, (N,)), "edge_index": torch.randint(0, N, (2, E))}


def changed(shape: tuple[int, ...], place: Any, value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros but for one value."""
    tensor = torch.zeros(shape, dtype=dtype)
    tensor[place] = value
    return tensor


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


LONG = torch.long
IMAGES = {"x": torch.rand(B, N, C), "pos": torch.rand(B, N, 2), "confidence": torch.rand(B, N)}
# What is given instead, and how the message must begin.
NO_TENSORS = {
    f"{name} as {kind}": ({name: value}, rf"'{name}' to be a tensor.*\(got {kind}\)")
    for name in ("x", "pos", "confidence", "mask", "edge_weight")
    for kind, value in (("list", [0.5]), ("ndarray", np.ones(3)), ("tuple", (1.0, 2.0, 3.0)), ("int", 3))
}
ON_EDGE_LISTS: dict[str, tuple[dict[str, Any], str]] = {
    **NO_TENSORS,
    "no edges": ({"edge_index": None}, r"'edge_index' to be a tensor .*\(got NoneType\)"),
    "edges in a list": ({"edge_index": [[0, 1], [1, 0]]}, r"'edge_index' to be a tensor .*\(got list\)"),
    "edges of NumPy": ({"edge_index": np.ones((2, 3))}, r"'edge_index' to be a tensor .*\(got ndarray\)"),
    "types in a list": ({"landmark_id": [0, 1]}, r"'landmark_id' to be a tensor \(got list\)"),
    "x left out": ({"x": None}, r"'x' to be a tensor \(got NoneType\)"),
    "x of another width": ({"x": torch.rand(N, C + 1)}, r"'x' .*C=3 \(got \[9, 4\]\)"),
    "x of one axis": ({"x": torch.rand(N)}, r"'x' .*\(got \[9\]\)"),
    "pos of three axes": ({"pos": torch.rand(N, 3)}, r"'pos' .*N=9 \(got \[9, 3\]\)"),
    "pos of fewer nodes": ({"pos": torch.rand(N - 1, 2)}, r"'pos' .*N=9 \(got \[8, 2\]\)"),
    "a type too high": ({"landmark_id": changed((N,), 2, K, LONG)}, r"'landmark_id' in 0 ... 5 \(got 6\)"),
    "a negative type": ({"landmark_id": changed((N,), 2, -1, LONG)}, r"'landmark_id' in 0 ... 5 \(got -1\)"),
    "types that are no integers": ({"landmark_id": torch.rand(N)}, r"'landmark_id' .*\(got torch.float32\)"),
    "types of fewer nodes": ({"landmark_id": torch.zeros(N - 1, dtype=LONG)}, "'landmark_id' to have shape"),
    "confidences of fewer nodes": ({"confidence": torch.rand(N - 1)}, r"'confidence' .*N=9 \(got \[8\]\)"),
    "confidences in a column": ({"confidence": torch.rand(N, 1)}, r"'confidence' .*\(got \[9, 1\]\)"),
    "a confidence of NaN": ({"confidence": changed((N,), 3, NAN)}, r"'confidence' .*finite \(got nan at \[3\]\)"),
    "an infinite confidence": ({"confidence": changed((N,), 3, -INF)}, r"'confidence' .*\(got -inf at \[3\]\)"),
    "edges of int32": ({"edge_index": torch.zeros(2, E, dtype=torch.int32)}, r"'edge_index' .*Use .long"),
    "edges of floats": ({"edge_index": torch.zeros(2, E)}, r"'edge_index' of torch.int64 \(got torch.float32\)"),
    "edges in rows": ({"edge_index": torch.zeros(E, 2, dtype=LONG)}, r"'edge_index' .*\[2, E\] \(got \[30, 2\]\)"),
    "edges of three ends": ({"edge_index": torch.zeros(3, E, dtype=LONG)}, r"'edge_index' .*\(got \[3, 30\]\)"),
    "an edge from nowhere": ({"edge_index": changed((2, E), (0, 3), N, LONG)}, r"'edge_index' in 0 ... 8 \(got 9\)"),
    "a negative edge": ({"edge_index": changed((2, E), (1, 3), -1, LONG)}, r"'edge_index' in 0 ... 8 \(got -1\)"),
    "too few weights": ({"edge_weight": torch.rand(E - 1)}, r"'edge_weight' .*E=30 \(got \[29\]\)"),
    "weights in a column": ({"edge_weight": torch.rand(E, 1)}, r"'edge_weight' .*\(got \[30, 1\]\)"),
    "a mask of fewer nodes": ({"mask": ones(N - 1)}, r"'mask' .*N=9 \(got \[8\]\)"),
    "a mask of numbers": ({"mask": torch.ones(N)}, "'mask'"),
    "pos of another B": ({**IMAGES, "pos": torch.rand(3, N, 2)}, "'pos'"),
    "confidences of another B": ({**IMAGES, "confidence": torch.rand(3, N)}, "'confidence'"),
    "weights of another B": ({**IMAGES, "edge_weight": torch.rand(3, E)}, "'edge_weight'"),
    "a mask of another B": ({**IMAGES, "mask": ones(3, N)}, "'mask'"),
}
ON_COMPLETE_GRAPHS: dict[str, tuple[dict[str, Any], str]] = {
    **NO_TENSORS,
    "x left out": ({"x": None}, r"'x' to be a tensor \(got NoneType\)"),
    "a pair of x": ({"x": (torch.rand(B, K, C), torch.rand(B, K, C))}, r"'x' to be a tensor \(got tuple\)"),
    "x of another width": ({"x": torch.rand(B, K, C + 1)}, r"'x' .*C=3 \(got \[2, 6, 4\]\)"),
    "x without B": ({"x": torch.rand(K, C)}, r"'x' .*\(got \[6, 3\]\)"),
    "pos of three axes": ({"pos": torch.rand(B, K, 3)}, r"'pos' .*\(got \[2, 6, 3\]\)"),
    "pos of another B": ({"pos": torch.rand(1, K, 2)}, r"'pos' .*B=2, K=6 \(got \[1, 6, 2\]\)"),
    "confidences of another B": ({"confidence": torch.rand(3, K)}, r"'confidence' .*B=2, K=6 \(got \[3, 6\]\)"),
    "confidences of another K": ({"confidence": torch.rand(B, K - 1)}, r"'confidence' .*K=6 \(got \[2, 5\]\)"),
    "all of another K": (
        {"x": torch.rand(B, 5, C), "pos": torch.rand(B, 5, 2), "confidence": torch.rand(B, 5)},
        r"'confidence' .*K=6 \(got \[2, 5\]\)",
    ),
    "a confidence of NaN": ({"confidence": changed((B, K), (1, 3), NAN)}, r"'confidence' .*\(got nan at \[1, 3\]\)"),
    "an infinite confidence": ({"confidence": changed((B, K), (1, 3), INF)}, r"'confidence' .*\(got inf at \[1, 3\]"),
    "weights of another B": ({"edge_weight": torch.rand(3, K, K)}, r"'edge_weight' .*B=2, K=6 \(got \[3, 6, 6\]\)"),
    "weights of another K": ({"edge_weight": torch.rand(B, K, 5)}, r"'edge_weight' .*\(got \[2, 6, 5\]\)"),
    "weights of one axis": ({"edge_weight": torch.rand(K)}, r"'edge_weight' .*\(got \[6\]\)"),
    "a mask of another B": ({"mask": ones(3, K)}, r"'mask' .*B=2, K=6 \(got \[3, 6\]\)"),
    "a mask of another K": ({"mask": ones(B, K - 1)}, r"'mask' .*B=2, K=6 \(got \[2, 5\]\)"),
    "a mask of numbers": ({"mask": torch.ones(B, K)}, "'mask'"),
}


def cases() -> list[Any]:
    tables = {**dict.fromkeys(SPARSE, ON_EDGE_LISTS), **dict.fromkeys(DENSE, ON_COMPLETE_GRAPHS)}
    return [
        pytest.param(layer, *case, id=f"{layer}-{name}")
        for layer, table in tables.items()
        for name, case in table.items()
    ]


@pytest.mark.parametrize(("layer", "wrong", "message"), cases())
def test_one_error_names_the_argument(layer: str, wrong: dict[str, Any], message: str) -> None:
    given = good(layer)
    LAYERS[layer](**given)
    with pytest.raises(InputError, match=f"^Expected {message}") as raised:
        LAYERS[layer](**{**given, **wrong})
    assert "\n" not in str(raised.value)


WEIGHTS = {"edge_weight": torch.rand(B, K, K)}
# With given weights nothing else reads the mask.
WITH_WEIGHTS: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "a mask of another B": ({**WEIGHTS, "mask": ones(3, K)}, r"'mask' .*B=2, K=6 \(got \[3, 6\]\)"),
    "a mask of another K": ({**WEIGHTS, "mask": ones(B, K - 1)}, r"'mask' .*B=2, K=6 \(got \[2, 5\]\)"),
    "a mask of numbers": ({**WEIGHTS, "mask": torch.ones(B, K)}, r"'mask' .*booleans \(got torch.float32\)"),
    "no positions": ({"pos": None}, r"'pos' .*\(got None\)"),
    "no confidences": ({"confidence": None}, r".*'confidence' .*\(got None\)"),
}


@pytest.mark.parametrize("layer", DENSE)
@pytest.mark.parametrize(("wrong", "message"), WITH_WEIGHTS.values(), ids=list(WITH_WEIGHTS))
def test_masks_with_weights_and_arguments_left_out(layer: str, wrong: dict[str, Tensor | None], message: str) -> None:
    with pytest.raises(InputError, match=f"^Expected {message}"):
        LAYERS[layer](**{**good(layer), **wrong})


@pytest.mark.parametrize("layer", SPARSE)
@pytest.mark.parametrize("name", ["pos", "confidence", "landmark_id"])
def test_what_is_left_out_on_an_edge_list(layer: str, name: str) -> None:
    with pytest.raises(InputError, match=rf"^Expected .*'{name}' .*\(got None\)"):
        LAYERS[layer](**{**good(layer), name: None})


@pytest.mark.parametrize("layer", LAYERS)
def test_where_weights_are_given_no_confidence_is_needed(layer: str) -> None:
    given = good(layer)
    given["edge_weight"] = torch.rand(B, K, K) if layer in DENSE else torch.rand(E)
    expected = LAYERS[layer](**given)
    for name in ("confidence", "landmark_id"):
        given.pop(name, None)
    assert torch.equal(LAYERS[layer](**given), expected)


def test_a_stack_without_shape_features_needs_no_positions() -> None:
    dense = DenseLGCN(C, [4, 2], LearnableConnectivity(K), shape_features=False)
    for module, name in ((dense, "DenseLGCN"), (dense.to_sparse(), "LGCN"), (for_inference(dense), "DenseLGCN")):
        given = good(name)
        expected = module(**given)
        given.pop("pos")
        assert torch.equal(module(**given), expected)


@pytest.mark.parametrize("layer", ["LGCNConv", "DenseLGCN"])
def test_nothing_is_checked_in_a_compiled_region(layer: str) -> None:
    given = good(layer)
    shape = given["confidence"].shape
    given["confidence"] = changed(tuple(shape), (0,) * len(shape), NAN)
    torch._dynamo.reset()
    compiled = torch.compile(LAYERS[layer], fullgraph=True, dynamic=True, backend="eager")
    assert compiled(**given).isnan().any()


@pytest.mark.parametrize("stack", [LGCN, DenseLGCN])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"act": "relux"}, "'act' to be an activation of PyTorch's by name, a callable or None .got 'relux'"),
        ({"act": 3}, "'act' to be an activation of PyTorch's by name, a callable or None .got 3"),
        ({"norm": "batchnorms"}, "'norm' to be batch_norm, layer_norm, a module .* .got 'batchnorms'"),
        ({"norm": "graph_norm"}, "'norm' to be batch_norm, layer_norm, a module .* .got 'graph_norm'"),
        ({"dropout": 1.0}, r"'dropout' in \[0, 1\) .got 1.0"),
        ({"shape_features": [True]}, "'shape_features' to hold one flag for each of 2 layers .got 1"),
        ({"channels": []}, "'channels' to hold the width of at least one layer .got none"),
        ({"connectivity": "learnable"}, "'connectivity' to be a Connectivity .got 'learnable'.*LearnableConnectivity"),
        ({"connectivity": 3}, "'connectivity' to be a Connectivity .got 3"),
        ({"connectivity": None}, "'connectivity' to be a Connectivity .got None"),
    ],
)
def test_options_of_a_stack(stack: type[nn.Module], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        stack(**{"in_channels": C, "channels": [4, 2], "connectivity": LearnableConnectivity(K), **options})


@pytest.mark.parametrize("layer", [LGCNConv, DenseLGCNConv])
@pytest.mark.parametrize("connectivity", ["learnable", 3, LearnableConnectivity])
def test_a_wrong_type_of_connectivity(layer: type[nn.Module], connectivity: object) -> None:
    with pytest.raises(InputError, match="'connectivity' to be a Connectivity .got .*LearnableConnectivity"):
        layer(C, 4, connectivity)


@pytest.mark.parametrize("name", CONNECTIVITIES)
def test_options_of_a_connectivity(name: str) -> None:
    for option, known in (("normalization", "softmax, sigmoid, raw"), ("self_loops", "none, scored, zero")):
        with pytest.raises(InputError, match=f"'{option}' to be one of {known} .got 'maximum'"):
            build_connectivity(name, K, **{option: "maximum"})


def test_a_lazy_layer_is_not_ready_for_inference() -> None:
    with pytest.raises(InputError, match="'in_channels' to be known for inference .got -1.*Run the module once"):
        for_inference(DenseLGCNConv(-1, 4))
