"""The datasets that are known by name."""

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
DATASETS.add("aflw19", AFLW19)
DATASETS.add("coco_keypoints", COCOKeypoints)
DATASETS.add("cofw", COFW)
DATASETS.add("hrnet_csv", HRNetCSV)
DATASETS.add("ibug300w", IBUG300W)
DATASETS.add("lapa", LaPa)
DATASETS.add("pts", PtsFolder)
DATASETS.add("wflw", WFLW)


def get_dataset(name: str) -> type[Any]:
    """The dataset class of that name, called with ``(root, split, transform, protocol, normalizer)``.

    Raises:
        InputError: listing the known names.
    """
    return DATASETS[name]
