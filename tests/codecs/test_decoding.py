import math

import numpy as np
import pytest
import torch

from lgcn.codecs import DECODERS, render_gaussians
from lgcn.codecs.decoding import dark, find_peaks, gather_window, quarter


def dark_in_numpy(heatmap: np.ndarray, sigma: float) -> np.ndarray:
    """Zhang et al. 2020 for one map, from the paper: smooth all of it, then one Newton step on its logarithm."""
    height, width = heatmap.shape
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    radius = math.ceil(2 * sigma)
    kernel = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    padded = np.pad(heatmap, radius)
    smooth = np.zeros_like(heatmap)
    for i in range(height):
        for j in range(width):
            smooth[i, j] = kernel @ padded[i : i + 2 * radius + 1, j : j + 2 * radius + 1] @ kernel
    log = np.log(np.maximum(smooth, 1e-10))
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return np.array([x, y], dtype=float)
    gradient = np.array([log[y, x + 1] - log[y, x - 1], log[y + 1, x] - log[y - 1, x]]) / 2
    mixed = (log[y + 1, x + 1] - log[y + 1, x - 1] - log[y - 1, x + 1] + log[y - 1, x - 1]) / 4
    hessian = np.array(
        [
            [log[y, x + 1] - 2 * log[y, x] + log[y, x - 1], mixed],
            [mixed, log[y + 1, x] - 2 * log[y, x] + log[y - 1, x]],
        ]
    )
    return np.array([x, y]) - np.linalg.solve(hessian, gradient)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("ripple", [0.0, 0.1])
def test_dark_agrees_with_a_plain_implementation(sigma: float, ripple: float) -> None:
    size = torch.tensor([20.0, 16.0])
    centres = torch.rand(2, 30, 2) * size - 0.5
    values = render_gaussians(centres, (16, 20), sigma)
    # A skew that the mixed derivative has to answer for, and noise.
    values = (values + 0.5 * values.roll((1, 1), (-2, -1)) + ripple * torch.rand_like(values)) / 2
    peak, _ = find_peaks(values)
    expected = np.stack([[dark_in_numpy(one.double().numpy(), sigma) for one in maps] for maps in values])
    near = np.abs(expected - peak.numpy()).max(-1) < 1  # longer steps are cut
    assert near.mean() > 0.9
    ours = dark(values, peak, sigma).numpy()
    np.testing.assert_allclose(ours[near], expected[near], atol=2e-3)
    assert np.abs(ours - peak.numpy()).max() <= 1


def test_dark_keeps_the_cell_where_there_is_no_peak() -> None:
    flat = torch.full((1, 1, 9, 9), 0.5)
    ridge = torch.zeros(1, 1, 9, 9)
    ridge[..., 4, :] = 1.0
    for values in (flat, ridge, torch.zeros(1, 1, 9, 9)):
        peak = torch.tensor([[[4, 4]]])
        assert torch.equal(dark(values, peak, 1.5), peak.float())


def test_quarter_steps_towards_the_larger_neighbour_and_only_where_there_are_two() -> None:
    values = torch.zeros(1, 3, 5, 7)
    values[0, 0, 2, 3], values[0, 0, 2, 4], values[0, 0, 1, 3] = 1.0, 0.5, 0.2
    values[0, 1, 2, 3] = 1.0  # no neighbour is larger
    values[0, 2, 0, 6], values[0, 2, 1, 6] = 1.0, 0.5  # a corner
    decoded = quarter(values, find_peaks(values)[0], 1.0)
    assert decoded.tolist() == [[[3.25, 1.75], [3.0, 2.0], [6.0, 0.0]]]


def test_peaks_are_cells_x_first_and_the_first_of_several() -> None:
    values = torch.zeros(1, 2, 4, 6)
    values[0, 0, 3, 1] = 0.75
    values[0, 1, 1, 4] = values[0, 1, 2, 2] = 0.5
    peak, value = find_peaks(values)
    assert peak.tolist() == [[[1, 3], [4, 1]]]
    assert value.tolist() == [[0.75, 0.5]]


def test_a_window_is_zero_outside_the_map() -> None:
    values = torch.arange(1.0, 21.0).view(1, 1, 4, 5).expand(1, 3, 4, 5)
    peak = torch.tensor([[[0, 0], [4, 3], [2, 1]]])
    corner, far_corner, middle = gather_window(values, peak, 1)[0]
    assert corner.tolist() == [[0, 0, 0], [0, 1, 2], [0, 6, 7]]
    assert far_corner.tolist() == [[14, 15, 0], [19, 20, 0], [0, 0, 0]]
    assert middle.tolist() == [[2, 3, 4], [7, 8, 9], [12, 13, 14]]


@pytest.mark.parametrize("name", DECODERS)
def test_nothing_decodes_to_nan(name: str) -> None:
    values = torch.stack([torch.zeros(6, 6), torch.ones(6, 6), torch.full((6, 6), 1e-30)])[None]
    decoded = DECODERS[name](values, find_peaks(values)[0], 1.5)
    assert decoded.isfinite().all()
    nothing_seen = -1 if name == "hrnet" else 0
    assert ((decoded >= nothing_seen) & (decoded <= 5)).all()
