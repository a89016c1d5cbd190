"""Losses of the paper (eq. 7-9) and their alternatives: a function first, a thin module over it."""

from lgcn.losses.coordinate import l1_loss
from lgcn.losses.detection import HEATMAP_LOSSES, DetectionLoss, HeatmapEncoder
from lgcn.losses.distribution import heatmap_cross_entropy
from lgcn.losses.focal import focal_heatmap_loss

__all__ = [
    "HEATMAP_LOSSES",
    "DetectionLoss",
    "HeatmapEncoder",
    "focal_heatmap_loss",
    "heatmap_cross_entropy",
    "l1_loss",
]
