"""Tiny trees in the layouts of WFLW and 300-W that a test may break."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lgcn.datasets import write_pts
from lgcn.datasets.wflw import IMAGE_FOLDER, LISTS

WIDTH, HEIGHT = 60, 50


def write_image(path: Path, seed: int) -> None:
    """An image of noise, another for each seed; lossless, so that its copies have its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def points(num_landmarks: int, seed: int) -> Tensor:
    """Points well inside the image, [K, 2]."""
    return 10 + 25 * torch.rand(num_landmarks, 2, generator=torch.Generator().manual_seed(seed))


def wflw_row(name: str, pos: Tensor, rect: Sequence[float] = (5, 5, 40, 40)) -> str:
    return " ".join([*(f"{value:.4f}" for value in pos.flatten().tolist()), *map(str, rect), *6 * "0", name])


def write_list(root: Path, split: str, rows: Sequence[str]) -> None:
    path = root / LISTS.format(split=split)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def wflw_tree(root: Path, *, train: int = 3, test: int = 2) -> dict[str, list[str]]:
    """Writes images and lists; returns split -> its rows."""
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for number in range(train + test):
        split = "train" if number < train else "test"
        write_image(root / IMAGE_FOLDER / "a" / f"{number}.png", number)
        rows[split].append(wflw_row(f"a/{number}.png", points(98, number)))
    for split, each in rows.items():
        write_list(root, split, each)
    return rows


def pts_tree(root: Path, folder: str, count: int, first: int = 0, num_landmarks: int = 68) -> None:
    """Images with ``.pts`` files in a folder."""
    for number in range(first, first + count):
        write_image(root / folder / f"{number}.png", number)
        write_pts(root / folder / f"{number}.pts", 1 + points(num_landmarks, number))
