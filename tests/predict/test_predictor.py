import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lgcn.checks import InputError, InputFileError
from lgcn.geometry import landmark_box
from lgcn.models import create_detector
from lgcn.predict import (
    CascadeFaceDetector,
    Face,
    ImagePreparer,
    LandmarkPredictor,
    NoFaceWarning,
    PreparedImage,
    WholeImage,
)
from lgcn.schemes import LandmarkScheme
from lgcn.typing import DetectorOutput
from tests.predict.spots import SpotDetector, draw_spots, triangle

LEFT, RIGHT = triangle(20.0, 30.0), triangle(120.0, 40.0, size=50.0)
IMAGE = draw_spots((120, 220), LEFT, RIGHT)
BOXES = torch.stack([landmark_box(LEFT), landmark_box(RIGHT)])


def predictor(detector: SpotDetector | None = None, **options: object) -> LandmarkPredictor:
    return LandmarkPredictor(detector or SpotDetector(), **options)  # type: ignore[arg-type]


def loosened(boxes: Tensor, left: float, top: float, right: float, bottom: float) -> Tensor:
    """Boxes moved outwards by fractions of their size."""
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + size * torch.tensor([-left, -top, right, bottom])


def test_landmarks_come_back_in_pixels_of_the_image() -> None:
    faces = predictor()(IMAGE, BOXES)
    assert all(isinstance(face, Face) for face in faces)
    for face, target, box in zip(faces, (LEFT, RIGHT), BOXES, strict=True):
        assert (face.landmarks - target).abs().max() < 0.1
        assert torch.equal(face.box, box)
        assert face.confidence.shape == (3,) and face.connectivity is None
        # 2 input pixels, in pixels of the image.
        width = float(box[2] - box[0])
        assert float((face.initial - face.landmarks)[:, 0].mean()) == pytest.approx(2 * 1.25 * width / 64, rel=0.08)


def test_a_crop_that_does_not_fill_the_input_in_whole_numbers_is_mapped_back_too() -> None:
    pos = triangle(41.3, 27.8, size=23.7)
    face = predictor(SpotDetector((96, 64)))(draw_spots((100, 90), pos), landmark_box(pos))[0]
    assert (face.landmarks - pos).abs().max() < 0.1


def test_all_forms_of_an_image_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    array = IMAGE.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(path)
    predict = predictor()
    expected = predict(IMAGE, BOXES)
    for form in (path, str(path), array, Image.open(path), IMAGE):
        for face, same in zip(predict(form, BOXES.tolist()), expected, strict=True):
            assert torch.equal(face.landmarks, same.landmarks)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    image = Image.fromarray(IMAGE.permute(1, 2, 0).numpy())
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: the image is seen after a quarter turn clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    face = predictor()(path, BOXES[0])[0]
    assert (face.landmarks - LEFT).abs().max() < 0.1


def test_a_list_gives_a_list_of_lists_in_common_batches() -> None:
    detector = SpotDetector()
    empty = torch.zeros(3, 60, 60, dtype=torch.uint8)
    results = predictor(detector)([IMAGE, empty, IMAGE], [BOXES, [], BOXES[1:]])
    assert [len(faces) for faces in results] == [2, 0, 1]
    assert (results[2][0].landmarks - RIGHT).abs().max() < 0.1
    assert [len(batch) for batch in detector.batches] == [3, 3]  # one batch a pass


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_batch_size_does_not_change_results(batch_size: int) -> None:
    detector = SpotDetector()
    results = predictor(detector, batch_size=batch_size, passes=1)([IMAGE] * 3, [BOXES] * 3)
    assert max(len(batch) for batch in detector.batches) == batch_size
    assert sum(len(batch) for batch in detector.batches) == 6
    for faces in results:
        for face, target in zip(faces, (LEFT, RIGHT), strict=True):
            assert (face.landmarks - target).abs().max() < 0.3


def test_large_images_are_not_all_held_at_a_time() -> None:
    predict = predictor()
    large = torch.zeros(1, dtype=torch.uint8).expand(3, 6000, 6000)  # takes one byte
    ahead = (predict.prepare(large, [0, 0, 9, 9]) for _ in range(5))
    assert [len(group) for group in predict.grouped(ahead)] == [2, 2, 1]


def test_the_second_pass_makes_the_result_independent_of_the_box() -> None:
    tight, loose = (loosened(BOXES[:1], *by) for by in ((0.0,) * 4, (0.6, 0.5, 0.3, 0.5)))

    def gap(passes: int) -> float:
        predict = predictor(SpotDetector(bias=1.5), passes=passes)
        first, second = (predict(IMAGE, box)[0].landmarks for box in (tight, loose))
        return float((first - second).abs().max())

    assert gap(passes=1) > 0.5
    assert gap(passes=2) < 0.1


def test_a_second_pass_keeps_the_box_if_the_first_finds_no_face() -> None:
    class OneSpot(SpotDetector):
        def forward(self, images: Tensor, return_connectivity: bool = False):  # type: ignore[no-untyped-def]
            output = super().forward(images, return_connectivity)
            return output._replace(pos=torch.full_like(output.pos, 1000.0))

    detector = OneSpot()
    face = predictor(detector)(IMAGE, BOXES[:1])[0]
    assert torch.equal(detector.batches[0], detector.batches[1])
    assert torch.isfinite(face.landmarks).all()


def test_a_box_may_reach_over_the_border() -> None:
    pos = triangle(-3.0, 40.0)
    image = draw_spots((100, 100), pos)
    image[0] = 0
    face = predictor(passes=1)(image, [-10.0, 30.0, 40.0, 80.0])[0]
    assert (face.landmarks[1:] - pos[1:]).abs().max() < 0.2


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([0.1, 0.2, 0.5, 0.7], r"fractions of the image.*x1 by its width 220.*height 120"),
        ([0.5, 0.5, 0.2, 0.3], "fractions"),
        ([-0.05, 0.0, 1.2, 1.0], "fractions"),
        ([0.0, 0.0, 0.0, 0.0], "all its numbers are equal.*leave the box out"),
        ([-1.0, -1.0, -1.0, -1.0], "all its numbers are equal"),
        ([100.0, 50.0, 60.0, 70.0], "no area.*if it is .x, y, width, height., add x"),
        ([300.0, 10.0, 340.0, 50.0], r"'images\[1\]'.*box 1 = \[300, 10, 340, 50\].*outside.*220 x 120"),
        ([-50.0, 10.0, -1.0, 50.0], "outside"),
        ([float("nan"), 0.0, 10.0, 10.0], "not finite"),
        ([float("inf"), 0.0, 10.0, 10.0], "not finite"),
        ([10.0, 10.0, 10.0, 50.0], "no area"),
        ([50.0, 50.0, 10.0, 10.0], "no area.*x1 > x0"),
    ],
)
def test_an_unusable_box_is_named(box: list[float], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        predictor()([IMAGE, IMAGE], [BOXES, [BOXES[0].tolist(), box]])


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ([[1.0, 2.0, 3.0]], r"\[F, 4\].*\[1, 3\]"),
        ("everywhere", r"numbers of shape \[F, 4\]"),
        ([[1.0, 2.0], [3.0]], "numbers"),
    ],
)
def test_boxes_of_another_form_are_refused(boxes: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        predictor()(IMAGE, boxes)


def test_boxes_for_another_number_of_images_are_refused() -> None:
    with pytest.raises(InputError, match="each of the 2 images .got 1"):
        predictor()([IMAGE, IMAGE], [BOXES])


@pytest.mark.parametrize("option", ["passes", "batch_size"])
def test_numbers_below_one_are_refused(option: str) -> None:
    with pytest.raises(InputError, match=f"'{option}' to be 1 or more"):
        predictor(**{option: 0})


def test_a_face_detector_of_the_caller_is_called_for_images_without_boxes() -> None:
    asked: list[tuple[int, ...]] = []

    def find(image: Tensor) -> Tensor:
        asked.append(tuple(image.shape))
        return BOXES

    results = predictor(face_detector=find)([IMAGE, IMAGE], [None, BOXES[:1]])
    assert [len(faces) for faces in results] == [2, 1]
    assert asked == [(3, 120, 220)]


def test_other_things_than_faces_need_boxes() -> None:
    detector = SpotDetector()
    detector.scheme = replace(detector.scheme, subject="lamp")
    lamps = predictor(detector)
    with pytest.raises(InputError, match=r"a box for each lamp \(got none.*'boxes' \(--boxes FILE\).*WholeImage"):
        lamps(IMAGE)
    with pytest.raises(InputError, match="a box for each lamp"):
        lamps([IMAGE, IMAGE], [BOXES, None])
    assert len(lamps(IMAGE, BOXES)) == 2
    assert len(predictor(detector, face_detector=WholeImage())(IMAGE)) == 1
    with pytest.warns(NoFaceWarning, match="No lamp was detected"):
        assert predictor(detector, face_detector=WholeImage(), min_confidence=1.0, turned=False)(0 * IMAGE) == []


def test_messages_name_the_image_of_a_list() -> None:
    with pytest.raises(InputError, match=r"Expected 'images\[1\]', an array, to hold uint8"):
        predictor()([IMAGE, np.zeros((4, 5, 3))], [BOXES, None])
    with pytest.raises(InputError, match=r"the bytes given as 'images\[0\]'"):
        predictor()([b"no image"])
    with pytest.raises(InputError, match="'image', an array, to hold uint8"):
        predictor()(np.zeros((4, 5, 3)))


def test_no_face_is_an_empty_list_and_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    Image.new("RGB", (60, 40), "grey").save(path)
    with pytest.warns(NoFaceWarning, match=r"wall\.png"):
        assert predictor()(path) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert predictor()(path, torch.zeros(0, 4)) == []
    assert predictor()([]) == []


def test_a_detected_face_of_low_confidence_is_a_false_positive() -> None:
    dim = IMAGE.clone()
    dim[:, :, 110:] = dim[:, :, 110:] // 2
    find = {"face_detector": lambda image: BOXES}
    assert [len(predictor(**find, min_confidence=least)(dim)) for least in (0.0, 0.6)] == [2, 1]
    assert len(predictor(min_confidence=0.6)(dim, BOXES)) == 2, "given boxes are trusted"
    detector = SpotDetector()
    detector.min_confidence = 0.6
    assert len(predictor(detector, **find)(dim)) == 1, "the value of the model's config"
    with pytest.warns(NoFaceWarning, match=r"'image' \(2 candidates below min_confidence = 1\)"):
        assert predictor(**find, min_confidence=1.0, turned=False)(dim) == []
    with pytest.raises(InputError, match="'min_confidence'"):
        predictor(min_confidence=1.5)


def test_a_hopeless_candidate_is_not_looked_at_again() -> None:
    detector = SpotDetector()
    dim = IMAGE.clone()
    dim[:, :, 110:] //= 3
    options = {"face_detector": lambda image: BOXES, "passes": 3, "turned": False}
    faces = LandmarkPredictor(detector, **options, min_confidence=0.7)(dim)
    assert [len(batch) for batch in detector.batches] == [2, 1, 1]
    torch.testing.assert_close(faces[0].landmarks, LEFT, atol=0.05, rtol=0)
    detector.batches.clear()
    LandmarkPredictor(detector, **options, min_confidence=0.4)(dim)
    assert [len(batch) for batch in detector.batches] == [2, 2, 2], "a third is more than half of 0.4"


def test_an_image_of_one_pixel_has_no_face() -> None:
    pixel = np.zeros((1, 1, 3), dtype=np.uint8)
    with pytest.warns(NoFaceWarning, match="'image'"):
        assert predictor()(pixel) == []
    assert len(predictor()(pixel, [-0.5, -0.5, 0.5, 0.5])) == 1


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputFileError, match=r"nowhere\.jpg"):
        predictor()(["nowhere.jpg"])


def test_connectivity_on_request() -> None:
    face = predictor()(IMAGE, BOXES, return_connectivity=True)[1]
    assert face.connectivity is not None
    assert torch.equal(face.connectivity.sum(dim=1), torch.ones(3))


def test_a_damaged_model_is_an_error() -> None:
    with pytest.raises(InputError, match="finite landmarks"):
        predictor(SpotDetector(bias=float("nan")))(IMAGE, BOXES)


def test_a_detector_in_training_mode_predicts_as_in_eval_mode() -> None:
    detector = SpotDetector()
    predict = predictor(detector)
    detector.train()
    assert len(predict(IMAGE, BOXES)) == 2  # the detector itself asserts its mode


def test_from_pretrained_predicts_with_a_real_network(tmp_path: Path) -> None:
    create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(tmp_path)
    predict = LandmarkPredictor.from_pretrained(tmp_path, batch_size=2)
    faces = predict(IMAGE, BOXES.repeat(2, 1), return_connectivity=True)
    assert len(faces) == 4
    assert faces[0].landmarks.shape == faces[0].initial.shape == (68, 2)
    assert faces[0].connectivity is not None and faces[0].connectivity.shape == (68, 68)
    assert torch.allclose(faces[0].landmarks, faces[2].landmarks, atol=1e-3)
    assert str(predict) == "LandmarkPredictor(ibug68, input_size=(64, 64), passes=2, batch_size=2)"


def test_from_pretrained_refuses_unknown_devices_and_models(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'device'.*gpu"):
        LandmarkPredictor.from_pretrained(tmp_path, device="gpu")
    with pytest.raises(InputFileError, match="lgcn-86"):
        LandmarkPredictor.from_pretrained("lgcn-86")


def test_paths_of_any_kind_name_their_image(tmp_path: Path) -> None:
    class Place(os.PathLike[str]):
        def __fspath__(self) -> str:
            return str(tmp_path / "place.png")

    Image.fromarray(IMAGE.permute(1, 2, 0).numpy()).save(Place())
    with pytest.raises(InputError, match=r"place\.png.*outside"):
        predictor()(Place(), [500.0, 0.0, 510.0, 10.0])


def test_read_only_boxes_cause_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    boxes = BOXES.numpy().astype(">f8")
    boxes.flags.writeable = False
    assert torch.equal(predictor().prepare(IMAGE, boxes).boxes, BOXES)
    assert torch.equal(predictor().prepare(IMAGE, BOXES.double().requires_grad_()).boxes, BOXES)
    assert not recwarn.list


def test_the_limit_of_pixels_reaches_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (100, 50)).save(path)
    with pytest.raises(InputFileError, match="at most 4,999 pixels"):
        predictor(max_pixels=4999)(path)
    assert predictor(max_pixels=5000).prepare(path, BOXES[0]).image.shape == (3, 50, 100)
    with pytest.raises(InputError, match="'max_pixels' to be 1 or more"):
        predictor(max_pixels=0)


class OnAccelerator(Tensor):
    """Stands for a tensor on a device without float64, such as Apple's MPS: ``cpu()`` leads back."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if function is Tensor.cpu:
            return args[0].as_subclass(Tensor)
        result = super().__torch_function__(function, types, args, kwargs or {})
        if isinstance(result, OnAccelerator) and result.dtype == torch.float64:
            raise TypeError("Cannot convert a tensor to float64: the device does not support it.")
        return result


def test_nothing_is_float64_on_the_accelerator() -> None:
    class Accelerated(SpotDetector):
        def forward(self, images: Tensor, return_connectivity: bool = False):  # type: ignore[no-untyped-def]
            output = super().forward(images, return_connectivity)
            moved = (None if each is None else each.as_subclass(OnAccelerator) for each in output)
            return type(output)(*moved)

    with pytest.raises(TypeError, match="float64"):
        torch.ones(1).as_subclass(OnAccelerator).double()
    faces = predictor(Accelerated())(IMAGE, BOXES, return_connectivity=True)
    for face, same in zip(faces, predictor()(IMAGE, BOXES, return_connectivity=True), strict=True):
        for name in ("landmarks", "initial", "confidence", "connectivity"):
            assert type(getattr(face, name)) is Tensor
            assert torch.equal(getattr(face, name), getattr(same, name))


def test_a_path_is_no_detector() -> None:
    with pytest.raises(InputError, match="'detector' to be a LandmarkDetector .got str.*from_pretrained"):
        LandmarkPredictor("lgcn-68")  # type: ignore[arg-type]


def test_covariances_come_back_in_pixels_of_the_image() -> None:
    class Certain(SpotDetector):
        """Errors of 2 input pixels along x and 1 along y."""

        def forward(self, images: Tensor, return_connectivity: bool = False):  # type: ignore[no-untyped-def]
            covariance = torch.diag(torch.tensor([4.0, 1.0])).expand(len(images), 3, 2, 2)
            error = torch.full((len(images), 3), 2.0)
            return super().forward(images, return_connectivity)._replace(covariance=covariance, expected_error=error)

    (face,) = predictor(Certain(), passes=1)(IMAGE, BOXES[:1])
    zoom = 1.25 * float(BOXES[0, 2] - BOXES[0, 0]) / 64
    assert face.covariance is not None and face.expected_error is not None
    assert torch.allclose(face.covariance, torch.diag(torch.tensor([4.0, 1.0])).expand(3, 2, 2) * zoom**2, rtol=0.08)
    assert torch.allclose(face.expected_error, torch.full((3,), 2 * zoom), rtol=0.08)
    assert face.eye_distance is face.expected_error_percent is None, "these landmarks have no eyes"

    upright = predictor(Certain(), face_detector=marked)(torch.rot90(MARKED, 1, (1, 2)))
    assert torch.allclose(upright[0].covariance[0].diagonal() / zoom**2, torch.tensor([1.0, 4.0]), rtol=0.15)  # type: ignore[index]


MARKED = IMAGE.clone()
MARKED[:, :5] = 255


def marked(image: Tensor) -> Tensor:
    """Finds the left face in an image whose upper border is white: upright, that is."""
    return BOXES[:1] if image[:, :5].min() == 255 else torch.zeros(0, 4)


@pytest.mark.parametrize("quarters", range(4))
def test_faces_in_turned_images_are_found(quarters: int) -> None:
    pos = LEFT
    image = torch.rot90(MARKED, quarters, (1, 2)).contiguous()
    width = MARKED.shape[2]
    for _ in range(quarters):
        pos = torch.stack([pos[:, 1], width - 1 - pos[:, 0]], dim=1)
        width = MARKED.shape[1] if width == MARKED.shape[2] else MARKED.shape[2]
    (face,) = predictor(face_detector=marked, passes=1)(image)
    assert (face.landmarks - pos).abs().max() < 0.3
    assert (landmark_box(pos) - face.box).abs().max() < 1
    if quarters:
        with pytest.warns(NoFaceWarning):
            assert predictor(face_detector=marked, turned=False)(image) == []


class Light:
    """Finds the light, and the corner of the image."""

    def __init__(self, max_side: int) -> None:
        self.max_side = max_side

    def __call__(self, image: Tensor) -> Tensor:
        y, x = (image[0] > 100).nonzero().float().mean(0)
        return torch.stack([x - 16, y - 8, x + 16, y + 8, *torch.tensor([-0.5, -0.5, 3.5, 3.5])]).view(2, 4)


@pytest.mark.parametrize("zoom", [1, 0.5])
def test_boxes_in_turned_images_are_those_of_the_image(zoom: float) -> None:
    image = torch.zeros(3, 90, 140, dtype=torch.uint8)
    image[:, 16:25, 106:115] = 255
    preparer = ImagePreparer(Light(round(140 * zoom)))
    for degrees in preparer.TURNS:
        turned = preparer.turned(preparer(image), degrees)
        assert turned.rotation == -degrees
        half = torch.tensor([-16.0, -8.0, 16.0, 8.0]) / zoom
        assert torch.allclose(turned.boxes[0], torch.tensor([110.0, 20.0] * 2) + half, atol=0.7)
        assert len(turned.boxes) == (2 if degrees % 90 == 0 else 1), "the corner of a turned image shows nothing"


@pytest.mark.parametrize("turned", [True, False])
def test_given_boxes_are_turned_where_landmarks_do_not_fit(turned: bool) -> None:
    class RedAbove(SpotDetector):
        """Only fits faces whose red landmark is the uppermost."""

        def forward(self, images: Tensor, return_connectivity: bool = False) -> DetectorOutput:
            output = super().forward(images, return_connectivity)
            fits = output.pos[:, 0, 1] < output.pos[:, 1:, 1].amin(dim=1)
            return output._replace(score=0.1 + 0.8 * fits.float())

    upright = torch.tensor([[110.0, 40.0], [95.0, 80.0], [125.0, 80.0]])
    centre = torch.tensor([110.0, 60.0])
    for quarters in range(4):
        pos = upright
        for _ in range(quarters):
            pos = centre + (pos - centre).flip(1) * torch.tensor([1.0, -1.0])  # counter-clockwise
        (face,) = predictor(RedAbove(), passes=1, turned=turned)(draw_spots((120, 220), pos), landmark_box(pos))
        assert (face.landmarks - pos).abs().max() < 0.3
        assert face.score == pytest.approx(0.9 if turned or not quarters else 0.1)
        # Initial landmarks lie to the right of the refined ones in the crop.
        across = (face.initial - face.landmarks).mean(0)
        directions = {0: (1, 0), 1: (0, -1), 2: (-1, 0), 3: (0, 1)}
        expected = torch.tensor(directions[quarters if turned else 0], dtype=torch.float32)
        assert torch.dot(across, expected) > 0.99 * across.norm()
        # Boxes around known landmarks, as of a tracked face that is covered for a while, keep their orientation.
        known = PreparedImage("frame", draw_spots((120, 220), pos), landmark_box(pos)[None])
        ((face,),) = predictor(RedAbove(), turned=turned).predict([known], passes=1, search_further=False)
        assert face.score == pytest.approx(0.1 if quarters else 0.9)


def test_a_false_positive_hides_no_turned_face() -> None:
    class Calibrated(SpotDetector):
        """Knows that landmarks do not fit where there is no light."""

        def forward(self, images: Tensor, **options: bool) -> DetectorOutput:
            output = super().forward(images, **options)
            return output._replace(score=torch.where(output.confidence.mean(dim=1) > 0.5, 0.99, 0.01))

    def doubtful(image: Tensor) -> Tensor:
        """Also finds a face in the image as it is, beside the true one."""
        return marked(image) if image[:, :5].min() == 255 else torch.tensor([[60.0, 110.0, 100.0, 150.0]])

    image = torch.rot90(MARKED, 1, (1, 2)).contiguous()
    find = {"face_detector": doubtful, "passes": 1, "min_confidence": 0.0}
    (face,) = predictor(Calibrated(), **find)(image)
    assert face.score == pytest.approx(0.99)
    with pytest.warns(NoFaceWarning, match=r"Probably no face in 'image' was found: the best score is 0\.010"):
        (face,) = predictor(Calibrated(), **find, turned=False)(image)
    assert face.score == pytest.approx(0.01), "kept, and reported"


class FindsLight(CascadeFaceDetector):
    """Finds the square of light if it is large enough."""

    def __call__(self, image: Tensor) -> Tensor:
        y, x = (image[0] > 100).nonzero().unbind(1)
        box = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()
        return box[None] if box[2] - box[0] >= self.smallest_face(image.shape[1:]) else torch.zeros(0, 4)


@pytest.mark.parametrize(("side", "found"), [(100, True), (40, True), (20, False)])
def test_small_faces_are_looked_for_where_no_other_is_found(side: int, found: bool) -> None:
    image = torch.zeros(3, 300, 1200, dtype=torch.uint8)  # of which the first search sees faces from 60 pixels on
    image[:, 50 : 50 + side, 700 : 700 + side] = 200
    predict = predictor(face_detector=FindsLight(), turned=False)
    assert len(predict.prepare(image).boxes) == (side == 100)
    if found:
        (face,) = predict(image)
        assert face.box.tolist() == [700, 50, 700 + side, 50 + side]
    else:
        with pytest.warns(NoFaceWarning):
            assert predict(image) == []
    nothing = torch.zeros(0, 4)
    assert predict.prepare.finer(PreparedImage("small", image[:, :, 600:], nothing)) is None, "it has no more pixels"
    assert ImagePreparer(marked).finer(PreparedImage("image", image, nothing)) is None, "not the cascade"


def test_the_second_crop_is_upright() -> None:
    class Eyes(SpotDetector):
        def __init__(self) -> None:
            super().__init__()
            self.scheme = LandmarkScheme(name="eyes", names=("right", "left", "chin"), flip_pairs=((0, 1),))

    detector = Eyes()
    for angle in (10.0, 40.0, -70.0):
        turn = torch.deg2rad(torch.tensor(angle))
        matrix = torch.stack([torch.stack([turn.cos(), -turn.sin()]), torch.stack([turn.sin(), turn.cos()])])
        pos = torch.tensor([110.0, 60.0]) + torch.tensor([[-15.0, -10.0], [15.0, -10.0], [0.0, 20.0]]) @ matrix.T
        detector.batches.clear()
        (face,) = predictor(detector)(draw_spots((120, 220), pos), landmark_box(pos))
        assert (face.landmarks - pos).abs().max() < 0.3
        eyes = [detector(batch).pos[0, :2].detach() for batch in list(detector.batches)]
        tilt = [float(torch.rad2deg(torch.atan2(*(each[1] - each[0]).flip(0)))) for each in eyes]
        assert tilt[0] == pytest.approx(angle, abs=3)
        assert tilt[1] == pytest.approx(angle if abs(angle) < 20 else 0, abs=3), "small angles are left alone"


def test_the_warning_names_the_smallest_face_that_is_looked_for() -> None:
    wide = torch.zeros(3, 600, 6400, dtype=torch.uint8)
    with pytest.warns(NoFaceWarning, match=r"107 pixels or more here.*--min-face, --max-side"):
        predictor(turned=False)(wide)
