"""Detectors that learn from another one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lgcn.checks import InputError
from lgcn.models import DetectorConfig, LandmarkDetector
from lgcn.training import LandmarkModule
from lgcn.training.trained_detectors import Teacher
from tests.training.test_module import SOFT, trained


@pytest.fixture
def saved(tiny_detector: DetectorConfig, tmp_path: Path) -> str:
    LandmarkDetector(tiny_detector).save_pretrained(tmp_path / "teacher")
    return str(tmp_path / "teacher")


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_targets_are_between_annotated_and_predicted_landmarks(
    tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path, saved: str, weight: float
) -> None:
    targets: list[tuple[Tensor, Tensor, Tensor]] = []

    class Seen(LandmarkModule):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            assert self.teacher is not None
            loss = self.loss.forward

            def watched(output: Any, target: Tensor, *rest: Any) -> Any:
                assert self.teacher is not None
                targets.append((batch.y.view(-1, 68, 2), self.teacher(batch.image), target))
                return loss(output, target, *rest)

            self.loss.forward = watched  # type: ignore[method-assign]
            try:
                return super().training_step(batch, batch_idx)
            finally:
                self.loss.forward = loss  # type: ignore[method-assign]

    module = Seen(tiny_detector, SOFT, teacher=saved, teacher_weight=weight)
    assert not any("teacher" in name for name in module.state_dict())
    before = {name: value.clone() for name, value in LandmarkDetector.from_pretrained(saved).state_dict().items()}
    trained(module, face_root, tmp_path)
    assert targets
    for annotated, predicted, target in targets:
        torch.testing.assert_close(target, annotated + weight * (predicted - annotated))
    assert module.teacher is not None
    assert not module.teacher.detector.training
    assert all(value.equal(before[name]) for name, value in module.teacher.detector.state_dict().items())


def test_landmarks_are_in_pixels_of_the_student(tiny_detector: DetectorConfig, saved: str) -> None:
    large = LandmarkDetector(replace(tiny_detector, input_size=(64, 64)))
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    same = Teacher(saved, LandmarkDetector(tiny_detector))(image)
    twice = F.interpolate(image, scale_factor=2, mode="nearest")
    # A pixel of the small image is 2 x 2 of the large one, and its centre lies between them.
    torch.testing.assert_close(Teacher(saved, large)(twice), 2 * same + 0.5, atol=0.1, rtol=0)


def test_a_teacher_of_another_scheme_is_refused(tiny_detector: DetectorConfig, tmp_path: Path) -> None:
    LandmarkDetector(replace(tiny_detector, scheme="wflw98")).save_pretrained(tmp_path / "teacher")
    with pytest.raises(InputError, match="'teacher' to hold a detector of the scheme 'ibug68' .got 'wflw98'."):
        LandmarkModule(tiny_detector, SOFT, teacher=str(tmp_path / "teacher"))


@pytest.mark.parametrize("weight", [-0.1, 1.5])
def test_a_share_is_at_most_the_whole(tiny_detector: DetectorConfig, saved: str, weight: float) -> None:
    with pytest.raises(InputError, match="teacher_weight"):
        LandmarkModule(tiny_detector, SOFT, teacher=saved, teacher_weight=weight)
