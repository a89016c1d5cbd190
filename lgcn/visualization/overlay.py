"""Draw landmarks, their certainty and learned edges over the image."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image
from torch import Tensor

from lgcn.checks import InputError, check_at_least, check_shape
from lgcn.covariance import ellipse_axes
from lgcn.files import write_from_memory
from lgcn.geometry import landmark_box
from lgcn.images import ImageLike, as_image_tensor
from lgcn.predict import Face
from lgcn.schemes import LandmarkScheme, get_scheme

# Distinguishable with any of the common colour blindnesses, and against skin (Okabe and Ito 2008).
_REFINED = "#56d9ff"
_INITIAL = "#ff8c1a"
_CONTOUR = "#ffffff"
_EDGE = "#ffe14d"
_BY_CONFIDENCE = "cool_r"
"""From magenta for confidence 0 to cyan, near the usual colour, for 1."""

_CHI2_90 = 4.605
"""The squared Mahalanobis distance that 90 % of normal errors in two dimensions stay below."""

_LEGIBLE_FACE = 320
"""Pixels: images are enlarged until the shorter side of their smallest face has this many, up to a maximum size."""
_LARGEST_UPSCALED = 1600
_TILE = 1024
"""Pixels: the side of the parts in which marks are drawn, which bounds the memory."""

_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}


class _Marks(NamedTuple):
    """What is drawn of a face; the arguments of :func:`draw_landmarks`."""

    contours: bool
    initial: bool
    ellipses: bool
    indices: bool
    confidence: bool
    edges: int
    boxes: bool


def draw_landmarks(
    image: ImageLike,
    faces: Sequence[Face],
    scheme: str | LandmarkScheme,
    *,
    contours: bool = True,
    initial: bool = False,
    ellipses: bool = False,
    indices: bool = False,
    confidence: bool = False,
    edges: int = 0,
    boxes: bool = False,
    upscale: int | None = None,
) -> Image.Image:
    """The image with the landmarks of its faces.

    Contours are thin lines, landmarks are dots, hollow where the model believes the landmark covered; all are sized
    relative to the face. Takes little more memory than the image itself.

    Args:
        image: path, bytes of a file, Pillow image, uint8 array [H, W, 3] or uint8 tensor [3, H, W], RGB.
        faces: as :class:`lgcn.predict.LandmarkPredictor` returns them.
        scheme: of the landmarks, for the contours.
        contours: draw the lines of the scheme.
        initial: draw the landmarks before refinement too, as larger orange dots underneath.
        ellipses: draw around each landmark the ellipse that holds the true one with 90 % probability; needs faces with
            a covariance, which models with a Gaussian refiner predict.
        indices: write the number of each landmark, from 0, next to it.
        confidence: colour landmarks by their confidence, from magenta (0) to cyan (1).
        edges: draw this many of the strongest edges e_ij, each as opaque as it is strong; needs faces that were
            predicted with ``return_connectivity=True``.
        boxes: draw the box of each face, too.
        upscale: whole factor, 1 or more; None enlarges images whose faces are too small for the dots.

    Returns:
        A Pillow image in RGB, ``upscale`` times as wide and high as ``image``.

    Raises:
        InputError: for edges without connectivity, ellipses without covariance, faces of another scheme, or a number
            out of range.
    """
    scheme = get_scheme(scheme)
    check_at_least("edges", edges, 0)
    if upscale is not None:
        check_at_least("upscale", upscale, 1)
    for face in faces:
        check_shape("landmarks of a face", face.landmarks, "K 2", K=scheme.num_landmarks)
        if edges and face.connectivity is None:
            raise InputError(
                "Expected faces with their connectivity, whose strongest edges are to be drawn (got a face without). "
                "Predict with return_connectivity=True, with a detector that has a graph."
            )
        if ellipses and face.covariance is None:
            raise InputError(
                "Expected faces with their covariance, for the ellipses (got a face without). "
                "Predict with a model that has a Gaussian refiner."
            )
    marks = _Marks(contours, initial, ellipses, indices, confidence, edges, boxes)
    pixels = as_image_tensor(image)
    factor = _legible_scale(pixels, faces) if upscale is None else upscale
    drawn = _pillow_image(pixels)
    if factor > 1:
        drawn = drawn.resize((drawn.width * factor, drawn.height * factor), Image.Resampling.BICUBIC)
    for face in faces:
        for left, top, right, bottom in _tiles(face, drawn.width, drawn.height, factor, marks):
            figure, axes = _transparent_figure(left, top, right, bottom, factor)
            _add_face(axes, face, scheme, factor, marks)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            layer = Image.fromarray(np.asarray(canvas.buffer_rgba()))
            drawn.paste(layer, (left, top), mask=layer)
    return drawn


def save_overlay(
    path: str | Path, image: ImageLike, faces: Sequence[Face], scheme: str | LandmarkScheme, **options: Any
) -> None:
    """Write :func:`draw_landmarks` to an image file, whole or not at all.

    Args:
        path: its suffix (``.png``, ``.jpg``, ``.webp``, ``.tif``) says the format.
        image: see :func:`draw_landmarks`.
        faces: see :func:`draw_landmarks`.
        scheme: of the landmarks.
        **options: keyword arguments of :func:`draw_landmarks`.

    Raises:
        InputError: for another suffix, and as :func:`draw_landmarks` does.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise InputError(f"Expected 'path' to end with one of {', '.join(_FORMATS)} (got '{path}').")
    drawn = draw_landmarks(image, faces, scheme, **options)
    with write_from_memory(path) as buffer:
        drawn.save(buffer, _FORMATS[suffix], quality=93)


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


def _pillow_image(pixels: Tensor) -> Image.Image:
    """uint8 [3, H, W] as a Pillow image, without a copy of all pixels on the way."""
    height, width = pixels.shape[1:]
    image = Image.new("RGB", (width, height))
    for top in range(0, height, _TILE):
        part = pixels[:, top : top + _TILE].permute(1, 2, 0).contiguous().cpu()
        image.paste(Image.fromarray(part.numpy()), (0, top))
    return image


def _tiles(face: Face, width: int, height: int, factor: int, marks: _Marks) -> Iterator[tuple[int, int, int, int]]:
    """The parts (left, top, right, bottom) of the drawn image in which marks of a face may lie."""
    points = [face.landmarks]
    if marks.initial:
        points.append(face.initial)
    if marks.boxes:
        points.append(face.box.reshape(2, 2))
    if marks.ellipses and face.covariance is not None:
        reach = _CHI2_90**0.5 * ellipse_axes(face.covariance)[0][:, :1]
        points += [face.landmarks - reach, face.landmarks + reach]
    if marks.indices:
        points.append(face.landmarks + 4 * _text_size(max(_face_size(face), 1.0), factor) / factor)
    extent = landmark_box(torch.cat(points))
    margin = 2 + 0.05 * max(_face_size(face), 1.0) + 3 / factor
    low, high = ((extent[:2] - margin + 0.5) * factor).floor(), ((extent[2:] + margin + 0.5) * factor).ceil()
    # Marks may lie far outside.
    left, right = (int(min(max(edge, 0.0), width)) for edge in (low[0].item(), high[0].item()))
    top, bottom = (int(min(max(edge, 0.0), height)) for edge in (low[1].item(), high[1].item()))
    for y in range(top, bottom, _TILE):
        for x in range(left, right, _TILE):
            yield x, y, min(x + _TILE, right), min(y + _TILE, bottom)


def _transparent_figure(left: int, top: int, right: int, bottom: int, factor: int) -> tuple[Figure, Axes]:
    """An empty figure of exactly these pixels of the drawn image, and its axes in pixels of the original one."""
    # With 72 dots per inch a point of matplotlib is a pixel.
    figure = Figure(figsize=((right - left) / 72, (bottom - top) / 72), dpi=72, facecolor="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    x0, x1, y0, y1 = (edge / factor - 0.5 for edge in (left, right, top, bottom))
    axes.set(xlim=(x0, x1), ylim=(y1, y0), autoscale_on=False)
    return figure, axes


def _add_face(axes: Axes, face: Face, scheme: LandmarkScheme, factor: int, marks: _Marks) -> None:
    size = max(_face_size(face), 1.0)
    if marks.boxes:
        x0, y0, x1, y1 = face.box.tolist()
        outline = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]]
        axes.add_collection(_lines(outline, _EDGE, _width(size, factor, 0.004)))
    if marks.edges:
        axes.add_collection(_edge_lines(face, marks.edges, _width(size, factor, 0.007)))
    if marks.contours:
        contours = [face.landmarks[list(edge)].tolist() for contour in scheme.contours for edge in contour.edges]
        axes.add_collection(_lines(contours, _CONTOUR, _width(size, factor, 0.004), alpha=0.7))
    count = len(face.landmarks)
    colours: list[Any] = [_REFINED] * count
    if marks.confidence:
        colours = [tuple(each) for each in colormaps[_BY_CONFIDENCE](face.confidence.numpy())]
    if marks.ellipses:
        axes.add_collection(_ellipses(axes, face, colours, _width(size, factor, 0.005)))
    if marks.initial:
        axes.add_collection(_dots(axes, face.initial, [_INITIAL] * count, 1.5 * size, factor))
    covered = torch.zeros(count, dtype=torch.bool) if face.covered is None else face.covered
    axes.add_collection(_dots(axes, face.landmarks[~covered], _chosen(colours, ~covered), size, factor))
    axes.add_collection(_dots(axes, face.landmarks[covered], _chosen(colours, covered), size, factor, hollow=True))
    if marks.indices:
        _add_indices(axes, face.landmarks, size, factor)


def _lines(lines: list[Any], colour: str, width: float, alpha: float | list[float] | None = None) -> LineCollection:
    collection = LineCollection(lines, colors=colour, linewidths=width, alpha=alpha, capstyle="round")
    # Agg would round it to whole pixels.
    collection.set_snap(False)
    return collection


def _ellipses(axes: Axes, face: Face, colours: list[Any], width: float) -> EllipseCollection:
    assert face.covariance is not None
    deviation, angle = ellipse_axes(face.covariance)
    diameters = 2 * _CHI2_90**0.5 * deviation
    ellipses = EllipseCollection(
        diameters[:, 0].tolist(),
        diameters[:, 1].tolist(),
        angle.rad2deg().tolist(),
        units="xy",
        offsets=face.landmarks.tolist(),
        offset_transform=axes.transData,
        facecolors="none",
        edgecolors=colours,
        linewidths=width,
    )
    ellipses.set_snap(False)
    return ellipses


def _add_indices(axes: Axes, pos: Tensor, size: float, factor: int) -> None:
    height = _text_size(size, factor)
    outline = [withStroke(linewidth=max(1.0, height / 5), foreground="black")]
    for number, (x, y) in enumerate((pos + 0.012 * size).tolist()):
        axes.text(x, y, str(number), color="white", fontsize=height, va="top", path_effects=outline, clip_on=True)


def _text_size(size: float, factor: int) -> float:
    """Height of numbers, in pixels of what is drawn."""
    return max(6.0, 0.028 * size * factor)


def _dots(
    axes: Axes, pos: Tensor, colours: list[Any], size: float, factor: int, hollow: bool = False
) -> EllipseCollection:
    # The diameter in pixels of the image; at least 3 pixels of what is drawn.
    diameter = max(0.018 * size, 3 / factor)
    width = diameter * factor
    dots = EllipseCollection(
        diameter,
        diameter,
        0.0,
        units="xy",
        offsets=pos.numpy(),
        offset_transform=axes.transData,
        # With a single colour matplotlib would copy one dot to whole pixels, up to a pixel off.
        facecolors="none" if hollow else colours,
        edgecolors=colours if hollow else "black",
        linewidths=(0.3 if hollow else 0.15) * width,
        path_effects=[withStroke(linewidth=0.55 * width, foreground="black")] if hollow else None,
    )
    dots.set_snap(False)
    return dots


def _chosen(values: list[Any], which: Tensor) -> list[Any]:
    return [value for value, chosen in zip(values, which.tolist(), strict=True) if chosen]


def _edge_lines(face: Face, count: int, width: float) -> LineCollection:
    assert face.connectivity is not None
    pairs, weight = strongest_edges(face.connectivity, count)
    opacity = (weight / weight.max().clamp(min=1e-12)).clamp(0.08, 1).tolist() if len(weight) else []
    return _lines(face.landmarks[pairs].tolist(), _EDGE, width, alpha=opacity or None)


def _width(size: float, factor: int, fraction: float) -> float:
    """Width of a line, in pixels of what is drawn."""
    return max(0.8, fraction * size * factor)


def _face_size(face: Face) -> float:
    """The geometric mean of the sides of the tight landmark box, in pixels of the image."""
    x0, y0, x1, y1 = landmark_box(face.landmarks).tolist()
    return math.sqrt(max(0.0, x1 - x0) * max(0.0, y1 - y0))


def _legible_scale(pixels: Tensor, faces: Sequence[Face]) -> int:
    smallest = max(1.0, min((_face_size(face) for face in faces), default=_LEGIBLE_FACE))
    most = _LARGEST_UPSCALED // max(pixels.shape[1:])
    return max(1, min(most, math.ceil(_LEGIBLE_FACE / smallest)))
