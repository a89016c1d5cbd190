"""A tiny dataset in 300-W's layout and a tiny network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lgcn.datasets import write_pts
from lgcn.models import PRESETS, DetectorConfig


@pytest.fixture(scope="session")
def face_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of noise with 68 points each in ``afw``, two more in ``lfpw/testset``."""
    root = tmp_path_factory.mktemp("300w")
    rng = np.random.default_rng(0)
    for number in range(14):
        folder = root / ("afw" if number < 12 else "lfpw/testset")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(folder / f"{number:02d}.png")
        write_pts(folder / f"{number:02d}.pts", torch.from_numpy(rng.uniform(15, 65, (68, 2))))
    return root


@pytest.fixture
def tiny_detector() -> DetectorConfig:
    """A real network of 82 thousand weights for 32 x 32 pixels."""
    return PRESETS["default"].with_options(
        backbone="test_efficientnet",
        input_size=(32, 32),
        backbone_options={"head": "pyramid", "width": 8},
        refiner={"hidden_channels": (8,)},
    )
