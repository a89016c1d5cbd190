"""Stacks of graph convolutions, and the refiner built on them."""

from lgcn.nn.models.landmark_refiner import LandmarkRefiner
from lgcn.nn.models.lgcn import LGCN

__all__ = ["LGCN", "LandmarkRefiner"]
