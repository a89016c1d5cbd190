"""Whether a user's refiner fits a detector: asked when the detector is built, not in the first hour of training."""

from typing import Any

import torch
from torch import nn

from lgcn.checks import InputError
from lgcn.modes import eval_mode
from lgcn.nn import Refiner, RefinerChain
from lgcn.typing import KeyPoints, Size


def check_refiner(refiner: Refiner, num_landmarks: int, feature_channels: int, input_size: Size, stride: int) -> None:
    """Compare the sizes that a refiner was built for with those of a detector, and refine invented landmarks with it.

    Args:
        refiner: the refiner; a ``RefinerChain`` is checked in its parts.
        num_landmarks: K of the detector.
        feature_channels: of the detector's feature map.
        input_size: (height, width) of the detector's input in pixels.
        stride: pixels of the input in a cell of the feature map.

    Raises:
        InputError: for another size, a field that it needs and detectors do not give, an error of ``refine``, or a
            result that is no :class:`KeyPoints` with ``pos`` [B, K, 2]. A refiner that refuses its input by an
            InputError, as one does that is still to be fitted, passes.
    """
    if isinstance(refiner, RefinerChain):
        for each in refiner.refiners:
            assert isinstance(each, Refiner)
            check_refiner(each, num_landmarks, feature_channels, input_size, stride)
        return
    expected: dict[str, Any] = {
        "num_landmarks": num_landmarks,
        # One of 0 reads no feature map.
        "feature_channels": feature_channels if getattr(refiner, "feature_channels", 0) else 0,
        "input_size": tuple(input_size),
    }
    for name, wanted in expected.items():
        got = getattr(refiner, name, wanted)
        if (tuple(got) if name == "input_size" else got) != wanted:
            raise InputError(
                f"Expected '{name}' of 'refiner' to be {wanted}, as in the detector (got {got} of "
                f"{type(refiner).__name__})."
            )
    given = _invent(refiner, num_landmarks, feature_channels, input_size, stride)
    refiner.check_needs(given)
    if not given.pos.is_meta:
        _try(refiner, given)


def _invent(refiner: nn.Module, num_landmarks: int, feature_channels: int, input_size: Size, stride: int) -> KeyPoints:
    """What a detector proposes in two images, in the refiner's precision and on its device."""
    generator = torch.Generator().manual_seed(0)
    height, width = input_size
    cells = (height // stride, width // stride)
    pos = torch.rand(2, num_landmarks, 2, generator=generator) * torch.tensor([width - 1.0, height - 1.0])
    like = next(refiner.parameters(), pos)
    return KeyPoints(
        pos.to(like),
        confidence=torch.full((2, num_landmarks), 0.5).to(like),
        heatmaps=torch.zeros(2, num_landmarks, *cells).to(like),
        features=torch.zeros(2, feature_channels, *cells).to(like),
    )


@torch.no_grad()
def _try(refiner: Refiner, given: KeyPoints) -> None:
    name = type(refiner).__name__
    wanted = tuple(given.pos.shape)
    try:
        with eval_mode(refiner):
            refined = refiner.refine(given)
    except InputError:
        return
    except Exception as error:
        raise InputError(
            f"Expected 'refine' of {name} to take the landmarks of a detector, KeyPoints with 'pos' {list(wanted)}, "
            f"'confidence', 'heatmaps' and 'features' (got {type(error).__name__}: {error})."
        ) from error
    got = f"'pos' {list(refined.pos.shape)}" if isinstance(refined, KeyPoints) else type(refined).__name__
    if got != f"'pos' {list(wanted)}":
        raise InputError(f"Expected 'refine' of {name} to return KeyPoints with 'pos' {list(wanted)} (got {got}).")
