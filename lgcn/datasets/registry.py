"""The datasets that are known by name."""

from typing import Any

from lgcn.datasets.ibug300w import IBUG300W
from lgcn.registry import Registry

DATASETS: Registry[type[Any]] = Registry("dataset")
DATASETS.add("ibug300w", IBUG300W)


def get_dataset(name: str) -> type[Any]:
    """The dataset class of that name, called with ``(root, split, transform, protocol, normalizer)``.

    Raises:
        InputError: listing the known names.
    """
    return DATASETS[name]
