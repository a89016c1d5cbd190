"""Degradations of the ablation: of its test faces and of its training crops. Landmarks are unchanged."""

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

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
    "clean": None,
    "patch 20 %": FacePatch(0.2, 0.2),
    "patch 40 %": FacePatch(0.4, 0.4),
    "blur 2 px": GaussianBlur(2.0, 2.0),
    "blur 4 px": GaussianBlur(4.0, 4.0),
    "dark 1/4": Darkness(0.25, 0.25),
    "dark 1/10": Darkness(0.1, 0.1),
}
"""Degradations of the test faces, in the order of the tables."""

REGIMES: dict[str, BaseTransform | None] = {
    "clean": None,
    "patches": FacePatch(0.0, 0.5),
    "mixed": OneOf([None, FacePatch(0.0, 0.5), GaussianBlur(0.0, 4.0), Darkness(0.1, 0.5)]),
}
"""Degradations of the training crops, in addition to the recipe's affine and colour augmentation."""
