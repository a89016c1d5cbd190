"""Degradations of the ablation: of its test faces and of its training crops. Landmarks are unchanged."""

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from lgcn.evaluation import condition_transform
from lgcn.transforms import Darkness, FacePatch, GaussianBlur


class OneOf(BaseTransform):
    """One of several transforms with equal probability; None leaves the face unchanged.

    Args:
        transforms: candidates.
    """

    def __init__(self, transforms: list[BaseTransform | None]) -> None:
        self.transforms = transforms

    def forward(self, data: Data) -> Data:
        chosen = self.transforms[int(torch.randint(len(self.transforms), ()))]
        return data if chosen is None else chosen(data)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.transforms})"


CONDITIONS: dict[str, BaseTransform | None] = {
    label: condition_transform(name, seed=None)
    for label, name in {
        "clean": "clean",
        "patch 20 %": "patch20",
        "patch 40 %": "patch40",
        "blur 2 px": "blur2",
        "blur 4 px": "blur4",
        "dark 1/4": "dark4",
        "dark 1/10": "dark10",
    }.items()
}
"""Degradations of the test faces, in the order of the tables."""

REGIMES: dict[str, BaseTransform | None] = {
    "clean": None,
    "patches": FacePatch(0.0, 0.5),
    "mixed": OneOf([None, FacePatch(0.0, 0.5), GaussianBlur(0.0, 4.0), Darkness(0.1, 0.5)]),
}
"""Degradations of the training crops, in addition to the recipe's affine and colour augmentation."""
