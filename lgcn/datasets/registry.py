"""The datasets that are known by name."""

from typing import Any

from lgcn.datasets.ibug300w import IBUG300W
from lgcn.datasets.wflw import WFLW
from lgcn.registry import Registry

DATASETS: Registry[type[Any]] = Registry("dataset")
DATASETS.add("ibug300w", IBUG300W)
DATASETS.add("wflw", WFLW)


def get_dataset(name: str) -> type[Any]:
    """The dataset class of that name, called with ``(root, split, transform, protocol, normalizer)``.

    Raises:
        InputError: listing the known names.
    """
    return DATASETS[name]
