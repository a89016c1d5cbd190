import pytest
import torch

from lgcn.checks import InputError
from lgcn.models import DetectorConfig, create_detector
from lgcn.nn import GaussianRefiner, RefinerChain
from lgcn.training import LandmarkDataModule, calibrate_refiner, fit_refiners


@pytest.mark.parametrize("name", ["gaussian", "lgcn+gaussian"])
def test_regions_cover_their_share_of_landmarks(tiny_detector: DetectorConfig, face_root, name: str) -> None:
    data = LandmarkDataModule(str(face_root), input_size=(32, 32), num_workers=0, batch_size=4, val_fraction=0.3)
    data.setup()
    torch.manual_seed(0)
    options = {"name": name, "gaussian": {"rank": 2, "hidden_channels": [8]}}
    detector = create_detector(tiny_detector.with_options(refiner=options))
    fit_refiners(detector, data.train_dataloader())
    crops = list(data.val_dataloader())
    for batch in crops:
        batch.visibility[3] = 0  # and its annotation is not read
        batch.y[3] = 1e4
    assert detector(crops[0].image).covered is None
    assert calibrate_refiner(detector, [crops, crops]) is detector
    refiner = detector.refiner.refiners[-1] if isinstance(detector.refiner, RefinerChain) else detector.refiner
    assert isinstance(refiner, GaussianRefiner)
    assert refiner.calibration.limits.any()
    covered = []
    detector.eval()
    for batch in crops:
        output = detector(batch.image)
        assert output.covered.shape == output.pos.shape[:2]
        error = output.pos - batch.y.view_as(output.pos)
        inside = (error * torch.linalg.solve(output.covariance, error)).sum(-1) <= 4.605
        covered.append(inside.flatten()[batch.visibility > 0])
    assert abs(torch.cat(covered).float().mean() - 0.9) < 0.02


def test_needs_a_gaussian_refiner_and_faces(tiny_detector: DetectorConfig) -> None:
    with pytest.raises(InputError, match="'detector' with a Gaussian refiner .*refiner.name: gaussian"):
        calibrate_refiner(create_detector(tiny_detector), [])
    with pytest.raises(InputError, match="'conditions' with faces"):
        calibrate_refiner(create_detector(tiny_detector.with_options(refiner={"name": "gaussian"})), [])
