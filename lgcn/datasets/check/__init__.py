"""Validation of the files of a dataset: counts, annotations, images and leaks between splits."""

from lgcn.datasets.check.dataset import check_dataset
from lgcn.datasets.check.images import CheckedSplit
from lgcn.datasets.check.report import KINDS, CheckReport, Finding

__all__ = ["KINDS", "CheckReport", "CheckedSplit", "Finding", "check_dataset"]
