"""The refiner "gnn" by name, by import path and in Python; trained, evaluated and loaded by the same commands."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GAT, GATv2Conv, SAGEConv

from lgcn.checks import InputError
from lgcn.cli.main import main
from lgcn.models import GNNS, GNNConfig, LandmarkDetector, create_detector
from lgcn.nn import ConvStack, DenseLGCNConv, GNNRefiner, LGCNConv, RefinerChain
from tests.datasets.synthetic import pts_tree

TINY = {"backbone": "test_efficientnet", "backbone_options": {"width": 8}, "input_size": (32, 32)}


class Mine(nn.Module):
    """A user's own model: mean of the neighbours."""

    def __init__(self, in_channels: int, out_channels: int, width: int = 8) -> None:
        super().__init__()
        self.first, self.second = SAGEConv(in_channels, width), SAGEConv(width, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index).relu(), edge_index)


@pytest.fixture
def my_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_project")
    module.Mine = Mine  # type: ignore[attr-defined]
    module.not_a_model = print  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_project", module)


def test_layers_and_models_by_name() -> None:
    stack = GNNConfig(num_layers=3, options={"heads": 4}).build(10, 2)
    assert isinstance(stack, ConvStack) and [type(each) for each in stack.convs] == 3 * [GATv2Conv]
    assert isinstance(GNNConfig(model="LGCNConv").build(10, 2).convs[0], LGCNConv)  # type: ignore[union-attr, index]
    gat = GNNConfig(model="GAT", hidden_channels=16, num_layers=4, options={"v2": True}).build(10, 2)
    assert isinstance(gat, GAT) and (gat.hidden_channels, gat.num_layers) == (16, 4)


@pytest.mark.usefixtures("my_module")
def test_own_models_by_name_and_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GNNS, "_things", {})
    GNNS.register("mine", Mine)
    for name in ("mine", "my_project.Mine"):
        built = GNNConfig(model=name, options={"width": 5}).build(10, 2)
        assert isinstance(built, Mine) and built.first.out_channels == 5
        with pytest.raises(InputError, match=r"'refiner.gnn.options' to be one of width \(got 'depth'\)"):
            GNNConfig(model=name, options={"depth": 5}).build(10, 2)


@pytest.mark.usefixtures("my_module")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("GATv3Conv", "such as GATv2Conv or GAT.*Did you mean 'GATv2Conv'.*lgcn --import MODULE"),
        ("antigravity.fly", "in a module that is imported .*lgcn --import antigravity COMMAND"),
        ("my_project.not_a_model", r"a torch.nn.Module of 'my_project' \(got 'not_a_model'\)"),
        ("os.system", "a torch.nn.Module of 'os'"),
        ("GINEConv", r"'GINEConv' to take 'in_channels' and 'out_channels' \(got nn, .*in a class of yours"),
        ("EdgeConv", "'EdgeConv' to take 'in_channels' and 'out_channels'"),
        ("MLPAggregation", "options of the GNN|in_channels"),
        ("PairNorm", "'PairNorm' to take 'in_channels' and 'out_channels'"),
    ],
)
def test_unknown_models_say_what_is_known(model: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GNNConfig(model=model).build(10, 2)
    assert "antigravity" not in sys.modules  # a downloaded config imports nothing


@pytest.mark.parametrize("model", ["PNAConv", "PNA"])
def test_whatever_a_layer_says_of_options_is_an_input_error(model: str) -> None:
    options = {"aggregators": ["mean"], "scalers": ["identity"], "deg": [0, 5]}  # must be a tensor, says an attribute
    with pytest.raises(InputError, match=f"options of .*'{model}'"):
        GNNConfig(model=model, options=options).build(10, 2)


@pytest.mark.parametrize("name", ["GATv2Conv", "LGCNConv"])
def test_a_saved_detector_loads_with_the_same_results(name: str, tmp_path: Path) -> None:
    gnn = {"model": name, "use_connectivity": name == "LGCNConv"}
    detector = create_detector("default", refiner={"name": "gnn", "gnn": gnn}, **TINY).eval()
    nn.init.ones_(detector.refiner.scale)  # type: ignore[union-attr, arg-type]
    detector.save_pretrained(tmp_path)
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    loaded, output = LandmarkDetector.from_pretrained(tmp_path), detector(images)
    assert torch.equal(loaded(images).pos, output.pos)
    torch.testing.assert_close(loaded.for_inference()(images).pos, output.pos)
    assert not torch.equal(output.pos, output.initial)
    batch = detector.landmark_graphs(images)
    out = detector.refiner.model(batch.x, batch.edge_index, batch.get("edge_weight"), pos=batch.x[:, :2])  # type: ignore[union-attr, operator]
    torch.testing.assert_close(batch.pos + 32 * out, output.pos.flatten(0, 1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("self_loops", ["none", "scored", "zero"])
def test_the_papers_layer_as_a_gnn_gives_the_dense_result_through_landmark_graphs(self_loops: str) -> None:
    gnn = {"model": "LGCNConv", "use_connectivity": True}
    options = {"name": "gnn", "gnn": gnn, "connectivity": {"self_loops": self_loops}}
    detector = create_detector("default", refiner=options, **TINY).eval()
    refiner = detector.refiner
    assert isinstance(refiner, GNNRefiner) and isinstance(refiner.model, ConvStack)
    nn.init.ones_(refiner.scale)  # type: ignore[arg-type]
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    batch, output = detector.landmark_graphs(images), detector(images, return_connectivity=True)
    edges = refiner.model(batch.x, batch.edge_index, batch.edge_weight, pos=batch.x[:, :2])
    x = batch.x.view(2, 68, -1)
    for layer, conv in enumerate(refiner.model.convs):
        dense = DenseLGCNConv(conv.in_channels, conv.out_channels)  # type: ignore[arg-type]
        dense.load_state_dict(conv.state_dict())
        pos = batch.x[:, :2].view(2, 68, 2)
        x = dense(x.relu() if layer else x, pos, edge_weight=output.connectivity)
    torch.testing.assert_close(x.flatten(0, 1), edges, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.initial + 32 * x, output.pos, atol=1e-4, rtol=1e-4)


def test_a_refiner_built_in_python(tmp_path: Path) -> None:
    config = create_detector("default", refiner={"name": "none"}, **TINY).config

    def refiner() -> GNNRefiner:
        return GNNRefiner(68, 8, (32, 32), model=Mine)

    detector = LandmarkDetector(config, refiner=refiner()).eval()
    detector.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["refiner"]["name"] == "custom"
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    loaded = LandmarkDetector.from_pretrained(tmp_path, refiner=refiner())
    assert torch.equal(loaded(images).pos, detector(images).pos)
    with pytest.raises(InputError, match=r"'refiner', the custom module .*from_pretrained\(source, refiner="):
        LandmarkDetector.from_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"'refiner' to be an lgcn.nn.Refiner \(got Mine\)"):
        LandmarkDetector(config, refiner=Mine(10, 2))  # type: ignore[arg-type]
    for sizes, message in (
        ((67, 8, (32, 32)), "'num_landmarks' of 'refiner' to be 68, as .*got 67 of GNNRefiner"),
        ((68, 7, (32, 32)), "'feature_channels' of 'refiner' to be 8, as .*got 7"),
        ((68, 8, (32, 64)), r"'input_size' of 'refiner' to be \(32, 32\), as .*got \(32, 64\)"),
    ):
        wrong = GNNRefiner(*sizes, model=Mine)
        for each in (wrong, RefinerChain(refiner(), wrong)):
            with pytest.raises(InputError, match=message):
                LandmarkDetector(config, refiner=each)
    LandmarkDetector(config, refiner=GNNRefiner(68, 0, (32, 32), model=Mine))


def test_the_command_line_trains_and_evaluates_with_an_own_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_gnn_project.py").write_text(
        "from torch_geometric.nn import GraphSAGE\n\n\n"
        "class Sage(GraphSAGE):\n"
        "    def __init__(self, in_channels, out_channels):\n"
        "        super().__init__(in_channels, 8, 2, out_channels)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    pts_tree(tmp_path / "faces", "afw", 5)
    detector = "--model.detector."
    command = [
        *("--import", "own_gnn_project", "fit", "--config", "gnn", "--data.root", str(tmp_path / "faces")),
        *(f"{detector}backbone=test_efficientnet", f"{detector}backbone_options={{width: 8}}"),
        *(f"{detector}input_size=[32, 32]", f"{detector}refiner.gnn.model=own_gnn_project.Sage"),
        *(f"{detector}refiner.gnn.options={{}}", "--model.initial_weights=null"),
        *("--model.allow_untrained_backbone=true", "--data.batch_size=2", "--data.num_workers=0"),
        *("--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.num_sanity_val_steps=0"),
        *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
    ]
    assert main(command) == 0
    model = str(tmp_path / "runs/gnn/version_0/model")
    assert type(LandmarkDetector.from_pretrained(model).refiner.model).__name__ == "Sage"  # type: ignore[union-attr]
    capsys.readouterr()
    evaluated = ["evaluate", "--model", model, "--dataset", "pts", "--root", str(tmp_path / "faces"), "--split", "all"]
    assert main(["--import=own_gnn_project", *evaluated]) == 0
    assert "refined (graph)" in capsys.readouterr().out
    assert main(["--import", "no_such_project", *evaluated]) == 2
    assert "'--import' to be a module in Python's path (got 'no_such_project'" in capsys.readouterr().err
