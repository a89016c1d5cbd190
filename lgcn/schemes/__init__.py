"""Landmark definitions as data: names, flip pairs, contours, normalisers."""

from lgcn.schemes.definition import read_scheme, scheme_from_dict, scheme_to_dict
from lgcn.schemes.normalizers import normalizing_distance
from lgcn.schemes.registry import SCHEMES, define_scheme, get_scheme
from lgcn.schemes.scheme import BOX_NORMALIZER, Contour, LandmarkScheme

__all__ = [
    "BOX_NORMALIZER",
    "SCHEMES",
    "Contour",
    "LandmarkScheme",
    "define_scheme",
    "get_scheme",
    "normalizing_distance",
    "read_scheme",
    "scheme_from_dict",
    "scheme_to_dict",
]
