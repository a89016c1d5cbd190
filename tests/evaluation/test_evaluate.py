from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import LandmarkDataset
from lgcn.evaluation.box_matching import match_found_boxes
from lgcn.evaluation.evaluate import crop_faces, evaluate, evaluation_transform
from lgcn.evaluation.formatting import format_result
from lgcn.evaluation.serialization import result_to_dict
from lgcn.geometry import crop_affine, transform_points
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import LandmarkScheme
from lgcn.typing import DetectorOutput
from tests.no_float64 import NoFloat64

SCHEME = LandmarkScheme(
    "triangle", ("left", "right", "chin"), normalizers={"eyes": ((0,), (1,))}, default_normalizer="eyes"
)
INPUT_SIZE = (32, 32)


class FakeDetector(nn.Module):
    """Knows the truth, and is wrong by a known number of pixels of the original image.

    Each image is filled with the number of its face.
    """

    def __init__(self, dataset: LandmarkDataset, initial: Tensor, refined: Tensor | None) -> None:
        super().__init__()
        self.scheme = SCHEME
        self.protocol = get_protocol("zero_based")
        self.input_size = INPUT_SIZE
        self.frozen = nn.Dropout().eval()
        self.refiner = None if refined is None else nn.Linear(1, 1)
        self.seen_training: list[bool] = []
        affine = crop_affine(dataset.bbox, INPUT_SIZE, self.protocol.enlargement)
        self.initial = transform_points(dataset.pos + initial, affine)
        self.refined = self.initial if refined is None else transform_points(dataset.pos + refined, affine)

    def forward(self, images: Tensor) -> DetectorOutput:
        self.seen_training.append(self.training)
        faces = images[:, 0, 16, 16].long()
        initial = self.initial[faces]
        return DetectorOutput(self.refined[faces], initial, torch.ones(initial.shape[:2]), images)


def make_dataset(
    root: Path, visibility: Tensor | None = None, protocol: str | EvaluationProtocol = "zero_based"
) -> LandmarkDataset:
    """Five faces of one shape whose eyes are 40, 60, 80, 100 and 120 pixels apart."""
    distance = torch.tensor([40.0, 60.0, 80.0, 100.0, 120.0])
    eye = torch.tensor([20.0, 30.0])
    shape = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    pos = eye + distance[:, None, None] * shape
    for number in range(5):
        Image.fromarray(np.full((120, 160, 3), number, dtype=np.uint8)).save(root / f"{number}.png")
    names = [f"{number}.png" for number in range(5)]
    return LandmarkDataset(root, names, pos, SCHEME, visibility=visibility, protocol=protocol)


@pytest.fixture
def dataset(tmp_path: Path) -> LandmarkDataset:
    return make_dataset(tmp_path)


def make_detector(dataset: LandmarkDataset) -> FakeDetector:
    """Initial landmarks are 5 pixels off, refined ones 3 * sqrt(2)."""
    detector = FakeDetector(dataset, torch.tensor([0.0, 5.0]), torch.tensor([3.0, -3.0]))
    dataset.transform = evaluation_transform(detector)
    return detector


@pytest.mark.parametrize(("batch_size", "num_workers"), [(5, 0), (2, 0), (2, 1)])
def test_evaluate_measures_in_pixels_of_the_original_image(
    dataset: LandmarkDataset, batch_size: int, num_workers: int
) -> None:
    result = evaluate(make_detector(dataset), dataset, batch_size=batch_size, num_workers=num_workers, progress=False)
    distance = np.array([40, 60, 80, 100, 120])
    for name, offset in {"initial": 5.0, "refined": 3 * 2**0.5}.items():
        errors = offset / distance
        row = result.rows[name]
        assert row.errors.tolist() == pytest.approx(errors.tolist(), abs=1e-6)
        assert row.nme_percent == pytest.approx(100 * errors.mean(), abs=1e-4)
        assert row.fr_percent[0.10] == pytest.approx(100 * (errors > 0.1).mean())
        assert row.auc[0.10] == pytest.approx(np.maximum(0.1 - errors, 0).mean() / 0.1, abs=1e-4)


def test_evaluate_reports_its_conditions(dataset: LandmarkDataset) -> None:
    result = evaluate(make_detector(dataset), dataset, model="mine", thresholds=[0.05, 0.08], progress=False)
    assert (result.model, result.dataset, result.split) == ("mine", "LandmarkDataset", "all")
    assert result.protocol == get_protocol("zero_based")
    assert (result.normalizer, result.num_faces, result.expected_faces, result.warning) == ("eyes", 5, None, None)
    assert result.thresholds == tuple(result.rows["refined"].auc) == (0.05, 0.08)


def test_evaluate_without_a_refiner_has_one_row(dataset: LandmarkDataset) -> None:
    detector = FakeDetector(dataset, torch.zeros(2), None)
    dataset.transform = evaluation_transform(detector)
    result = evaluate(detector, dataset, progress=False)
    assert list(result.rows) == ["initial"]
    assert result.rows["initial"].nme_percent == pytest.approx(0.0, abs=1e-3)


def test_evaluate_leaves_missing_landmarks_out(tmp_path: Path) -> None:
    visibility = torch.ones(5, 3)
    visibility[:, 2] = 0
    dataset = make_dataset(tmp_path, visibility)
    wrong_chin = torch.tensor([[0.0, 0.0], [0.0, 0.0], [50.0, 0.0]])
    detector = FakeDetector(dataset, wrong_chin, None)
    dataset.transform = evaluation_transform(detector)
    assert evaluate(detector, dataset, progress=False).rows["initial"].nme_percent == pytest.approx(0.0, abs=1e-3)


def test_evaluate_runs_in_eval_mode_and_restores_the_mode_of_each_module(dataset: LandmarkDataset) -> None:
    detector = make_detector(dataset).train()
    detector.frozen.eval()
    evaluate(detector, dataset, progress=False)
    assert not any(detector.seen_training)
    assert detector.training
    assert detector.refiner is not None
    assert detector.refiner.training
    assert not detector.frozen.training


def test_evaluate_restores_the_mode_after_an_error(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    detector = make_detector(dataset).train()
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(InputFileError, match="3.png"):
        evaluate(detector, dataset, progress=False)
    assert detector.training


def test_an_error_in_a_worker_is_one_clear_line(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    detector = make_detector(dataset)
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(InputFileError, match="3.png") as in_worker:
        evaluate(detector, dataset, num_workers=1, progress=False)
    with pytest.raises(InputFileError) as in_process:
        evaluate(detector, dataset, progress=False)
    assert str(in_worker.value) == str(in_process.value)
    assert "\n" not in str(in_worker.value)


def test_images_that_cannot_be_read_are_left_out_on_request_and_named(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    detector = make_detector(dataset)
    for name in ("0.png", "3.png"):
        (tmp_path / name).write_bytes(b"no image")
    result = evaluate(detector, dataset, batch_size=2, progress=False, on_corrupt="skip")
    row = result.rows["initial"]
    assert row.errors.isnan().tolist() == [True, False, False, True, False]
    assert row.landmarks is not None and row.landmarks.isnan().all(dim=(1, 2)).tolist() == row.errors.isnan().tolist()
    assert row.nme_percent == pytest.approx(100 * (5 / 60 + 5 / 80 + 5 / 120) / 3, abs=1e-3)
    assert result.num_faces == 3
    assert (
        result.warning
        == "split 'all': 5 of 5 faces, 2 of them left out because their images cannot be read: 0.png, 3.png"
    )
    text = format_result(result)
    assert "left out:   2 images that cannot be read: 0.png, 3.png" in text and "WARNING: INCOMPLETE split" in text
    unreadable = result_to_dict(result)["unreadable"]
    assert list(unreadable) == ["0.png", "3.png"]
    assert all(str(tmp_path / name) in reason for name, reason in unreadable.items())
    with pytest.raises(InputError, match="'on_corrupt' to be one of stop, skip"):
        evaluate(detector, dataset, progress=False, on_corrupt="ignore")


def test_unreadable_images_do_not_count_as_missed(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, protocol="detector")
    detector = make_detector(dataset)
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(InputFileError, match="3.png"):
        crop_faces(dataset, detector, lambda image: torch.empty(0, 4))
    assert crop_faces(dataset, detector, lambda image: torch.empty(0, 4), on_corrupt="skip") == 4
    assert evaluate(detector, dataset, progress=False, on_corrupt="skip").num_faces == 4


def test_subsets_are_evaluated_in_the_same_run_and_follow_a_selection(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    dataset._subsets = {"near": torch.tensor([True, True, False, False, False])}
    detector = make_detector(dataset)
    result = evaluate(detector, dataset, progress=False)
    assert result.subsets["near"]["initial"].nme_percent == pytest.approx(100 * (5 / 40 + 5 / 60) / 2, abs=1e-3)
    part = evaluate(detector, dataset.index_select([1, 4]), progress=False)
    assert part.num_measured("near") == 1
    assert part.subsets["near"]["initial"].nme_percent == pytest.approx(100 * 5 / 60, abs=1e-3)
    assert part.image_ids == ("1.png", "4.png")


def test_landmarks_and_their_errors_are_kept_in_pixels_of_the_image(dataset: LandmarkDataset) -> None:
    row = evaluate(make_detector(dataset), dataset, progress=False).rows["refined"]
    assert row.landmarks is not None
    torch.testing.assert_close(row.landmarks.float(), dataset.pos + torch.tensor([3.0, -3.0]), atol=1e-3, rtol=0)
    expected = 100 * (3 * 2**0.5 / torch.tensor([40.0, 60, 80, 100, 120])).mean()
    torch.testing.assert_close(row.nme_percent_per_landmark.float(), expected.expand(3), atol=1e-3, rtol=0)


def test_the_decode_of_the_public_hrnet_ends_in_whole_pixels_of_the_image(dataset: LandmarkDataset) -> None:
    detector = FakeDetector(dataset, torch.tensor([0.3, 4.6]), torch.tensor([0.3, 4.6]))
    detector.codec = SimpleNamespace(decode_name="hrnet")
    dataset.transform = evaluation_transform(detector)
    result = evaluate(detector, dataset, progress=False)
    assert torch.equal(result.rows["initial"].landmarks.float(), (dataset.pos + torch.tensor([0.3, 4.6])).trunc() + 1)
    assert torch.allclose(result.rows["refined"].landmarks.float(), dataset.pos + torch.tensor([0.3, 4.6]), atol=1e-3)


def test_a_face_without_its_normalizer_is_not_measured(tmp_path: Path) -> None:
    visibility = torch.ones(5, 3)
    visibility[2, 0] = 0
    dataset = make_dataset(tmp_path, visibility)
    detector = make_detector(dataset)
    result = evaluate(detector, dataset, progress=False)
    assert result.num_faces == 4
    assert result.rows["initial"].errors.isnan().tolist() == [False, False, True, False, False]
    visibility[:, 0] = 0
    dataset = make_dataset(tmp_path, visibility)
    with pytest.raises(InputError, match=r"normaliser 'eyes' can be measured .got none of 5"):
        evaluate(make_detector(dataset), dataset, progress=False)


def test_errors_in_the_crop_are_those_of_the_stretched_face(tmp_path: Path) -> None:
    """By hand: 5 pixels down are 5 / height of the crop, the eyes are their distance / width of it apart."""
    stretched = EvaluationProtocol("stretched", "as wide as high", enlargement=1.0, aspect="stretch", frame="crop")
    dataset = make_dataset(tmp_path, protocol=stretched)
    detector = make_detector(dataset)
    crop_faces(dataset, detector)
    affine = crop_affine(dataset.bbox, INPUT_SIZE, 1.0, aspect="stretch")
    detector.initial = transform_points(dataset.pos + torch.tensor([0.0, 5.0]), affine)
    result = evaluate(detector, dataset, progress=False)
    distance = np.array([40, 60, 80, 100, 120])
    # The box is the eyes' distance wide and half as high.
    assert result.rows["initial"].errors.tolist() == pytest.approx((5 / (distance / 2)).tolist(), rel=1e-4)
    assert result.rows["initial"].landmarks is not None
    torch.testing.assert_close(
        result.rows["initial"].landmarks.float(), dataset.pos + torch.tensor([0.0, 5.0]), atol=1e-3, rtol=0
    )


def test_a_normalizer_from_the_annotation_cannot_be_measured_in_the_crop(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, protocol="pipnet")
    dataset.normalizer_name = "box_size"
    with pytest.raises(InputError, match=r"'normalizer' to be one of eyes, box.*got 'box_size'.*another protocol\."):
        evaluate(make_detector(dataset), dataset, progress=False)


def test_the_boxes_of_a_dataset_have_their_own_enlargement(tmp_path: Path) -> None:
    plain = make_dataset(tmp_path, protocol="pipnet")
    rect = torch.tensor([[10.0, 10.0, 150.0, 110.0]]).expand(5, 4)
    own = LandmarkDataset(tmp_path, plain.image_ids, plain.pos, SCHEME, protocol="pipnet", rect=rect)
    detector = make_detector(plain)
    for dataset, enlargement in ((plain, 1.1), (own, 1.2)):
        assert crop_faces(dataset, detector) is None
        assert dataset.transform.enlargement == enlargement
        assert (dataset.transform.aspect, dataset.transform.clip) == ("stretch", True)
    assert torch.equal(own.bbox, rect)


def test_faces_are_cropped_by_the_boxes_of_a_face_detector(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, protocol="detector")
    truth = dataset.bbox.clone()
    searched = []

    def find_faces(image: Tensor) -> Tensor:
        number = int(image[0, 0, 0])
        searched.append(number)
        if number == 4:
            return torch.empty(0, 4)
        near = truth[number] + torch.tensor([1.0, 0.0, 3.0, 0.0])
        # The second is of another face; of the fourth image there is only that.
        found = [truth[number] + 500, near] if number != 3 else [truth[number] + 500]
        return torch.stack(found)

    detector = make_detector(dataset)
    missed = crop_faces(dataset, detector, find_faces)
    assert searched == [0, 1, 2, 3, 4]
    assert missed == 2
    assert torch.equal(dataset.bbox[:3], truth[:3] + torch.tensor([1.0, 0.0, 3.0, 0.0]))
    assert torch.equal(dataset.bbox[3:], truth[3:])
    result = evaluate(detector, dataset, progress=False, missed_faces=missed)
    assert "missed 2 of 5 faces; these are cropped by their landmarks" in format_result(result)
    assert result_to_dict(result)["missed_faces"] == 2
    with pytest.raises(InputError, match="'find_faces' for the protocol 'detector'"):
        crop_faces(dataset, detector)


def test_two_faces_of_an_image_are_searched_for_once(tmp_path: Path) -> None:
    plain = make_dataset(tmp_path)
    pos = plain.pos[:2] + torch.tensor([[[0.0, 0.0]], [[60.0, 40.0]]])
    dataset = LandmarkDataset(tmp_path, ["0.png", "0.png"], pos, SCHEME, protocol="detector")
    both = dataset.bbox.clone()
    boxes, missed = match_found_boxes(dataset, lambda image: both.flip(0) + 1, progress=False)
    assert torch.equal(boxes, both + 1) and not missed.any()


def test_a_selection_is_not_mistaken_for_the_whole(dataset: LandmarkDataset) -> None:
    detector = make_detector(dataset)
    result = evaluate(detector, dataset.index_select([1, 3]), progress=False)
    assert result.num_faces == 2
    assert result.rows["initial"].nme_percent == pytest.approx(100 * (5 / 60 + 5 / 100) / 2, abs=1e-3)
    assert result.warning == "selection: 2 of 5 faces"


def test_the_crop_is_the_protocols(dataset: LandmarkDataset) -> None:
    detector = make_detector(dataset)
    assert evaluation_transform(detector).enlargement == 1.25
    assert evaluation_transform(detector, EvaluationProtocol("tight", "tight box", enlargement=1.0)).enlargement == 1.0


def test_a_detector_of_another_scheme_is_refused(dataset: LandmarkDataset) -> None:
    detector = make_detector(dataset)
    detector.scheme = LandmarkScheme("square", ("a", "b", "c", "d"))
    with pytest.raises(InputError, match="'triangle'.*'square'"):
        evaluate(detector, dataset, progress=False)


def refuses(
    match: str, dataset: LandmarkDataset, change: Callable[[FakeDetector], None] | None = None, **options: object
) -> None:
    detector = make_detector(dataset)
    if change is not None:
        change(detector)
    with pytest.raises(InputError, match=match):
        evaluate(detector, dataset, progress=False, **options)


def test_bad_arguments_are_named(dataset: LandmarkDataset) -> None:
    refuses("'batch_size' to be 1 or more.*got 0", dataset, batch_size=0)
    refuses("'num_workers' to be 0 or more.*got -1", dataset, num_workers=-1)
    refuses("'device'.*'nonsense'", dataset, device="nonsense")
    refuses("'threshold' to be a fraction.*got 8", dataset, thresholds=[8])


def test_faces_that_are_not_cropped_to_the_input_are_refused(dataset: LandmarkDataset) -> None:
    def forget_transform(detector: FakeDetector) -> None:
        dataset.transform = None

    def enlarge_input(detector: FakeDetector) -> None:
        detector.input_size = (64, 64)

    refuses("evaluation_transform", dataset, forget_transform)
    refuses("image.*H=64, W=64.*got.*32, 32", dataset, enlarge_input)


def test_an_empty_dataset_is_refused(dataset: LandmarkDataset) -> None:
    detector = make_detector(dataset)
    with pytest.raises(InputError, match="empty"):
        evaluate(detector, dataset.index_select([]), progress=False)


def test_the_table_is_aligned_and_warns(dataset: LandmarkDataset) -> None:
    detector = make_detector(dataset)
    result = evaluate(detector, dataset.index_select([0, 3]), thresholds=[0.075, 0.1], model="mine", progress=False)
    text = format_result(result)
    assert "mine" in text
    assert "LandmarkDataset, split all" in text
    assert "zero_based (square crop, 1.25 x" in text
    assert "eyes (" in text
    assert "WARNING: INCOMPLETE selection: 2 of 5 faces" in text
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("landmarks"))
    header, initial, refined = lines[start : start + 3]
    assert header.split("  ")[0] == "landmarks"
    assert all(column in header for column in ("NME %", "FR@0.075 %", "AUC@0.075", "FR@0.10 %", "AUC@0.10"))
    assert initial.split() == ["initial", "(heatmap)", "8.750", "50.00", "0.1667", "50.00", "0.2500"]
    assert refined.startswith("refined (graph)")
    assert len(header) == len(initial) == len(refined)


def test_the_table_of_a_whole_set_warns_of_nothing(dataset: LandmarkDataset) -> None:
    assert "WARNING" not in format_result(evaluate(make_detector(dataset), dataset, progress=False))


def test_a_prediction_of_nan_is_shown_and_leaves_json_valid(dataset: LandmarkDataset) -> None:
    detector = make_detector(dataset)
    detector.refined[0] = torch.nan
    result = evaluate(detector, dataset, progress=False)
    assert result.num_faces == 5
    assert "inf" in format_result(result)
    figures = result_to_dict(result)["results"]
    assert figures["refined"]["nme_percent"] is None
    assert figures["refined"]["fr_percent@0.10"] == pytest.approx(20.0)
    assert figures["initial"]["nme_percent"] == pytest.approx(
        100 * (5 / torch.tensor([40.0, 60, 80, 100, 120])).mean().item()
    )


def test_evaluation_needs_no_float64_on_the_device(dataset: LandmarkDataset) -> None:
    expected = evaluate(make_detector(dataset), dataset, progress=False)

    class Elsewhere(FakeDetector):
        def forward(self, images: Tensor) -> DetectorOutput:
            output = super().forward(images)
            there = {name: each.as_subclass(NoFloat64) for name, each in output._asdict().items() if each is not None}
            return DetectorOutput(**there)

    detector = Elsewhere(dataset, torch.tensor([0.0, 5.0]), torch.tensor([3.0, -3.0]))
    found = evaluate(detector, dataset, progress=False)
    for kind, row in expected.rows.items():
        assert found.rows[kind].errors.equal(row.errors)


def test_the_inference_form_of_a_detector_is_used_where_it_has_one(dataset: LandmarkDataset) -> None:
    detector = make_detector(dataset).train()
    built = []

    def for_inference() -> FakeDetector:
        assert not detector.training, "it is built in eval mode"
        built.append(FakeDetector(dataset, torch.zeros(2), torch.zeros(2)).eval())
        return built[0]

    detector.for_inference = for_inference
    result = evaluate(detector, dataset, batch_size=2, progress=False)
    assert len(built) == 1 and len(built[0].seen_training) == 3 and not detector.seen_training
    assert result.rows["refined"].nme_percent == pytest.approx(0.0, abs=1e-3)
