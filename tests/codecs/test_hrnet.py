import numpy as np
import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.codecs import HeatmapCodec, hrnet_affine, truncate_to_image
from lgcn.geometry import crop_affine
from tests.no_float64 import NoFloat64

CODEC = HeatmapCodec((256, 256), (64, 64), decode="hrnet", activation="clamp")


def public_predictions(heatmap: np.ndarray, center: np.ndarray, scale: float) -> np.ndarray:
    """What the public code makes of one map before it cuts to whole pixels: position [2] in the image, less 1.

    Written from the description of its steps, counting from 1 as it does.
    """
    size = heatmap.shape[0]
    row, column = divmod(int(heatmap.argmax()), size)
    x, y = column + 1.0, row + 1.0
    if heatmap.max() <= 0:
        x = y = 0.0
    if 1 < x < size and 1 < y < size:
        step_x = heatmap[row, column + 1] - heatmap[row, column - 1]
        step_y = heatmap[row + 1, column] - heatmap[row - 1, column]
        x, y = x + 0.25 * np.sign(step_x), y + 0.25 * np.sign(step_y)
    x, y = x + 0.5, y + 0.5
    side = 200 * scale
    to_map = np.array(
        [
            [size / side, 0, size * (0.5 - center[0] / side)],
            [0, size / side, size * (0.5 - center[1] / side)],
            [0, 0, 1],
        ]
    )
    return (np.linalg.inv(to_map) @ np.array([x - 1, y - 1, 1.0]))[:2]


def make_maps() -> Tensor:
    """Maps with their peaks anywhere: noise, borders, corners, ties, overshoot, and none above 0."""
    maps = torch.randn(3, 60, 64, 64)
    x, y = 64 * torch.rand(3, 20, 1, 1), 64 * torch.rand(3, 20, 1, 1)
    xs, ys = torch.arange(64), torch.arange(64)[:, None]
    maps[:, :20] = 1.5 * torch.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 4.5) - 0.1  # overshoots 1, and goes below 0
    for k, (row, column) in enumerate([(0, 0), (0, 63), (63, 0), (63, 63), (0, 20), (20, 0), (63, 20), (20, 63)]):
        maps[:, 20 + k, row, column] = 10.0
    maps[:, 28] = 0.0
    maps[:, 29] = -1.0
    maps[:, 30] = 0.5  # the first of equal cells
    maps[:, 31, 10:13, 10:13] = 5.0
    maps[:, 32] = 1e-4 * maps[:, 32]
    maps[:, 33, 30, 30] = 9.0
    maps[:, 33, 30, [29, 31]] = 1.0  # no larger neighbour along x
    return maps


@pytest.mark.parametrize("seed", range(4))
def test_predictions_are_those_of_the_public_code(seed: int) -> None:
    torch.manual_seed(seed)
    maps = make_maps()
    # Centres in halves and scales in thousandths, as in the csv files; faces near and beyond the image's edge.
    center = (torch.rand(3, 2) * torch.tensor([900.0, 600.0])).round() / 2 - 20
    scale = (torch.rand(3) * 4000 + 300).round().double() / 1000 * 1.25
    affine = hrnet_affine(center, scale, (256, 256))
    decoded = truncate_to_image(CODEC.decode(maps).pos, affine)
    exact = np.stack(
        [
            [public_predictions(one.numpy(), c.numpy(), float(s)) for one in of_face]
            for of_face, c, s in zip(maps, center.double(), scale, strict=True)
        ]
    )
    expected = np.trunc(exact) + 1
    # On a whole number the last bit decides, which linear algebra libraries do not agree on.
    clear = np.abs(exact - np.round(exact)) > 1e-9
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(decoded.numpy()[clear], expected[clear])
    assert np.abs(decoded.numpy() - expected).max() <= 1
    assert (decoded == decoded.round()).all()
    assert (decoded < 0).any()  # int() cuts towards 0: both signs are tried

    # The crop of the same square as this package makes it, in single precision.
    side = 200 * scale / 1.25
    box = torch.cat([center - side[:, None] / 2, center + side[:, None] / 2], dim=-1)
    torch.testing.assert_close(crop_affine(box, (256, 256)), affine.float(), rtol=1e-5, atol=1e-3)
    clear = np.abs(exact - np.round(exact)) > 5e-3
    from_crop = truncate_to_image(CODEC.decode(maps).pos, crop_affine(box, (256, 256)))
    np.testing.assert_array_equal(from_crop.numpy()[clear], expected[clear])


def test_by_hand() -> None:
    maps = torch.zeros(1, 3, 64, 64)
    maps[0, 0, 40, 20], maps[0, 0, 40, 21], maps[0, 0, 39, 20] = 1.0, 0.5, 0.4  # steps right and up
    maps[0, 1, 0, 20], maps[0, 1, 0, 21], maps[0, 1, 1, 20] = 1.0, 0.5, 0.4  # on the upper border: no step at all
    pos = CODEC.decode(maps).pos
    cells = torch.tensor([[20.25, 39.75], [20.0, 0.0], [-1.0, -1.0]])
    torch.testing.assert_close(pos[0], 4 * (cells + 0.5) - 0.5)
    # A crop of side 640 = 200 * 3.2 around (100, 50): a cell is 10 pixels.
    affine = hrnet_affine(torch.tensor([[100.0, 50.0]]), torch.tensor([3.2]).double(), (256, 256))
    in_image = truncate_to_image(pos, affine)
    # (20.75 - 32) * 10 + 100 = -12.5, cut to -12; (40.25 - 32) * 10 + 50 = 132.5.
    assert in_image.tolist() == [[[-11.0, 133.0], [-14.0, -264.0], [-224.0, -274.0]]]


def test_a_map_without_a_positive_value() -> None:
    decoded = CODEC.decode(torch.full((1, 1, 64, 64), -0.5))
    assert decoded.pos.tolist() == [[[-2.5, -2.5]]]
    assert decoded.confidence.item() == 0


def test_it_is_the_quarter_decode_inside_the_map() -> None:
    maps = torch.rand(2, 50, 64, 64)
    maps[..., [0, 63], :] = maps[..., [0, 63]] = 0
    quarter = HeatmapCodec((256, 256), (64, 64), decode="quarter", activation="clamp")
    assert torch.equal(CODEC.decode(maps).pos, quarter.decode(maps).pos)


def test_one_face_or_many_of_any_type() -> None:
    affine = hrnet_affine(torch.tensor([100.0, 50.0]), torch.tensor(3.2), (256, 256))
    assert affine.shape == (2, 3)
    assert affine.dtype == torch.float64
    pos = torch.rand(2, 5, 2) * 256
    assert torch.equal(truncate_to_image(pos, affine)[1], truncate_to_image(pos[1], affine))
    assert truncate_to_image(pos, affine.float()).dtype == torch.float32


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match=r"'center' to have shape \[..., 2\]"):
        hrnet_affine(torch.zeros(3), torch.tensor(1.0), (256, 256))
    with pytest.raises(InputError, match=r"'scale' to have the shape of 'center' .*got \[3\] and \[2, 2\]"):
        hrnet_affine(torch.zeros(2, 2), torch.ones(3), (256, 256))
    with pytest.raises(InputError, match="'pos' to have shape"):
        truncate_to_image(torch.zeros(5, 3), torch.zeros(2, 3))


def test_no_float64_is_needed_on_the_device() -> None:
    center, scale, pos = torch.rand(2, 2) * 90, torch.rand(2) + 1, torch.rand(2, 5, 2) * 60
    affine = hrnet_affine(center, scale, (64, 64))
    assert torch.equal(hrnet_affine(*(each.as_subclass(NoFloat64) for each in (center, scale)), (64, 64)), affine)
    expected = truncate_to_image(pos, affine.float())
    got = truncate_to_image(pos.as_subclass(NoFloat64), affine.float().as_subclass(NoFloat64))
    assert torch.equal(got, expected)
