"""Definition of a set of landmarks as data: names, flip pairs, contours and normalisers."""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import NamedTuple

from lgcn.checks import InputError, check_choice, shown

LandmarkGroup = tuple[int, ...]
"""Landmarks whose mean is one point, such as the six of an eye."""

BOX_NORMALIZER = "box"
"""The normaliser that every scheme has: sqrt(width * height) of the tight landmark box."""


class Contour(NamedTuple):
    """A line through landmarks, in drawing order; a lone landmark (a pupil) is a contour of one."""

    name: str
    indices: tuple[int, ...]
    closed: bool = False

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Pairs of consecutive landmarks, the closing one included."""
        if len(self.indices) < 2:
            return ()
        ends = self.indices[1:] + (self.indices[:1] if self.closed else ())
        return tuple(zip(self.indices, ends, strict=False))


@dataclass(frozen=True)
class LandmarkScheme:
    """A definition of K landmarks, numbered from 0.

    "left" and "right" in names are the subject's own, as in COCO: the subject's right eye is on
    the left of an ordinary image.

    Args:
        name: name of the scheme in configs and checkpoints.
        names: one unique name for each landmark; their number is K.
        flip_pairs: landmarks that swap identity when the image is mirrored; all others keep theirs.
        contours: lines for drawing and for hand-made topologies.
        normalizers: name -> the two groups of landmarks whose means' distance normalises errors
            (``"inter_ocular"``, ``"inter_pupil"``); ``"box"`` exists in every scheme and is not listed.
        default_normalizer: one of ``normalizers`` or ``"box"``.
        sigmas: tolerance of each landmark in object keypoint similarity, as COCO defines it: the deviation of its
            annotators as a fraction of the square root of the object's area; empty if it is not known.
        subject: what the landmarks are of, such as ``"hand"``. Prediction finds faces alone; others need boxes.

    Raises:
        InputError: if a landmark is no number, out of range or in two pairs, a name is used twice, the default
            normaliser is unknown, there is not one positive sigma for each landmark, or the subject is not a word.
    """

    name: str
    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    contours: tuple[Contour, ...] = ()
    normalizers: dict[str, tuple[LandmarkGroup, LandmarkGroup]] = field(default_factory=dict, hash=False)
    default_normalizer: str = BOX_NORMALIZER
    sigmas: tuple[float, ...] = ()
    subject: str = "face"

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError(f"Expected scheme '{self.name}' to name at least one landmark (got none).")
        self._check_unique("names", self.names)
        for pair in self.flip_pairs:
            if len(pair) != 2:
                raise InputError(f"Expected 'flip_pairs' of scheme '{self.name}' to hold pairs (got {pair}).")
            self._check_range("flip_pairs", pair)
        self._check_unique("flip_pairs", tuple(index for pair in self.flip_pairs for index in pair))
        self._check_unique("contours", tuple(contour.name for contour in self.contours))
        for contour in self.contours:
            self._check_range(f"contours: {contour.name}", contour.indices)
        for normalizer, groups in self.normalizers.items():
            if normalizer == BOX_NORMALIZER or len(groups) != 2:
                raise InputError(
                    f"Expected 'normalizers' of scheme '{self.name}' to map names other than '{BOX_NORMALIZER}' to two "
                    f"groups of landmarks (got '{normalizer}': {groups})."
                )
            for group in groups:
                self._check_range(f"normalizers: {normalizer}", group)
        check_choice("default_normalizer", self.default_normalizer, self.normalizer_names)
        if self.sigmas and (len(self.sigmas) != len(self.names) or not all(sigma > 0 for sigma in self.sigmas)):
            raise InputError(
                f"Expected 'sigmas' of scheme '{self.name}' to hold a positive number for each of {len(self.names)} "
                f"landmarks (got {len(self.sigmas)}: {self.sigmas[:5]}...)."
            )
        if not isinstance(self.subject, str) or not self.subject:
            raise InputError(
                f"Expected 'subject' of scheme '{self.name}' to say what the landmarks are of, such as 'hand' (got "
                f"{shown(self.subject)})."
            )

    @property
    def num_landmarks(self) -> int:
        return len(self.names)

    @property
    def normalizer_names(self) -> tuple[str, ...]:
        """Names that ``normalizer`` may have with this scheme."""
        return (*self.normalizers, BOX_NORMALIZER)

    @cached_property
    def flip_permutation(self) -> tuple[int, ...]:
        """Entry k is the landmark that k becomes in the mirrored image; its own inverse."""
        permutation = list(range(self.num_landmarks))
        for first, second in self.flip_pairs:
            permutation[first], permutation[second] = second, first
        return tuple(permutation)

    @cached_property
    def right_left_pairs(self) -> tuple[tuple[int, int], ...]:
        """The flip pairs whose names say "right" and "left", as (the subject's right, the subject's left)."""
        sides = [frozenset(re.findall("right|left", name.lower())) for name in self.names]
        both = [*self.flip_pairs, *((second, first) for first, second in self.flip_pairs)]
        return tuple(pair for pair in both if [*map(sides.__getitem__, pair)] == [{"right"}, {"left"}])

    def _check_range(self, what: str, indices: tuple[int, ...]) -> None:
        group = tuple(indices) if isinstance(indices, tuple | list) else None
        known = range(self.num_landmarks)
        wrong = [index for index in group or () if not (isinstance(index, Integral) and index in known)]
        if wrong or not group:
            raise InputError(
                f"Expected '{what}' of scheme '{self.name}' to hold landmarks 0..{self.num_landmarks - 1} "
                f"(got {wrong or ('none' if group == () else indices)}). Landmarks are numbered from 0 here, and each "
                "group is a tuple; scheme_from_dict and YAML files take names."
            )

    def _check_unique(self, what: str, things: tuple[object, ...]) -> None:
        twice = [thing for thing, count in Counter(things).items() if count > 1]
        if twice:
            raise InputError(f"Expected '{what}' of scheme '{self.name}' to be all different (got {twice} twice).")
