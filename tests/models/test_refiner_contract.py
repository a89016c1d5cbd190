"""Tests of what a detector asks of a user's refiner when it is built."""

from typing import Any, cast

import pytest
import torch
from torch import nn

from lgcn.checks import InputError
from lgcn.models import REFINERS, LandmarkDetector, ShapeRefiner, create_detector
from lgcn.nn import LandmarkRefiner, Refiner, RefinerChain
from lgcn.typing import KeyPoints
from tests.models.test_gnn_config import TINY


class Shift(Refiner):
    """Moves landmarks; ``fault`` breaks the contract."""

    def __init__(self, num_landmarks: int = 68, *_: Any, fault: str = "") -> None:
        super().__init__()
        self.by = nn.Parameter(torch.ones(num_landmarks, 2))
        self.norm = nn.BatchNorm1d(num_landmarks)
        self.fault = fault

    def refine(self, keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        pos = keypoints.pos + self.norm(self.by.expand_as(keypoints.pos))
        if self.fault == "tensor":
            return cast(KeyPoints, pos)
        if self.fault == "fewer":
            pos = pos[:, 1:]
        if self.fault == "attribute":
            pos = pos + cast(Any, keypoints).depth
        return keypoints._replace(pos=pos)


FAULTS = {
    "tensor": r"'refine' of Shift to return KeyPoints with 'pos' \[2, 68, 2\] \(got Tensor\)",
    "fewer": r"with 'pos' \[2, 68, 2\] \(got 'pos' \[2, 67, 2\]\)",
    "attribute": r"'refine' of Shift to take .* \(got AttributeError: .*'depth'\)",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refiner_without_sizes_that_breaks_the_contract(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = create_detector("default", refiner={"name": "none"}, **TINY).config
    for refiner in (Shift(fault=fault), RefinerChain(Shift(), Shift(fault=fault))):
        with pytest.raises(InputError, match=FAULTS[fault]):
            LandmarkDetector(config, refiner=refiner)
    monkeypatch.setattr(REFINERS, "_things", dict(REFINERS._things))
    REFINERS.register("shift", Shift)
    with pytest.raises(InputError, match=FAULTS[fault]):
        create_detector("default", refiner={"name": "shift", "options": {"fault": fault}}, **TINY)


def test_a_refiner_for_other_landmarks_without_saying_so() -> None:
    config = create_detector("default", refiner={"name": "none"}, **TINY).config
    with pytest.raises(InputError, match=r"'pos' \[2, 68, 2\].*\(got RuntimeError: .*size"):
        LandmarkDetector(config, refiner=Shift(67))


def test_fields_that_detectors_do_not_give_and_refiners_that_are_not_ready() -> None:
    config = create_detector("default", refiner={"name": "none"}, **TINY).config
    refiner = Shift()
    refiner.needs = ("covariance",)
    with pytest.raises(InputError, match=r"'keypoints' with covariance for Shift \(got no covariance\)"):
        LandmarkDetector(config, refiner=refiner)
    LandmarkDetector(config, refiner=ShapeRefiner(num_landmarks=68))  # to be fitted later
    with torch.device("meta"):
        LandmarkDetector(config, refiner=Shift())
    LandmarkDetector(config, refiner=LandmarkRefiner(68, 8, (32, 32)).double())


def test_the_trial_leaves_no_trace() -> None:
    config = create_detector("default", refiner={"name": "none"}, **TINY).config
    refiner = Shift()
    before = {name: value.clone() for name, value in refiner.state_dict().items()}
    LandmarkDetector(config, refiner=refiner)
    assert refiner.training and refiner.norm.training
    assert all(torch.equal(value, before[name]) for name, value in refiner.state_dict().items())
