"""The page ``cheatsheet.md``, generated from the classes of :mod:`lgcn.nn`.

    python docs/make_cheatsheet.py [--check]

Signatures are read, and every feature of the tables is tried out on a small graph: a cell says *yes* if the layer gave
the right result, and is empty if it has no such argument or refuses the input. ``--check`` writes nothing and fails if
the page differs.
"""

import argparse
import inspect
import sys
import textwrap
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch
from onnxruntime import InferenceSession
from tabulate import tabulate
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.explain import Explainer, GNNExplainer, ModelConfig
from torch_geometric.nn import HeteroConv

import lgcn.nn
from lgcn.checks import InputError
from lgcn.graph import landmark_graph
from lgcn.nn import (
    LGCN,
    AdjacencyConnectivity,
    Connectivity,
    DenseLGCN,
    DenseLGCNConv,
    LandmarkRefiner,
    LearnableConnectivity,
    LGCNConv,
    TopologyConnectivity,
    UniformConnectivity,
    for_inference,
)

PAGE = Path(__file__).with_name("cheatsheet.md")
K, C, SIDE = 5, 3, 8
DYNAMIC = torch.export.Dim.DYNAMIC


class Layer(NamedTuple):
    """A layer with inputs to try it on."""

    make: Callable[..., nn.Module]
    """Takes in_channels and a connectivity."""
    on_edges: bool
    """Whether it takes an edge list."""

    def inputs(self, images: int = 2) -> dict[str, Tensor]:
        """Keyword arguments of ``forward`` for complete graphs."""
        torch.manual_seed(images)
        x, pos, confidence = torch.randn(images, K, C), torch.rand(images, K, 2), torch.rand(images, K)
        if self.make is make_refiner:
            return {"features": torch.randn(images, C, SIDE, SIDE), "pos": SIDE * pos, "confidence": confidence}
        if not self.on_edges:
            return {"x": x, "pos": pos, "confidence": confidence}
        graph = landmark_graph(pos, confidence, x)
        return {name: graph[name] for name in ("x", "edge_index", "pos", "landmark_id", "confidence")}

    def module(self, in_channels: int = C) -> nn.Module:
        """The layer with the paper's connectivity, in eval mode."""
        torch.manual_seed(0)
        return self.make(in_channels, LearnableConnectivity(K)).eval()


def make_refiner(in_channels: int, connectivity: Connectivity) -> LandmarkRefiner:
    """A refiner with few channels."""
    return LandmarkRefiner(
        K, in_channels, (SIDE, SIDE), connectivity=connectivity, visual_channels=(4,), hidden_channels=(4,)
    )


LAYERS: dict[str, Layer] = {
    "LGCNConv": Layer(lambda c, e: LGCNConv(c, 4, e), True),
    "LGCN": Layer(lambda c, e: LGCN(c, [4, 2], e), True),
    "DenseLGCNConv": Layer(lambda c, e: DenseLGCNConv(c, 4, e), False),
    "DenseLGCN": Layer(lambda c, e: DenseLGCN(c, [4, 2], e), False),
    "LandmarkRefiner": Layer(make_refiner, False),
}


def has_argument(layer: Layer, name: str) -> bool:
    """Whether ``forward`` takes an argument."""
    return name in inspect.signature(layer.module().forward).parameters


def is_close(one: Tensor, other: Tensor, atol: float = 1e-5) -> bool:
    """Whether two results are the same and finite."""
    return bool(one.isfinite().all()) and torch.allclose(one, other, rtol=1e-4, atol=atol)


def takes_a_batch(layer: Layer) -> bool:
    """A batch of graphs equals a loop over them."""
    module, batch = layer.module(), layer.inputs(3)
    out = module(**batch)
    if not layer.on_edges:
        parts = [module(**{name: value[image : image + 1] for name, value in batch.items()}) for image in range(3)]
        return is_close(out, torch.cat(parts))
    edges = landmark_graph(torch.rand(1, K, 2), torch.rand(1, K)).edge_index
    nodes = {name: value.view(3, K, *value.shape[1:]) for name, value in batch.items() if name != "edge_index"}
    parts = [module(edge_index=edges, **{name: value[image] for name, value in nodes.items()}) for image in range(3)]
    return is_close(out, torch.cat(parts))


def shares_an_edge_list(layer: Layer) -> bool:
    """Nodes [B, N, C] of several images with one edge list equal the block-diagonal batch."""
    if not layer.on_edges:
        return False
    module, batch = layer.module(), layer.inputs(3)
    single = layer.inputs(1)
    nodes = {name: batch[name].view(3, K, *batch[name].shape[1:]) for name in ("x", "pos", "confidence")}
    out = module(edge_index=single["edge_index"], landmark_id=single["landmark_id"], **nodes)
    return is_close(out.flatten(0, 1), module(**batch))


def takes_edge_weight(layer: Layer) -> bool:
    """Given weights replace the connectivity, and need neither types nor confidences."""
    if not has_argument(layer, "edge_weight"):
        return False
    module, inputs = layer.module(), layer.inputs()
    out, weight = module(**inputs, return_connectivity=True)
    kept = {name: value for name, value in inputs.items() if name in {"x", "edge_index", "pos"}}
    return is_close(module(**kept, edge_weight=weight[1] if layer.on_edges else weight), out)


def returns_edge_weight(layer: Layer) -> bool:
    """The weights of each node's neighbours are returned, and sum to one."""
    inputs = layer.inputs()
    _, weight = layer.module()(**inputs, return_connectivity=True)
    if not layer.on_edges:
        return is_close(weight.sum(dim=-1), torch.ones(2, K))
    total = torch.zeros(2 * K).index_add(0, inputs["edge_index"][1], weight[1])
    return is_close(total, torch.ones(2 * K))


def takes_a_mask(layer: Layer) -> bool:
    """Nothing is read at a missing node."""
    if not has_argument(layer, "mask"):
        return False
    module, inputs = layer.module(), layer.inputs()
    mask = torch.ones_like(inputs["confidence"], dtype=torch.bool)
    mask.view(-1)[1] = False
    missing = {
        name: value.masked_fill(~mask.view(*mask.shape, *(1,) * (value.dim() - mask.dim())), torch.nan)
        for name, value in inputs.items()
        if name in {"x", "pos", "confidence"}
    }
    clean, without = module(**inputs, mask=mask), module(**{**inputs, **missing}, mask=mask)
    return is_close(without[mask], clean[mask]) and not is_close(without[mask], module(**inputs)[mask])


def drops_nodes(layer: Layer) -> bool:
    """A subgraph without some nodes works, since each node carries its type."""
    if not layer.on_edges:
        return False
    module, inputs = layer.module(), layer.inputs()
    graph = landmark_graph(inputs["pos"].view(2, K, 2), inputs["confidence"].view(2, K), inputs["x"].view(2, K, C))
    keep = torch.arange(2 * K) != 3
    part = graph.subgraph(keep)
    out = module(part.x, part.edge_index, part.pos, part.landmark_id, part.confidence)
    return is_close(out, module(**inputs, mask=keep)[keep])


def is_bipartite(layer: Layer) -> bool:
    """A pair of source and target features, with given weights."""
    if not layer.on_edges:
        return False
    source, target, index = torch.randn(4, C), torch.randn(6, C), torch.tensor([[0, 1, 3], [5, 0, 2]])
    places = (torch.rand(4, 2), torch.rand(6, 2))
    out = layer.module()((source, target), index, places, edge_weight=torch.rand(3))
    return out.shape[0] == 6


def works_in_hetero_conv(layer: Layer) -> bool:
    """``HeteroConv`` passes pairs of features and their weights on."""
    if not layer.on_edges:
        return False
    kind = ("part", "to", "whole")
    module = HeteroConv({kind: LGCNConv((C, C), 4, shape_features=False)} if layer is LAYERS["LGCNConv"] else {})
    x = {"part": torch.randn(4, C), "whole": torch.randn(6, C)}
    index = {kind: torch.tensor([[0, 1, 3], [5, 0, 2]])}
    return module(x, index, edge_weight_dict={kind: torch.rand(3)})["whole"].shape == (6, 4)


def is_lazy(layer: Layer) -> bool:
    """``in_channels=-1`` is derived from the first input."""
    module, inputs = layer.module(-1), layer.inputs()
    return is_close(module(**inputs), module(**inputs))


def takes_edge_index_class(layer: Layer) -> bool:
    """PyG's ``EdgeIndex`` instead of a tensor."""
    if not layer.on_edges:
        return False
    module, inputs = layer.module(), layer.inputs()
    index = EdgeIndex(inputs["edge_index"], sparse_size=(2 * K, 2 * K))
    return is_close(module(**{**inputs, "edge_index": index}), module(**inputs))


def takes_sparse_matrix(layer: Layer) -> bool:
    """A transposed sparse matrix of PyTorch, as PyG's layers take it."""
    if not layer.on_edges:
        return False
    module, inputs = layer.module(), layer.inputs()
    neighbor, receiver = inputs["edge_index"]
    matrix = torch.sparse_coo_tensor(torch.stack([receiver, neighbor]), torch.ones(len(receiver)), (2 * K, 2 * K))
    return is_close(module(**{**inputs, "edge_index": matrix.coalesce()}), module(**inputs))


def is_explained(layer: Layer) -> bool:
    """``GNNExplainer`` returns a mask over the edges."""
    if not layer.on_edges:
        return False
    config = ModelConfig(mode="regression", task_level="node", return_type="raw")
    explainer = Explainer(
        layer.module(),
        GNNExplainer(epochs=2),
        explanation_type="model",
        node_mask_type="attributes",
        edge_mask_type="object",
        model_config=config,
    )
    inputs = layer.inputs()
    explanation = explainer(inputs.pop("x"), inputs.pop("edge_index"), **inputs, index=1)
    return explanation.edge_mask.shape == (2 * K * (K - 1),)


def compiles(layer: Layer) -> bool:
    """One graph without breaks, for any size."""
    torch.compiler.reset()
    module = layer.module()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="eager")
    return all(is_close(compiled(**layer.inputs(images)), module(**layer.inputs(images))) for images in (2, 3))


def exports(layer: Layer) -> bool:
    """``torch.export`` of the module for inference, for any number of images, or of nodes and edges."""
    module = for_inference(layer.module())
    inputs = layer.inputs()
    shapes = {name: {1 if name == "edge_index" else 0: DYNAMIC} for name in inputs}
    program = torch.export.export(module, (), inputs, dynamic_shapes=shapes).module()
    other = layer.inputs(3)
    return is_close(program(**other), module(**other))


def runs_in_onnx_runtime(layer: Layer) -> bool:
    """ONNX Runtime agrees with the module for inference, for any number of images, or of nodes and edges."""
    module = for_inference(layer.module())
    inputs = layer.inputs()
    shapes = {name: {1 if name == "edge_index" else 0: DYNAMIC} for name in inputs}
    with redirect_stdout(None):
        program = torch.onnx.export(module, (), kwargs=inputs, dynamo=True, dynamic_shapes=shapes, verbose=False)
    other = layer.inputs(3)
    session = InferenceSession(program.model_proto.SerializeToString())  # type: ignore[union-attr]
    given = {each.name: other[each.name].numpy() for each in session.get_inputs()}
    return is_close(torch.from_numpy(session.run(None, given)[0]), module(**other))


def runs_under_autocast(layer: Layer) -> bool:
    """Forward and backward under bfloat16 autocast."""
    module, inputs = layer.module(), layer.inputs()
    with torch.autocast("cpu", torch.bfloat16):
        out = module(**inputs)
    out.float().sum().backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    return is_close(out.float(), module(**inputs), atol=0.1) and all(g is not None for g in gradients)


def runs_for_inference(layer: Layer) -> bool:
    """``for_inference(module)`` gives the same results."""
    module, inputs = layer.module(), layer.inputs()
    return is_close(for_inference(module)(**inputs), module(**inputs))


def converts(layer: Layer) -> bool:
    """``to_dense()`` or ``to_sparse()`` shares the parameters."""
    module = layer.module()
    other = getattr(module, "to_sparse" if hasattr(module, "to_sparse") else "to_dense", None)
    return other is not None and {*map(id, other().parameters())} == {*map(id, module.parameters())}


FEATURES: dict[str, Callable[[Layer], bool]] = {
    "batches: block-diagonal `Batch`, or `[B, K, C]`": takes_a_batch,
    "static graphs: `[B, N, C]` with one edge list": shares_an_edge_list,
    "`edge_weight` instead of a connectivity": takes_edge_weight,
    "`return_connectivity=True`": returns_edge_weight,
    "`mask` of missing nodes, which may hold NaN": takes_a_mask,
    "subgraphs with dropped nodes": drops_nodes,
    "bipartite: `(x_src, x_dst)` with `edge_weight`": is_bipartite,
    "inside `HeteroConv`, with `edge_weight`": works_in_hetero_conv,
    "lazy: `in_channels=-1`": is_lazy,
    "`EdgeIndex`": takes_edge_index_class,
    "transposed sparse matrix of PyTorch": takes_sparse_matrix,
    "`GNNExplainer`": is_explained,
    "`torch.compile(fullgraph=True, dynamic=True)`": compiles,
    "`torch.export` after `for_inference`, dynamic sizes": exports,
    "ONNX Runtime, dynamic sizes": runs_in_onnx_runtime,
    "autocast to bfloat16": runs_under_autocast,
    "`for_inference`": runs_for_inference,
    "`to_dense()` / `to_sparse()`, shared parameters": converts,
}


def works(feature: Callable[[Layer], bool], layer: Layer) -> bool:
    """Whether a feature gives the right result; False if the layer refuses the input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return feature(layer)
        except (InputError, TypeError, AttributeError, KeyError):
            return False


def signature_of(function: Callable[..., Any]) -> str:
    """Arguments with their defaults, without types."""
    arguments = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    ]
    return str(inspect.Signature(arguments))


def wrap(line: str, indent: str) -> str:
    """A signature in lines that fit the page."""
    return textwrap.fill(line, 84, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def connectivities() -> list[list[str]]:
    """Rows of all connectivities: what they depend on, parameters, options."""
    torch.manual_seed(0)
    made = {
        LearnableConnectivity: LearnableConnectivity(68),
        AdjacencyConnectivity: AdjacencyConnectivity(68),
        TopologyConnectivity: TopologyConnectivity(68, edges=[(0, 1), (1, 2)]),
        UniformConnectivity: UniformConnectivity(68),
    }
    known = {
        thing
        for thing in map(vars(lgcn.nn).get, lgcn.nn.__all__)
        if inspect.isclass(thing) and issubclass(thing, Connectivity) and thing is not Connectivity
    }
    if missing := known - made.keys():
        raise SystemExit(f"Expected an example of {', '.join(each.__name__ for each in missing)} (got none).")
    rows = []
    for kind, module in made.items():
        module.eval()
        depends = not torch.equal(module.dense(torch.zeros(1, 68)), module.dense(torch.rand(1, 68)))
        options = [
            f"`{name}`"
            for name in inspect.signature(kind).parameters
            if name not in inspect.signature(Connectivity).parameters
        ]
        count = sum(parameter.numel() for parameter in module.parameters())
        summary = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0].rstrip(".")
        summary = summary.partition(",")[0].partition(" :math:")[0].rstrip(":")
        rows.append(
            [
                f"{{class}}`~lgcn.nn.{kind.__name__}`",
                summary,
                "yes" if depends else "",
                f"{count:,}",
                ", ".join(options),
            ]
        )
    return rows


def page() -> str:
    """The whole page."""
    layers = [
        [title, *("yes" if works(feature, layer) else "" for layer in LAYERS.values())]
        for title, feature in FEATURES.items()
    ]
    names = [f"{{class}}`~lgcn.nn.{name}`" for name in LAYERS]
    shared = [f"`{name}={p.default!r}`" for name, p in inspect.signature(Connectivity).parameters.items()][1:]
    signatures = "\n\n".join(
        f"{wrap(name + signature_of(type(layer.module()).__init__), '    ')}\n"
        f"{wrap('    forward' + signature_of(type(layer.module()).forward), '        ')}"
        for name, layer in LAYERS.items()
    )
    tables = {
        "layers": tabulate(layers, ["", *names], tablefmt="pipe"),
        "connectivities": tabulate(
            connectivities(),
            ["", "edge weights", "from confidences", "parameters, K = 68", "own options"],
            tablefmt="pipe",
            colalign=("left", "left", "left", "right", "left"),
            disable_numparse=True,
        ),
        "shared": ", ".join(shared),
        "signatures": signatures,
    }
    text = Path(__file__).with_name("cheatsheet.in.md").read_text(encoding="utf-8")
    for name, table in tables.items():
        text = text.replace(f"{{{{ {name} }}}}", table)
    return text


def main() -> int:
    """Writes the page, or compares it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    args = parser.parse_args()
    made = page()
    if args.check:
        return int(PAGE.read_text(encoding="utf-8") != made)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
