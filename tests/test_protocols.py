import dataclasses

import pytest
import torch
from torch_geometric.data import Data

from lgcn.checks import InputError
from lgcn.protocols import PROTOCOLS, EvaluationProtocol, get_protocol
from lgcn.schemes import get_scheme
from lgcn.transforms import CropToInput

PROTOCOLS_BY_NAME = {name: PROTOCOLS[name] for name in PROTOCOLS}


@pytest.mark.parametrize("name", PROTOCOLS.names())
def test_every_protocol_is_found_by_name_and_described(name: str) -> None:
    protocol = get_protocol(name)
    assert protocol.name == name
    assert protocol.description
    assert protocol.source


def test_the_crops_of_the_first_two_differ_in_the_pixel_origin_alone() -> None:
    ours, hrnet = get_protocol("zero_based"), get_protocol("hrnet")
    assert (ours.point_offset, hrnet.point_offset) == (-1.0, 0.0)
    same = {"name": "", "description": "", "source": "", "point_offset": 0.0, "thresholds": (0.10,)}
    assert dataclasses.replace(ours, **same) == dataclasses.replace(hrnet, **same)
    assert ours.enlargement == 1.25
    assert ours.thresholds == (0.10,)


def test_a_protocol_passes_through() -> None:
    protocol = EvaluationProtocol("mine", "a tight crop", enlargement=1.0)
    assert get_protocol(protocol) is protocol


def test_unknown_protocols_list_the_choices() -> None:
    with pytest.raises(
        InputError, match=r"one of adnet, .*, zero_based \(got 'zerobased'\)\. Did you mean 'zero_based'"
    ):
        get_protocol("zerobased")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"enlargement": 0.0}, "enlargement"),
        ({"enlargement": float("nan")}, "enlargement"),
        ({"rect_enlargement": -1.0}, "rect_enlargement"),
        ({"box": "rectangle"}, "box"),
        ({"aspect": "wide"}, "aspect"),
        ({"side": "left"}, "side"),
        ({"frame": "heatmap"}, "frame"),
        ({"fill": 256}, "fill"),
        ({"thresholds": ()}, "thresholds"),
        ({"thresholds": (0.1, 0.0)}, "thresholds"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=f"'{named}'"):
        EvaluationProtocol("mine", "", **options)


def test_protocols_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_protocol("hrnet").enlargement = 1.0


def test_the_facts_of_the_conventions() -> None:
    crops = {name: (each.aspect, each.enlargement, each.clip, each.fill) for name, each in PROTOCOLS_BY_NAME.items()}
    assert crops == {
        "zero_based": ("square", 1.25, False, 0),
        "hrnet": ("square", 1.25, False, 0),
        "official": ("letterbox", 1.0, True, 114),
        "pipnet": ("stretch", 1.1, True, 0),
        "slpt": ("square", 1.2, False, 0),
        "spiga": ("square", 1.6, False, 0),
        "adnet": ("square", 1.05, False, 0),
        "detector": ("square", 1.25, False, 0),
    }
    assert {name for name, each in PROTOCOLS_BY_NAME.items() if each.side == "shorter"} == {"adnet"}
    assert {name for name, each in PROTOCOLS_BY_NAME.items() if each.frame == "crop"} == {"pipnet"}
    boxes = {name: each.box for name, each in PROTOCOLS_BY_NAME.items() if each.box != "landmarks"}
    assert boxes == {"pipnet": "dataset", "detector": "detector"}
    kept = {name for name, each in PROTOCOLS_BY_NAME.items() if each.point_offset == 0}
    assert kept == {"hrnet", "official", "pipnet"}
    assert {name: each.thresholds for name, each in PROTOCOLS_BY_NAME.items() if each.thresholds != (0.10,)} == {
        "hrnet": (0.10, 0.08),
        "spiga": (0.10, 0.08),
        "adnet": (0.10, 0.08, 0.05),
    }


def test_some_protocols_set_the_normalizer_of_a_scheme() -> None:
    of_cofw = {name: each.normalizer_of("cofw29") for name, each in PROTOCOLS_BY_NAME.items()}
    assert {name for name, normalizer in of_cofw.items() if normalizer is not None} == {"slpt", "adnet"}
    assert of_cofw["adnet"] == of_cofw["slpt"] == "inter_pupil"
    assert get_protocol("pipnet").normalizer_of("aflw19") == "box"
    assert get_protocol("adnet").normalizer_of("wflw98") is None
    assert get_protocol("adnet").facts()["normalizer"] == "scheme's, cofw29: inter_pupil"
    assert EvaluationProtocol("mine", "", normalizer="box").normalizer_of("wflw98") == "box"
    for protocol in PROTOCOLS_BY_NAME.values():
        for scheme, normalizer in protocol.scheme_normalizers.items():
            assert normalizer in get_scheme(scheme).normalizer_names


def test_the_hrnet_protocol_mentions_its_whole_pixels() -> None:
    source = get_protocol("hrnet").source
    assert "Not reproduced" not in source and "decode 'hrnet'" in source


def test_rectangles_have_a_separate_enlargement() -> None:
    pipnet = get_protocol("pipnet")
    assert (pipnet.enlargement, pipnet.for_rectangles().enlargement) == (1.1, 1.2)
    assert get_protocol("hrnet").for_rectangles() is get_protocol("hrnet")


def test_every_protocol_gives_a_crop_and_names_all_of_its_facts() -> None:
    face = Data(image=torch.zeros(1, 3, 90, 70, dtype=torch.uint8), bbox=torch.tensor([[10.0, 20.0, 50.0, 80.0]]))
    names = [list(each.facts()) for each in PROTOCOLS_BY_NAME.values()]
    assert all(each == names[0] for each in names)
    seen = {
        str(CropToInput((32, 32), **each.crop_options)(face).affine.tolist()) for each in PROTOCOLS_BY_NAME.values()
    }
    # zero_based, hrnet and detector have the same crop of the same box.
    assert len(seen) == len(PROTOCOLS_BY_NAME) - 2
    assert get_protocol("pipnet").facts()["size"] == "1.1 (dataset's: 1.2)"
    assert get_protocol("hrnet").facts()["1-based points"] == "kept"
    assert get_protocol("adnet").facts()["size"] == "1.05 x shorter side"


def test_a_custom_protocol_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROTOCOLS, "_things", dict(PROTOCOLS._things))
    mine = PROTOCOLS.register("mine", EvaluationProtocol("mine", "a tight crop", enlargement=1.0))
    assert get_protocol("mine") is mine
    with pytest.raises(InputError, match="'mine', which is taken"):
        PROTOCOLS.register("mine", mine)
