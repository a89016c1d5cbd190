"""What every landmark dataset is: annotations in memory, pictures read when asked for."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset

from lgcn.checks import InputError, check_shape
from lgcn.geometry import landmark_box
from lgcn.images import read_image
from lgcn.protocols import Protocol, get_protocol
from lgcn.schemes import LandmarkScheme, get_scheme, normalizing_distance


class Completeness(NamedTuple):
    """How much of a published split is there."""

    found: int
    expected: int | None
    """The published number of faces, None where none is published."""
    message: str | None
    """What is missing, None where nothing is."""


class LandmarkDataset(Dataset):
    """Annotated pictures as PyG ``Data``, one for each face.

    Each item holds ``image`` uint8 [1, 3, H, W]; ``y`` [K, 2] and ``bbox`` [1, 4] in pixels of the
    image, the box tight around the landmarks and rounded outwards; ``visibility`` [K] (1 annotated,
    0 missing); ``landmark_id`` [K]; ``normalizer`` [1] in pixels of the image; and ``image_id``, the
    picture's path relative to ``root``.

    Args:
        root: folder that the picture paths start from.
        image_ids: N picture paths relative to ``root``; the same picture may come several times.
        pos: [N, K, 2], landmarks in pixels of the image, already moved by the protocol's offset.
        scheme: name of a landmark scheme, or one.
        visibility: [N, K], 0 where a landmark is missing; all 1 if None.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: name of an evaluation protocol, or one.
        normalizer: name of the normaliser; the protocol's, else the scheme's, if None.

    Raises:
        InputError: if a face has no extent or no normalising distance.
    """

    def __init__(
        self,
        root: str | Path,
        image_ids: Sequence[str],
        pos: Tensor,
        scheme: str | LandmarkScheme,
        *,
        visibility: Tensor | None = None,
        transform: Callable[[Data], Data] | None = None,
        protocol: str | Protocol = "zero_based",
        normalizer: str | None = None,
    ) -> None:
        super().__init__(str(root), transform)
        self.scheme = get_scheme(scheme)
        self.protocol = get_protocol(protocol)
        self.normalizer_name = normalizer or self.protocol.normalizer or self.scheme.default_normalizer
        check_shape("pos", pos, "N K 2", N=len(image_ids), K=self.scheme.num_landmarks)
        self.image_ids = list(image_ids)
        self.pos = pos.float()
        self.visibility = torch.ones(pos.shape[:2]) if visibility is None else visibility.float()
        check_shape("visibility", self.visibility, "N K", N=len(image_ids), K=self.scheme.num_landmarks)
        box = landmark_box(self.pos, self.visibility)
        self.bbox = torch.cat([box[:, :2].floor(), box[:, 2:].ceil()], dim=-1)
        self.normalizer = normalizing_distance(self.pos, self.scheme, self.normalizer_name, self.visibility)
        usable = torch.isfinite(self.normalizer) & (self.normalizer > 0) & torch.isfinite(self.bbox).all(dim=-1)
        if not usable.all():
            first = int((~usable).nonzero()[0])
            raise InputError(
                f"Expected landmarks that are apart (in '{self.image_ids[first]}' the normaliser "
                f"'{self.normalizer_name}' is {float(self.normalizer[first])}). Correct or remove its annotation."
            )

    @property
    def expected_len(self) -> int | None:
        """The published number of faces of this split, None where none is published."""
        return None

    def completeness(self) -> Completeness:
        """Faces found, faces published, and what is missing in words."""
        return Completeness(len(self.image_ids), self.expected_len, None)

    def warn_if_incomplete(self) -> None:
        """Warns where faces of a published split are missing: figures on the rest are not comparable."""
        message = self.completeness().message
        if message is not None:
            warnings.warn(f"Incomplete {message}. Figures on it cannot be compared with published ones.", stacklevel=2)

    def len(self) -> int:
        return len(self.image_ids)

    def get(self, idx: int) -> Data:
        num_landmarks = self.scheme.num_landmarks
        return Data(
            image=read_image(Path(self.root) / self.image_ids[idx]).unsqueeze(0),
            y=self.pos[idx].clone(),
            visibility=self.visibility[idx].clone(),
            landmark_id=torch.arange(num_landmarks),
            bbox=self.bbox[idx : idx + 1].clone(),
            normalizer=self.normalizer[idx : idx + 1].clone(),
            image_id=self.image_ids[idx],
            num_nodes=num_landmarks,
        )
