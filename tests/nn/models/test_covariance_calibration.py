import math

import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.nn import GaussianRefiner
from lgcn.nn.models.covariance_calibration import CovarianceCalibration, log_spread
from lgcn.typing import KeyPoints
from tests.nn.models.test_gaussian_refiner import RANK, SIZE, C, K, draw_faces, fitted


def draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Errors, and covariances that are wrong by a factor, an exponent, and more so on bad images."""
    generator = torch.Generator().manual_seed(seed)
    image, own = torch.randn(count, 1, generator=generator), torch.randn(count, 20, generator=generator)
    true = torch.exp(image + 0.5 * own - 3)
    predicted = 0.2 * torch.exp(0.5 * image + own - 3)
    errors = true.sqrt()[..., None] * torch.randn(count, 20, 2, generator=generator)
    return errors, torch.diag_embed(predicted[..., None].expand(-1, -1, 2))


def coverage(errors: Tensor, covariance: Tensor, level: float = 0.9) -> Tensor:
    distance = (errors * torch.linalg.solve(covariance, errors)).sum(-1)
    return (distance <= -2 * math.log(1 - level)).float().mean(dim=-1)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_covers_its_share_of_errors_on_good_and_on_bad_images(level: float) -> None:
    calibration = CovarianceCalibration()
    errors, covariance = draw(1000, 0)
    calibration.fit(errors, covariance, log_spread(covariance), level=level)
    errors, covariance = draw(2000, 1)
    calibrated = calibration(covariance, log_spread(covariance))
    order = log_spread(covariance).mean(1).argsort()
    for part in order.tensor_split(4):
        assert abs(coverage(errors[part], calibrated[part], level).mean() - level) < 0.03
        found = errors[part].norm(dim=-1).mean() / calibration.expected_error(calibrated[part]).mean()
        assert 0.9 < found < 1.1
    assert coverage(errors, covariance, level).mean() < level - 0.2  # before


def test_groups_decide_on_the_form() -> None:
    """Uncertain images are overrated here in one group only: a plain factor covers the worst group better."""
    errors, covariance = draw(2000, 0)
    spread = log_spread(covariance)
    by_image, grouped = CovarianceCalibration(), CovarianceCalibration()
    by_image.fit(errors, covariance, spread)
    groups = (spread.mean(1) > spread.mean()).long()
    grouped.fit(errors, covariance, spread, groups=groups)

    def worst(calibration: CovarianceCalibration) -> float:
        inside = coverage(errors, calibration(covariance, spread))
        return max(abs(inside[groups == group].mean().item() - 0.9) for group in (0, 1))

    assert worst(grouped) <= worst(by_image)
    constant = CovarianceCalibration().fit(errors, covariance, spread, groups=torch.zeros(2000))
    assert constant.weight[0] != 0


def test_does_not_extrapolate_and_counts_observed_landmarks() -> None:
    calibration = CovarianceCalibration()
    errors, covariance = draw(300, 0)
    calibration.fit(errors, covariance, log_spread(covariance))
    far = 1e9 * covariance
    low, high = calibration.limits.exp()
    factor = (calibration(far, log_spread(far)) / far).diagonal(dim1=-2, dim2=-1)
    assert (factor <= high * 1.001).all() and (factor >= low * 0.999).all()
    mask = torch.ones(300, 20, dtype=torch.bool)
    mask[:, 5:] = False
    spread = log_spread(covariance)
    hidden = torch.where(mask, spread, spread + 3)
    torch.testing.assert_close(
        calibration(covariance, hidden, mask)[:, :5], calibration(covariance, spread, mask)[:, :5]
    )
    assert calibration(covariance, spread, torch.zeros_like(mask)).isfinite().all()


def test_refiner_is_calibrated_saved_and_loaded_with_and_without() -> None:
    faces, unseen = draw_faces(400, seed=3), draw_faces(1000, seed=4)
    refiner = fitted()
    given = KeyPoints(unseen.predictions, unseen.confidences)
    before = refiner.refine(given)
    torch.testing.assert_close(before.covariance, refiner.posterior(None, *given[:2]).covariance, rtol=0, atol=0)
    old = {name: value for name, value in refiner.state_dict().items() if "calibration" not in name}
    target = faces.shapes.clone()
    target[::7, 3] = torch.nan
    with torch.inference_mode():
        assert refiner.calibrate(KeyPoints(faces.predictions, faces.confidences), target) is refiner
    after = refiner.refine(given)
    assert torch.equal(after.pos, before.pos)
    assert abs(coverage(after.pos - unseen.shapes, after.covariance).mean() - 0.9) < 0.02
    found = (after.pos - unseen.shapes).norm(dim=-1).mean() / after.expected_error.mean()
    assert 0.93 < found < 1.07

    other = GaussianRefiner(K, 0, SIZE, rank=RANK).double()
    other.load_state_dict(refiner.state_dict())
    torch.testing.assert_close(other.refine(given).covariance, after.covariance)
    other.load_state_dict(old)  # saved before it was calibrated: whatever calibration there is stays
    other.reset_parameters()
    other.load_state_dict(old)
    torch.testing.assert_close(other.refine(given).covariance, before.covariance)


def test_bad_input() -> None:
    refiner, faces = fitted(), draw_faces(40)
    given = KeyPoints(faces.predictions, faces.confidences)
    with pytest.raises(InputError, match="errors of 100 landmarks or more .*got 0"):
        refiner.calibrate(given, torch.full_like(faces.shapes, torch.nan))
    with pytest.raises(InputError, match=r"'target' to have shape \[N, K, 2\] with N=40, K=12"):
        refiner.calibrate(given, faces.shapes[:5])
    with pytest.raises(InputError, match="'level' .*got 1"):
        refiner.calibrate(given, faces.shapes, level=1)
    with pytest.raises(InputError, match="'keypoints' with confidence"):
        refiner.calibrate(KeyPoints(faces.predictions), faces.shapes)
    exact = refiner.calibrate(given, refiner(None, *given[:2]))  # no errors at all
    assert exact.refine(given).covariance.isfinite().all()
    same = fitted(C, noise_inputs=(), hidden_channels=())  # equal covariances on all images
    same.calibrate(KeyPoints(*given[:2], features=torch.zeros(40, K, C)), faces.shapes)
    assert same.refine(KeyPoints(*given[:2], features=torch.zeros(40, K, C))).covariance.isfinite().all()


def test_decoder_moves_the_mean() -> None:
    """It starts without effect; then the posterior is that of observations about a moved mean."""
    faces = draw_faces(30, seed=2)
    refiner, plain = fitted(decoder_channels=8), fitted()
    given = (None, faces.predictions, faces.confidences)
    torch.testing.assert_close(refiner(*given), plain(*given))
    assert refiner.decoder is not None
    torch.nn.init.normal_(refiner.decoder.lins[-1].weight, std=0.1)
    posterior = refiner.posterior(*given)
    torch.testing.assert_close(posterior.mean, refiner(*given))
    torch.testing.assert_close(posterior.covariance, plain.posterior(*given).covariance)
    assert (posterior.mean - plain(*given)).norm(dim=-1).mean() > 0.01
