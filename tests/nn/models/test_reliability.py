import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.nn import GaussianRefiner
from lgcn.nn.functional.gaussian import GaussianPosterior
from lgcn.nn.models.reliability import COVERED_SHARE, Reliability
from lgcn.typing import KeyPoints
from tests.nn.models.test_gaussian_refiner import SIZE, K, draw_faces, fitted

TYPES = torch.tensor([0.01, 0.02, 0.05])  # typical deviations


def draw(count: int, seed: int, noisier: float = 1.0, residual: float = 1.0) -> tuple[Tensor, GaussianPosterior]:
    generator = torch.Generator().manual_seed(seed)
    deviation = noisier * TYPES * (0.3 * torch.randn(count, 3, generator=generator)).exp()
    covariance = torch.diag_embed(deviation.square().unsqueeze(-1).expand(-1, -1, 2))
    residuals = residual * deviation.unsqueeze(-1) * torch.randn(count, 3, 2, generator=generator)
    return deviation.square(), GaussianPosterior(residuals, covariance, residuals, covariance)


def joined(*parts: tuple[Tensor, GaussianPosterior]) -> tuple[Tensor, GaussianPosterior]:
    variances, posteriors = zip(*parts, strict=True)
    return torch.cat(variances), GaussianPosterior(*(torch.cat(each) for each in zip(*posteriors, strict=True)))


@pytest.fixture(scope="module")
def reliability() -> Reliability:
    """Of noisy and of contradictory images no one fits."""
    variance, posterior = joined(draw(200, 0), draw(200, 1, noisier=3), draw(200, 2, residual=6))
    first = torch.arange(600) < 200
    return Reliability(3).fit(variance, first, posterior, first.double())


def test_covered_is_what_is_noisier_than_is_typical_of_its_type(reliability: Reliability) -> None:
    torch.testing.assert_close(reliability.typical_noise, TYPES, rtol=0.1, atol=0.0)
    variance, _ = draw(1000, 3)
    called, score = reliability(variance)
    assert score is None, "without residuals"
    assert abs(called.double().mean().item() - COVERED_SHARE) < 0.015
    variance[:, 1] *= 16
    called, _ = reliability(variance)
    assert called[:, 1].double().mean() > 0.95
    assert not called[:, [0, 2]].double().mean() > 0.1
    full = torch.diag_embed(torch.stack([4 * variance, variance / 4], dim=-1))  # of the same determinant
    assert torch.equal(reliability(full)[0], called)
    assert torch.equal(reliability(variance, mask=torch.zeros(1000, 3, dtype=torch.bool))[0], torch.ones(1000, 3) > 0)


def test_score_tells_noisy_and_contradictory_images(reliability: Reliability) -> None:
    scores = [
        reliability(*draw(300, seed, **options))[1]
        for seed, options in enumerate([{}, {"noisier": 3}, {"residual": 6}])
    ]
    assert scores[0].median() > 0.9
    assert scores[1].median() < 0.2
    assert scores[2].median() < 0.2
    variance, posterior = draw(4, 9)
    mask = torch.tensor([[True] * 3, [True, False, False], [False] * 3, [True] * 3])
    posterior.residual[~mask] = 0.0
    score = reliability(variance, posterior, mask)[1]
    assert score.isfinite().all()
    assert score[2] == 0
    torch.testing.assert_close(score[3], reliability(variance, posterior)[1][3])


def test_noise_by_type_alone_tells_nothing() -> None:
    variance = TYPES.square().expand(200, 3)
    assert not Reliability(3).fit(variance, torch.ones(200) > 0)(variance)[0].any()


def test_bad_input(reliability: Reliability) -> None:
    variance, posterior = draw(100, 0)
    clean = torch.ones(100, dtype=torch.bool)
    with pytest.raises(InputError, match="100 landmarks or more .got 0."):
        Reliability(3).fit(variance, ~clean)
    with pytest.raises(InputError, match="some fit and some do not .got 100 of 100"):
        Reliability(3).fit(variance, clean, posterior, clean.double())
    with pytest.raises(InputError, match="'share'"):
        Reliability(3).fit(variance, clean, share=0.9)


def test_refiner_tells_once_it_is_calibrated_and_after_it_is_loaded() -> None:
    faces = draw_faces(400, seed=5)
    refiner = fitted()
    given = KeyPoints(faces.predictions, faces.confidences)
    refined = refiner.refine(given)
    assert refined.covered is None
    assert refined.score is None
    fits = (torch.arange(400) % 4 > 0).double()
    clean = fits > 0
    refiner.calibrate(given, faces.shapes, clean=clean)
    assert refiner.refine(given).score is None
    refiner.calibrate(given, faces.shapes, clean=clean, fits=fits)
    refined = refiner.refine(given)
    assert abs(refined.covered[clean].double().mean() - COVERED_SHARE) < 0.005
    assert faces.confidences[refined.covered].max() < faces.confidences[~refined.covered].median()
    loaded = GaussianRefiner(K, 0, SIZE, rank=refiner.rank).double()
    loaded.load_state_dict(refiner.state_dict())
    again = loaded.refine(given)
    assert torch.equal(again.covered, refined.covered)
    assert torch.equal(again.score, refined.score)
    old = {name: value for name, value in refiner.state_dict().items() if "reliability" not in name}
    loaded.load_state_dict(old)
    assert loaded.refine(given).covered is None
    compiled = torch.export.export(_Refine(refiner), (given.pos, given.confidence)).module()
    assert torch.equal(compiled(given.pos, given.confidence)[0], refined.covered)


class _Refine(torch.nn.Module):
    def __init__(self, refiner: GaussianRefiner) -> None:
        super().__init__()
        self.refiner = refiner

    def forward(self, pos: Tensor, confidence: Tensor) -> tuple[Tensor | None, Tensor | None]:
        refined = self.refiner.refine(KeyPoints(pos, confidence))
        return refined.covered, refined.score
