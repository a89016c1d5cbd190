import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from lgcn.checks import InputError
from lgcn.datasets import LandmarkDataset
from lgcn.evaluation import EvaluationRow, break_down, breakdown_tables, evaluate, face_properties, shape_properties
from lgcn.evaluation.results import EvaluationResult
from lgcn.evaluation.serialization import faces_to_rows, result_to_dict
from lgcn.protocols import get_protocol
from lgcn.schemes import get_scheme
from tests.evaluation.test_evaluate import SCHEME, make_dataset, make_detector

IBUG = get_scheme("ibug68")


def make_result(errors: list[float], properties: dict[str, torch.Tensor], inside: float = 1.0) -> EvaluationResult:
    values = torch.tensor(errors, dtype=torch.float64)
    mahalanobis = torch.full((len(values), 4), inside, dtype=torch.float64)
    row = EvaluationRow.from_errors(
        values, [0.1], values[:, None].expand(-1, 4), expected_errors=mahalanobis / 50, mahalanobis=mahalanobis
    )
    return EvaluationResult(
        model="mine",
        dataset="x",
        split="all",
        protocol=get_protocol("zero_based"),
        normalizer="inter_ocular",
        num_faces=int((~values.isnan()).sum()),
        expected_faces=None,
        warning=None,
        thresholds=(0.1,),
        rows={"initial": row, "refined": row},
        image_ids=tuple(map(str, range(len(values)))),
        properties=properties,
    )


def test_thirds_of_real_values_with_standard_errors() -> None:
    errors = [0.02, 0.04, 0.03, 0.05, 0.12, 0.10]
    size = torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    small, middle, large = break_down(make_result(errors, {"size": size}))["size"]
    assert [(each.low, each.high, each.num_faces) for each in (small, middle, large)] == [
        (10, 20, 2), (30, 40, 2), (50, 60, 2)
    ]  # fmt: skip
    assert small.row.nme_percent == pytest.approx(3.0)
    assert small.nme_standard_error == pytest.approx(100 * np.std([0.02, 0.04], ddof=1) / math.sqrt(2))
    assert large.difference == pytest.approx(11.0 - 3.5)
    others = np.std([0.02, 0.04, 0.03, 0.05], ddof=1) / 2
    assert large.difference_standard_error == pytest.approx(100 * math.hypot(0.01, others))
    assert large.is_different and not middle.is_different
    assert large.row.fr_percent[0.1] == pytest.approx(50)


def test_whole_numbers_have_a_group_each_and_faces_without_a_value_or_an_error_none() -> None:
    errors = [0.02, 0.04, 0.03, math.nan, 0.12]
    labels = {
        "origin": torch.tensor([2, 1, 2, 1, 7]),
        "glasses": torch.tensor([True, False, True, False, False]),
        "yaw": torch.tensor([1.0, 1.0, math.nan, 1.0, 5.0]),
        "same": torch.ones(5),
    }
    found = break_down(make_result(errors, labels))
    assert [(each.low, each.num_faces) for each in found["origin"]] == [(1, 1), (2, 2), (7, 1)]
    assert math.isnan(found["origin"][0].nme_standard_error)
    assert not found["origin"][0].is_different
    assert [(each.low, each.num_faces) for each in found["glasses"]] == [(0, 2), (1, 2)]
    # Equal values are never split.
    assert [(each.low, each.high, each.num_faces) for each in found["yaw"]] == [(1, 1, 2), (5, 5, 1)]
    assert "same" not in found


def test_no_effect_is_marked_rarely() -> None:
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(6, 90, generator=generator) for _ in range(100)]
    marked = 0
    for table in tables:
        errors = (0.03 + 0.01 * torch.randn(90, generator=generator)).abs().tolist()
        properties = {str(number): values for number, values in enumerate(table)}
        found = break_down(make_result(errors, properties))
        marked += any(group.is_different for groups in found.values() for group in groups)
    assert marked <= 12  # about 5 of 100 tables, as the documentation says


def test_text_and_json() -> None:
    result = make_result([0.02, 0.04, 0.20], {"eye_distance_px": torch.tensor([50.0, 60.0, 70.0])})
    (table,) = breakdown_tables([result])
    assert table.columns == ("faces", "NME", "vs. others", "FR@0.10 % (faces)", "expected", "in 90 % regions")
    assert table.rows[2][0] == "eye distance, px: 70"
    assert "protocol" not in table.as_text()
    assert table.rows[2][2][3] == "100.00 (1)"
    groups = result_to_dict(result)["breakdown"]["eye_distance_px"]
    assert groups[2]["nme_percent"] == pytest.approx(20)
    assert groups[2]["nme_percent_standard_error"] is None
    assert groups[2]["coverage_percent@90"] == 100
    assert [row["eye_distance_px"] for row in faces_to_rows(result)] == ["50", "60", "70"]
    assert "breakdown" not in result_to_dict(make_result([0.1], {}))
    assert not breakdown_tables([make_result([0.1], {})])


def face(yaw: float = 0.0, roll: float = 0.0, mouth: float = 0.0) -> torch.Tensor:
    """A flat face with a nose 50 long, eyes 100 apart, turned and rolled by degrees."""
    points = torch.zeros(68, 3)
    points[36], points[45], points[30] = (torch.tensor(each) for each in ([-50.0, 0, 0], [50.0, 0, 0], [0, 40.0, 50]))
    points[66, 1] = mouth
    angle, tilt = math.radians(yaw), math.radians(roll)
    x = math.cos(angle) * points[:, 0] + math.sin(angle) * points[:, 2]
    y = points[:, 1]
    turned = [math.cos(tilt) * x - math.sin(tilt) * y, math.sin(tilt) * x + math.cos(tilt) * y]
    return torch.stack(turned, dim=1) + 200


def test_shape_properties() -> None:
    faces = torch.stack([face(), face(yaw=45), face(yaw=-45, roll=-30), face(mouth=20.0, roll=150)])
    found = shape_properties(faces, IBUG)
    assert found["eye_distance_px"].tolist() == pytest.approx([100, 70.71, 70.71, 100], abs=0.01)
    assert found["nose_offset"].tolist() == pytest.approx([0, 1, 1, 0], abs=1e-4)  # tan(45 degrees)
    assert found["roll_degrees"].tolist() == pytest.approx([0, 0, 30, 150], abs=1e-3)
    assert found["mouth_opening"].tolist() == pytest.approx([0, 0, 0, 0.2], abs=1e-4)


def test_shape_properties_of_missing_landmarks_and_other_schemes() -> None:
    visibility = torch.ones(2, 68)
    visibility[0, 45] = visibility[1, 30] = 0
    found = shape_properties(torch.stack([face(), face()]), IBUG, visibility)
    assert {name: values.isnan().tolist() for name, values in found.items()} == {
        "eye_distance_px": [True, False],
        "nose_offset": [True, True],
        "roll_degrees": [True, False],
        "mouth_opening": [True, False],
    }
    square = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [4.0, 9.0]]])
    assert shape_properties(square, SCHEME)["box_size_px"].tolist() == [6]


@pytest.mark.parametrize("skip", [False, True])
def test_face_properties_are_measured_in_the_box_of_the_annotation(tmp_path: Path, skip: bool) -> None:
    noise = np.random.default_rng(0).integers(60, 180, (200, 200), dtype=np.uint8)
    sharp = Image.fromarray(np.stack(3 * [noise], axis=-1))
    for name, image in {"sharp": sharp, "blurred": sharp.filter(ImageFilter.GaussianBlur(2))}.items():
        image.paste((255, 255, 255), (0, 0, 200, 20))  # outside the box
        image.save(tmp_path / f"{name}.png")
    sharp.point(lambda value: value // 2).save(tmp_path / "dark.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    names = ["sharp.png", "blurred.png", "dark.png", *(["broken.png"] if skip else [])]
    pos = torch.tensor([[30.0, 40.0], [180.0, 40.0], [100.0, 190.0]]).expand(len(names), -1, -1)
    dataset = LandmarkDataset(tmp_path, names, pos, SCHEME)
    found = face_properties(dataset, progress=False, on_corrupt="skip" if skip else "stop")
    sharpness, brightness = (found[name].tolist() for name in ("sharpness", "brightness"))
    assert sharpness[0] > 20 * sharpness[1]
    assert brightness[:3] == pytest.approx([120, 120, 60], abs=3)
    if skip:
        assert math.isnan(sharpness[3]) and math.isnan(brightness[3])
    chosen = face_properties(dataset[1:3], progress=False)
    assert chosen["sharpness"].tolist() == sharpness[1:3]


def test_evaluate_takes_labels_of_your_own(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    detector = make_detector(dataset)
    labels = {"group": torch.tensor([0, 0, 1, 1, 1])}
    groups = break_down(evaluate(detector, dataset, progress=False, properties=labels))["group"]
    assert [each.num_faces for each in groups] == [2, 3]
    with pytest.raises(InputError, match=r"properties\['group'\]"):
        evaluate(detector, dataset, progress=False, properties={"group": torch.zeros(4)})
