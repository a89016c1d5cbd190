"""Landmarks and learned edges drawn over the picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lgcn.checks import InputError, check_shape
from lgcn.files import replace_when_done
from lgcn.geometry import landmark_box
from lgcn.images import ImageLike, as_image_tensor
from lgcn.predict import Face
from lgcn.schemes import LandmarkScheme, get_scheme

# Told apart by people with any of the common colour blindnesses, and against skin (Okabe and Ito 2008).
_REFINED = "#56d9ff"
_INITIAL = "#ff8c1a"
_CONTOUR = "#ffffff"
_EDGE = "#ffe14d"

_LEGIBLE_FACE = 320
"""Pixels: the shorter side of the smallest face in the picture that is drawn, if the picture does not get too large."""
_LARGEST_UPSCALED = 1600


def draw_landmarks(
    image: ImageLike,
    faces: Sequence[Face],
    scheme: str | LandmarkScheme,
    *,
    initial: bool = False,
    edges: int = 0,
    boxes: bool = False,
    upscale: int | None = None,
) -> Figure:
    """A figure of the picture with the landmarks of its faces.

    Contours are thin lines, landmarks are dots; both are sized relative to the face. The figure has the
    picture's own pixels, each drawn ``upscale`` times as large in x and y.

    Args:
        image: path, Pillow image, uint8 array [H, W, 3] or uint8 tensor [3, H, W], RGB.
        faces: as :class:`lgcn.predict.LandmarkPredictor` returns them.
        scheme: whose landmarks they are, for the contours.
        initial: draw the landmarks before refinement too, as larger dots in orange beneath.
        edges: draw this many of the strongest edges e_ij, each as opaque as it is strong; needs faces that
            were predicted with ``return_connectivity=True``.
        boxes: draw the box where the face was looked for.
        upscale: whole factor, 1 or more; None enlarges pictures whose faces are too small for the dots.

    Raises:
        InputError: for edges without connectivity, faces of another scheme, or a number out of range.
    """
    scheme = get_scheme(scheme)
    if edges < 0 or (upscale is not None and upscale < 1):
        name, value, least = ("edges", edges, 0) if edges < 0 else ("upscale", upscale, 1)
        raise InputError(f"Expected '{name}' to be {least} or more (got {value}).")
    for face in faces:
        check_shape("landmarks of a face", face.landmarks, "K 2", K=scheme.num_landmarks)
        if edges and face.connectivity is None:
            raise InputError(
                "Expected faces with their connectivity, whose strongest edges are to be drawn (got a face without). "
                "Predict with return_connectivity=True, by a detector that has a graph."
            )
    pixels = as_image_tensor(image)
    factor = _legible_scale(pixels, faces) if upscale is None else upscale
    figure, axes = _image_figure(pixels, factor)
    for face in faces:
        size = max(_face_size(face), 1.0)
        if boxes:
            x0, y0, x1, y1 = face.box.tolist()
            outline = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]]
            axes.add_collection(_lines(outline, _EDGE, _width(size, factor, 0.004)))
        if edges:
            axes.add_collection(_edge_lines(face, edges, _width(size, factor, 0.007)))
        _add_contours(axes, face.landmarks, scheme, _width(size, factor, 0.004))
        if initial:
            axes.add_collection(_dots(axes, face.initial, _INITIAL, 1.5 * size, factor))
        axes.add_collection(_dots(axes, face.landmarks, _REFINED, size, factor))
    return figure


def save_overlay(
    path: str | Path, image: ImageLike, faces: Sequence[Face], scheme: str | LandmarkScheme, **options: Any
) -> None:
    """Writes :func:`draw_landmarks` to a picture file, whole or not at all.

    Args:
        path: its suffix (``.png``, ``.jpg``, ``.webp``, ``.tif``) says the format.
        image: as for :func:`draw_landmarks`, like the rest.
        faces: what to draw.
        scheme: whose landmarks they are.
        **options: keyword arguments of :func:`draw_landmarks`.
    """
    figure = draw_landmarks(image, faces, scheme, **options)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    with replace_when_done(path) as beside:
        picture.save(beside, quality=93)


def strongest_edges(connectivity: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The strongest edges of a graph, taken as undirected: each as strong as its stronger direction.

    Args:
        connectivity: [K, K], row i holds the weights e_ij of landmark i's neighbours.
        count: how many; all K (K - 1) / 2 if that is fewer.

    Returns:
        Pairs of landmarks [E, 2] with i < j and their weights [E], strongest first.
    """
    check_shape("connectivity", connectivity, "K K")
    i, j = torch.triu_indices(len(connectivity), len(connectivity), offset=1)
    weight = torch.maximum(connectivity, connectivity.T)[i, j]
    strongest = weight.topk(min(count, len(weight))).indices
    return torch.stack([i[strongest], j[strongest]], dim=1), weight[strongest]


def _image_figure(pixels: Tensor, factor: int) -> tuple[Figure, Axes]:
    """A figure of exactly the picture's pixels times ``factor``, and its axes in pixels of the picture."""
    height, width = pixels.shape[1:]
    # At 72 dots an inch a point of matplotlib is a pixel.
    figure = Figure(figsize=(width * factor / 72, height * factor / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    if factor > 1:
        picture = picture.resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    frame = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(picture, extent=frame, interpolation="nearest", aspect="auto")
    axes.set(xlim=frame[:2], ylim=frame[2:], autoscale_on=False)
    return figure, axes


def _add_contours(axes: Axes, pos: Tensor, scheme: LandmarkScheme, width: float) -> None:
    lines = [pos[list(edge)].tolist() for contour in scheme.contours for edge in contour.edges]
    axes.add_collection(_lines(lines, _CONTOUR, width, alpha=0.7))


def _lines(lines: list[Any], colour: str, width: float, alpha: float | list[float] | None = None) -> LineCollection:
    collection = LineCollection(lines, colors=colour, linewidths=width, alpha=alpha, capstyle="round")
    # Agg would move it to whole pixels.
    collection.set_snap(False)
    return collection


def _dots(axes: Axes, pos: Tensor, colour: str, size: float, factor: int) -> EllipseCollection:
    # The diameter in pixels of the picture; at least 3 pixels of what is drawn.
    diameter = max(0.018 * size, 3 / factor)
    dots = EllipseCollection(
        diameter,
        diameter,
        0.0,
        units="xy",
        offsets=pos.tolist(),
        offset_transform=axes.transData,
        # One colour for all lets matplotlib copy one dot to whole pixels, up to a pixel off.
        facecolors=[colour] * len(pos),
        edgecolors="black",
        linewidths=0.15 * diameter * factor,
    )
    dots.set_snap(False)
    return dots


def _edge_lines(face: Face, count: int, width: float) -> LineCollection:
    assert face.connectivity is not None
    pairs, weight = strongest_edges(face.connectivity, count)
    opacity = (weight / weight.max().clamp(min=1e-12)).clamp(0.08, 1).tolist() if len(weight) else []
    return _lines(face.landmarks[pairs].tolist(), _EDGE, width, alpha=opacity or None)


def _width(size: float, factor: int, fraction: float) -> float:
    """Width of a line, in pixels of what is drawn."""
    return max(0.8, fraction * size * factor)


def _face_size(face: Face) -> float:
    """The geometric mean of the sides of the tight landmark box, in pixels of the picture."""
    x0, y0, x1, y1 = landmark_box(face.landmarks).tolist()
    return math.sqrt(max(0.0, x1 - x0) * max(0.0, y1 - y0))


def _legible_scale(pixels: Tensor, faces: Sequence[Face]) -> int:
    smallest = max(1.0, min((_face_size(face) for face in faces), default=_LEGIBLE_FACE))
    most = _LARGEST_UPSCALED // max(pixels.shape[1:])
    return max(1, min(most, math.ceil(_LEGIBLE_FACE / smallest)))
