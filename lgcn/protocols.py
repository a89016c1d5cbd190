"""Evaluation protocols by name: crop, pixel origin, normaliser and thresholds in one object.

Two figures can be compared only when their protocol is the same: in this field the choice of the
crop alone moves the NME by a few tenths of a per cent.
"""

from dataclasses import dataclass

from lgcn.checks import InputError
from lgcn.registry import Registry


@dataclass(frozen=True)
class Protocol:
    """How a face is cut out and how an error is measured.

    Args:
        name: the name that every table prints.
        description: the same in words.
        enlargement: side of the square crop over the longer side of the tight landmark box, whose
            corners are rounded outwards to whole pixels.
        point_offset: added to coordinates of 1-based files (``.pts``); -1 puts the centre of the
            first pixel at 0, where the networks of this package expect it.
        normalizer: name of the normaliser of the NME; None takes the scheme's own.
        thresholds: NME (fraction) beyond which a face has failed, and up to which the CED is integrated.
    """

    name: str
    description: str
    enlargement: float = 1.25
    point_offset: float = -1.0
    normalizer: str | None = None
    thresholds: tuple[float, ...] = (0.10,)

    def __post_init__(self) -> None:
        if not self.enlargement > 0:
            raise InputError(f"Expected 'enlargement' to be positive (got {self.enlargement}).")
        if not self.thresholds or not all(threshold > 0 for threshold in self.thresholds):
            raise InputError(f"Expected 'thresholds' to hold positive fractions (got {self.thresholds}).")


PROTOCOLS: Registry[Protocol] = Registry("protocol")
PROTOCOLS.add(
    "zero_based",
    Protocol("zero_based", "square crop, 1.25 x the longer side of the tight landmark box; 1-based points moved to 0"),
)
PROTOCOLS.add(
    "hrnet",
    Protocol(
        "hrnet",
        "square crop, 1.25 x the longer side of the tight landmark box; 1-based points kept as they stand",
        point_offset=0.0,
    ),
)


def get_protocol(protocol: "str | Protocol") -> Protocol:
    """Looks a protocol up by name; a :class:`Protocol` passes through."""
    return protocol if isinstance(protocol, Protocol) else PROTOCOLS[protocol]
