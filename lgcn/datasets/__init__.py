"""Landmark datasets as PyG ``Data``: public datasets in their official layouts, and your own files."""

from lgcn.datasets.base import Completeness, LandmarkDataset
from lgcn.datasets.coco import COCOKeypoints
from lgcn.datasets.cofw import COFW
from lgcn.datasets.hrnet_csv import AFLW19, HRNetCSV
from lgcn.datasets.ibug300w import IBUG300W
from lgcn.datasets.landmark_graphs import LandmarkGraphs
from lgcn.datasets.lapa import LaPa
from lgcn.datasets.pts import read_pts, write_pts
from lgcn.datasets.pts_folder import PtsFolder
from lgcn.datasets.registry import DATASETS
from lgcn.datasets.textures import FaceTextures
from lgcn.datasets.wflw import WFLW

__all__ = [
    "AFLW19",
    "COFW",
    "DATASETS",
    "IBUG300W",
    "WFLW",
    "COCOKeypoints",
    "Completeness",
    "FaceTextures",
    "HRNetCSV",
    "LaPa",
    "LandmarkDataset",
    "LandmarkGraphs",
    "PtsFolder",
    "read_pts",
    "write_pts",
]
