"""The ablation compares what it says it compares, and goes on where it was stopped."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.ablation.outputs import DECODES, Extraction, Outputs, extract, load_tested, shard_name, shards
from benchmarks.ablation.refiners import (
    CAUSES,
    VARIANTS,
    GatedConnectivity,
    RawGatedConnectivity,
    SampledRefiner,
    Variant,
    build,
)
from benchmarks.ablation.report import calibration, interval
from benchmarks.ablation.shape_model import NOISE, ShapeModel
from benchmarks.ablation.training import Run, Schedule, inputs, per_face, train, variant_of
from benchmarks.connectivity_ablation import main
from benchmarks.data_loading import draw_faces
from benchmarks.render_docs import ablation_tables
from lgcn.checks import InputError
from lgcn.datasets import IBUG300W
from lgcn.evaluation import crop_faces, evaluate
from lgcn.graph import sample_features
from lgcn.models import LandmarkDetector, create_detector
from lgcn.nn import LandmarkRefiner
from lgcn.schemes import get_scheme

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/connectivity_ablation.py"
SIZE = (32, 32)
IBUG68 = get_scheme("ibug68")


def drawn_outputs(crops: int = 24, channels: int = 6, start: str = "softargmax") -> Outputs:
    target = 32 * torch.rand(crops, 68, 2)
    pos = {name: target + torch.randn(crops, 68, 2) for name in DECODES}
    samples = {start: torch.randn(crops, 68, channels).half()}
    normalizer = torch.full((crops,), 10.0)
    return Outputs(pos, samples, torch.rand(crops, 68), target, normalizer, torch.arange(crops) % 8)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with 24 training faces, of which one is held out, and 5 test faces."""
    root = tmp_path_factory.mktemp("300w")
    draw_faces(root, 5, (48, 64), seed=1)
    (root / "lfpw").mkdir()
    (root / "afw").rename(root / "lfpw" / "testset")
    draw_faces(root, 24, (48, 64), seed=0)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    backbone = {"backbone": "test_efficientnet", "backbone_options": {"head": "pyramid", "width": 8}}
    detector = create_detector("default", input_size=SIZE, **backbone)
    detector.save_pretrained(tmp_path_factory.mktemp("tiny"))
    return Path(tmp_path_factory.getbasetemp()) / "tiny0"


@pytest.mark.parametrize("name", [*VARIANTS, *CAUSES])
def test_a_refiner_of_samples_is_the_refiner_of_the_map(name: str) -> None:
    mine = build(variant_of(name), IBUG68, 6, SIZE, torch.rand(68, 2), seed=0)
    for parameter in mine.lgcn.convs[-1].parameters():
        torch.nn.init.normal_(parameter)
    options = {"visual_channels": (128, 64), "hidden_channels": (128, 64), "output": "offset"}
    embedding = 0 if mine.landmark_embedding is None else 32
    whole = LandmarkRefiner(
        68, 6, SIZE, **options, landmark_channels=embedding, confidence_feature=mine.confidence_feature
    )
    whole.lgcn, whole.visual_mlp, whole.landmark_embedding = mine.lgcn, mine.visual_mlp, mine.landmark_embedding
    features, pos, confidence = torch.randn(3, 6, 8, 8), 32 * torch.rand(3, 68, 2), torch.rand(3, 68)
    samples = sample_features(features, pos, SIZE).transpose(1, 2).unsqueeze(-1)
    expected = whole(features, pos, confidence)
    assert not torch.allclose(expected, pos)
    torch.testing.assert_close(mine(samples, pos, confidence), expected)


def test_variants_of_a_seed_start_alike_where_the_landmarks_are() -> None:
    given = inputs(drawn_outputs(), "softargmax", VARIANTS["learnable"], slice(0, 4))
    built = {name: build(VARIANTS[name], IBUG68, 6, SIZE, torch.rand(68, 2), 0) for name in VARIANTS}
    for name, refiner in built.items():
        torch.testing.assert_close(refiner(*given), given[1])
        assert torch.equal(refiner.visual_mlp.lins[0].weight, built["isolated"].visual_mlp.lins[0].weight)
        if name != "no_shape":
            assert torch.equal(
                refiner.lgcn.convs[0].lin_neighbor.weight, built["isolated"].lgcn.convs[0].lin_neighbor.weight
            )
    other = build(VARIANTS["isolated"], IBUG68, 6, SIZE, torch.rand(68, 2), 1)
    assert not torch.equal(other.visual_mlp.lins[0].weight, built["isolated"].visual_mlp.lins[0].weight)


def test_without_edges_landmarks_are_refined_independently() -> None:
    def moved(name: str) -> torch.Tensor:
        refiner = build(VARIANTS[name], IBUG68, 6, SIZE, torch.rand(68, 2), 0)
        for parameter in refiner.lgcn.convs[-1].parameters():
            torch.nn.init.normal_(parameter)
        samples, pos, confidence = inputs(drawn_outputs(), "softargmax", VARIANTS[name], slice(0, 2))
        elsewhere = pos.clone()
        elsewhere[:, 7] += 3.0
        return (refiner(samples, pos, confidence) - refiner(samples, elsewhere, confidence)).abs().amax(
            dim=(0, 2)
        ) > 1e-4

    assert moved("isolated").nonzero().flatten().tolist() == [7]
    assert moved("uniform").all()


def test_a_gate_multiplies_the_weights_by_the_confidence_of_the_neighbour() -> None:
    gated = GatedConnectivity(5, "adjacency")
    torch.nn.init.normal_(gated.of.weight)
    confidence = torch.rand(3, 5)
    without = gated.of.dense(confidence) * confidence.unsqueeze(1)
    expected = without / without.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(gated.dense(confidence), expected)
    receiver, neighbour = (~torch.eye(5, dtype=torch.bool)).nonzero().unbind(dim=-1)
    on_edges = gated(torch.arange(5), confidence, torch.stack([neighbour, receiver]))
    torch.testing.assert_close(on_edges, expected[:, receiver, neighbour])


def test_a_raw_gate_multiplies_the_matrix() -> None:
    confidence = torch.rand(3, 5)
    receiver, neighbour = (~torch.eye(5, dtype=torch.bool)).nonzero().unbind(dim=-1)
    for own in (False, True):
        gated = RawGatedConnectivity(5, own)
        torch.nn.init.normal_(gated.weight)
        expected = gated.weight * confidence.unsqueeze(1) * (1 - torch.eye(5))
        if own:
            expected = expected * (1 - confidence).unsqueeze(2)
        torch.testing.assert_close(gated.dense(confidence), expected)
        on_edges = gated(torch.arange(5), confidence, torch.stack([neighbour, receiver]))
        torch.testing.assert_close(on_edges, expected[:, receiver, neighbour])


def test_the_order_of_the_crops_depends_on_the_seed_alone_and_training_lowers_the_loss() -> None:
    outputs = drawn_outputs(32)
    # A shift that every landmark has: any refiner can learn it.
    outputs.pos["softargmax"] = outputs.target + 2.0
    schedule = Schedule(steps=20, batch_size=8, rate=1e-2)

    def losses(name: str, seed: int) -> list[float]:
        refiner = build(VARIANTS[name], IBUG68, 6, SIZE, torch.rand(68, 2), seed)
        return train(refiner, outputs, Run(name, "clean", "softargmax", seed), schedule)

    for name in ("isolated", "learnable"):
        first = losses(name, 0)
        assert first[-1] < 0.5 * first[0]
        assert first == losses(name, 0) != losses(name, 1)


def test_confidences_are_the_backbones_those_of_another_face_or_those_of_the_truth() -> None:
    outputs = drawn_outputs(6)

    def confidence(kind: str) -> torch.Tensor:
        return inputs(outputs, "softargmax", Variant("", confidence=kind), slice(None))[2]

    assert torch.equal(confidence("heatmap"), outputs.confidence)
    assert torch.equal(confidence("shuffled")[1:], outputs.confidence[:-1])
    error = outputs.errors(outputs.pos["softargmax"])
    assert torch.equal(confidence("oracle").flatten().argsort(), (-error).flatten().argsort())


def test_calibration_of_a_perfect_and_of_a_useless_confidence() -> None:
    outputs = drawn_outputs(200)
    outputs.confidence = -outputs.errors(outputs.pos["softargmax"])
    perfect = calibration({"clean": outputs})
    assert [row["condition"] for row in perfect] == ["clean", "all"]
    assert perfect[0]["rank_correlation"] == pytest.approx(-1)
    assert perfect[0]["nme_by_quantile"] == sorted(perfect[0]["nme_by_quantile"], reverse=True)
    outputs.confidence = torch.rand_like(outputs.confidence)
    assert abs(calibration({"clean": outputs})[0]["rank_correlation"]) < 0.05


def drawn_shapes(noise: Tensor) -> Outputs:
    """300 crops of a face of 6 landmarks that bends in one way, turned and scaled, read with errors of a size [6]."""
    shape = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0], [4.0, 3.0], [2.0, 5.0], [2.0, 1.5]])
    bend = torch.tensor([[0.3, 0.0], [-0.3, 0.1], [0.2, 0.2], [0.0, -0.3], [0.1, 0.4], [0.2, 0.0]])
    bend = torch.randn(300, 1, 1) * bend
    angle, scale = torch.rand(300) - 0.5, 5 + 5 * torch.rand(300, 1, 1)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    target = scale * (shape + bend) @ turn + 50 * torch.rand(300, 1, 2)
    pos = target + scale * noise.view(-1, 1) * torch.randn(300, 6, 2)
    # Where the error is small the landmark is confident.
    confidence = 1 / (1 + (pos - target).norm(dim=2) / scale.squeeze(-1))
    return Outputs({"softargmax": pos}, {}, confidence, target, torch.ones(300), torch.arange(300))


def mean_error(pos: Tensor, outputs: Outputs) -> float:
    return outputs.errors(pos).mean().item()


def test_a_shape_model_gains_most_with_the_most_information() -> None:
    torch.manual_seed(0)
    outputs = drawn_shapes(torch.tensor([0.1, 0.1, 0.1, 0.1, 0.1, 1.0]))
    model = ShapeModel(outputs, "softargmax")
    assert model.of_type.argmax() == 5
    assert model.of_confidence[:5].mean() > 2 * model.of_confidence[5:].mean()
    initial = mean_error(outputs.pos["softargmax"], outputs)
    by = {noise: mean_error(model.refine(outputs, noise), outputs) for noise in NOISE}
    assert by["oracle"] < by["confidence"] < by["type"] < 0.8 * initial


def test_a_shape_model_is_rotation_equivariant_and_keeps_exact_landmarks() -> None:
    torch.manual_seed(0)
    outputs = drawn_shapes(torch.full((6,), 0.2))
    model = ShapeModel(outputs, "softargmax")
    turn = 3 * torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    turned = replace(outputs, pos={"softargmax": outputs.pos["softargmax"] @ turn + 7})
    expected = model.refine(outputs, "type") @ turn + 7
    torch.testing.assert_close(model.refine(turned, "type"), expected, rtol=1e-4, atol=1e-3)
    exact = replace(outputs, pos={"softargmax": outputs.target})
    torch.testing.assert_close(model.refine(exact, "oracle"), outputs.target, rtol=0, atol=0.02)


def test_the_interval_is_that_of_a_mean() -> None:
    torch.manual_seed(0)
    difference = 0.1 + torch.randn(1, 400, dtype=torch.float64)
    low, high = interval(difference)
    # 1.96 standard errors either way.
    assert (high - low) / 2 == pytest.approx(1.96 * difference.std().item() / math.sqrt(400), rel=0.1)
    assert (high + low) / 2 == pytest.approx(difference.mean().item(), abs=0.01)
    assert interval(torch.full((3, 5), -2.0, dtype=torch.float64)) == (-2.0, -2.0)
    # Seeds that disagree widen it, however many faces there are.
    seeds = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64).expand(3, 1000)
    assert interval(seeds)[0] < -0.5 and interval(seeds)[1] > 0.5


def test_the_error_of_a_face_is_the_mean_over_its_crops() -> None:
    outputs = drawn_outputs(24)
    errors = 100 * outputs.errors(outputs.pos["dark"]).mean(dim=1)
    expected = errors.view(3, 8).mean(dim=0)
    assert per_face(outputs, outputs.pos["dark"]) == pytest.approx(expected.tolist(), rel=1e-5)


def test_outputs_are_cached_and_equal_those_of_evaluation(faces: Path, model: Path, tmp_path: Path) -> None:
    settings = Extraction(str(faces), str(model), rounds=1, draws=1)
    extract(settings, tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    assert made.keys() == {name for name, *_ in shards(settings)}

    dataset = IBUG300W(faces, split="lfpw/testset")
    detector = LandmarkDetector.from_pretrained(model)
    crop_faces(dataset, detector)
    expected = evaluate(detector, dataset, progress=False).rows["initial"].errors
    clean = load_tested(settings, tmp_path, "test", ("argmax",))["clean"]
    assert per_face(clean, clean.pos["softargmax"]) == pytest.approx((100 * expected).tolist(), rel=1e-3)
    assert len(Outputs.load(tmp_path / shard_name("train", "patches", 0))) == 23
    assert len(Outputs.load(tmp_path / shard_name("held out", "clean", 0))) == 1

    lost = shard_name("train", "mixed", 0)
    (tmp_path / lost).unlink()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    extract(settings, tmp_path)
    assert (tmp_path / lost).read_bytes() == made[lost]
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    with pytest.raises(InputError, match="Choose another --work"):
        extract(Extraction(str(faces), str(model), rounds=1, draws=1, seed=1), tmp_path)


def test_an_interrupted_command_resumes(
    faces: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, output = tmp_path / "work", tmp_path / "out" / "connectivity_ablation.json"
    options = ["--root", str(faces), "--model", str(model), "--work", str(work), "--output", str(output)]
    options += ["--rounds", "1", "--steps", "2", "--jobs", "1", "--experiments", "argmax-clean"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options, "--seeds", "1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "learnable (the paper) - learned matrix" in done.stdout
    assert json.loads(output.read_text())["runs"]["done"] == 5

    kept = {path: path.stat().st_mtime_ns for path in (work / "runs").iterdir()}
    threads = torch.get_num_threads()
    try:
        assert main([*options, "--seeds", "2"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert "10 of" in capsys.readouterr().out
    figures = json.loads(output.read_text())
    assert figures["runs"]["done"] == 10
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())

    rows = {row["variant"]: row for row in figures["summary"] if row["faces"] == "test"}
    assert rows.keys() == {"isolated", "adjacency_raw", "adjacency", "no_confidence", "learnable"}
    assert all(row["seeds"] == 2 and row["std"]["clean"] is not None for row in rows.values())
    assert rows["no_confidence"]["weights"] == pytest.approx({"moved": 0, "unsure": 1}, abs=1e-5)
    assert rows["isolated"]["weights"] == {}
    (pair,) = (row for row in figures["comparisons"] if (row["first"], row["second"]) == ("learnable", "isolated"))
    mean, low, high = pair["clean"]
    assert mean == pytest.approx(rows["learnable"]["mean"]["clean"] - rows["isolated"]["mean"]["clean"], abs=1e-3)
    assert low <= mean <= high
    assert figures["settings"]["root"] == faces.name and str(tmp_path) not in json.dumps(figures["environment"])
    page = ablation_tables(figures)
    assert "protocol `zero_based`, normaliser `inter_ocular`; 10 of" in page
    assert f" {rows['learnable']['mean']['clean']:.3f} ± " in page


def test_a_refiner_of_samples_takes_one_step_only() -> None:
    refiner = SampledRefiner(68, 6, SIZE)
    with pytest.raises(InputError, match="features"):
        refiner(torch.randn(2, 5, 68, 1), torch.rand(2, 68, 2), torch.rand(2, 68))
