import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lgcn.checks import InputError
from lgcn.predict import Face
from lgcn.schemes import Contour, LandmarkScheme
from lgcn.visualization import draw_landmarks, save_overlay, strongest_edges

SCHEME = LandmarkScheme(name="corners", names=("a", "b", "c", "d"), contours=(Contour("top", (0, 1)),))
POS = torch.tensor([[60.0, 50.0], [140.0, 50.0], [140.0, 130.0], [60.0, 130.0]])


def face(connectivity: torch.Tensor | None = None, pos: torch.Tensor = POS) -> Face:
    return Face(torch.tensor([50.0, 40.0, 150.0, 140.0]), pos, pos + 20, torch.ones(4), connectivity)


def drawn(path: Path, image: torch.Tensor, faces: list[Face], **options: object) -> np.ndarray:
    save_overlay(path, image, faces, SCHEME, **options)
    return np.asarray(Image.open(path)).astype(int)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 256, (3, 180, 210), dtype=torch.uint8)


def test_the_overlay_has_the_pixels_of_the_image(image: torch.Tensor, tmp_path: Path) -> None:
    result = drawn(tmp_path / "o.png", image, [face()], upscale=1)
    assert result.shape == (180, 210, 3)
    changed = (result != image.permute(1, 2, 0).numpy()).any(axis=-1)
    assert changed[50, 60:141].all(), "the contour"
    for x, y in POS.int().tolist():
        assert changed[y, x]
    changed[46:55, 56:145] = False
    changed[126:135, 56:145] = False
    assert not changed.any(), "nothing else"


def test_each_mark_lies_on_its_landmark(tmp_path: Path) -> None:
    black = torch.zeros(3, 180, 210, dtype=torch.uint8)
    without_contours = LandmarkScheme(name="points", names=("a", "b", "c", "d"))
    pos = POS + 0.3
    for upscale in (1, 3):
        save_overlay(tmp_path / "o.png", black, [face(pos=pos)], without_contours, upscale=upscale)
        light = torch.from_numpy(np.asarray(Image.open(tmp_path / "o.png")).astype(float)).sum(dim=-1)
        assert light.shape == (180 * upscale, 210 * upscale)
        for x, y in pos.tolist():
            left, top = int((x - 8) * upscale), int((y - 8) * upscale)
            part = light[top : top + 16 * upscale, left : left + 16 * upscale]
            ys, xs = torch.meshgrid(*(torch.arange(16.0 * upscale),) * 2, indexing="ij")
            centre = torch.stack([(part * xs).sum() / part.sum() + left, (part * ys).sum() / part.sum() + top])
            assert ((centre + 0.5) / upscale - 0.5 - torch.tensor([x, y])).abs().max() < 0.15


def test_covered_landmarks_are_hollow(tmp_path: Path) -> None:
    black = torch.full((3, 180, 210), 200, dtype=torch.uint8)
    plain = drawn(tmp_path / "a.png", black, [face()], upscale=8, contours=False)
    hidden = torch.tensor([False, True, False, False])
    covered = drawn(tmp_path / "b.png", black, [replace(face(), covered=hidden)], upscale=8, contours=False)
    for (x, y), hollow in zip(POS.tolist(), hidden.tolist(), strict=True):
        row, column = int((y + 0.5) * 8), int((x + 0.5) * 8)
        assert (plain[row, column] != 200).any()
        assert bool((covered[row, column] == 200).all()) == hollow
        around = np.s_[row - 16 : row + 16, column - 16 : column + 16]
        assert (covered[around] != 200).any(), "something is drawn"
    assert drawn(tmp_path / "c.png", black, [replace(face(), covered=~torch.zeros(4, dtype=torch.bool))]).shape


def test_initial_landmarks_edges_and_boxes_are_drawn_on_request(image: torch.Tensor, tmp_path: Path) -> None:
    image = torch.zeros_like(image)
    plain = drawn(tmp_path / "o.png", image, [face()], upscale=1)
    with_initial = drawn(tmp_path / "o.png", image, [face()], upscale=1, initial=True)
    assert not plain[70, 80].any() and with_initial[70, 80, 0] > with_initial[70, 80, 2] + 100, "orange at (80, 70)"
    with_box = drawn(tmp_path / "o.png", image, [face()], upscale=1, boxes=True)
    assert with_box[90, 50].any() and not plain[90, 50].any()

    weights = torch.zeros(4, 4)
    weights[0, 2], weights[1, 3], weights[3, 0] = 0.2, 0.8, 0.9
    two = drawn(tmp_path / "o.png", image, [face(weights)], upscale=1, edges=2)
    assert two[90, 60].any(), "3-0"
    assert two[70, 120].any(), "1-3"
    assert not two[70, 80].any(), "0-2 is the third"
    three = drawn(tmp_path / "o.png", image, [face(weights)], upscale=1, edges=3)
    assert 0 < three[70, 80].sum() < three[70, 120].sum() < three[90, 60].sum() + 1, "as opaque as strong"


def test_small_faces_are_enlarged_and_large_images_are_not(tmp_path: Path) -> None:
    small = torch.zeros(3, 60, 80, dtype=torch.uint8)
    assert drawn(tmp_path / "o.png", small, [face(pos=POS / 4)]).shape[0] >= 60 * 8
    large = torch.zeros(3, 900, 1700, dtype=torch.uint8)
    assert drawn(tmp_path / "o.png", large, [face()]).shape == (900, 1700, 3)
    assert drawn(tmp_path / "o.png", small, []).shape == (60, 80, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (333, 2)])
def test_images_of_any_size_are_drawn(size: tuple[int, int], tmp_path: Path) -> None:
    image = torch.zeros(3, *size, dtype=torch.uint8)
    assert drawn(tmp_path / "o.png", image, [face()], upscale=1).shape == (*size, 3)


def test_faces_without_extent_and_outside_the_image_are_drawn(image: torch.Tensor, tmp_path: Path) -> None:
    for pos in (torch.full((4, 2), 30.0), POS + 5000):
        drawn(tmp_path / "o.jpg", image, [face(torch.zeros(4, 4), pos)], edges=2, initial=True, boxes=True)


def test_strongest_edges_are_undirected_and_sorted() -> None:
    weights = torch.tensor([[9.0, 0.1, 0.5], [0.3, 9.0, 0.2], [0.0, 0.4, 9.0]])
    pairs, weight = strongest_edges(weights, 2)
    assert pairs.tolist() == [[0, 2], [1, 2]]
    assert weight.tolist() == pytest.approx([0.5, 0.4])
    assert len(strongest_edges(weights, 100)[0]) == 3


def test_bad_input_is_named(image: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="return_connectivity=True"):
        draw_landmarks(image, [face()], SCHEME, edges=3)
    with pytest.raises(InputError, match=r"\[K, 2\] with K=68 .got \[4, 2\]"):
        draw_landmarks(image, [face()], "ibug68")
    with pytest.raises(InputError, match="'edges' to be 0 or more"):
        draw_landmarks(image, [], SCHEME, edges=-1)
    with pytest.raises(InputError, match="'upscale' to be 1 or more"):
        draw_landmarks(image, [], SCHEME, upscale=0)


def test_a_failed_overlay_leaves_no_file(image: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'path' to end with one of \.jpg.*o\.unknown"):
        save_overlay(tmp_path / "o.unknown", image, [face()], SCHEME)
    assert list(tmp_path.iterdir()) == []


def test_no_global_state_of_pyplot_is_touched(image: torch.Tensor, tmp_path: Path) -> None:
    from matplotlib import _pylab_helpers

    save_overlay(tmp_path / "o.png", image, [face()], SCHEME)
    assert not _pylab_helpers.Gcf.figs


def test_marks_that_reach_over_several_tiles_have_no_seams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.full((3, 300, 280), 127, dtype=torch.uint8)
    weights = torch.rand(4, 4)
    options = {"initial": True, "edges": 4, "boxes": True, "upscale": 2}
    pos = POS * 1.7 - torch.tensor([30.0, 10.0])
    whole = np.asarray(draw_landmarks(image, [face(weights, pos)], SCHEME, **options)).astype(int)
    monkeypatch.setattr("lgcn.visualization.overlay._TILE", 37)
    tiled = np.asarray(draw_landmarks(image, [face(weights, pos)], SCHEME, **options)).astype(int)
    assert (whole != 127).any()
    assert np.abs(whole - tiled).max() <= 2


def test_the_memory_for_a_large_image_is_that_of_the_image(tmp_path: Path) -> None:
    code = (
        "import resource, torch\n"
        "from lgcn.predict import Face\n"
        "from lgcn.schemes import LandmarkScheme\n"
        "from lgcn.visualization import draw_landmarks\n"
        "scheme = LandmarkScheme(name='corners', names=('a', 'b', 'c'))\n"
        "def draw(side):\n"
        "    pos = torch.tensor([[0.3, 0.3], [0.6, 0.4], [0.5, 0.7]]) * side\n"
        "    face = Face(torch.tensor([0.2, 0.2, 0.8, 0.8]) * side, pos, pos, torch.ones(3))\n"
        "    draw_landmarks(torch.zeros(3, side, side, dtype=torch.uint8), [face], scheme, initial=True, boxes=True)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = draw(300)\n"
        "print(draw(6000) - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # 36 million pixels take 3 bytes each as a tensor and 4 as a Pillow image: 240 MB.
    assert float(done.stdout) < 400


def test_an_ellipse_reaches_as_far_as_90_percent_of_errors(tmp_path: Path) -> None:
    covariance = torch.diag(torch.tensor([36.0, 9.0])).expand(4, 2, 2)
    certain = replace(face(), covariance=covariance)
    black = torch.zeros(3, 180, 210, dtype=torch.uint8)
    options = {"upscale": 1, "contours": False}
    marks = drawn(tmp_path / "o.png", black, [certain], ellipses=True, **options).sum(axis=-1)
    marks -= drawn(tmp_path / "o.png", black, [certain], **options).sum(axis=-1)
    rows, columns = np.nonzero(marks[20:80, 30:90] > 60)
    assert np.ptp(columns) / 2 == pytest.approx(6 * 4.605**0.5, abs=1)
    assert np.ptp(rows) / 2 == pytest.approx(3 * 4.605**0.5, abs=1)
    with pytest.raises(InputError, match="covariance.*Gaussian refiner"):
        drawn(tmp_path / "o.png", black, [face()], ellipses=True)


def test_confidence_as_colour_and_indices(tmp_path: Path) -> None:
    black = torch.zeros(3, 180, 210, dtype=torch.uint8)
    unsure = replace(face(), confidence=torch.tensor([0.0, 1.0, 0.5, 0.5]))
    colours = drawn(tmp_path / "o.png", black, [unsure], confidence=True, contours=False, upscale=1)
    assert colours[50, 60, 0] > 200 > 100 > colours[50, 60, 1], "magenta"
    assert colours[50, 140, 1] > 200 > 100 > colours[50, 140, 0], "cyan"
    plain = drawn(tmp_path / "o.png", black, [face()], contours=False, upscale=1)
    numbered = drawn(tmp_path / "o.png", black, [face()], contours=False, upscale=1, indices=True)
    changed = np.argwhere((numbered != plain).any(axis=-1))
    for x, y in POS.tolist():
        assert (np.abs(changed - [y + 4, x + 3]).max(axis=1) < 8).any()
