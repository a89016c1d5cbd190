"""Stacks of layers, and refiners of landmarks built from layers."""

from lgcn.nn.models.conv_stack import ConvStack
from lgcn.nn.models.gaussian_refiner import GaussianRefiner
from lgcn.nn.models.gnn_refiner import GNNRefiner
from lgcn.nn.models.landmark_refiner import LandmarkRefiner
from lgcn.nn.models.lgcn import LGCN, DenseLGCN
from lgcn.nn.models.refiner import Refiner, RefinerChain

__all__ = [
    "LGCN",
    "ConvStack",
    "DenseLGCN",
    "GNNRefiner",
    "GaussianRefiner",
    "LandmarkRefiner",
    "Refiner",
    "RefinerChain",
]
