import dataclasses

import pytest

from lgcn.checks import InputError
from lgcn.protocols import PROTOCOLS, Protocol, get_protocol


@pytest.mark.parametrize("name", PROTOCOLS.names())
def test_every_protocol_is_found_under_its_own_name_and_says_what_it_is(name: str) -> None:
    protocol = get_protocol(name)
    assert protocol.name == name
    assert protocol.description


def test_the_protocols_differ_in_the_pixel_origin_alone() -> None:
    ours, hrnet = get_protocol("zero_based"), get_protocol("hrnet")
    assert (ours.point_offset, hrnet.point_offset) == (-1.0, 0.0)
    same = {"name": "", "description": "", "point_offset": 0.0}
    assert dataclasses.replace(ours, **same) == dataclasses.replace(hrnet, **same)
    assert ours.enlargement == 1.25
    assert ours.thresholds == (0.10,)


def test_a_protocol_passes_through() -> None:
    protocol = Protocol("mine", "a tight crop", enlargement=1.0)
    assert get_protocol(protocol) is protocol


def test_unknown_protocols_list_the_choices() -> None:
    with pytest.raises(InputError, match=r"one of hrnet, zero_based \(got 'zerobased'\)\. Did you mean 'zero_based'"):
        get_protocol("zerobased")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"enlargement": 0.0}, "enlargement"),
        ({"enlargement": float("nan")}, "enlargement"),
        ({"thresholds": ()}, "thresholds"),
        ({"thresholds": (0.1, 0.0)}, "thresholds"),
    ],
)
def test_values_without_sense_are_refused(options: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=f"'{named}'"):
        Protocol("mine", "", **options)


def test_a_protocol_cannot_be_changed_in_passing() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_protocol("hrnet").enlargement = 1.0
