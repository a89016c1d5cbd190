import pytest
import torch

from lgcn.checks import InputError
from lgcn.graph import complete_edge_index
from lgcn.nn import TopologyConnectivity
from tests.nn.inputs import assert_close


def neighbours(connectivity: TopologyConnectivity) -> list[list[int]]:
    weight = connectivity.dense(torch.rand(1, connectivity.num_landmarks))[0]
    return [row.nonzero().flatten().tolist() for row in weight]


def test_edges_count_both_ways_and_share_equally() -> None:
    connectivity = TopologyConnectivity(4, edges=[(0, 1), (1, 2)])
    assert neighbours(connectivity) == [[1], [0, 2], [1], []]
    assert connectivity.dense(torch.rand(2, 4))[1, 1].tolist() == [0.5, 0.0, 0.5, 0.0]
    assert str(connectivity) == "TopologyConnectivity(4, num_pairs=2)"
    assert not connectivity.sums_to_one  # landmark 3 has nobody
    raw = TopologyConnectivity(4, edges=[(0, 1), (1, 2)], normalization="raw").dense(torch.rand(1, 4))
    assert raw[0, 1].tolist() == [1.0, 0.0, 1.0, 0.0]


def test_contours_are_open_unless_closed() -> None:
    assert neighbours(TopologyConnectivity(4, contours=[[0, 1, 3]])) == [[1], [0, 3], [], [1]]
    closed = TopologyConnectivity(5, contours=[[0, 1, 3], [2, 4]], closed=[True, True])
    assert neighbours(closed) == [[1, 3], [0, 3], [4], [0, 1], [2]]


def test_nearest_in_the_mean_shape() -> None:
    mean_shape = [[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [3.0, 1.0]]
    # 2 is nearest to 3 and 3 to 2; 0 and 1 likewise.
    assert neighbours(TopologyConnectivity(4, mean_shape=mean_shape, num_nearest=1)) == [[1], [0], [3], [2]]
    joined = TopologyConnectivity(4, mean_shape=torch.tensor(mean_shape), num_nearest=1, edges=[(1, 2)])
    assert neighbours(joined) == [[1], [0, 2], [1, 3], [2]]


def test_self_loops_on_request() -> None:
    assert neighbours(TopologyConnectivity(3, edges=[(0, 1)], self_loops="zero")) == [[0, 1], [0, 1], [2]]


def test_an_edge_list_is_thinned_out() -> None:
    connectivity = TopologyConnectivity(3, edges=[(0, 1)])
    landmark_id = torch.tensor([1, 0, 2, 0])
    edge_index = complete_edge_index(4)
    weight = connectivity(landmark_id, torch.rand(4), edge_index)
    matrix = torch.zeros(4, 4)
    matrix[edge_index[1], edge_index[0]] = weight
    # Both nodes of type 0 are near the node of type 1; two nodes of one type are not near each other.
    assert_close(matrix, torch.tensor([[0, 0.5, 0, 0.5], [1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "'edges', 'contours' or 'num_nearest' with 'mean_shape' to give neighbours"),
        ({"edges": [(0, 3)]}, r"'edges and contours' in 0 ... 2 \(got 3\)"),
        ({"edges": [(-1, 2)]}, r"'edges and contours' in 0 ... 2 \(got -1\)"),
        ({"edges": [(0, 1, 2)]}, r"'edges' to hold pairs of landmarks \(got \[0, 1, 2\]\)"),
        ({"contours": [[0, 1]], "closed": []}, "'closed' to hold one flag for each of 1 contours"),
        ({"num_nearest": 1}, "'mean_shape', K points .* with 'num_nearest'"),
        ({"num_nearest": 3, "mean_shape": [[0, 0]] * 3}, r"'num_nearest' in 1 ... 2 \(got 3\)"),
        ({"num_nearest": 1, "mean_shape": [[0, 0]] * 4}, r"'mean_shape' to have shape \[K, 2\] with K=3"),
        ({"edges": [(0, 1)], "mean_shape": [[0, 0]] * 3}, "'num_nearest' of 1 or more with 'mean_shape'"),
    ],
)
def test_bad_input(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TopologyConnectivity(3, **options)
