"""Heatmaps <-> landmarks with confidences, both directions in one object."""

from lgcn.codecs.decoding import DECODERS
from lgcn.codecs.heatmap_codec import ACTIVATIONS, HeatmapCodec
from lgcn.codecs.hrnet import hrnet_affine, truncate_to_image
from lgcn.codecs.rendering import render_gaussians

__all__ = ["ACTIVATIONS", "DECODERS", "HeatmapCodec", "hrnet_affine", "render_gaussians", "truncate_to_image"]
