"""Annotated pictures as PyG ``Data``."""

from lgcn.datasets.base import Completeness, LandmarkDataset
from lgcn.datasets.ibug300w import IBUG300W
from lgcn.datasets.pts import read_pts, write_pts
from lgcn.datasets.registry import DATASETS, get_dataset
from lgcn.datasets.wflw import WFLW

__all__ = ["DATASETS", "IBUG300W", "WFLW", "Completeness", "LandmarkDataset", "get_dataset", "read_pts", "write_pts"]
