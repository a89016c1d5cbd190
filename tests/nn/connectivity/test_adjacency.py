import torch

from lgcn.graph import complete_edge_index
from lgcn.nn import AdjacencyConnectivity
from tests.nn.inputs import assert_close, randomize


def test_starts_uniform() -> None:
    weight = AdjacencyConnectivity(5).dense(torch.rand(2, 5))
    assert_close(weight, ((1 - torch.eye(5)) / 4).expand(2, 5, 5))


def test_row_of_the_matrix_is_the_receiving_type() -> None:
    connectivity = AdjacencyConnectivity(3).double()
    with torch.no_grad():
        connectivity.weight[2] = torch.tensor([0.0, torch.log(torch.tensor(3.0)), 7.0])
    expected = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.25, 0.75, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        connectivity.dense(torch.rand(1, 3, dtype=torch.float64))[0], expected, rtol=0, atol=1e-6
    )


def test_is_the_same_for_every_image() -> None:
    connectivity = randomize(AdjacencyConnectivity(5))
    weight = connectivity.dense(torch.rand(2, 5))
    assert torch.equal(weight[0], weight[1])


def test_gradients_reach_every_pair_but_the_diagonal() -> None:
    connectivity = randomize(AdjacencyConnectivity(4))
    connectivity.dense(torch.rand(2, 4)).square().sum().backward()
    assert connectivity.weight.grad.ne(0).equal(~torch.eye(4, dtype=torch.bool))
    dense = connectivity.weight.grad.clone()
    connectivity.zero_grad()
    connectivity(torch.arange(4), torch.rand(4), complete_edge_index(4)).square().sum().mul(2).backward()
    assert_close(connectivity.weight.grad, dense)
