"""Registry of the datasets by name."""

from typing import Any

from lgcn.datasets.coco import COCOKeypoints
from lgcn.datasets.cofw import COFW
from lgcn.datasets.hrnet_csv import AFLW19, HRNetCSV
from lgcn.datasets.ibug300w import IBUG300W
from lgcn.datasets.lapa import LaPa
from lgcn.datasets.pts_folder import PtsFolder
from lgcn.datasets.wflw import WFLW
from lgcn.registry import Registry

DATASETS: Registry[type[Any]] = Registry("dataset")
"""name -> class, called with ``(root, split, transform, protocol, normalizer)``."""

DATASETS.register("aflw19", AFLW19)
DATASETS.register("coco_keypoints", COCOKeypoints)
DATASETS.register("cofw", COFW)
DATASETS.register("hrnet_csv", HRNetCSV)
DATASETS.register("ibug300w", IBUG300W)
DATASETS.register("lapa", LaPa)
DATASETS.register("pts", PtsFolder)
DATASETS.register("wflw", WFLW)
