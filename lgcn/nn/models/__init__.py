"""Stacks of layers, and the refiner of landmarks built from one."""

from lgcn.nn.models.gaussian_refiner import GaussianRefiner
from lgcn.nn.models.landmark_refiner import LandmarkRefiner
from lgcn.nn.models.lgcn import LGCN, DenseLGCN

__all__ = ["LGCN", "DenseLGCN", "GaussianRefiner", "LandmarkRefiner"]
