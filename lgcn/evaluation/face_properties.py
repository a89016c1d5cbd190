"""Properties of annotated faces that errors may depend on: size, pose, expression, sharpness and brightness."""

import copy
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import BaseTransform
from torchvision.transforms import v2
from tqdm import tqdm

from lgcn.checks import check_at_least, check_choice, check_shape
from lgcn.datasets import LandmarkDataset
from lgcn.datasets.corrupt_images import ReadableFaces, short_worker_errors
from lgcn.evaluation.box_matching import ON_CORRUPT
from lgcn.geometry import landmark_box
from lgcn.schemes import BOX_NORMALIZER, LandmarkScheme, get_scheme, normalizing_distance

_EYES, _NOSE, _LIPS = "inter_ocular", "nose_tip", ("upper_lip_inner", "lower_lip_inner")
"""Normaliser and landmarks of the schemes of faces."""

_SIDE = 160
"""Pixels: longer side of the box in which sharpness is measured."""


def face_properties(
    dataset: LandmarkDataset, *, num_workers: int = 0, on_corrupt: str = "stop", progress: bool = True
) -> dict[str, Tensor]:
    r"""Measure the faces of a dataset: :func:`shape_properties` of the annotation, and in the image

    - ``"sharpness"``: variance of the Laplacian of the grey levels, in the tight landmark box resized to 160 pixels.
      It grows with contrast, and enlarged small faces have little.
    - ``"brightness"``: mean grey level of that box, 0 ... 255. Light and skin together, so no measure of either.

    Args:
        dataset: its boxes and its ``transform`` are not used, so all models and protocols get the same values.
        num_workers: processes that read images; 0 does it in this process.
        on_corrupt: "stop" raises if an image cannot be read, with "skip" its sharpness and brightness are NaN.
        progress: show a progress bar on stderr if it is a terminal.

    Returns:
        Name to values [N], float64, in the order of the dataset; NaN where landmarks are not annotated.
    """
    check_at_least("num_workers", num_workers, 0)
    skips = check_choice("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
    chosen = torch.tensor(list(dataset.indices()), dtype=torch.long)
    found = shape_properties(dataset.pos[chosen], dataset.scheme, dataset.visibility[chosen])
    measured = copy.copy(dataset)
    measured.bbox = landmark_box(dataset.pos, dataset.visibility)
    measured.transform = _MeasureAppearance()
    faces: Any = ReadableFaces(measured) if skips else measured
    parts: dict[str, list[Tensor]] = {"sharpness": [], "brightness": []}
    bar = tqdm(total=len(dataset), desc="measure faces", unit="face", disable=None if progress else True)
    with bar, short_worker_errors():
        for batch in DataLoader(faces, batch_size=32, num_workers=num_workers):
            unreadable = torch.tensor([bool(reason) for reason in batch.get("unreadable", batch.num_graphs * [""])])
            for name, values in parts.items():
                values.append(batch[name].masked_fill(unreadable, torch.nan))
            bar.update(batch.num_graphs)
    return found | {name: torch.cat(values) for name, values in parts.items()}


def shape_properties(pos: Tensor, scheme: str | LandmarkScheme, visibility: Tensor | None = None) -> dict[str, Tensor]:
    r"""Size, pose and expression of faces, from their annotated landmarks.

    With outer eye corners :math:`e_r, e_l`, their midpoint :math:`m` and distance :math:`d`:

    - ``"eye_distance_px"``: :math:`d`, pixels of the image.
    - ``"nose_offset"``: how far the nose tip :math:`n` lies off the middle of the eyes,
      :math:`2 \lvert (n - m) \cdot (e_l - e_r) \rvert / d^2`; 0 in a face seen from the front, 1 if the tip is level
      with a corner. A proxy of the yaw.
    - ``"roll_degrees"``: angle between :math:`e_l - e_r` and the x axis, 0 ... 180.
    - ``"mouth_opening"``: distance between the inner rims of the lips over :math:`d`.

    Args:
        pos: [N, K, 2], pixels of the image.
        scheme: landmark scheme. What it has no landmarks for is left out; without eyes the only property is
            ``"box_size_px"``, the square root of the area of the tight box.
        visibility: [N, K], 0 where a landmark is missing.

    Returns:
        Name to values [N], float64; NaN where a landmark is missing.
    """
    scheme = get_scheme(scheme)
    check_shape("pos", pos, "N K 2", K=scheme.num_landmarks)
    pos = pos.double()
    if visibility is not None:
        check_shape("visibility", visibility, "N K", N=len(pos), K=scheme.num_landmarks)
        pos = pos.masked_fill(visibility.unsqueeze(-1) == 0, torch.nan)
    if _EYES not in scheme.normalizers:
        return {"box_size_px": normalizing_distance(pos, scheme, BOX_NORMALIZER)}
    right, left = (pos[:, list(group)].mean(dim=1) for group in scheme.normalizers[_EYES])
    axis = left - right
    distance = torch.linalg.vector_norm(axis, dim=1)
    distance = distance.where(distance > 0, torch.nan)
    found = {"eye_distance_px": distance}
    if _NOSE in scheme.names:
        nose = pos[:, scheme.names.index(_NOSE)]
        found["nose_offset"] = 2 * ((nose - (right + left) / 2) * axis).sum(dim=1).abs() / distance.square()
    found["roll_degrees"] = torch.atan2(axis[:, 1], axis[:, 0]).rad2deg().abs().masked_fill(distance.isnan(), torch.nan)
    if set(_LIPS) <= set(scheme.names):
        upper, lower = (pos[:, scheme.names.index(name)] for name in _LIPS)
        found["mouth_opening"] = torch.linalg.vector_norm(lower - upper, dim=1) / distance
    return found


class _MeasureAppearance(BaseTransform):
    """Replaces the image of a face by the sharpness and the brightness of its box."""

    def forward(self, data: Data) -> Data:
        height, width = data.image.shape[-2:]
        box = data.bbox[0].round().long()
        x0, x1 = box[[0, 2]].clamp(0, width - 1).tolist()
        y0, y1 = box[[1, 3]].clamp(0, height - 1).tolist()
        grey = v2.functional.rgb_to_grayscale(data.image[0, :, y0 : y1 + 1, x0 : x1 + 1].float())
        longer = max(grey.shape[-2:])
        # The Laplacian needs three pixels.
        size = [max(3, round(side * _SIDE / longer)) for side in grey.shape[-2:]]
        pixels = v2.functional.resize(grey, size, antialias=True)[0].double()
        centre = pixels[1:-1, 1:-1]
        around = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]
        data.sharpness = (around - 4 * centre).var(correction=0)[None]
        data.brightness = pixels.mean()[None]
        del data.image
        return data
