"""The cascade agrees with OpenCV's definition, computed window by window."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lgcn.images import read_image
from lgcn.predict.lbp_cascade import LBPCascade


@pytest.fixture(scope="module")
def cascade() -> LBPCascade:
    from skimage.data import lbp_frontal_face_cascade_filename

    return LBPCascade(lbp_frontal_face_cascade_filename())


@pytest.fixture(scope="module")
def face() -> Tensor:
    """140 x 140 pixels around the astronaut's face, grey; the cascade's square has a side of about 82."""
    image = read_image(Path(__file__).parents[2] / "examples" / "astronaut.jpg")[:, 58:198, 150:290]
    return image.float().mean(dim=0)


def passes(cascade: LBPCascade, window: np.ndarray) -> bool:
    """The cascade by its definition, for one window of 24 x 24 pixels."""
    for stage in cascade._stages:
        votes = 0.0
        for (x, y, w, h), table in zip(stage.blocks, stage.votes, strict=True):
            sums = window[y : y + 3 * h, x : x + 3 * w].reshape(3, h, 3, w).sum(axis=(1, 3))
            around = [sums[0, 0], sums[0, 1], sums[0, 2], sums[1, 2], sums[2, 2], sums[2, 1], sums[2, 0], sums[1, 0]]
            votes += table[sum(int(each >= sums[1, 1]) << (7 - bit) for bit, each in enumerate(around))]
        if votes < stage.threshold:
            return False
    return True


@pytest.mark.parametrize("side", [38, 41])
def test_windows_are_judged_as_the_cascade_is_defined(side: int, cascade: LBPCascade, face: Tensor) -> None:
    small = functional.interpolate(face[None, None], (side, side), mode="bilinear", antialias=True)[0, 0].round()
    windows = itertools.product(range(side - 24 + 1), repeat=2)
    expected = {(x, y) for x, y in windows if passes(cascade, small[y : y + 24, x : x + 24].numpy())}
    # One level: the next square would be larger than the image.
    found = cascade.search(small, 24, 2.0)
    assert expected and {tuple(square[:2].int().tolist()) for square in found} == expected
    assert torch.equal(found[:, 2:] - found[:, :2], torch.full((len(found), 2), 24.0))


def test_squares_are_in_pixels_of_the_image(cascade: LBPCascade, face: Tensor) -> None:
    canvas = torch.full((300, 400), 128.0)
    canvas[100:240, 200:340] = face
    found = cascade.search(canvas, 48, 1.1)
    inside = ((found[:, :2] > torch.tensor([200.0, 100.0])) & (found[:, 2:] < torch.tensor([340.0, 240.0]))).all(dim=1)
    assert inside.sum() >= 2
    double = functional.interpolate(canvas[None, None], scale_factor=2, mode="bilinear")[0, 0]
    larger = cascade.search(double, 96, 1.1)
    assert (larger.mean(dim=0) / 2 - found.mean(dim=0)).abs().max() < 8


@pytest.mark.parametrize("size", [(10, 10), (24, 24), (25, 24), (26, 200)])
def test_images_with_few_windows(cascade: LBPCascade, size: tuple[int, int]) -> None:
    assert cascade.search(torch.full(size, 100.0), 24, 1.1).shape == (0, 4)
