"""From annotated pictures to what a network is trained on and evaluated with."""

from lgcn.transforms.crop import CropToInput, RandomAffineCrop
from lgcn.transforms.photometric import ColorJitter, RandomOcclusion

__all__ = ["ColorJitter", "CropToInput", "RandomAffineCrop", "RandomOcclusion"]
