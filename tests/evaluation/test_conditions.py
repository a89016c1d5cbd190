import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.datasets import LandmarkDataset
from lgcn.evaluation import conditions_tables, crop_faces, degrade_faces, evaluate, format_conditions
from lgcn.evaluation.conditions import CONDITIONS, check_condition, condition_transform
from lgcn.evaluation.serialization import result_to_dict, result_to_rows
from lgcn.geometry import crop_affine
from lgcn.typing import DetectorOutput
from tests.evaluation.test_evaluate import INPUT_SIZE, FakeDetector, make_dataset


class Detector(FakeDetector):
    """Reads the number of its face at the border, which patches leave free; knows the covariance of its errors."""

    covariance: Tensor | None = None
    called: Tensor | None = None

    def forward(self, images: Tensor) -> DetectorOutput:
        faces = images[:, 0, 16, 1].long()
        covariance = None if self.covariance is None else self.covariance[faces]
        return DetectorOutput(
            self.refined[faces],
            self.initial[faces],
            torch.ones(len(faces), 3),
            images,
            covariance=covariance,
            covered=None if self.called is None else self.called[faces],
        )


@pytest.fixture
def dataset(tmp_path: Path) -> LandmarkDataset:
    return make_dataset(tmp_path)


@pytest.fixture
def detector(dataset: LandmarkDataset) -> Detector:
    """The initial landmarks are 5 pixels off, the refined ones 4, 3 and 2."""
    wrong = torch.tensor([[0.0, 4.0], [0.0, 3.0], [2.0, 0.0]])
    detector = Detector(dataset, torch.tensor([0.0, 5.0]), wrong)
    crop_faces(dataset, detector)
    return detector


def test_the_conditions_of_the_ablation() -> None:
    names = ("clean", "patch20", "patch40", "blur2", "blur4", "dark4", "dark10")
    assert [str(condition_transform(name, seed=None)) for name in names] == [
        "None",
        "FacePatch(0.2, 0.2)",
        "FacePatch(0.4, 0.4)",
        "GaussianBlur(2, 2)",
        "GaussianBlur(4, 4)",
        "Darkness(0.25, 0.25)",
        "Darkness(0.1, 0.1)",
    ]


@pytest.mark.parametrize(
    "name", ["jpeg10", "rot30", "box10", "blur2.5", "texture40", "copy40", "noise5", "beside100", "detector"]
)
def test_names(name: str) -> None:
    assert check_condition(name) == name


@pytest.mark.parametrize("name", ["fog3", "patch", "40", "patch 40", "Clean", "patch40%", ""])
def test_an_unknown_name_lists_the_choices(name: str) -> None:
    with pytest.raises(InputError, match="Expected a condition .got '.*'.. Choose among clean, detector") as caught:
        check_condition(name)
    assert all(f"{family}N" in str(caught.value) for family in CONDITIONS)


@pytest.mark.parametrize("name", ["patch140", "texture140", "dark0", "dark0.5", "jpeg0", "rot181", "box95"])
def test_a_number_out_of_its_range(name: str) -> None:
    with pytest.raises(InputError, match=f"number in its range .got '{name}'"):
        check_condition(name)


def test_draws_depend_on_the_seed_and_the_face_only(dataset: LandmarkDataset, detector: Detector) -> None:
    def covered(seed: int, batch_size: int, num_workers: int = 0) -> Tensor:
        options = {"condition": "patch40", "seed": seed, "batch_size": batch_size, "num_workers": num_workers}
        found = evaluate(detector, dataset, progress=False, **options).rows["refined"].covered
        assert found is not None
        return found

    first = covered(0, batch_size=5)
    torch.rand(3)
    assert torch.equal(covered(0, batch_size=2, num_workers=1), first)
    assert any(not torch.equal(covered(seed, batch_size=5), first) for seed in (1, 2))
    assert evaluate(detector, dataset, progress=False).rows["refined"].covered is None


def test_covered_and_visible_landmarks_are_measured_apart(dataset: LandmarkDataset, detector: Detector) -> None:
    # The lower and the right edge of the box, with its chin and its right eye, are just outside of the patch.
    result = evaluate(detector, dataset, condition="patch100", progress=False)
    row = result.rows["refined"]
    assert (result.condition, result.seed) == ("patch100", 0)
    assert row.covered is not None and row.landmark_errors is not None
    assert 0 < row.covered.sum() < row.covered.numel()
    assert row.covered_nme_percent == pytest.approx(100 * row.landmark_errors[row.covered].mean().item())
    share = row.covered.double().mean().item()
    together = share * row.covered_nme_percent + (1 - share) * row.visible_nme_percent  # type: ignore[operator]
    assert together == pytest.approx(row.nme_percent)
    values = result_to_dict(result)
    assert values["condition"] == "patch100"
    assert values["results"]["refined"]["covered_nme_percent"] == pytest.approx(row.covered_nme_percent)
    assert {each["condition"] for each in result_to_rows(result)} == {"patch100"}


def test_landmarks_that_the_detector_calls_covered(dataset: LandmarkDataset, detector: Detector) -> None:
    truth = evaluate(detector, dataset, condition="patch100", progress=False).rows["refined"]
    assert truth.covered is not None
    assert truth.covered_recall_percent is truth.covered_false_percent is truth.covered_precision_percent is None
    detector.called = truth.covered.clone()
    detector.called[0] = True
    result = evaluate(detector, dataset, condition="patch100", progress=False)
    row, covered = result.rows["refined"], truth.covered
    assert row.covered_recall_percent == 100
    right = covered.sum().item()
    assert row.covered_precision_percent == pytest.approx(100 * right / detector.called.sum().item())
    assert row.covered_false_percent == pytest.approx(100 * (~covered[0]).sum().item() / (~covered).sum().item())
    assert result_to_dict(result)["results"]["refined"]["covered_recall_percent"] == 100
    clean = evaluate(detector, dataset, progress=False).rows["refined"]
    assert clean.covered_recall_percent is None
    assert clean.covered_false_percent == pytest.approx(100 * detector.called.double().mean().item())


def test_a_condition_that_covers_no_landmark(dataset: LandmarkDataset, detector: Detector) -> None:
    result = evaluate(detector, dataset, condition="patch0", progress=False)
    assert math.isnan(result.rows["refined"].covered_nme_percent)  # type: ignore[arg-type]
    assert (
        json.loads(json.dumps(result_to_dict(result), allow_nan=False))["results"]["refined"]["covered_nme_percent"]
        is None
    )


def test_the_share_of_landmarks_in_their_regions(dataset: LandmarkDataset, detector: Detector) -> None:
    """Errors are 4, 3 and 2 pixels; a region of 90 % has a radius of 2.146 deviations."""
    scale = crop_affine(dataset.bbox, INPUT_SIZE)[:, :, :2]
    covariance = (1.5 * scale) @ (1.5 * scale).transpose(-1, -2)
    detector.covariance = covariance[:, None].expand(5, 3, 2, 2)
    result = evaluate(detector, dataset, progress=False)
    row = result.rows["refined"]
    assert row.coverage_percent == pytest.approx(200 / 3)
    distances = np.array([40, 60, 80, 100, 120])
    assert row.expected_nme_percent == pytest.approx(100 * (1.5 * math.sqrt(math.pi / 2) / distances).mean(), rel=1e-3)
    assert result.rows["initial"].coverage_percent is None
    refined = result_to_dict(result)["results"]["refined"]
    assert refined["coverage_percent@90"] == pytest.approx(200 / 3)
    assert refined["expected_nme_percent"] == pytest.approx(row.expected_nme_percent)
    assert row.select(torch.tensor([True, False, False, False, False])).coverage_percent == pytest.approx(200 / 3)


def test_boxes_of_a_face_detector(dataset: LandmarkDataset, detector: Detector) -> None:
    """Landmarks are right for the annotated boxes, which the last face keeps: it is missed."""
    calls = []

    def find_faces(image: Tensor) -> Tensor:
        number = int(image[0, 0, 0])
        calls.append(number)
        return dataset.bbox[number : number + 1] + (0.0 if number < 4 else 500.0)

    before = dataset.bbox.clone()
    result = evaluate(detector, dataset, condition="detector", find_faces=find_faces, progress=False)
    assert calls == [0, 1, 2, 3, 4]
    assert (result.missed_faces, result.num_measured("found")) == (1, 4)
    assert result.subsets["found"]["refined"].errors.tolist() == pytest.approx(
        result.rows["refined"].errors[:4].tolist()
    )
    assert torch.equal(dataset.bbox, before) and not dataset.subsets
    (table,) = conditions_tables([result])
    assert [name for name, _, _ in table.rows] == ["detector", "detector: found"]
    text = format_conditions([result])
    assert "detector:   missed 1 of 5 faces, which are cropped by their landmarks" in text and "boxes:" not in text
    with pytest.raises(InputError, match="'find_faces' for the condition 'detector'"):
        evaluate(detector, dataset, condition="detector", progress=False)


def test_boxes_and_turns_change_before_the_crop_and_pixels_after_it(dataset: LandmarkDataset) -> None:
    FakeDetector(dataset, torch.zeros(2), None)
    with pytest.raises(InputError, match="Call crop_faces first"):
        degrade_faces(dataset, "patch40")
    crop_faces(dataset, FakeDetector(dataset, torch.zeros(2), None))
    clean = dataset[0]
    for name, moves in {"blur2": False, "dark4": False, "texture30": False, "box20": True, "rot30": True}.items():
        face = degrade_faces(dataset, name)[0]
        assert face.image.shape == clean.image.shape
        assert torch.equal(face.affine, clean.affine) != moves
        assert torch.equal(dataset[0].image, clean.image)


def test_one_table_over_conditions(dataset: LandmarkDataset, detector: Detector) -> None:
    results = [evaluate(detector, dataset, condition=name, progress=False) for name in ("clean", "patch100")]
    (table,) = conditions_tables(results)
    assert table.columns[:6] == (
        *("initial", "refined"),
        *("initial visible", "refined visible", "initial covered", "refined covered"),
    )
    assert "expected" not in table.columns
    (name, protocol, clean), (_, _, covered) = table.rows
    assert (name, protocol) == ("clean", "zero_based")
    assert clean[:3] == [f"{row.nme_percent:.3f}" for row in results[0].rows.values()] + ["-"]
    assert covered[5] == f"{results[1].rows['refined'].covered_nme_percent:.3f}"
    assert "| condition" in table.as_markdown()
    text = format_conditions(results)
    assert text.count("model:") == 1 and "seed:       0" in text and "patch100" in text


def test_metrics_of_schemes_without_a_distance_between_landmarks_are_columns_too(
    dataset: LandmarkDataset, detector: Detector
) -> None:
    results = [evaluate(detector, dataset, condition=name, progress=False) for name in ("clean", "box20")]
    (table,) = conditions_tables(results)
    assert "PCK@0.05 %" not in table.columns
    sigmas = (0.1,) * dataset.scheme.num_landmarks
    (table,) = conditions_tables([replace(result, sigmas=sigmas) for result in results])
    assert table.columns[-3:] == ("PCK@0.05 %", "PCK@0.10 %", "OKS")
    for result, (_, _, cells) in zip(results, table.rows, strict=True):
        errors = result.rows["refined"].landmark_errors
        assert errors is not None
        assert float(cells[-3]) == pytest.approx(100 * (errors <= 0.05).double().mean().item(), abs=0.01)
        assert 0 < float(cells[-1]) < 1
    nothing_found = replace(results[0], sigmas=sigmas, masks={"found": torch.zeros(len(dataset), dtype=torch.bool)})
    (table,) = conditions_tables([nothing_found])
    assert [cells[-1] == "-" for _, _, cells in table.rows] == [False, True]
