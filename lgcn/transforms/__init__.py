"""Transforms from annotated images to inputs of a network."""

from lgcn.transforms.crop import CropToInput, RandomAffineCrop
from lgcn.transforms.photometric import ColorJitter, RandomOcclusion

__all__ = ["ColorJitter", "CropToInput", "RandomAffineCrop", "RandomOcclusion"]
