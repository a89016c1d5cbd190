import math

import pytest
import torch

from lgcn.codecs import render_gaussians


def test_a_centre_on_a_cell_is_exactly_1_there_and_nowhere_else() -> None:
    heatmaps = render_gaussians(torch.tensor([[3.0, 5.0], [0.0, 0.0]]), (8, 12), sigma=1.5)
    assert heatmaps.shape == (2, 8, 12)
    assert heatmaps[0, 5, 3] == 1
    assert heatmaps[1, 0, 0] == 1
    assert (heatmaps == 1).sum() == 2


def test_values_are_those_of_the_gaussian() -> None:
    centre = torch.tensor([[4.25, 2.5]], dtype=torch.float64)
    heatmap = render_gaussians(centre, (6, 9), sigma=1.2)[0]
    for y in range(6):
        for x in range(9):
            squared = (x - 4.25) ** 2 + (y - 2.5) ** 2
            assert heatmap[y, x].item() == pytest.approx(math.exp(-squared / (2 * 1.2**2)), abs=1e-12)


def test_the_map_of_a_far_centre_is_empty() -> None:
    centres = torch.tensor([[1e6, 3.0], [math.inf, math.inf], [-math.inf, 2.0]])
    assert (render_gaussians(centres, (8, 8), sigma=1.5) == 0).all()


def test_leading_axes_are_kept() -> None:
    centres = torch.rand(2, 3, 5, 2) * 8
    heatmaps = render_gaussians(centres, (8, 8), sigma=1.0)
    assert heatmaps.shape == (2, 3, 5, 8, 8)
    assert torch.equal(heatmaps[1, 2], render_gaussians(centres[1, 2], (8, 8), sigma=1.0))
