from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou
from torchvision.transforms.functional import InterpolationMode, rotate

from lgcn.checks import InputError
from lgcn.images import read_image
from lgcn.predict import CascadeFaceDetector

# The tight box around the 68 landmarks of the photo, by eye.
ASTRONAUT = torch.tensor([[180.0, 87.0, 272.0, 179.0]])


@pytest.fixture(scope="module")
def astronaut() -> Tensor:
    return read_image(Path(__file__).parents[2] / "examples" / "astronaut.jpg")


@pytest.fixture(scope="module")
def detector() -> CascadeFaceDetector:
    return CascadeFaceDetector(min_face=0.12)


def test_the_face_of_a_photo_is_found_where_its_landmarks_are(astronaut: Tensor, detector: CascadeFaceDetector) -> None:
    boxes = detector(astronaut)
    assert boxes.shape[1:] == (4,) and boxes.dtype == torch.float32
    assert box_iou(boxes, ASTRONAUT).max() > 0.7
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    assert torch.equal(area, area.sort(descending=True).values)


def test_large_images_are_searched_small_and_boxes_scaled_back(
    astronaut: Tensor, detector: CascadeFaceDetector
) -> None:
    large = F.interpolate(astronaut[None], scale_factor=3, mode="bilinear")[0]
    boxes = (detector(large) + 0.5) / 3 - 0.5
    assert box_iou(boxes, ASTRONAUT).max() > 0.65


def test_a_shifted_face_is_found_shifted(astronaut: Tensor, detector: CascadeFaceDetector) -> None:
    face = astronaut[:, 20:260, 100:340]
    moved = torch.full((3, 300, 400), 128, dtype=torch.uint8)
    moved[:, 40:280, 110:350] = face
    boxes = detector(moved) - torch.tensor([10.0, 20.0] * 2)
    assert box_iou(boxes, ASTRONAUT).max() > 0.6


@pytest.mark.parametrize("degrees", [-14, 22])
def test_a_turned_face_is_found_though_few_windows_see_it(
    degrees: float, astronaut: Tensor, detector: CascadeFaceDetector
) -> None:
    turned = rotate(astronaut, degrees, InterpolationMode.BILINEAR, center=[226, 133])[:, 20:260, 100:340]
    boxes = detector(turned) + torch.tensor([100.0, 20.0] * 2)
    assert len(boxes) and box_iou(boxes, ASTRONAUT).max() > 0.5


@pytest.mark.parametrize("size", [(1, 1), (31, 500), (40, 40), (3000, 20)])
def test_images_without_a_face_have_no_boxes(size: tuple[int, int], detector: CascadeFaceDetector) -> None:
    assert detector(torch.full((3, *size), 200, dtype=torch.uint8)).shape == (0, 4)


def test_squares_of_one_face_differ_in_size() -> None:
    from lgcn.predict.face_detector import _grouped

    face = [[10.0, 10.0, 70.0, 70.0], [0.0, 0.0, 90.0, 90.0]]
    apart = [[200.0, 0.0, 290.0, 90.0], [260.0, 0.0, 350.0, 90.0]]
    assert _grouped(torch.tensor(face + apart), 2).tolist() == [[5.0, 5.0, 80.0, 80.0]]


def test_boxes_inside_larger_boxes_are_dropped() -> None:
    from lgcn.predict.face_detector import _largest_of_overlapping

    nested = [[10.0, 10.0, 20.0, 20.0], [0.0, 0.0, 90.0, 90.0], [60.0, 0.0, 140.0, 80.0], [95.0, 95.0, 99.0, 99.0]]
    kept = _largest_of_overlapping(torch.tensor(nested))
    assert kept.tolist() == [nested[1], nested[3]]


@pytest.mark.parametrize(
    ("option", "value"), [("max_side", 10), ("min_face", 0.0), ("min_face", 1.5), ("min_neighbors", 0)]
)
def test_values_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"'{option}'"):
        CascadeFaceDetector(**{option: value})  # type: ignore[arg-type]


def test_other_shapes_are_refused(detector: CascadeFaceDetector) -> None:
    with pytest.raises(InputError, match=r"\[3, H, W\]"):
        detector(torch.zeros(64, 64, 3, dtype=torch.uint8))


def test_most_faces_of_300w_are_found_and_fit(shared: Path, detector: CascadeFaceDetector) -> None:
    from lgcn.datasets import IBUG300W

    dataset = IBUG300W(shared / "data" / "300w", split="lfpw/testset")
    overlaps = []
    for number in range(0, len(dataset), 16):
        data = dataset[number]
        boxes = detector(data.image[0])
        overlaps.append(float(box_iou(boxes, data.bbox).max()) if len(boxes) else 0.0)
    found = torch.tensor(overlaps)
    assert (found > 0.35).float().mean() >= 0.8
    assert found[found > 0.35].median() > 0.65
