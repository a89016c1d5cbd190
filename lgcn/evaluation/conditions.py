"""Conditions of an evaluation: degradations of its faces by name, such as ``patch40``."""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.transforms import BaseTransform, Compose

from lgcn.checks import InputError, shown
from lgcn.datasets import FaceTextures, LandmarkDataset
from lgcn.registry import Registry
from lgcn.transforms import BoxBeside, BoxJitter, Darkness, FacePatch, GaussianBlur, JPEGCompression, Rotation
from lgcn.transforms.degradations import Degradation

CLEAN = "clean"
DETECTOR = "detector"
"""Boxes of a face detector instead of those of the protocol."""
FOUND = "found"
"""Subset of the faces that the face detector found."""


@dataclass(frozen=True)
class ConditionFamily:
    """Degradations that a number follows: ``patch40`` is 40 of the family "patch".

    Args:
        name: letters.
        description: what the number N means, in a few words.
        build: from the number, a seed (None: draws from torch's global generator) and textures to the transform. One
            that sets ``bbox`` comes before the crop, one that sets ``image`` after it.
        textures: whether ``build`` needs textures, parts of other images of the dataset.
    """

    name: str
    description: str
    build: Callable[[float, int | None, Sequence[Tensor]], Degradation]
    textures: bool = False


CONDITIONS: Registry[ConditionFamily] = Registry("condition")
"""Name of a family -> family; :data:`CLEAN` and :data:`DETECTOR` are conditions without a number."""

for _family in (
    ConditionFamily("patch", "N % of the face under noise or one colour", lambda n, s, _: FacePatch(n / 100, seed=s)),
    ConditionFamily("noise", "N % under noise", lambda n, s, _: FacePatch(n / 100, kinds=["noise"], seed=s)),
    ConditionFamily("color", "N % under one colour", lambda n, s, _: FacePatch(n / 100, kinds=["color"], seed=s)),
    ConditionFamily(
        "texture",
        "N % under a part of another image",
        lambda n, s, textures: FacePatch(n / 100, kinds=["texture"], textures=textures, seed=s),
        textures=True,
    ),
    ConditionFamily(
        "copy", "N % under another part of the same crop", lambda n, s, _: FacePatch(n / 100, kinds=["copy"], seed=s)
    ),
    ConditionFamily("blur", "Gaussian blur of N pixels of the crop", lambda n, s, _: GaussianBlur(n, seed=s)),
    ConditionFamily("dark", "1/N of the light, and noise of 5 grey levels", lambda n, s, _: Darkness(1 / n, seed=s)),
    ConditionFamily("jpeg", "JPEG of quality N", lambda n, s, _: JPEGCompression(n, seed=s)),
    ConditionFamily("rot", "photo turned by N degrees to either side", lambda n, s, _: Rotation(n, seed=s)),
    ConditionFamily("box", "box moved and scaled by up to N %", lambda n, s, _: BoxJitter(n / 100, seed=s)),
    ConditionFamily("beside", "no face: box beside it, of N % of its size", lambda n, s, _: BoxBeside(n / 100, seed=s)),
):
    CONDITIONS.register(_family.name, _family)


def describe_conditions() -> str:
    """All conditions with their meaning, for help and errors."""
    families = ", ".join(f"{family.name}N ({family.description})" for family in map(CONDITIONS.__getitem__, CONDITIONS))
    return f"{CLEAN}, {DETECTOR} (boxes of the face detector), {families}"


def check_condition(name: str) -> str:
    """Return the name of a condition.

    Raises:
        InputError: for a name that is unknown, or a number out of its range; lists the choices.
    """
    if name not in (CLEAN, DETECTOR):
        family, number = _parse(name)
        _build(name, family, number, None, [torch.zeros(3, 1, 1, dtype=torch.uint8)] if family.textures else ())
    return name


def condition_transform(name: str, *, seed: int | None = 0, textures: Sequence[Tensor] = ()) -> BaseTransform | None:
    """The degradation of a condition; None if it has none (clean, detector).

    Args:
        name: such as ``"patch40"``, see :data:`CONDITIONS`.
        seed: of the draws, which depend on it and on the face alone; None draws from torch's global generator.
        textures: images uint8 [3, h, w] for conditions of textures.

    Raises:
        InputError: as :func:`check_condition`, and for missing textures.
    """
    if name in (CLEAN, DETECTOR):
        return None
    family, number = _parse(name)
    return _build(name, family, number, seed, textures)


def degrade_faces(dataset: LandmarkDataset, condition: str, seed: int = 0) -> LandmarkDataset:
    """A copy of a dataset that crops its faces, whose faces are degraded before or after the crop.

    Args:
        dataset: after :func:`lgcn.evaluation.crop_faces`.
        condition: see :data:`CONDITIONS`. Textures are those of the dataset's own faces.
        seed: of the draws, which depend on it and on the face alone.

    Raises:
        InputError: for an unknown condition, or a dataset that does not crop its faces.
    """
    crop = dataset.transform
    if not hasattr(crop, "input_size"):
        raise InputError("Expected 'dataset' to crop its faces (got another transform). Call crop_faces first.")
    needs_textures = condition not in (CLEAN, DETECTOR) and _parse(condition)[0].textures
    textures = FaceTextures(dataset, crop.input_size) if needs_textures else ()
    change = condition_transform(condition, seed=seed, textures=textures)
    degraded = copy.copy(dataset)
    if change is not None:
        degraded.transform = Compose([crop, change] if change.field == "image" else [change, crop])
    return degraded


def _parse(name: str) -> tuple[ConditionFamily, float]:
    match = re.fullmatch(r"([A-Za-z_]+)(\d+(?:\.\d+)?)", name) if isinstance(name, str) else None
    if match is None or match[1] not in CONDITIONS:
        raise InputError(f"Expected a condition (got {shown(name)}). Choose among {describe_conditions()}.")
    return CONDITIONS[match[1]], float(match[2])


def _build(
    name: str, family: ConditionFamily, number: float, seed: int | None, textures: Sequence[Tensor]
) -> Degradation:
    try:
        return family.build(number, seed, textures)
    except (InputError, ZeroDivisionError) as error:
        reason = "" if isinstance(error, ZeroDivisionError) else f" {error}"
        raise InputError(f"Expected a condition with a number in its range (got '{name}').{reason}") from None
