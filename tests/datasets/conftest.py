"""A small tree in the layout of 300-W, with made-up faces."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from lgcn.datasets import write_pts

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Fills a folder of ``tmp_path / "300w"`` with ``count`` images 40 x 50 and their points; returns the root."""

    def make(folder: str, count: int = 2, suffix: str = ".png", points: int = 68) -> Path:
        root = tmp_path / "300w"
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            path = root / folder / f"{len(folder)}_{i}"
            Image.new("RGB", (50, 40), (10 * i, 0, 0)).save(path.with_suffix(suffix))
            pos = 1 + torch.rand(points, 2) * torch.tensor([49.0, 39.0])
            write_pts(path.with_suffix(".pts"), pos)
        return root

    return make
