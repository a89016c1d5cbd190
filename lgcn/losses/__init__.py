"""Losses of the paper (eq. 7-9) and their alternatives: functions, and a thin module."""

from lgcn.losses.coordinate import COORDINATE_LOSSES, coordinate_loss, l1_loss, smooth_l1_loss, wing_loss
from lgcn.losses.cross_entropy import heatmap_cross_entropy
from lgcn.losses.detection import HEATMAP_LOSSES, DetectionLoss, HeatmapEncoder
from lgcn.losses.focal import focal_heatmap_loss
from lgcn.losses.likelihood import gaussian_nll_loss
from lgcn.losses.regression import adaptive_wing_loss, heatmap_mse_loss

__all__ = [
    "COORDINATE_LOSSES",
    "HEATMAP_LOSSES",
    "DetectionLoss",
    "HeatmapEncoder",
    "adaptive_wing_loss",
    "coordinate_loss",
    "focal_heatmap_loss",
    "gaussian_nll_loss",
    "heatmap_cross_entropy",
    "heatmap_mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "wing_loss",
]
