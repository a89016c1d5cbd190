import torch

from lgcn.nn import UniformConnectivity
from tests.nn.inputs import assert_close


def test_has_no_parameters() -> None:
    assert not list(UniformConnectivity(5).parameters())


def test_each_neighbour_has_an_equal_share() -> None:
    edge_index = torch.tensor([[1, 2, 0, 0], [0, 0, 1, 1]])
    weight = UniformConnectivity(3)(torch.arange(3), torch.rand(3), edge_index)
    assert_close(weight, torch.tensor([0.5, 0.5, 0.5, 0.5]))


def test_masked_landmarks_have_no_share() -> None:
    mask = torch.tensor([[True, True, False, True]])
    weight = UniformConnectivity(4).dense(torch.rand(1, 4), mask)[0]
    expected = [[0.0, 0.5, 0.0, 0.5], [0.5, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]]
    assert_close(weight, torch.tensor(expected))
