import pytest

from lgcn.checks import InputError
from lgcn.models import PRESETS
from lgcn.nn import LandmarkRefiner
from lgcn.schemes import get_scheme


@pytest.mark.parametrize("name", PRESETS.names())
def test_presets_can_be_built(name: str) -> None:
    preset = PRESETS[name]
    codec = preset.codec.build((32, 32), (8, 8))
    assert (codec.decode_name, codec.activation) == (preset.codec.decode, preset.codec.activation)
    refiner = preset.refiner.build(get_scheme("aflw19"), 7, (32, 32))
    assert isinstance(refiner, LandmarkRefiner)
    assert tuple(conv.out_channels for conv in refiner.lgcn.convs) == (*preset.refiner.hidden_channels, 2)


def test_unknown_presets_list_the_choices() -> None:
    with pytest.raises(
        InputError, match=r"'preset' to be one of default, official, paper \(got 'papers'\).*Did you mean 'paper'"
    ):
        PRESETS["papers"]
