import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.geometry import heatmap_to_input, input_to_heatmap
from lgcn.graph import SAMPLING_MODES, sample_features

INPUT_SIZE = (64, 96)
SIZE = (16, 24)


def ramps(dtype: torch.dtype = torch.float64) -> Tensor:
    """Two channels that hold their own cell's x and y, and one that mixes them."""
    ys, xs = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    return torch.stack([xs, ys, 3 * xs - 2 * ys + 1]).to(dtype)[None]


def inside(count: int) -> Tensor:
    """Positions [1, count, 2] between the centres of the outermost cells."""
    cells = torch.rand(1, count, 2, dtype=torch.float64) * torch.tensor([SIZE[1] - 1, SIZE[0] - 1])
    return heatmap_to_input(cells, 4)


def test_bilinear_sampling_is_exact_on_a_ramp() -> None:
    pos = inside(50)
    cells = input_to_heatmap(pos, 4)
    x, y = cells[..., 0], cells[..., 1]
    expected = torch.stack([x, y, 3 * x - 2 * y + 1], dim=-1)
    torch.testing.assert_close(sample_features(ramps(), pos, INPUT_SIZE), expected)


def test_nearest_sampling_reads_the_cell_that_holds_the_point() -> None:
    pos = inside(50)
    expected = ((pos + 0.5) / 4).floor()
    assert torch.equal(sample_features(ramps(), pos, INPUT_SIZE, "nearest")[..., :2], expected)


@pytest.mark.parametrize("mode", SAMPLING_MODES)
def test_outside_the_border_is_read(mode: str) -> None:
    pos = torch.tensor([[[-500.0, 33.5], [0.0, -3.0], [95.5, 63.5], [1000.0, 1000.0]]], dtype=torch.float64)
    sampled = sample_features(ramps(), pos, INPUT_SIZE, mode)[0, :, :2]
    assert sampled[[0, 1, 2, 3], [0, 1, 0, 1]].tolist() == [0, 0, 23, 15]
    assert sampled[3].tolist() == [23, 15]


@pytest.mark.parametrize("mode", SAMPLING_MODES)
def test_each_image_has_its_own_features(mode: str) -> None:
    features, pos = torch.rand(3, 5, *SIZE), torch.rand(3, 7, 2) * 60
    sampled = sample_features(features, pos, INPUT_SIZE, mode)
    assert sampled.shape == (3, 7, 5)
    for i in range(3):
        torch.testing.assert_close(
            sampled[i : i + 1], sample_features(features[i : i + 1], pos[i : i + 1], INPUT_SIZE, mode)
        )


def test_gradients_of_features_and_positions() -> None:
    features = torch.rand(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    # Away from the cells' centres, where the slope jumps.
    pos = (torch.randint(1, 3, (2, 5, 2)) * 4 + 1.5 + torch.empty(2, 5, 2).uniform_(0.5, 3.5)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda f, p: sample_features(f, p, (16, 24)), (features, pos))


def test_half_precision_features_are_read_at_the_right_place() -> None:
    pos = inside(50).float()
    sampled = sample_features(ramps(torch.bfloat16), pos, INPUT_SIZE)
    assert sampled.dtype == torch.bfloat16
    # Steps of bfloat16 between 16 and 32 are an eighth; a grid of bfloat16 would be off by more.
    torch.testing.assert_close(sampled[..., :2].double(), input_to_heatmap(pos, 4).double(), atol=0.0626, rtol=0)


def test_unknown_modes_list_the_choices() -> None:
    with pytest.raises(InputError, match="'mode' to be one of bilinear, nearest .got 'cubic'"):
        sample_features(ramps(), inside(2), INPUT_SIZE, "cubic")


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match="'features' to have shape"):
        sample_features(ramps()[0], inside(2), INPUT_SIZE)
    with pytest.raises(InputError, match="'pos' to have shape .* with B=1"):
        sample_features(ramps(), torch.zeros(2, 5, 2), INPUT_SIZE)


def test_what_is_exported_samples_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.rand(3, 4, *ramps().shape[2:])
    pos = torch.rand(3, 40, 2) * 60 - 15  # some outside
    expected = sample_features(features, pos, INPUT_SIZE)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(sample_features(features, pos, INPUT_SIZE), expected, atol=1e-5, rtol=0)
