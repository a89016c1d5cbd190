"""Published results of other systems: copied from publications (literature.json), not measured here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files


@dataclass(frozen=True)
class PublishedResult:
    """What a publication reports for one dataset.

    Args:
        system: name of the system.
        dataset: name in :data:`lgcn.datasets.DATASETS`.
        source: where the numbers were read, for some systems the table of another one.
        nme_percent: column (a subset or a split) to NME in per cent of the normalising distance.
        fr_percent: column to per cent of the faces with an NME above 0.10.
        auc: column to the area under the cumulative error distribution up to 0.10, a fraction.
        protocol: the named protocol closest to the crop of the system; None where it is not known.
        normalizer: normaliser of all numbers.
        note: caveats of a comparison.
    """

    system: str
    dataset: str
    source: str
    nme_percent: dict[str, float] = field(default_factory=dict)
    fr_percent: dict[str, float] = field(default_factory=dict)
    auc: dict[str, float] = field(default_factory=dict)
    protocol: str | None = None
    normalizer: str = "inter_ocular"
    note: str = ""


@lru_cache(maxsize=1)
def all_published_results() -> tuple[PublishedResult, ...]:
    """Every result in literature.json, in its order."""
    content = json.loads((files("lgcn.evaluation") / "literature.json").read_text(encoding="utf-8"))
    return tuple(PublishedResult(**each) for each in content["results"])


def published_results(dataset: str) -> list[PublishedResult]:
    """The published results on a dataset, by its name; empty if none are known here."""
    return [each for each in all_published_results() if each.dataset == dataset]


_CSV_COLUMNS = {
    "300w_valid": ("ibug300w", "full"),
    "300w_valid_common": ("ibug300w", "common"),
    "300w_valid_challenge": ("ibug300w", "challenging"),
    "300w_test": ("ibug300w", "private"),
    "wflw_test": ("wflw", "test"),
    "wflw_test_largepose": ("wflw", "pose"),
    "wflw_test_expression": ("wflw", "expression"),
    "wflw_test_illumination": ("wflw", "illumination"),
    "wflw_test_makeup": ("wflw", "make-up"),
    "wflw_test_occlusion": ("wflw", "occlusion"),
    "wflw_test_blur": ("wflw", "blur"),
    "aflw_test": ("aflw19", "test"),
}
"""Name of a file of the public HRNet code, without ``face_landmarks_`` and ``.csv``, to its dataset and column."""


def published_results_of_csv(splits: Mapping[str, str]) -> list[PublishedResult]:
    """The published results on csv files of the public HRNet code, which are recognised by their names.

    Args:
        splits: name of a csv file to the split that names its column.

    Returns:
        The results on the datasets of the files, under the names of the splits; subsets keep their names.
    """
    renamed: dict[str, dict[str, str]] = {}
    for name, split in splits.items():
        known = _CSV_COLUMNS.get(name.removeprefix("face_landmarks_").removesuffix(".csv"))
        if known is not None:
            renamed.setdefault(known[0], {})[known[1]] = split
    found = []
    for dataset, names in renamed.items():
        for each in published_results(dataset):
            nme_percent, fr_percent, auc = (
                {names.get(column, column): value for column, value in values.items()}
                for values in (each.nme_percent, each.fr_percent, each.auc)
            )
            found.append(replace(each, nme_percent=nme_percent, fr_percent=fr_percent, auc=auc))
    return found
