import inspect
from pathlib import Path

import pytest

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import DATASETS, LandmarkDataset

NAMES = ["aflw19", "coco_keypoints", "cofw", "hrnet_csv", "ibug300w", "lapa", "pts", "wflw"]


def test_the_names() -> None:
    assert DATASETS.names() == NAMES
    with pytest.raises(InputError, match=r"aflw19, coco_keypoints.*Did you mean 'wflw'"):
        DATASETS["wfwl"]


@pytest.mark.parametrize("name", NAMES)
def test_the_contract(name: str) -> None:
    dataset = DATASETS[name]
    assert issubclass(dataset, LandmarkDataset)
    parameters = inspect.signature(dataset).parameters
    assert list(parameters)[:5] == ["root", "split", "transform", "protocol", "normalizer"]
    # What an evaluation needs: a root and a split; all else has a default.
    assert all(each.default is not inspect.Parameter.empty for each in list(parameters.values())[1:])
    assert dataset.layout.endswith(".") and "\n" not in dataset.layout
    assert all(size is None or size > 0 for size in dataset.splits.values())
    assert all(word in str(inspect.getdoc(dataset)) for word in ("Args:", "Raises:", "root:", "split:"))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_empty_root_describes_the_layout(name: str, tmp_path: Path) -> None:
    dataset = DATASETS[name]
    for root in (tmp_path, tmp_path / "nowhere", str(tmp_path)):
        for split in dataset.splits or ["train"]:
            with pytest.raises(InputFileError) as caught:
                dataset(root, split)
            assert dataset.layout in str(caught.value)
            assert str(root) in str(caught.value)
            assert "\n" not in str(caught.value)
