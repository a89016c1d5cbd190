"""The contract of refiners, and chains of them."""

import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.nn import GaussianRefiner, LandmarkRefiner, Refiner, RefinerChain
from lgcn.typing import KeyPoints

K, C, SIZE = 7, 3, (32, 32)


def keypoints() -> KeyPoints:
    generator = torch.Generator().manual_seed(0)
    pos = 31 * torch.rand(2, K, 2, generator=generator)
    features = torch.rand(2, C, 8, 8, generator=generator)
    return KeyPoints(pos, torch.rand(2, K, generator=generator), features=features)


def gaussian() -> GaussianRefiner:
    shapes = 31 * torch.rand(60, K, 2, generator=torch.Generator().manual_seed(1))
    return GaussianRefiner(K, C, SIZE, rank=4).fit(shapes)


def paper() -> LandmarkRefiner:
    torch.manual_seed(0)
    return LandmarkRefiner(K, C, SIZE, hidden_channels=(8,))


class Shift(Refiner):
    def refine(self, keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        return keypoints._replace(pos=keypoints.pos + 1)


def test_refine_is_forward_with_named_fields() -> None:
    given = keypoints()
    for refiner in (paper(), gaussian()):
        refined = refiner.refine(given)
        expected: Tensor = refiner(given.features, given.pos, given.confidence)
        torch.testing.assert_close(refined.pos, expected)
        assert refined.connectivity is None
        assert refined.features is given.features


@pytest.mark.parametrize("build", [paper, gaussian])
def test_connectivity_on_request(build: type) -> None:
    assert build().refine(keypoints(), return_connectivity=True).connectivity.shape == (2, K, K)


def test_the_connectivity_of_a_gaussian_refiner_is_that_of_the_image() -> None:
    given, refiner = keypoints(), gaussian()
    mask = torch.ones(2, K, dtype=torch.bool)
    mask[0, 2] = False
    weight = refiner.refine(given._replace(mask=mask), return_connectivity=True).connectivity
    assert weight is not None
    assert (weight[0, :, 2] == 0).all()
    assert (weight[1, :, 2] > 0).all()


def test_only_a_gaussian_refiner_knows_covariances() -> None:
    assert paper().refine(keypoints()).covariance is None
    covariance = gaussian().refine(keypoints()).covariance
    assert covariance is not None
    assert (torch.linalg.eigvalsh(covariance) > 0).all()


def test_a_chain_applies_one_after_another() -> None:
    given, last = keypoints(), gaussian()
    refined = RefinerChain(Shift(), last).refine(given)
    torch.testing.assert_close(refined.pos, last.refine(given._replace(pos=given.pos + 1)).pos)
    assert refined.covariance is not None


@pytest.mark.parametrize("build", [paper, gaussian, lambda: RefinerChain(Shift(), paper())])
def test_missing_fields_are_named_in_one_error(build: type) -> None:
    with pytest.raises(InputError, match=r"with confidence, features for \w+ \(got no confidence, features\)"):
        build().refine(KeyPoints(keypoints().pos))
