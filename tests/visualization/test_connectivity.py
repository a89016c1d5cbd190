from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from lgcn.checks import InputError
from lgcn.predict import Face
from lgcn.schemes import SCHEMES, Contour, LandmarkScheme, get_scheme
from lgcn.visualization import draw_connectivity
from lgcn.visualization.connectivity import MOST_FACES, find_landmarks, uniform_weight

# The contours take the landmarks in another order than their own.
SCHEME = LandmarkScheme(
    name="corners", names=("a", "b", "c", "d"), contours=(Contour("right", (2, 1)), Contour("top", (0, 1)))
)
ORDER = (2, 1, 0, 3)
POS = torch.tensor([[60.0, 50.0], [140.0, 50.0], [140.0, 130.0], [60.0, 130.0]])
WEIGHT = torch.tensor([[0.0, 0.7, 0.2, 0.1], [0.4, 0.0, 0.3, 0.3], [0.05, 0.05, 0.0, 0.9], [0.5, 0.5, 0.0, 0.0]])
IMAGE = torch.full((3, 180, 210), 200, dtype=torch.uint8)


def face(weight: torch.Tensor | None = WEIGHT, pos: torch.Tensor = POS) -> Face:
    return Face(torch.tensor([50.0, 40.0, 150.0, 140.0]), pos, pos + 20, torch.ones(len(pos)), weight)


def random_face(landmarks: int, spread: float = 1.0) -> Face:
    scores = spread * torch.randn(landmarks, landmarks)
    weight = scores.masked_fill(torch.eye(landmarks, dtype=torch.bool), -torch.inf).softmax(dim=1)
    return face(weight, 100 * torch.rand(landmarks, 2))


def drawn(figure: Figure) -> np.ndarray:
    """The pixels [H, W, 3] at 72 dots an inch, at which a point is a pixel."""
    figure.set_dpi(72)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def edges_of(axes: Axes) -> dict[tuple[tuple[float, float], ...], float]:
    """From and to, in pixels of the image, and the width of each edge in a panel."""
    found: dict[tuple[tuple[float, float], ...], float] = {}
    for lines in (each for each in axes.collections if isinstance(each, LineCollection)):
        ends = [tuple(tuple(point) for point in line.tolist()) for line in lines.get_segments()]
        found |= dict(zip(ends, lines.get_linewidths(), strict=True))
    return found


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images and axes.images[0].cmap.name == "gray"]


def maps(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images and axes.images[0].cmap.name != "gray"]


def test_the_strongest_edges_go_from_the_neighbours_into_the_landmark() -> None:
    figure = draw_connectivity(IMAGE, face(), SCHEME, ["a", 2], strongest=2, heat_map=False)
    of_a, of_c = map(edges_of, panels(figure))
    a, b, c, d = (tuple(point) for point in POS.tolist())
    assert set(of_a) == {(b, a), (c, a)}
    # a and b are as strong; one of them is drawn.
    assert (d, c) in of_c and len(of_c) == 2
    # As wide as strong, over all panels.
    assert of_a[b, a] / of_a[c, a] == pytest.approx(0.7 / 0.2)
    assert of_c[d, c] / of_a[b, a] == pytest.approx(0.9 / 0.7)


def test_edges_are_as_opaque_as_they_are_strong() -> None:
    (axes,) = panels(draw_connectivity(IMAGE, face(), SCHEME, ["a"], heat_map=False))
    (lines,) = (each for each in axes.collections if isinstance(each, LineCollection))
    weakest, middle, strongest = lines.get_alpha()
    assert 0.3 < weakest < middle < strongest == 1


SIGNED = torch.tensor([[0.0, -0.7, 0.2, 0.1], [0.4, 0.0, 0.3, 0.3], [-0.05, 0.05, 0.0, 1.4], [0.5, 0.5, 0.0, 0.0]])


def test_edges_of_negative_weight_are_as_strong_and_of_another_colour() -> None:
    figure = draw_connectivity(IMAGE, face(SIGNED), SCHEME, ["a", "c"], strongest=2, heat_map=False)
    of_a, of_c = map(edges_of, panels(figure))
    a, b, c, d = (tuple(point) for point in POS.tolist())
    assert set(of_a) == {(b, a), (c, a)} and (d, c) in of_c
    assert of_a[b, a] / of_a[c, a] == pytest.approx(0.7 / 0.2)
    assert of_c[d, c] / of_a[b, a] == pytest.approx(1.4 / 0.7)
    pixels = drawn(figure)
    first = panels(figure)[0]

    def colour_between(one: tuple[float, ...], other: tuple[float, ...]) -> np.ndarray:
        column, row = first.transData.transform(((one[0] + other[0]) / 2, (one[1] + other[1]) / 2))
        return pixels[len(pixels) - int(row) - 1, int(column)]

    red, green, blue = colour_between(a, b)
    assert red > blue > green, "pink: negative"
    red, green, blue = colour_between(a, c)
    assert min(red, green) > blue, "yellow: positive"
    legend = [text.get_text() for text in figure.axes[-1].texts]
    assert legend == ["edge weight:", "0.5", "1", "−0.5", "−1"]
    _check_layout(figure)


def test_negative_weights_have_colours_that_are_linear_and_white_at_0() -> None:
    figure = draw_connectivity([IMAGE, IMAGE], [face(SIGNED), face()], SCHEME)
    for axes, weight in zip(maps(figure), (SIGNED, WEIGHT), strict=True):
        (image,) = axes.images
        assert (image.norm.vmin, image.norm.vmax) == pytest.approx((-1.4, 1.4)), "of all images"
        assert np.allclose(image.cmap(float(image.norm(0)))[:3], 0.97, atol=0.01)
        shown = torch.from_numpy(image.get_array().filled(0)).float()
        assert torch.allclose(shown, weight[ORDER, :][:, ORDER])
    bar = figure.axes[-1]
    drawn(figure)
    assert {"0.0", "1.0", "−1.0"} <= {label.get_text() for label in bar.get_yticklabels()}
    assert any(np.allclose(line.get_ydata(), 0) for line in bar.lines)
    _check_layout(figure)


def test_the_landmarks_lie_where_they_are_in_the_image() -> None:
    image = torch.zeros_like(IMAGE)
    image[:, 80:101, 90:111] = 255
    figure = draw_connectivity(image, face(), SCHEME, ["a"], strongest=1, heat_map=False)
    pixels = drawn(figure)
    (axes,) = panels(figure)

    def pixel_at(x: float, y: float) -> np.ndarray:
        column, row = axes.transData.transform((x, y))
        return pixels[len(pixels) - int(row) - 1, int(column)]

    assert pixel_at(60, 50).tolist() == pytest.approx([0x56, 0xD9, 0xFF], abs=3), "a, the receiving landmark"
    assert pixel_at(140, 50).tolist() == pytest.approx([0xFF, 0xE1, 0x4D], abs=3), "b, its neighbour"
    # The square around (100, 90) is bright, and reaches as far on each side.
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        assert pixel_at(100 + 9 * x, 90 + 9 * y).min() > 150
        assert pixel_at(100 + 12 * x, 90 + 12 * y).max() < 40


def test_a_landmark_without_neighbours_has_no_edges() -> None:
    alone = WEIGHT.clone()
    alone[0] = 0
    (axes,) = panels(draw_connectivity(IMAGE, face(alone), SCHEME, ["a"]))
    assert edges_of(axes) == {}
    (axes,) = panels(draw_connectivity(IMAGE, face(), SCHEME, ["d"]))
    assert len(edges_of(axes)) == 2, "weights of 0 are none"


def test_the_heat_map_has_receiving_rows_in_the_order_of_the_contours() -> None:
    (axes,) = maps(draw_connectivity(IMAGE, face(), SCHEME))
    shown = axes.images[0].get_array()
    assert shown.mask.tolist() == (WEIGHT[ORDER, :][:, ORDER] == 0).tolist(), "no edge, no colour"
    expected = torch.where(WEIGHT > 0, WEIGHT.clamp(min=axes.images[0].norm.vmin), 0)[ORDER, :][:, ORDER]
    assert torch.allclose(torch.from_numpy(shown.filled(0)).float(), expected)
    for axis in (axes.xaxis, axes.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == ["right", "top", "others"]
        assert axis.get_ticklocs().tolist() == pytest.approx([0.5, 2, 3])
    assert axes.get_xlim() == (-0.5, 3.5) and axes.get_ylim() == (3.5, -0.5)


def test_the_chosen_rows_are_marked() -> None:
    figure = draw_connectivity(IMAGE, face(), SCHEME, ["a", "c"], strongest=0)
    assert not panels(figure)
    (axes,) = maps(figure)
    (marks,) = (each for each in axes.collections if isinstance(each, PathCollection))
    assert marks.get_offsets()[:, 1].tolist() == [ORDER.index(0), ORDER.index(2)]


def test_the_colours_are_white_at_the_uniform_weight_which_the_bar_marks() -> None:
    figure = draw_connectivity(IMAGE, face(), SCHEME)
    (axes,) = maps(figure)
    image = axes.images[0]
    assert np.allclose(image.cmap(float(image.norm(1 / 3)))[:3], 0.97, atol=0.01)
    assert image.norm(0.9) == pytest.approx(1), "the largest"
    bar = figure.axes[-1]
    ticks = {label.get_text(): place for label, place in zip(bar.get_yticklabels(), bar.get_yticks(), strict=True)}
    assert ticks["0.33 = 1/3\n(uniform)"] == pytest.approx(1 / 3)
    assert any(np.allclose(line.get_ydata(), 1 / 3) for line in bar.lines)


def test_equal_weights_are_all_white() -> None:
    figure = draw_connectivity(IMAGE, random_face(17, spread=0), "coco17", ["nose"])
    image = maps(figure)[0].images[0]
    colours = image.cmap(image.norm(image.get_array().compressed()))[:, :3]
    assert np.allclose(colours, 0.97, atol=0.01)
    drawn(figure)


def test_self_loops_count_among_the_neighbours() -> None:
    assert uniform_weight(WEIGHT) == pytest.approx(1 / 3)
    assert uniform_weight(torch.full((4, 4), 0.25)) == pytest.approx(1 / 4)
    figure = draw_connectivity(IMAGE, face(torch.full((4, 4), 0.25)), SCHEME)
    assert not maps(figure)[0].images[0].get_array().mask.any()


def test_images_share_their_scales() -> None:
    flat = torch.full((4, 4), 1 / 3).fill_diagonal_(0)
    figure = draw_connectivity([IMAGE, IMAGE], [face(flat), face()], SCHEME, ["a", "c"], strongest=1)
    assert len(panels(figure)) == 4
    widths = [next(iter(edges_of(axes).values())) for axes in panels(figure)]
    assert np.array(widths) / widths[3] == pytest.approx([1 / 3 / 0.9, 1 / 3 / 0.9, 0.7 / 0.9, 1])
    first, second = (axes.images[0].norm for axes in maps(figure))
    assert (first.vmin, first.vmax) == (second.vmin, second.vmax)
    assert first.vmax == pytest.approx(0.9), "the largest of all"
    # Rows are images, columns are landmarks.
    places = [axes.get_position() for axes in panels(figure)]
    assert places[0].y0 == places[1].y0 > places[2].y0
    assert places[0].x0 == places[2].x0 < places[1].x0


@pytest.mark.parametrize(("name", "images"), [("ibug68", 1), *((name, 3) for name in SCHEMES)])
def test_every_scheme_is_drawn_legibly(name: str, images: int) -> None:
    scheme = get_scheme(name)
    faces = [random_face(scheme.num_landmarks) for _ in range(images)]
    figure = draw_connectivity([IMAGE] * images, faces, scheme, [0, scheme.num_landmarks - 1])
    _check_layout(figure)


def test_a_scheme_without_contours_is_drawn_legibly() -> None:
    for landmarks in (2, 21, 478):
        scheme = LandmarkScheme(name="points", names=tuple(f"point_{k}" for k in range(landmarks)))
        faces = [random_face(landmarks) for _ in range(2)]
        _check_layout(draw_connectivity([IMAGE] * 2, faces, scheme, range(min(landmarks, 7))))


def _check_layout(figure: Figure) -> None:
    """Square panels, and no text over another or over the border of the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in panels(figure) + maps(figure):
        place = axes.get_window_extent()
        assert place.width == pytest.approx(place.height, rel=1e-6)
    renderer: Any = canvas.get_renderer()
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts + [axes.title])]
    texts += [label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()]
    extents = [text.get_window_extent(renderer) for text in texts if text.get_text() and text.get_visible()]
    assert len(extents) > 5
    for number, one in enumerate(extents):
        assert one.x0 >= 0 and one.y0 >= 0 and one.x1 <= figure.bbox.x1 and one.y1 <= figure.bbox.y1
        for other in extents[:number]:
            # A hair's breadth of two rows of letters, of which few have both ascenders and descenders, may be shared.
            wide = min(one.x1, other.x1) - max(one.x0, other.x0)
            tall = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(wide, tall) < 2.5


def test_faces_in_odd_places_are_drawn() -> None:
    for image in (IMAGE[:, :1, :1], IMAGE):
        for pos in (POS, POS - 500, POS + 5000, torch.full((4, 2), 30.0)):
            drawn(draw_connectivity(image, face(pos=pos), SCHEME, ["a"]))
    single = LandmarkScheme(name="one", names=("only",))
    drawn(draw_connectivity(IMAGE, face(torch.zeros(1, 1), POS[:1]), single, [0]))


def test_titles_are_those_of_files(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "$me$.png"
    Image.new("RGB", (200, 200)).save(path)
    figure = draw_connectivity([path, IMAGE], [face(), face()], SCHEME, ["a"])
    words = [text.get_text() for text in figure.texts]
    assert words.count("$me$.png") == words.count("image 2") == 2
    drawn(figure)
    figure = draw_connectivity(IMAGE, face(), SCHEME, titles=["mine"])
    assert "mine" in [text.get_text() for text in figure.texts]


def test_landmarks_are_found_by_name_and_by_number() -> None:
    ibug = get_scheme("ibug68")
    assert find_landmarks(ibug, ["chin", 8, "45", "left_eye_outer", 0]) == [8, 45, 0]
    assert find_landmarks(ibug, "chin") == [8]
    numbers = LandmarkScheme(name="numbers", names=("2", "1", "0"))
    assert find_landmarks(numbers, ["2", 2]) == [0, 2], "a name comes first"


@pytest.mark.parametrize(
    ("landmark", "expected"),
    [
        ("left_eye", r"'ibug68' or numbers from 0 to 67 \(got 'left_eye'\). Near: left_eye_inner, .*left_eye_outer"),
        ("nosetip", r"\(got 'nosetip'\). Near: nose_tip"),
        (68, r"\(got '68'\)"),
        ("-1", r"\(got '-1'\)"),
        (-1, r"\(got '-1'\)"),
        ("zzz", r"\(got 'zzz'\). See the scheme's 'names'"),
    ],
)
def test_an_unknown_landmark_lists_similar_names(landmark: str | int, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        draw_connectivity(IMAGE, random_face(68), "ibug68", [landmark])


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="return_connectivity=True"):
        draw_connectivity(IMAGE, face(None), SCHEME)
    with pytest.raises(InputError, match=r"\[K, 2\] with K=68 .got \[4, 2\]"):
        draw_connectivity(IMAGE, face(), "ibug68")
    with pytest.raises(InputError, match=r"'connectivity of a face' .*K=4 .got \[3, 3\]"):
        draw_connectivity(IMAGE, face(torch.eye(3)), SCHEME)
    with pytest.raises(InputError, match=r"'connectivity of a face' to be finite .got nan at \[0, 0\]"):
        draw_connectivity(IMAGE, face(WEIGHT / 0), SCHEME)
    with pytest.raises(InputError, match="2 images, 1 faces"):
        draw_connectivity([IMAGE, IMAGE], [face()], SCHEME)
    with pytest.raises(InputError, match="0 faces"):
        draw_connectivity([], [], SCHEME)
    many = MOST_FACES + 1
    with pytest.raises(InputError, match=f"1 to {MOST_FACES}"):
        draw_connectivity([IMAGE] * many, [face()] * many, SCHEME)
    with pytest.raises(InputError, match="1 titles"):
        draw_connectivity([IMAGE, IMAGE], [face(), face()], SCHEME, titles=["mine"])
    with pytest.raises(InputError, match="'strongest' to be 0 or more"):
        draw_connectivity(IMAGE, face(), SCHEME, ["a"], strongest=-1)
    for nothing in ({}, {"landmarks": ["a"], "strongest": 0}):
        with pytest.raises(InputError, match="nothing to draw"):
            draw_connectivity(IMAGE, face(), SCHEME, heat_map=False, **nothing)
    with pytest.raises(InputError, match="nowhere.jpg"):
        draw_connectivity("nowhere.jpg", face(), SCHEME, ["a"])


def test_no_global_state_of_matplotlib_is_touched() -> None:
    from matplotlib import _pylab_helpers

    before = dict(mpl.rcParams)
    drawn(draw_connectivity([IMAGE, IMAGE], [face(), face()], SCHEME, ["a"]))
    assert not _pylab_helpers.Gcf.figs
    assert dict(mpl.rcParams) == before
