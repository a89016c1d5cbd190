import copy
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from lgcn.checks import InputError
from lgcn.graph import sample_features
from lgcn.nn.functional.gaussian import as_covariance
from lgcn.nn.functional.similarity import Similarity
from lgcn.nn.models.gaussian_refiner import GaussianRefiner
from lgcn.nn.models.landmark_noise import NOISE_FORMS
from lgcn.typing import KeyPoints
from tests.nn.conv.gaussian_reference import reference_posterior

K, RANK, C, SIZE = 12, 3, 4, (64, 80)


class Faces(NamedTuple):
    """Shapes of three modes in any pose, found with an error that grows as the confidence falls; pixels."""

    shapes: Tensor
    predictions: Tensor
    confidences: Tensor


def draw_faces(count: int, seed: int = 1) -> Faces:
    generator = torch.Generator().manual_seed(0)  # of the family of shapes
    angle = 2 * math.pi * torch.arange(K) / K
    mean = torch.stack([angle.cos(), 1.3 * angle.sin()], dim=-1).double()
    modes = 0.2 * torch.randn(RANK, K, 2, dtype=torch.double, generator=generator)
    generator.manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, dtype=torch.double, generator=generator)

    shape = mean + torch.einsum("nr,rkc->nkc", normal(count, RANK), modes) + 0.02 * normal(count, K, 2)
    turn, size = 0.3 * normal(count), 15 * (0.1 * normal(count)).exp()
    matrix = size[:, None, None] * torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], dim=-1).view(-1, 2, 2)
    shapes = shape @ matrix.mT + torch.tensor([40.0, 32.0]) + normal(count, 1, 2)
    confidences = torch.rand(count, K, dtype=torch.double, generator=generator)
    error = 6 * (1 - confidences).square() + 0.3
    return Faces(shapes, shapes + error.unsqueeze(-1) * normal(count, K, 2), confidences)


def fitted(feature_channels: int = 0, **options: Any) -> GaussianRefiner:
    faces = draw_faces(800)
    refiner = GaussianRefiner(K, feature_channels, SIZE, rank=RANK, **options).double()
    return refiner.fit(faces.shapes, faces.predictions, faces.confidences)


def randomized(refiner: GaussianRefiner) -> GaussianRefiner:
    """With MLPs that have a say, as after training."""
    for mlp in (refiner.noise_mlp, refiner.offset_mlp):
        if mlp is not None:
            for parameter in mlp.lins[-1].parameters():
                nn.init.normal_(parameter, std=0.1)
    return refiner


def error(pos: Tensor, faces: Faces, chosen: Tensor | None = None) -> float:
    distance = (pos - faces.shapes).norm(dim=-1)
    return (distance if chosen is None else distance[chosen]).mean().item()


def assert_close(actual: Tensor, expected: Tensor) -> None:
    tolerance = {torch.float32: 1e-3, torch.float64: 1e-8}[expected.dtype]  # pixels
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def test_sizes() -> None:
    refiner, faces = fitted(), draw_faces(5)
    refined = refiner(None, faces.predictions, faces.confidences)
    refined_too, covariance = refiner.posterior(None, faces.predictions, faces.confidences)[:2]
    assert refined.shape == (5, K, 2) and covariance.shape == (5, K, 2, 2)
    assert_close(refined_too, refined)
    posterior = refiner.posterior(None, faces.predictions, faces.confidences)
    assert_close(posterior.mean, refined)
    assert [tuple(each.shape) for each in posterior[2:]] == [(5, K, 2), (5, K, 2, 2)]


@pytest.mark.parametrize("noise", NOISE_FORMS)
def test_statistics_alone_refine_unseen_faces(noise: str) -> None:
    faces = draw_faces(500, seed=2)
    refined = fitted(noise=noise)(None, faces.predictions, faces.confidences)
    by_type = fitted(noise=noise, noise_inputs=())(None, faces.predictions, faces.confidences)
    assert error(refined, faces) < 0.6 * error(faces.predictions, faces)
    assert error(refined, faces) < 0.8 * error(by_type, faces)  # what confidences are worth
    swapped = fitted(noise=noise)(None, faces.predictions, faces.confidences.roll(1, dims=0))
    assert error(swapped, faces) > 1.3 * error(refined, faces)


def test_covariances_are_those_of_the_errors() -> None:
    faces = draw_faces(2000, seed=2)
    mean, covariance, residual, residual_covariance = fitted().posterior(None, faces.predictions, faces.confidences)

    def ratio(errors: Tensor, covariance: Tensor) -> float:
        """Squared Mahalanobis distance over its expectation."""
        return (errors * torch.linalg.solve(covariance, errors)).sum(-1).mean().item() / 2

    # Not exactly 1: g is linear between knots, and errors shrink the scale of the alignment.
    assert 0.75 < ratio(mean - faces.shapes, covariance) < 1.25
    assert 0.75 < ratio(residual, residual_covariance) < 1.25


def test_a_mixture_tells_kinds_of_faces_apart() -> None:
    """A nonlinear family: every second face bends the other way."""
    faces, unseen = draw_faces(800), draw_faces(300, seed=2)

    def bent(faces: Faces) -> Faces:
        centre, radius = faces.shapes.mean(1, keepdim=True), 20.0
        way = 2.0 * (torch.arange(len(faces.shapes)) % 2) - 1
        bend = ((faces.shapes - centre) / radius)[..., 1].square() * way.unsqueeze(1) * radius
        shapes = faces.shapes + torch.stack([bend, torch.zeros_like(bend)], dim=-1)
        return faces._replace(shapes=shapes, predictions=shapes + faces.predictions - faces.shapes)

    faces, unseen = bent(faces), bent(unseen)
    mask = torch.rand(300, K) < 0.5
    mask[:, :3] = True
    errors = []
    for num_components in (1, 2):
        refiner = GaussianRefiner(K, 0, SIZE, rank=RANK, num_components=num_components).double()
        refiner.fit(faces.shapes, faces.predictions, faces.confidences)
        refined = refiner.refine(KeyPoints(unseen.predictions, unseen.confidences, mask=mask), return_connectivity=True)
        assert refined.connectivity is not None and (refined.connectivity.mT[~mask] == 0).all()
        assert refined.covariance is not None and torch.linalg.eigvalsh(refined.covariance).min() > 0
        errors.append(error(refined.pos, unseen))
    assert errors[1] < 0.9 * errors[0]


def test_masked_landmarks_are_predicted_from_the_rest() -> None:
    refiner, faces = fitted(), draw_faces(300, seed=2)
    mask = torch.rand(300, K) < 0.5
    mask[:, :3] = True
    there = mask.unsqueeze(-1)
    refined = refiner(
        None, faces.predictions.masked_fill(~there, torch.nan), faces.confidences.masked_fill(~mask, torch.nan), mask
    )
    shapeless = copy.deepcopy(refiner)  # the mean shape, aligned to the rest
    nn.init.zeros_(shapeless.prior.loadings)
    aligned = shapeless(None, faces.predictions, faces.confidences, mask)
    assert error(refined, faces, ~mask) < 0.5 * error(aligned, faces, ~mask)
    covariance = refiner.posterior(None, faces.predictions, faces.confidences, mask)[1]
    variance = covariance.diagonal(dim1=2, dim2=3).sum(-1)
    assert variance[~mask].mean() > 2 * variance[mask].mean()


@pytest.mark.parametrize("noise", NOISE_FORMS)
def test_equals_the_full_posterior_in_the_frame_of_the_mean_shape(noise: str) -> None:
    refiner, faces = randomized(fitted(noise=noise)), draw_faces(4)
    mask = torch.rand(4, K) < 0.7
    given = (None, faces.predictions, faces.confidences, mask)
    similarity, observed, variance = refiner.align(*given)
    posterior = refiner.posterior(*given)
    for b in range(4):
        matrix, start, end = (each[b] for each in similarity)
        expected = reference_posterior(refiner.prior, observed[b], variance[b], torch.arange(K), mask[b])
        back = torch.linalg.inv(matrix) * refiner.scale
        assert_close(posterior.mean[b], (expected.mean - end) @ back.T + start * refiner.scale + refiner.centre)
        assert_close(posterior.covariance[b], back @ expected.covariance @ back.T)
        assert_close(posterior.residual[b], expected.residual @ back.T)
        assert_close(posterior.residual_covariance[b], back @ expected.residual_covariance @ back.T)


def test_alignment_is_weighted_by_precision() -> None:
    """A landmark that is sure to be wrong changes nothing but where it is itself."""
    refiner, faces = fitted(), draw_faces(4)
    confidences = faces.confidences.clamp(0.3, 0.9)
    wrong = faces.predictions.clone()
    wrong[:, 4] += 30
    unmasked = refiner.align(None, wrong, confidences)[0].matrix
    mask = torch.arange(K).expand(4, -1) != 4
    masked = refiner.align(None, wrong, confidences, mask)[0].matrix
    assert_close(masked, refiner.align(None, faces.predictions, confidences, mask)[0].matrix)
    assert (unmasked - masked).abs().max() > 0.05
    doubtful = confidences.clone()
    doubtful[:, 4] = 0
    sure = confidences.clone()
    sure[:, 4] = 1
    distance = [(refiner.align(None, wrong, each)[0].matrix - masked).abs().mean() for each in (doubtful, sure)]
    assert distance[0] < 0.7 * distance[1]


def test_follows_similarities_of_the_image() -> None:
    refiner, faces = randomized(fitted(noise="full")), draw_faces(3)
    matrix = 1.7 * torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.double)
    motion = Similarity(matrix, torch.zeros(1, 2).double(), torch.tensor([[5.0, -3.0]]).double())
    expected = refiner.posterior(None, faces.predictions, faces.confidences)
    result = refiner.posterior(None, motion.apply(faces.predictions), faces.confidences)
    assert_close(result.mean, motion.apply(expected.mean))
    assert_close(result.covariance, motion.apply_covariance(expected.covariance))
    assert_close(result.residual, expected.residual @ matrix.T)


def test_few_landmarks_and_none() -> None:
    """What one landmark or none leaves open is as in the average training image."""
    refiner, faces = fitted(), draw_faces(1)
    training = draw_faces(800).shapes
    none = torch.zeros(1, K, dtype=torch.bool)
    nowhere = torch.full((1, K, 2), torch.nan, dtype=torch.double)
    refined, covariance = refiner.posterior(None, nowhere, faces.confidences, none)[:2]
    assert covariance.isfinite().all()
    assert (refined[0] - training.mean(0)).norm(dim=-1).max() < 1.5  # the Procrustes mean is not the plain one
    one = none.clone()
    one[0, 5] = True
    sure = torch.ones_like(faces.confidences)
    moved = refiner(None, faces.shapes, sure, one)
    assert (moved[0, 5] - faces.shapes[0, 5]).norm() < 0.5
    assert moved.isfinite().all()
    for points in (faces.shapes[:, :1].expand(1, K, 2), faces.shapes * torch.tensor([1.0, 0.0])):  # one place; a line
        refined, covariance = refiner.posterior(None, points, sure)[:2]
        assert refined.isfinite().all() and covariance.isfinite().all()


def test_gradients_reach_all_parameters() -> None:
    refiner, faces = randomized(fitted(C)), draw_faces(6)
    features = torch.randn(6, C, 16, 20, dtype=torch.double, requires_grad=True)
    pos = faces.predictions.clone().requires_grad_()
    mean, covariance, *_ = refiner.posterior(features, pos, faces.confidences)
    ((mean - faces.shapes).abs().mean() + covariance.logdet().mean()).backward()
    for name, parameter in refiner.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name
    assert features.grad is not None and features.grad.abs().max() > 0
    assert pos.grad is not None and pos.grad.isfinite().all()


@pytest.mark.parametrize("detach", [True, False])
def test_gradients_through_the_alignment(detach: bool) -> None:
    refiner, faces = randomized(fitted(detach_alignment=detach)), draw_faces(2)
    pos = faces.predictions.clone().requires_grad_()
    exact = torch.autograd.gradcheck(lambda p: refiner(None, p, faces.confidences), pos, raise_exception=False)
    assert exact != detach


def test_training_improves_on_statistics() -> None:
    """What features tell of the error is learned: here the first two channels show it."""
    faces, unseen = draw_faces(400), draw_faces(200, seed=2)

    def features(faces: Faces) -> Tensor:
        return torch.cat([faces.shapes - faces.predictions, torch.randn(len(faces.shapes), K, C - 2).double()], dim=-1)

    refiner = fitted(C)
    before = error(refiner(features(unseen), unseen.predictions, unseen.confidences), unseen)
    optimizer = torch.optim.Adam(refiner.parameters(), lr=3e-3)
    for _ in range(60):
        loss = (refiner(features(faces), faces.predictions, faces.confidences) - faces.shapes).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert error(refiner(features(unseen), unseen.predictions, unseen.confidences), unseen) < 0.8 * before


def test_features_as_a_map_or_sampled() -> None:
    refiner, faces = randomized(fitted(C)), draw_faces(3)
    features = torch.randn(3, C, 16, 20, dtype=torch.double)
    sampled = sample_features(features, faces.predictions, SIZE)
    expected = refiner(features, faces.predictions, faces.confidences)
    assert_close(refiner(sampled, faces.predictions, faces.confidences), expected)
    assert (refiner(features + 1, faces.predictions, faces.confidences) - expected).abs().max() > 1e-3


def test_without_confidences_and_without_predictions() -> None:
    faces = draw_faces(500)
    blind = GaussianRefiner(K, 0, SIZE, rank=RANK, use_confidence=False).double()
    blind.fit(faces.shapes, faces.predictions)
    assert error(blind(None, faces.predictions, None), faces) < 0.9 * error(faces.predictions, faces)
    for noise in NOISE_FORMS:
        guess = GaussianRefiner(K, 0, SIZE, rank=RANK, noise=noise).double().fit(faces.shapes)
        refined = guess(None, faces.predictions, faces.confidences)
        assert error(refined, faces) < error(faces.predictions, faces)


def test_saved_and_loaded(tmp_path: Path) -> None:
    refiner, faces = fitted(), draw_faces(3)
    torch.save(refiner.state_dict(), tmp_path / "refiner.pt")
    other = GaussianRefiner(K, 0, SIZE, rank=RANK).double()
    other.load_state_dict(torch.load(tmp_path / "refiner.pt", weights_only=True))
    expected = refiner(None, faces.predictions, faces.confidences)
    assert torch.equal(other(None, faces.predictions, faces.confidences), expected)
    torch.manual_seed(3)
    other.reset_parameters()
    assert not torch.allclose(other(None, faces.predictions, faces.confidences), expected)


def test_single_precision_and_autocast() -> None:
    refiner, faces = fitted(C), draw_faces(3)
    features = torch.randn(3, K, C, dtype=torch.double)
    expected = refiner(features, faces.predictions, faces.confidences)
    single = copy.deepcopy(refiner).float()
    given = [each.float() for each in (features, faces.predictions, faces.confidences)]
    torch.testing.assert_close(single(*given), expected.float(), rtol=0, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        refined = single(*given)
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined, expected.float(), rtol=0, atol=1e-3)  # MLPs that add nothing cannot round


class Everything(nn.Module):
    """All that a refiner gives, as a forward."""

    def __init__(self, noise: str, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.refiner = randomized(fitted(C, noise=noise, **options)).float()

    def forward(self, features: Tensor, pos: Tensor, confidence: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.refiner.posterior(features, pos, confidence, mask))


def images(count: int) -> tuple[Tensor, ...]:
    faces, generator = draw_faces(count, seed=count), torch.Generator().manual_seed(count)
    mask = torch.rand(count, K, generator=generator) < 0.7
    features = torch.randn(count, C, 16, 20, generator=generator)
    return features, faces.predictions.float(), faces.confidences.float(), mask


@pytest.mark.parametrize("num_components", [1, 2])
def test_compiled_in_one_graph_for_any_number_of_images(num_components: int) -> None:
    module = Everything("full", num_components=num_components)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="eager")
    for count in (5, 7):
        for one, other in zip(compiled(*images(count)), module(*images(count)), strict=True):
            assert one.shape == other.shape


@pytest.mark.parametrize(
    "noise", [pytest.param(form, marks=() if form == "full" else pytest.mark.slow) for form in NOISE_FORMS]
)
def test_exported_and_run_by_onnx_runtime_for_any_number_of_images(noise: str, tmp_path: Path) -> None:
    module = Everything(noise)
    shapes = {name: {0: torch.export.Dim("B")} for name in ("features", "pos", "confidence", "mask")}
    program = torch.export.export(module, images(2), dynamic_shapes=shapes)
    for count in (1, 5):
        inputs = images(count)
        for one, other in zip(program.module()(*inputs), module(*inputs), strict=True):
            assert_close(one, other)
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    torch.onnx.export(program, dynamo=True, verbose=False).save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    for count in (1, 5):
        inputs = images(count)
        results = session.run(None, dict(zip(names, (each.numpy() for each in inputs), strict=True)))
        for one, other in zip(results, module(*inputs), strict=True):
            assert_close(torch.from_numpy(one), other)


def test_bad_input() -> None:
    refiner, faces = fitted(C), draw_faces(3)
    features, pos, confidence = torch.randn(3, C, 16, 20).double(), faces.predictions, faces.confidences
    with pytest.raises(InputError, match=r"'pos' to have shape \[B, K, 2\] with K=12"):
        refiner(features, pos[:, :5], confidence)
    with pytest.raises(InputError, match=r"'features' with 4 channels \(got None\).*feature_channels=0"):
        refiner(None, pos, confidence)
    with pytest.raises(InputError, match=r"'features' to have shape \[B, C, h, w\] with B=3, C=4"):
        refiner(features[:, :2], pos, confidence)
    with pytest.raises(InputError, match=r"'features' to have shape \[B, K, C\] with B=3, K=12, C=4"):
        refiner(torch.randn(3, K, C + 1), pos, confidence)
    with pytest.raises(InputError, match=r"'confidence' \[B, K\] \(got None\).*use_confidence=False"):
        refiner(features, pos, None)
    with pytest.raises(InputError, match=r"'confidence' to have shape \[B, K\]"):
        refiner(features, pos, confidence[:, :3])
    with pytest.raises(InputError, match="'mask' to hold booleans"):
        refiner(features, pos, confidence, confidence)
    nan = torch.tensor(torch.nan)
    with pytest.raises(InputError, match="'pos' to be finite"):
        refiner(features, pos * nan, confidence)
    with pytest.raises(InputError, match="'confidence' to be finite"):
        refiner(features, pos, confidence * nan)
    with pytest.raises(InputError, match="'features' to be finite"):
        refiner(features * nan, pos, confidence)
    with pytest.raises(InputError, match="'noise_inputs' to be one of confidence, features .got 'confidences'"):
        GaussianRefiner(K, 0, SIZE, noise_inputs=["confidences"])
    with pytest.raises(InputError, match="'form' to be one of isotropic, diagonal, full .got 'round'"):
        GaussianRefiner(K, 0, SIZE, noise="round")
    for rank, limit in ((0, "1 or more"), (2 * K - 3, "at most 20 for 12 landmarks")):
        with pytest.raises(InputError, match=f"'rank' .*{limit}.*got {rank}"):
            GaussianRefiner(K, 0, SIZE, rank=rank)
    with pytest.raises(InputError, match="'feature_channels' to be 0 or more"):
        GaussianRefiner(K, -1, SIZE)


def test_bad_input_to_fit() -> None:
    refiner = GaussianRefiner(K, 0, SIZE, rank=RANK)
    shapes, predictions, confidences = draw_faces(50)
    with pytest.raises(InputError, match="'confidences' .*of the predictions .*use_confidence=False"):
        refiner.fit(shapes, predictions)
    with pytest.raises(InputError, match=r"'predictions' to have shape \[N, K, 2\] with N=50, K=12"):
        refiner.fit(shapes, predictions[:20], confidences)
    with pytest.raises(InputError, match="'shapes' to be finite"):
        refiner.fit(shapes.index_fill(0, torch.tensor(3), torch.nan), predictions, confidences)
    one_place = shapes.clone()
    one_place[7] = one_place[7, :1]
    with pytest.raises(InputError, match="'shapes' whose landmarks lie apart .*number 7"):
        refiner.fit(one_place, predictions, confidences)
    with pytest.raises(InputError, match="'predictions' whose landmarks lie apart .*number 7"):
        refiner.fit(shapes, one_place, confidences)
    for alike in (shapes[:1], shapes[:1].expand(50, -1, -1), shapes[:2]):
        with pytest.raises(InputError, match="'shapes' to vary in 3 directions"):
            refiner.fit(alike, alike, confidences[: len(alike)])
    exact = refiner.fit(shapes, shapes, confidences)  # predictions without an error
    refined = exact(None, shapes.float(), confidences.float())
    torch.testing.assert_close(refined, shapes.float(), rtol=0, atol=1e-2)
    constant = refiner.fit(shapes, predictions, torch.full_like(confidences, 0.5))
    assert constant(None, predictions.float(), confidences.float()).isfinite().all()


def test_noise_of_statistics() -> None:
    """By type and by confidence, the noise is the error that was measured."""
    faces = draw_faces(4000)
    refiner = GaussianRefiner(K, 0, SIZE, rank=RANK).double()
    refiner.fit(faces.shapes, faces.predictions, faces.confidences)
    pixels = (refiner.noise(faces.confidences.shape, faces.confidences).sqrt() * refiner.scale).mean(1)
    grid = torch.tensor([0.1, 0.5, 0.9], dtype=torch.double).expand(K, -1).T
    found = refiner.noise(grid.shape, grid).sqrt().mean(1) * refiner.scale
    expected = 6 * (1 - grid[:, 0]).square() + 0.3
    torch.testing.assert_close(found, expected, rtol=0.25, atol=0)
    assert pixels.isfinite().all()
    assert as_covariance(refiner.noise(grid.shape, grid), 3).shape == (3, K, 2, 2)


@pytest.mark.parametrize("largest", [1.0, 255.0, 1e5])
def test_confidences_of_any_unit_that_are_all_the_same(largest: float) -> None:
    faces = draw_faces(200)
    refiner = GaussianRefiner(K, 0, SIZE, rank=RANK)
    refiner.fit(faces.shapes, faces.predictions, torch.full((200, K), largest))
    refined = refiner(None, faces.predictions.float(), torch.full((200, K), largest))
    assert refined.isfinite().all()
    assert (refined - faces.shapes).norm(dim=-1).mean() < (faces.predictions - faces.shapes).norm(dim=-1).mean()
