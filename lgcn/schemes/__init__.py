"""Landmark definitions as data: names, flip pairs, contours, normalisers."""

from lgcn.schemes.normalizers import normalizing_distance
from lgcn.schemes.registry import SCHEMES, get_scheme
from lgcn.schemes.scheme import BOX_NORMALIZER, Contour, LandmarkScheme

__all__ = [
    "BOX_NORMALIZER",
    "SCHEMES",
    "Contour",
    "LandmarkScheme",
    "get_scheme",
    "normalizing_distance",
]
