"""Transforms from annotated images to inputs of a network."""

from lgcn.transforms.crop import CropToInput, RandomAffineCrop
from lgcn.transforms.degradations import BoxBeside, BoxJitter, Darkness, GaussianBlur, JPEGCompression, Rotation
from lgcn.transforms.patch import FacePatch
from lgcn.transforms.photometric import ColorJitter

__all__ = [
    "BoxBeside",
    "BoxJitter",
    "ColorJitter",
    "CropToInput",
    "Darkness",
    "FacePatch",
    "GaussianBlur",
    "JPEGCompression",
    "RandomAffineCrop",
    "Rotation",
]
