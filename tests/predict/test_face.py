import json

import pytest
import torch

from lgcn.covariance import ellipse_axes
from lgcn.predict import Face


def test_to_dict_is_short_and_plain() -> None:
    face = Face(
        box=torch.tensor([0.1, 0.2, 100.3, 200.7]),
        landmarks=torch.tensor([[1 / 3, 1000.1]]),
        initial=torch.tensor([[2.0, -1.5]]),
        confidence=torch.tensor([2 / 3]),
        connectivity=torch.eye(1),
    )
    assert json.dumps(face.to_dict()) == (
        '{"box": [0.1, 0.2, 100.3, 200.7], "score": 0.6667, "landmarks": [[0.333, 1000.1]], "initial": [[2.0, -1.5]], '
        '"confidence": [0.6667], "expected_error": null, "expected_error_percent": null, "covariance": null, '
        '"covered": null}'
    )


def covariance_of(first: float, second: float, angle: float) -> torch.Tensor:
    """[2, 2], with these standard deviations along axes turned by an angle in radians."""
    c, s = torch.tensor(angle).cos(), torch.tensor(angle).sin()
    turn = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
    return turn @ torch.diag(torch.tensor([first**2, second**2])) @ turn.T


def test_a_face_prints_its_box_and_the_shapes_of_the_rest() -> None:
    points = torch.zeros(5, 2)
    face = Face(torch.tensor([1.0, 2.26, 30, 40]), points, points, torch.ones(5), eye_distance=9.5)
    assert repr(face) == (
        "Face(box=[1.0, 2.3, 30.0, 40.0], landmarks=[5, 2], initial=[5, 2], confidence=[5], eye_distance=9.5)"
    )


def test_axes_of_the_ellipse() -> None:
    deviation, angle = ellipse_axes(covariance_of(3.0, 1.0, angle=0.7))
    assert torch.allclose(deviation, torch.tensor([3.0, 1.0]), atol=1e-4)
    assert float(angle) == pytest.approx(0.7, abs=1e-5)
    assert ellipse_axes(torch.zeros(2, 2))[0].tolist() == [0, 0]


def test_what_is_written_can_be_read_back() -> None:
    covariance = torch.stack([covariance_of(2.0, 1.0, 0.3), covariance_of(4.0, 0.5, -0.2)])
    pos = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    face = Face(
        torch.arange(4.0),
        pos,
        pos + 1,
        torch.tensor([0.25, 0.5]),
        None,
        covariance,
        torch.tensor([1.5, 2.5]),
        40.0,
        torch.tensor([False, True]),
        0.9,
    )
    again = Face.from_dict(json.loads(json.dumps(face.to_dict())))
    assert again.score == again.fit_probability == 0.9
    assert again.mean_confidence == 0.375
    assert again.covered.tolist() == [False, True]  # type: ignore[union-attr]
    assert again.eye_distance == pytest.approx(40, rel=1e-3)
    for name in ("box", "landmarks", "initial", "confidence", "covariance", "expected_error", "expected_error_percent"):
        assert torch.allclose(getattr(again, name), getattr(face, name), atol=2e-3), name
    assert torch.allclose(face.expected_error_percent, face.expected_error * 2.5)  # type: ignore[operator, arg-type]
    unknown = Face.from_dict(Face(torch.arange(4.0), pos, pos, torch.ones(2)).to_dict())
    assert unknown.covered is unknown.fit_probability is None
    assert unknown.score == 1.0
    assert (
        unknown.covariance is unknown.expected_error is unknown.expected_error_percent is unknown.eye_distance is None
    )
