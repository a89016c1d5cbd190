from inspect import signature

import pytest

from lgcn.checks import InputError
from lgcn.codecs import HeatmapCodec
from lgcn.models import PRESETS
from lgcn.nn import LandmarkRefiner


@pytest.mark.parametrize("name", PRESETS.names())
def test_presets_hold_options_that_exist(name: str) -> None:
    preset = PRESETS[name]
    assert preset.codec.keys() <= signature(HeatmapCodec).parameters.keys() - {"input_size", "heatmap_size"}
    assert preset.refiner.keys() <= signature(LandmarkRefiner).parameters.keys()
    LandmarkRefiner(5, 7, (32, 32), **preset.refiner)
    HeatmapCodec((32, 32), (8, 8), **preset.codec)


def test_the_papers_choices() -> None:
    paper = PRESETS["paper"]
    # 64, 16 and the 2 that every refiner ends with; absolute coordinates; targets that the focal loss takes.
    assert tuple(paper.refiner["hidden_channels"]) == (64, 16)
    assert paper.refiner["output"] == "absolute"
    assert paper.codec["target"] == "integer"
    assert paper.codec["activation"] == "sigmoid"


def test_unknown_presets_list_the_choices() -> None:
    with pytest.raises(
        InputError, match="'preset' to be one of default, official, paper .got 'papers'.*Did you mean 'paper'"
    ):
        PRESETS["papers"]
