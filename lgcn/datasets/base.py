"""Base class of the landmark datasets: annotations in memory, images read on access."""

import copy
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset

from lgcn.checks import InputFileError, check_choice, check_shape
from lgcn.files import printable
from lgcn.geometry import BoxError, landmark_box
from lgcn.images import read_image
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import LandmarkScheme, get_scheme, normalizing_distance

NO_EXTENT = "fewer than two landmarks apart"
"""Key of :attr:`LandmarkDataset.skipped` for faces without a box."""


class Completeness(NamedTuple):
    """How complete a split is."""

    found: int
    expected: int | None
    """The published number of faces, None where none is published."""
    message: str | None
    """What is missing, in one line; None if nothing is."""


class LandmarkDataset(Dataset):
    """Annotated faces as PyG ``Data``, one item for each face.

    Each item holds ``image`` uint8 [1, 3, H, W]; ``y`` [K, 2] and ``bbox`` [1, 4] in pixels of the
    image; ``visibility`` [K] (1 annotated, 0 missing, where ``y`` may be NaN); ``landmark_id`` [K];
    ``normalizer`` [1] in pixels of the image, NaN where the face has none; and ``image_id``, the path
    of the image relative to ``root``. If the annotation has them, also ``rect`` [1, 4], its own box,
    and ``occlusion`` [K] (1 where the landmark is occluded; its position is annotated nevertheless).
    ``bbox`` is tight around the landmarks and rounded outwards. If the protocol crops by the dataset's
    own boxes (``crops_by_rect``), it is ``rect``, except where ``rect`` has no extent.

    A face with fewer than two distinct landmarks has no box to crop: it is left out and counted in
    ``skipped``. A face that only lacks the normaliser (an eye corner is missing) is kept: it can be
    trained on, but has no NME.

    Args:
        root: folder that image paths are relative to.
        image_ids: N image paths relative to ``root``; an image may occur several times.
        pos: [N, K, 2], landmarks in pixels of the image, with the protocol's offset added; landmarks
            that are not finite are missing.
        scheme: landmark scheme or its name.
        visibility: [N, K], 0 where a landmark is missing. Default: all 1.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: evaluation protocol or its name.
        normalizer: name of the normaliser. Default: the protocol's, else the scheme's.
        split: name of the faces in tables.
        subsets: name -> bool [N], in the order of the publication's columns.
        rect: [N, 4], (x0, y0, x1, y1), boxes of the annotation, in pixels of the image.
        occlusion: [N, K], 1 where a landmark is occluded.
        distances: normalisers that come with the annotation: name -> [N], pixels of the image.

    Raises:
        InputError: if a shape does not fit or the normaliser is unknown.
    """

    splits: ClassVar[Mapping[str, int | None]] = {}
    """Name of a split -> its published number of faces, None where none is published."""

    layout: ClassVar[str] = ""
    """Where the files go and where to get them, in one line; part of every message on a missing file."""

    missing_remedy: ClassVar[str] = "write 'nan nan'"
    """How to mark a missing landmark in the annotation files, for messages."""

    point_offset: float = 0.0
    """Added to the coordinates of the annotation files, see :class:`~lgcn.protocols.EvaluationProtocol`."""

    def __init__(
        self,
        root: str | Path,
        image_ids: Sequence[str],
        pos: Tensor,
        scheme: str | LandmarkScheme,
        *,
        visibility: Tensor | None = None,
        transform: Callable[[Data], Data] | None = None,
        protocol: str | EvaluationProtocol = "zero_based",
        normalizer: str | None = None,
        split: str = "all",
        subsets: Mapping[str, Tensor] | None = None,
        rect: Tensor | None = None,
        occlusion: Tensor | None = None,
        distances: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(str(root), transform)
        self.scheme = get_scheme(scheme)
        self.protocol = get_protocol(protocol)
        self.split = split
        N, K = len(image_ids), self.scheme.num_landmarks
        check_shape("pos", pos, "N K 2", N=N, K=K)
        visibility = torch.ones(pos.shape[:2]) if visibility is None else visibility.float()
        check_shape("visibility", visibility, "N K", N=N, K=K)
        visibility = visibility * pos.isfinite().all(dim=-1)

        box = landmark_box(pos.float(), visibility)
        size = box[:, 2:] - box[:, :2]
        usable = size.isfinite().all(dim=-1) & (size.amax(dim=-1) > 0)
        kept = usable.nonzero().flatten()
        self.kept = kept
        """[N'], indices of the faces that are kept, counted in the arguments."""
        self.skipped: dict[str, int] = {} if usable.all() else {NO_EXTENT: int((~usable).sum())}
        """Reason -> number of annotated faces, or of files, that are left out."""
        self.left_out = [(face, image_ids[face]) for face in (~usable).nonzero().flatten().tolist()]
        """Faces without a box: their index in the arguments and their image."""

        self.image_ids = [image_ids[index] for index in kept.tolist()]
        self.pos = pos[kept].float()
        self.visibility = visibility[kept]
        tight = torch.cat([box[kept, :2].floor(), box[kept, 2:].ceil()], dim=-1)
        self.rect = None if rect is None else rect[kept].float()
        self.crops_by_rect = self.rect is not None and self.protocol.box == "dataset"
        self.bbox = _boxes_or(self.rect, tight) if self.rect is not None and self.crops_by_rect else tight
        self.occlusion = None if occlusion is None else occlusion[kept].float()
        self._subsets = {name: mask[kept].bool() for name, mask in (subsets or {}).items()}

        distances = distances or {}
        self.normalizer_name = check_choice(
            "normalizer",
            normalizer or self.protocol.normalizer_of(self.scheme.name) or self.scheme.default_normalizer,
            (*self.scheme.normalizer_names, *distances),
        )
        distance = (
            distances[self.normalizer_name][kept].float()
            if self.normalizer_name in distances
            else normalizing_distance(self.pos, self.scheme, self.normalizer_name, self.visibility)
        )
        self.normalizer = distance.where(distance.isfinite() & (distance > 0), torch.nan)

    @property
    def subsets(self) -> dict[str, Tensor]:
        """Name -> bool [len(self)], the faces of each subset, in the order of the publication's columns.

        Empty if the split has none. After ``index_select`` and slicing the masks are those of the selection.
        """
        chosen = torch.tensor(list(self.indices()), dtype=torch.long)
        return {name: mask[chosen] for name, mask in self._subsets.items()}

    def with_subset(self, name: str, mask: Tensor) -> "LandmarkDataset":
        """A copy with one more subset; ``mask`` [N] counts all faces, as ``bbox`` does, also of a selection."""
        check_shape("mask", mask, "N", N=len(self.image_ids))
        changed = copy.copy(self)
        changed._subsets = {**self._subsets, name: mask.bool()}
        return changed

    @property
    def published_subset_sizes(self) -> dict[str, int]:
        """Name of a subset of this split -> its published number of faces; empty if none is published."""
        return {}

    @property
    def expected_len(self) -> int | None:
        """The published number of faces of this split, None if none is published."""
        return self.splits.get(self.split)

    def completeness(self) -> Completeness:
        """Faces found, faces published, and what is missing. Lists the folders of the images."""
        found, expected = len(self.image_ids), self.expected_len
        gaps = self.gaps()
        if not gaps and expected in (None, found):
            return Completeness(found, expected, None)
        of = "" if expected is None else f" of {expected}"
        reasons = f" ({'; '.join(gaps)})" if gaps else ""
        return Completeness(found, expected, printable(f"split '{self.split}': {found}{of} faces{reasons}"))

    def warn_if_incomplete(self) -> None:
        """Warns if faces of a published split are missing: results on the rest are not comparable."""
        message = self.completeness().message
        if message is not None:
            warnings.warn(f"Incomplete {message}. Results on it cannot be compared with published ones.", stacklevel=2)

    def missing_images(self) -> list[str]:
        """Paths of annotated images, relative to the root, that do not exist; each once.

        Lists each folder once, which is faster than a look-up for each file on network drives.
        """
        root = Path(self.root)
        names: dict[Path, set[str]] = {}
        missing = []
        for image_id in dict.fromkeys(self.image_ids):
            path = root / image_id
            if path.parent not in names:
                names[path.parent] = _names_in(path.parent)
            # The look-up finds names that the file system lists in another case or Unicode form.
            if path.name not in names[path.parent] and _is_missing(path):
                missing.append(image_id)
        return missing

    def read_image(self, idx: int) -> Tensor:
        """The image of face ``idx`` (an index into the whole split, not into a selection), uint8 [3, H, W], RGB.

        Raises:
            InputFileError: if the image is missing or damaged; names the file.
        """
        path = Path(self.root) / self.image_ids[idx]
        try:
            return read_image(path)
        except InputFileError as error:
            if _is_missing(path) and self.layout:
                raise InputFileError(f"{error} {self.layout}") from None
            raise

    def len(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, idx: Any) -> Any:
        """Face ``idx`` after ``transform``, or a selection for several indices.

        Raises:
            InputFileError: if the image cannot be read or the box cannot be cropped; names image and face.
        """
        try:
            return super().__getitem__(idx)
        except BoxError as error:
            # A selection reads no image, so idx is a single index here.
            face = self.indices()[int(idx)]
            raise InputFileError(
                f"{error} It is the box of face {int(self.kept[face])} of split '{self.split}', in "
                f"'{Path(self.root) / self.image_ids[face]}'."
            ) from None

    def get(self, idx: int) -> Data:
        num_landmarks = self.scheme.num_landmarks
        data = Data(
            image=self.read_image(idx).unsqueeze(0),
            y=self.pos[idx].clone(),
            visibility=self.visibility[idx].clone(),
            landmark_id=torch.arange(num_landmarks),
            bbox=self.bbox[idx : idx + 1].clone(),
            normalizer=self.normalizer[idx : idx + 1].clone(),
            image_id=self.image_ids[idx],
            num_nodes=num_landmarks,
        )
        if self.rect is not None:
            data.rect = self.rect[idx : idx + 1].clone()
        if self.occlusion is not None:
            data.occlusion = self.occlusion[idx].clone()
        return data

    def gaps(self) -> list[str]:
        """What is missing from the split, one entry for each reason. Lists the folders of the images."""
        gaps = []
        if self.left_out:
            gaps.append(f"left out with {NO_EXTENT}: {len(self.left_out)}, such as in '{self.left_out[0][1]}'")
        unmeasured = self.normalizer.isnan().nonzero().flatten().tolist()
        if unmeasured:
            gaps.append(
                f"without the normaliser '{self.normalizer_name}': {len(unmeasured)}, "
                f"such as in '{self.image_ids[unmeasured[0]]}'"
            )
        missing = self.missing_images()
        if missing:
            gaps.append(f"missing images: {len(missing)}, such as '{missing[0]}'")
        return gaps


def _names_in(folder: Path) -> set[str]:
    """Names of the entries of a folder; empty if it cannot be listed."""
    try:
        return {each.name for each in folder.iterdir()}
    except (OSError, ValueError):
        return set()


def _is_missing(path: Path) -> bool:
    """Whether there is no such file; a file that may not be looked at is not missing."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except PermissionError:
        return False
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return True


def _boxes_or(boxes: Tensor, others: Tensor) -> Tensor:
    """``boxes`` [N, 4] where they have an extent, ``others`` elsewhere."""
    size = boxes[:, 2:] - boxes[:, :2]
    fits = boxes.isfinite().all(dim=-1) & (size > 0).all(dim=-1)
    return torch.where(fits[:, None], boxes, others)
