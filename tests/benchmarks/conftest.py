"""Lets tests import the benchmarks, which are not installed, without putting the checkout before what is."""

import sys
from pathlib import Path

import lgcn  # noqa: F401  # the installed one, before the checkout can be found

sys.path.append(str(Path(__file__).resolve().parents[2]))
