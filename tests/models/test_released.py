"""Checkpoints in the layout of the code released with the paper, against a transcription of what that code does."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lgcn.backbones import TimmBackbone
from lgcn.checks import InputError, InputFileError
from lgcn.geometry import heatmap_to_input
from lgcn.graph import sample_features
from lgcn.models import LandmarkDetector, load_released_checkpoint, load_released_refiner

K, C = 7, 5
State = dict[str, Tensor]


def block(state: State, name: str, inputs: int, outputs: int, norm: bool = True) -> None:
    state[f"{name}.linear.weight"] = torch.randn(outputs, inputs) / inputs**0.5
    state[f"{name}.linear.bias"] = 0.5 + 0.1 * torch.randn(outputs)
    if norm:
        for key in ("weight", "running_var"):
            state[f"{name}.bn.{key}"] = 0.5 + torch.rand(outputs)
        for key in ("bias", "running_mean"):
            state[f"{name}.bn.{key}"] = 0.3 * torch.randn(outputs)
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(3)


def released_state(landmarks: int = K, channels: int = C, layers: tuple[int, ...] = (64, 16)) -> State:
    state: State = {}
    block(state, "class_embedding.hidden_layers.0", 2 * landmarks, 32)
    block(state, "class_embedding.out", 32, 1, norm=False)
    block(state, "edges.linear", 3, 4)
    block(state, "edges.out", 4, 1)
    widths = (channels, 512, 128, 32)
    for i in range(3):
        block(state, f"visual_feature_embedding.hidden_layers.{i}", widths[i], widths[i + 1])
    block(state, "visual_feature_embedding.out", 32, 8, norm=False)
    sizes = (10, *layers, 2)
    for i in range(len(sizes) - 1):
        shape_features = i in (0, len(sizes) - 2)
        state[f"gcn_layers.{i}.w1"] = torch.randn(sizes[i + 1], sizes[i] + 2 * shape_features) / sizes[i] ** 0.5
        state[f"gcn_layers.{i}.w2"] = torch.randn(sizes[i + 1], sizes[i]) / sizes[i] ** 0.5
    return state


def apply(state: State, name: str, x: Tensor) -> Tensor:
    """Linear, ReLU, and batch normalisation by running statistics where there is one."""
    x = (x @ state[f"{name}.linear.weight"].T + state[f"{name}.linear.bias"]).relu()
    if f"{name}.bn.weight" not in state:
        return x
    bn = {key: state[f"{name}.bn.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
    return (x - bn["running_mean"]) / (bn["running_var"] + 1e-5).sqrt() * bn["weight"] + bn["bias"]


def transcription(state: State, p: Tensor, confidence: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
    """One image, node by node: output [K, 2] and edge weights [K, K]."""
    landmarks = len(p)
    scores = torch.zeros(landmarks, landmarks)
    for i in range(landmarks):
        for j in range(landmarks):
            if i != j:
                pair = torch.zeros(1, 2 * landmarks)
                pair[0, i] = pair[0, landmarks + j] = 1
                embedding = apply(state, "class_embedding.out", apply(state, "class_embedding.hidden_layers.0", pair))
                edge = torch.cat([confidence[[i]], confidence[[j]], embedding[0]])[None]
                scores[i, j] = apply(state, "edges.out", apply(state, "edges.linear", edge))
    weight = scores.softmax(dim=1)  # the zeros on the diagonal take part
    for i in range(3):
        visual = apply(state, f"visual_feature_embedding.hidden_layers.{i}", visual)
    h = torch.cat([p, apply(state, "visual_feature_embedding.out", visual)], dim=1)
    layers = sum(key.endswith("w1") for key in state)
    for layer in range(layers):
        w1, w2 = state[f"gcn_layers.{layer}.w1"], state[f"gcn_layers.{layer}.w2"]
        rows = []
        for i in range(landmarks):
            sent = torch.cat([h, p[i] - p], dim=1) if layer in (0, layers - 1) else h
            rows.append(w2 @ h[i] + weight[i] @ (sent @ w1.T))
        h = torch.stack(rows)
    return h, weight


@pytest.mark.parametrize("layers", [(64, 16), (6,)])
@pytest.mark.parametrize("prefix", ["", "gcn_model.", "module.", "module.gcn_model."])
def test_the_graph_equals_the_released_code(prefix: str, layers: tuple[int, ...]) -> None:
    state = released_state(layers=layers)
    refiner = load_released_refiner({prefix + key: value for key, value in state.items()}, (64, 64))
    assert not refiner.training
    cells = torch.stack([torch.randint(16, (3, K)), torch.randint(16, (3, K))], dim=-1)
    confidence, features = 1.2 * torch.rand(3, K) - 0.1, torch.randn(3, C, 16, 16)
    pos = heatmap_to_input(cells.float(), 4)
    with torch.no_grad():
        refined, weight = refiner(features, pos, confidence, return_connectivity=True)
    for image in range(3):
        x, y = cells[image].unbind(dim=-1)
        out, expected = transcription(state, cells[image] / 16, confidence[image], features[image, :, y, x].T)
        torch.testing.assert_close(weight[image], expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(refined[image] / 64, out, rtol=1e-5, atol=1e-5)
        assert (expected.std(dim=1) > 1e-3).all()


def test_the_transcription_depends_on_the_options() -> None:
    """The same weights under other options give something else: the test above can fail."""
    refiner = load_released_refiner(released_state(), (64, 64))
    features, confidence = torch.randn(1, C, 16, 16), torch.rand(1, K)
    pos = heatmap_to_input(torch.randint(16, (1, K, 2)).float(), 4)
    before = refiner(features, pos, confidence)
    refiner.coordinates = "pixel"
    assert (refiner(features, pos, confidence) - before).abs().max() > 0.1
    assert torch.equal(
        sample_features(features, pos, (64, 64), "nearest"), sample_features(features, pos, (64, 64), "bilinear")
    )


@pytest.fixture(scope="module")
def hrnet() -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone("hrnet_w18", 98)


def whole_state(hrnet: TimmBackbone) -> State:
    public = {
        key.replace("net.", "", 1).replace("head.head", "head"): value for key, value in hrnet.state_dict().items()
    }
    state = {f"hm_model.{key}": value for key, value in public.items()}
    return state | {f"gcn_model.{key}": value for key, value in released_state(98, 270).items()}


def test_a_whole_model_becomes_a_detector_that_can_be_saved(hrnet: TimmBackbone, tmp_path: Path) -> None:
    saved = whole_state(hrnet)
    torch.save({"state_dict": saved}, tmp_path / "released.pth")
    detector = load_released_checkpoint(tmp_path / "released.pth")
    assert detector.scheme.name == "wflw98"
    assert detector.protocol.name == "official"
    images = torch.randint(256, (1, 3, 256, 256), dtype=torch.uint8)
    with torch.no_grad():
        output = detector(images)
        heatmaps, features = hrnet.eval()((images / 255 - detector.mean) / detector.std)
    assert torch.equal(output.heatmaps, heatmaps)
    cell = heatmaps[0].flatten(1).argmax(dim=1)
    x, y = cell % 64, cell // 64
    visual, raw = features[0, :, y, x].T, heatmaps[0].flatten(1).amax(dim=1)
    state = {key.removeprefix("gcn_model."): value for key, value in saved.items() if key.startswith("gcn_model.")}
    out, _ = transcription(state, torch.stack([x, y], dim=-1) / 64, raw, visual)
    # With random weights, coordinates are in the hundred thousands.
    torch.testing.assert_close(output.pos[0] / 256, out, rtol=1e-3, atol=1e-4)
    assert torch.equal(output.confidence[0], raw)
    detector.save_pretrained(tmp_path / "kept")
    with torch.no_grad():
        assert torch.equal(LandmarkDetector.from_pretrained(tmp_path / "kept")(images).pos, output.pos)


def test_bad_checkpoints(hrnet: TimmBackbone, tmp_path: Path) -> None:
    state = released_state()
    with pytest.raises(InputError, match="entries of the released code's graph .got 'graph.weight'"):
        load_released_refiner({**state, "graph.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="no 'class_embedding' or 'gcn_layers'"):
        load_released_refiner({"edges.linear.linear.weight": torch.zeros(4, 3)})
    del state["edges.out.bn.bias"]
    with pytest.raises(InputFileError, match="1 missing, such as 'lgcn.connectivity.edge_mlp.norms.1.module.bias'"):
        load_released_refiner(state)
    with pytest.raises(InputError, match=r"'hm_model.\*' .the HRNet. next to the graph"):
        load_released_checkpoint(released_state(98, 270))
    graph = {f"gcn_model.{key}": value for key, value in released_state().items()}
    with pytest.raises(InputError, match="'scheme' for 7 landmarks"):
        load_released_checkpoint({**graph, "hm_model.conv1.weight": torch.zeros(1)})
    with pytest.raises(InputFileError, match="weights that fit|of another shape|one heatmap|landmarks"):
        load_released_checkpoint(whole_state(hrnet), scheme="ibug68")
    with pytest.raises(InputFileError, match="nowhere.pth"):
        load_released_refiner(tmp_path / "nowhere.pth")
