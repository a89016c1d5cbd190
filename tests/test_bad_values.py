"""Whatever an argument is given, there is a result or one line that names the argument: no error from within."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from lgcn import codecs, geometry, graph, losses, metrics, nn, transforms
from lgcn.typing import DetectorOutput
from tests.bad_values import raw_errors

B, K, C, N, E = 2, 6, 3, 9, 30
L = 68
torch.manual_seed(0)
CONNECTIVITY = nn.LearnableConnectivity(K)
NODES: dict[str, Tensor] = {
    "x": torch.rand(N, C),
    "edge_index": torch.randint(0, N, (2, E)),
    "pos": torch.rand(N, 2),
    "landmark_id": torch.randint(0, K, (N,)),
    "confidence": torch.rand(N),
    "mask": torch.ones(N, dtype=torch.bool),
}
WEIGHTED = {name: NODES[name] for name in ("x", "edge_index", "pos", "mask")} | {"edge_weight": torch.rand(E)}
FACES: dict[str, Tensor] = {
    "x": torch.rand(B, K, C),
    "pos": torch.rand(B, K, 2),
    "confidence": torch.rand(B, K),
    "mask": torch.ones(B, K, dtype=torch.bool),
}
WEIGHTED_FACES = {name: FACES[name] for name in ("x", "pos", "mask")} | {"edge_weight": torch.rand(B, K, K)}
STACK: dict[str, Any] = {
    "in_channels": C,
    "channels": [4, 2],
    "connectivity": CONNECTIVITY,
    "act": "relu",
    "norm": None,
    "dropout": 0.0,
    "shape_features": True,
    "bias": True,
}
LAYER = {name: STACK[name] for name in ("in_channels", "connectivity", "shape_features", "bias")} | {"out_channels": 4}
FEATURES = {"features": torch.rand(B, 5, 8, 8), **{name: FACES[name] for name in ("pos", "confidence", "mask")}}
REFINER: dict[str, Any] = {
    "num_landmarks": K,
    "feature_channels": 5,
    "input_size": (64, 64),
    "connectivity": CONNECTIVITY,
    "visual_channels": (8, 4),
    "visual_norm": None,
    "visual_act_last": False,
    "hidden_channels": (4,),
    "output": "absolute",
    "coordinates": "pixel",
    "sampling": "bilinear",
    "landmark_channels": 2,
    "confidence_feature": True,
    "num_steps": 1,
    "share_steps": True,
}
CONNECTIVITY_OPTIONS: dict[str, Any] = {
    "num_landmarks": K,
    "class_hidden_channels": 4,
    "class_channels": 4,
    "edge_hidden_channels": 4,
    "norm": None,
    "act_last": False,
    "use_class_embedding": True,
    "use_confidence": True,
    "normalization": "softmax",
    "self_loops": "none",
    "symmetric": False,
}
NN: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "LGCNConv": (nn.LGCNConv(C, 4, CONNECTIVITY), NODES),
    "LGCNConv with weights": (nn.LGCNConv(C, 4), WEIGHTED),
    "LGCNConv without a size": (lambda **given: nn.LGCNConv(-1, 4, CONNECTIVITY)(**given), NODES),
    "LGCN": (nn.LGCN(C, [4, 2], CONNECTIVITY), NODES),
    "LGCN with weights": (nn.LGCN(C, [4, 2], CONNECTIVITY), WEIGHTED),
    "LGCN for inference": (nn.for_inference(nn.LGCN(C, [4, 2], CONNECTIVITY)), NODES),
    "DenseLGCNConv": (nn.DenseLGCNConv(C, 4, CONNECTIVITY), FACES),
    "DenseLGCN": (nn.DenseLGCN(C, [4, 2], CONNECTIVITY), FACES),
    "DenseLGCN with weights": (nn.DenseLGCN(C, [4, 2], CONNECTIVITY), WEIGHTED_FACES),
    "DenseLGCN for inference": (nn.for_inference(nn.DenseLGCN(C, [4, 2], CONNECTIVITY)), FACES),
    "LearnableConnectivity": (
        CONNECTIVITY,
        {name: NODES[name] for name in ("landmark_id", "confidence", "edge_index", "mask")},
    ),
    "LearnableConnectivity.dense": (
        nn.LearnableConnectivity(K, norm="batch_norm").dense,
        {name: FACES[name] for name in ("confidence", "mask")},
    ),
    "LandmarkRefiner": (nn.LandmarkRefiner(K, 5, (64, 64)), FEATURES),
    "LandmarkRefiner for inference": (nn.for_inference(nn.LandmarkRefiner(K, 5, (64, 64))), FEATURES),
    "LGCNConv()": (nn.LGCNConv, {**LAYER, "aggr": "add", "flow": "source_to_target"}),
    "DenseLGCNConv()": (nn.DenseLGCNConv, LAYER),
    "LGCN()": (nn.LGCN, STACK),
    "DenseLGCN()": (nn.DenseLGCN, STACK),
    "LandmarkRefiner()": (nn.LandmarkRefiner, REFINER),
    "LearnableConnectivity()": (nn.LearnableConnectivity, CONNECTIVITY_OPTIONS),
    "TopologyConnectivity()": (
        nn.TopologyConnectivity,
        {"num_landmarks": K, "edges": [(0, 1)], "contours": [[1, 2, 3]], "closed": [True]},
    ),
    "TopologyConnectivity(mean_shape)": (
        nn.TopologyConnectivity,
        {"num_landmarks": K, "mean_shape": torch.rand(K, 2), "num_nearest": 2},
    ),
    "sample_features": (
        graph.sample_features,
        {"features": torch.rand(B, 3, 8, 8), "pos": torch.rand(B, K, 2), "input_size": (32, 32), "mode": "bilinear"},
    ),
    "landmark_graph": (
        graph.landmark_graph,
        {"pos": FACES["pos"], "confidence": FACES["confidence"], "x": FACES["x"], "y": FACES["pos"]},
    ),
    "complete_edge_index": (graph.complete_edge_index, {"num_landmarks": 3, "self_loops": False, "device": "cpu"}),
}

POINTS = torch.rand(B, L, 2)
AFFINE = torch.eye(2, 3).repeat(B, 1, 1)
PAIR = {"preds": POINTS, "target": POINTS + 1, "weight": torch.ones(B, L)}
MAPS = {"logits": torch.randn(B, L, 8, 8), "target": torch.rand(B, L, 8, 8), "weight": torch.ones(B, L)}
MEASURED = {
    "preds": POINTS,
    "target": POINTS + 1,
    "normalizer": torch.ones(B),
    "visibility": torch.ones(B, L),
}
CODEC = codecs.HeatmapCodec((32, 32), (8, 8))
OUTPUT = DetectorOutput(POINTS, POINTS, torch.rand(B, L), torch.randn(B, L, 8, 8))


def measure(**given: Any) -> Tensor:
    metric = metrics.NormalizedMeanError(scheme="ibug68")
    metric.update(**given)
    return metric.compute()


def field(name: str) -> Callable[..., Any]:
    """The loss of an output one of whose fields is given."""
    return lambda value: losses.DetectionLoss()(OUTPUT._replace(**{name: value}), POINTS, None, CODEC, (32, 32))


FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "HeatmapCodec()": (
        codecs.HeatmapCodec,
        {"input_size": (32, 32), "heatmap_size": (8, 8), "sigma": 1.5, "decode": "dark", "activation": "sigmoid"},
    ),
    "encode": (CODEC.encode, {"pos": POINTS, "visibility": torch.ones(B, L)}),
    "decode": (CODEC.decode, {"heatmaps": MAPS["logits"]}),
    "activate": (CODEC.activate, {"heatmaps": MAPS["logits"]}),
    "hrnet_affine": (
        codecs.hrnet_affine,
        {"center": torch.rand(B, 2), "scale": torch.rand(B) + 1, "input_size": (32, 32)},
    ),
    "truncate_to_image": (codecs.truncate_to_image, {"pos": POINTS, "affine": AFFINE}),
    "l1_loss": (losses.l1_loss, PAIR),
    "smooth_l1_loss": (losses.smooth_l1_loss, {**PAIR, "beta": 1.0}),
    "wing_loss": (losses.wing_loss, {**PAIR, "width": 10.0, "epsilon": 2.0}),
    "focal_heatmap_loss": (losses.focal_heatmap_loss, {**MAPS, "alpha": 2.0, "beta": 4.0, "from_logits": True}),
    "heatmap_cross_entropy": (losses.heatmap_cross_entropy, MAPS),
    "heatmap_mse_loss": (losses.heatmap_mse_loss, {**MAPS, "from_logits": True}),
    "adaptive_wing_loss": (losses.adaptive_wing_loss, {**MAPS, "alpha": 2.1, "theta": 0.5, "foreground_weight": 10.0}),
    "DetectionLoss()": (
        losses.DetectionLoss,
        {"heatmap": "focal", "heatmap_weight": 1.0, "coordinate": "smooth_l1", "coordinate_options": {"beta": 1.0}},
    ),
    "DetectionLoss": (
        losses.DetectionLoss(),
        {
            "output": OUTPUT,
            "target_pos": POINTS,
            "visibility": torch.ones(B, L),
            "codec": CODEC,
            "input_size": (32, 32),
        },
    ),
    "DetectionLoss of positions": (field("pos"), {"value": POINTS}),
    "DetectionLoss of heatmaps": (field("heatmaps"), {"value": OUTPUT.heatmaps}),
    "landmark_errors": (metrics.landmark_errors, MEASURED),
    "failure_rate": (metrics.failure_rate, {"errors": torch.rand(5), "threshold": 0.1}),
    "error_percentiles": (metrics.error_percentiles, {"errors": torch.rand(5), "percents": (90,)}),
    "NormalizedMeanError": (measure, {name: MEASURED[name] for name in ("preds", "target", "visibility")}),
    "PerLandmarkError()": (metrics.PerLandmarkError, {"num_landmarks": L, "scheme": "ibug68", "normalizer": "box"}),
    "compute_errors": (
        metrics.compute_errors,
        {
            **MEASURED,
            "affine": AFFINE,
            "scheme": "ibug68",
            "protocol": "zero_based",
            "input_size": (32, 32),
            "normalizer_name": "box",
            "whole_pixels": False,
        },
    ),
    "landmark_box": (geometry.landmark_box, {"pos": POINTS, "visibility": torch.ones(B, L)}),
    "crop_affine": (
        geometry.crop_affine,
        {
            "box": torch.tensor([1.0, 1, 5, 5]),
            "input_size": (8, 8),
            "enlargement": 1.25,
            "aspect": "square",
            "side": "longer",
            "clip_to": (9, 9),
            "rotation": 0.0,
            "scale": 1.0,
            "translation": (0.0, 0.0),
            "flip": False,
        },
    ),
    "transform_points": (geometry.transform_points, {"pos": POINTS, "affine": AFFINE}),
    "invert_affine": (geometry.invert_affine, {"affine": AFFINE}),
    "warp_image": (
        geometry.warp_image,
        {
            "image": torch.zeros(3, 9, 9, dtype=torch.uint8),
            "affine": torch.eye(2, 3),
            "output_size": (8, 8),
            "fill": 0,
            "region": torch.tensor([0.0, 0, 5, 5]),
        },
    ),
}

FACE: dict[str, Tensor] = {
    "image": torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8),
    "bbox": torch.tensor([[5.0, 5, 30, 30]]),
    "y": torch.rand(L, 2) * 30,
    "visibility": torch.ones(L),
}
TRANSFORMS = (
    transforms.CropToInput((32, 32), aspect="stretch", clip=True),
    transforms.RandomAffineCrop("ibug68", (32, 32), flip=1.0),
    transforms.BoxJitter(0.1, 0.2),
    transforms.ColorJitter(),
    transforms.Darkness(0.5),
    transforms.FacePatch(0.5),
    transforms.GaussianBlur(2),
    transforms.JPEGCompression(50),
    transforms.Rotation(45),
)
OPTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "CropToInput()": (
        transforms.CropToInput,
        {"input_size": (32, 32), "enlargement": 1.25, "aspect": "square", "side": "longer", "clip": False, "fill": 0},
    ),
    "RandomAffineCrop()": (
        transforms.RandomAffineCrop,
        {
            "scheme": "ibug68",
            "input_size": (32, 32),
            "rotation": 30.0,
            "scale": (0.8, 1.2),
            "translation": 0.1,
            "flip": 0.5,
            "probability": 1.0,
        },
    ),
    "Darkness()": (transforms.Darkness, {"low": 0.2, "high": 0.2, "noise": 5.0, "seed": 3}),
    "FacePatch()": (
        transforms.FacePatch,
        {
            "low": 0.2,
            "kinds": ["noise", "texture"],
            "shapes": ["ellipse"],
            "textures": [torch.zeros(3, 9, 9, dtype=torch.uint8)],
            "probability": 0.5,
        },
    ),
    "ColorJitter()": (
        transforms.ColorJitter,
        {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.05, "hue_probability": 0.2, "grayscale": 0.1},
    ),
}


def apply(transform: Callable[[Data], Data]) -> Callable[..., Any]:
    return lambda **face: transform(Data(**face))


CASES = NN | FUNCTIONS | OPTIONS | {type(each).__name__: (apply(each), FACE) for each in TRANSFORMS}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_bad_values(name: str) -> None:
    assert raw_errors(*CASES[name]) == []


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda each: type(each).__name__)
def test_transforms_take_a_data(transform: Callable[[Data], Data]) -> None:
    assert raw_errors(lambda data: transform(data), {"data": Data(**FACE)}) == []
