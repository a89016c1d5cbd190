"""What every refiner of landmarks has in common, and several refiners one after another."""

from typing import Any, cast

from torch import nn

from lgcn.checks import InputError
from lgcn.typing import KeyPoints


class Refiner(nn.Module):
    """Base class of refiners: improves landmarks, whatever network they come from."""

    needs: tuple[str, ...] = ()
    """Fields of :class:`lgcn.typing.KeyPoints` that :meth:`refine` reads besides ``pos``."""

    def refine(self, keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        """Improves landmarks.

        Args:
            keypoints: landmarks of B images or persons, in pixels of the network's input.
            return_connectivity: fill ``connectivity`` too.

        Returns:
            The landmarks with another ``pos``, and ``covariance`` if the refiner knows it; other fields as given.

        Raises:
            InputError: if a field that the refiner needs is missing, or does not fit.
        """
        raise NotImplementedError

    def check_needs(self, keypoints: KeyPoints) -> None:
        """Raise an :class:`InputError` that names the fields that are needed and missing."""
        lacking = [name for name in self.needs if getattr(keypoints, name) is None]
        if lacking:
            raise InputError(
                f"Expected 'keypoints' with {', '.join(self.needs)} for {type(self).__name__} (got no "
                f"{', '.join(lacking)}). Give them, or use a refiner that is built without."
            )


class RefinerChain(Refiner):
    """Applies refiners one after another, each to the landmarks of the one before.

    ``covariance`` and ``connectivity`` are those of the last refiner that gives any.

    Args:
        *refiners: the refiners.
    """

    def __init__(self, *refiners: Refiner) -> None:
        super().__init__()
        self.refiners = nn.ModuleList(refiners)
        self.needs = tuple(dict.fromkeys(name for each in refiners for name in each.needs))

    def reset_parameters(self) -> None:
        """Draw new parameters for all refiners."""
        for each in self.refiners:
            cast(Any, each).reset_parameters()

    def refine(self, keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        for each in self.refiners:
            keypoints = cast(Refiner, each).refine(keypoints, return_connectivity)
        return keypoints
