"""Plot the learned graph of each image: the strongest edges into chosen landmarks, and a heat map of all weights."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from lgcn.checks import InputError, check_at_least, check_finite, check_shape
from lgcn.images import ImageLike
from lgcn.predict import Face
from lgcn.schemes import LandmarkScheme, get_scheme
from lgcn.visualization.edge_grid import EdgeGrid
from lgcn.visualization.layout import LINE, Page
from lgcn.visualization.weight_maps import HeatMaps

MOST_FACES = 16
"""Faces in one plot; more would not be legible on a page."""


def draw_connectivity(
    images: ImageLike | Sequence[ImageLike],
    faces: Face | Sequence[Face],
    scheme: str | LandmarkScheme,
    landmarks: Sequence[str | int] = (),
    *,
    strongest: int = 5,
    heat_map: bool = True,
    titles: Sequence[str] | None = None,
) -> Figure:
    r"""Plot the edge weights :math:`e_{ij}` that a detector has computed for one or several images.

    Top, as in the paper's figure 3: a row for each image and a column for each chosen landmark i (blue): the
    strongest edges into it, from its neighbours j (yellow), as wide and as opaque as :math:`e_{ij}` is large.
    Bottom: a heat map for each image, with row i, the receiving landmark, column j, its neighbour; landmarks
    stand in the order of the contours of the scheme, after which the axes are labelled, and small marks on the
    right point at the chosen rows. Its colours are logarithmic, white at the uniform weight (1 / (K - 1) without
    self loops, 1 / K with them), and grey where there is no edge. All images share one scale of widths and one
    of colours.

    Where some weights are negative, as a raw :class:`lgcn.nn.AdjacencyConnectivity` may learn them, edges are as
    strong as :math:`|e_{ij}|` is large and have one colour for each sign, and the colours of the heat maps are linear
    and white at 0.

    Args:
        images: one image, or a list of them: path, Pillow image, uint8 array [H, W, 3] or tensor [3, H, W], RGB.
        faces: one face of each image, as :class:`lgcn.predict.LandmarkPredictor` returns them if called with
            ``return_connectivity=True``; repeat an image to draw several of its faces.
        scheme: landmark scheme or its name.
        landmarks: names in the scheme, or numbers from 0; none for heat maps alone.
        strongest: edges into each of them, n; all K - 1 if that is fewer; 0 for heat maps alone, in which the
            landmarks are marked. Edges of weight 0 are not drawn.
        heat_map: False to draw the edges alone.
        titles: of the images; names of files, or "image 1" and so on, if None.

    Returns:
        A figure created without pyplot, so that it need not be closed: ``figure.savefig(path, dpi=200)``.

    Raises:
        InputError: for a face without connectivity or of another scheme, weights that are not finite, an unknown
            landmark (similar names are listed), or nothing to draw.
    """
    scheme = get_scheme(scheme)
    sources: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
    found = [faces] if isinstance(faces, Face) else list(faces)
    titles = _titles(sources) if titles is None else list(titles)
    if not len(sources) == len(found) == len(titles) or not 1 <= len(found) <= MOST_FACES:
        raise InputError(
            f"Expected one image, one face and one title for each row of the figure, 1 to {MOST_FACES} of them "
            f"(got {len(sources)} images, {len(found)} faces and {len(titles)} titles)."
        )
    chosen = find_landmarks(scheme, landmarks)
    check_at_least("strongest", strongest, 0)
    if not heat_map and not (chosen and strongest):
        raise InputError("Expected 'landmarks' whose edges are drawn, or 'heat_map' to be True (got nothing to draw).")
    weights = [_check_weights(face, scheme) for face in found]
    uniform = min(map(uniform_weight, weights))
    parts: list[EdgeGrid | HeatMaps] = []
    if chosen and strongest:
        parts.append(EdgeGrid(sources, found, weights, titles, scheme, chosen, strongest, uniform))
    if heat_map:
        parts.append(HeatMaps(weights, titles, scheme, chosen, uniform))
    width = max(part.width for part in parts)
    page = Page(width, sum(part.height for part in parts) + LINE * (len(parts) - 1))
    top = 0.0
    for part in parts:
        part.draw(page, (width - part.width) / 2, top)
        top += part.height + LINE
    return page.figure


def find_landmarks(scheme: LandmarkScheme, landmarks: Sequence[str | int]) -> list[int]:
    """Numbers, from 0, of landmarks that are given by name or number, each once.

    Raises:
        InputError: for an unknown landmark, listing similar names.
    """
    found: list[int] = []
    for each in [landmarks] if isinstance(landmarks, str | int) else landmarks:
        number = scheme.names.index(each) if each in scheme.names else _number(each)
        if number is None or not 0 <= number < scheme.num_landmarks:
            word = str(each).lower()
            near = [name for name in scheme.names if word in name] + get_close_matches(word, scheme.names, n=4)
            hint = f" Near: {', '.join(list(dict.fromkeys(near))[:8])}." if near else " See the scheme's 'names'."
            raise InputError(
                f"Expected 'landmarks' to be names of the scheme '{scheme.name}' or numbers from 0 to "
                f"{scheme.num_landmarks - 1} (got '{each}').{hint}"
            )
        found.append(number)
    return list(dict.fromkeys(found))


def uniform_weight(weight: Tensor) -> float:
    """The weight of each edge into a landmark if all were equal: 1 / (K - 1), or 1 / K if there are self loops.

    Args:
        weight: [K, K], row i holds the weights e_ij of landmark i's neighbours.
    """
    return 1 / max(1, len(weight) - (not weight.diagonal().any()))


def _number(word: str | int) -> int | None:
    text = str(word)
    return int(text) if text.isascii() and text.isdigit() else None


def _titles(images: Sequence[ImageLike]) -> list[str]:
    return [
        Path(each).name if isinstance(each, str | Path) else f"image {number}"
        for number, each in enumerate(images, start=1)
    ]


def _check_weights(face: Face, scheme: LandmarkScheme) -> Tensor:
    check_shape("landmarks of a face", face.landmarks, "K 2", K=scheme.num_landmarks)
    if face.connectivity is None:
        raise InputError(
            "Expected faces with their connectivity (got a face without). Predict with return_connectivity=True, by "
            "a detector that has a graph."
        )
    weight = face.connectivity.detach().cpu().double()
    check_shape("connectivity of a face", weight, "K K", K=scheme.num_landmarks)
    check_finite("connectivity of a face", weight)
    return weight
