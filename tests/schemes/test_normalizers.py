import pytest
import torch

from lgcn.checks import InputError
from lgcn.schemes import LandmarkScheme, get_scheme, normalizing_distance


def test_inter_ocular_is_the_distance_of_the_outer_corners() -> None:
    pos = torch.zeros(2, 68, 2)
    pos[:, 45] = torch.tensor([3.0, 4.0])
    pos[1] *= 2
    assert normalizing_distance(pos, "ibug68").tolist() == [5.0, 10.0]


def test_inter_pupil_is_the_distance_of_the_eyes_means() -> None:
    pos = torch.rand(68, 2)
    expected = torch.dist(pos[36:42].mean(0), pos[42:48].mean(0))
    torch.testing.assert_close(normalizing_distance(pos, "ibug68", "inter_pupil"), expected)


def test_box_is_the_geometric_mean_of_its_sides_and_the_default_of_aflw() -> None:
    pos = torch.zeros(3, 19, 2)
    pos[..., 7, :] = torch.tensor([2.0, 8.0])
    assert normalizing_distance(pos, "aflw19").tolist() == [4.0] * 3
    assert normalizing_distance(pos, get_scheme("aflw19"), "box").tolist() == [4.0] * 3


def test_missing_landmarks_are_left_out() -> None:
    scheme = LandmarkScheme("s", ("a", "b", "c"), normalizers={"pair": ((0, 1), (2,))}, default_normalizer="pair")
    pos = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 9.0]])
    visibility = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    pair = normalizing_distance(pos.expand(2, 3, 2), scheme, visibility=visibility)
    assert pair[0] == 9.0
    assert pair[1].isnan()
    box = normalizing_distance(pos.expand(2, 3, 2), scheme, "box", visibility=torch.tensor([[1.0, 1, 1], [0, 0, 0]]))
    assert box[0] == 30.0
    assert box[1].isnan()


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="inter_ocular, inter_pupil, box"):
        normalizing_distance(torch.zeros(68, 2), "ibug68", "iod")
    with pytest.raises(InputError, match=r"K=68 \(got \[67, 2\]\)"):
        normalizing_distance(torch.zeros(67, 2), "ibug68")
