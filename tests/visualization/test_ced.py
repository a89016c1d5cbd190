import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from lgcn.checks import InputError
from lgcn.visualization import plot_ced, save_ced_csv

ERRORS = {
    "mine": torch.tensor([0.02, 0.02, torch.nan, 0.05, 0.30], dtype=torch.float64),
    "yours": torch.tensor([0.0, 0.04], dtype=torch.float64),
}


def test_a_curve_is_the_exact_step_function() -> None:
    figure = plot_ced(ERRORS, 0.08)
    mine, yours = figure.axes[0].get_lines()
    assert mine.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(mine.get_xydata(), [[0, 0], [0.02, 0.25], [0.02, 0.5], [0.05, 0.75], [0.08, 0.75]])
    np.testing.assert_allclose(yours.get_xydata(), [[0, 0], [0, 0.5], [0.04, 1.0], [0.08, 1.0]])
    assert figure.axes[0].get_xlim() == (0, 0.08)


def test_the_legend_names_curves_in_order_with_their_metrics() -> None:
    (legend,) = plot_ced({**ERRORS, "_a $b$": torch.tensor([0.5])}, 0.10).legends
    # (0.08 + 0.08 + 0.05 + 0) / 4 / 0.1 and (0.1 + 0.06) / 2 / 0.1
    assert [text.get_text() for text in legend.get_texts()] == [
        "mine  (AUC@0.10 0.5250, FR@0.10 25.00 %)",
        "yours  (AUC@0.10 0.8000, FR@0.10 0.00 %)",
        r"a \$b\$  (AUC@0.10 0.0000, FR@0.10 100.00 %)",
    ]


@pytest.mark.parametrize("folder", ["runs", "/home/somebody/experiments/2026-11/a-landmark-graph/" + 6 * "W" + "/runs"])
@pytest.mark.parametrize("ending", ["version_{}/checkpoints/best.ckpt", "v{}/" + 40 * "x" + ".ckpt", "{}" + 150 * "W"])
def test_long_names_stay_on_the_page_and_differ(folder: str, ending: str) -> None:
    names = [f"{folder}/{ending.format(number)}, test: refined (graph)" for number in (1, 2)]
    figure = plot_ced(dict.fromkeys(names, ERRORS["mine"]), title=f"{names[0]}: wflw test, protocol hrnet")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,) = figure.legends
    texts = [*legend.get_texts(), figure.axes[0].title]
    for text in texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 and box.y1 <= figure.bbox.height
        assert text.get_fontsize() > 6
    assert texts[0].get_text() != texts[1].get_text()
    assert figure.axes[0].bbox.height > 0.5 * 4.4 * figure.dpi
    if folder != "runs" and ending.startswith("version"):
        assert texts[0].get_text().startswith("...version_1/checkpoints/best.ckpt, test: refined (graph)  (AUC@")


def test_eight_curves_are_distinguishable_without_colours() -> None:
    lines = plot_ced({str(number): torch.rand(9) / 10 for number in range(8)}).axes[0].get_lines()
    looks = {(line.get_color(), str(line.get_linestyle())) for line in lines}
    assert len(looks) == 8
    luminance = [np.dot(to_rgb(line.get_color()), (0.2126, 0.7152, 0.0722)) for line in lines]
    assert max(luminance) < 0.7, "visible on white"


def test_the_file_is_an_image_with_ink_of_every_curve(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ced.png"
    plot_ced(ERRORS, 0.10, path, title="a_title with $ and % and _")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 500
    for colour in ("#0072b2", "#d55e00"):
        ink = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(pixels - ink).max(axis=-1) < 12).sum() > 100
    assert [each.name for each in path.parent.iterdir()] == ["ced.png"]


def test_csv_holds_the_curves(tmp_path: Path) -> None:
    path = tmp_path / "ced.csv"
    save_ced_csv(ERRORS, 0.10, path, num_points=11)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["nme"]) for row in rows] == pytest.approx([number / 100 for number in range(11)])
    assert [float(row["mine"]) for row in rows] == [0, 0, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75]
    assert float(rows[0]["yours"]) == 0.5 and float(rows[4]["yours"]) == 1.0


@pytest.mark.parametrize("function", [plot_ced, lambda results, threshold: save_ced_csv(results, threshold, "x.csv")])
def test_bad_input_is_named(function, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="at least one curve"):
        function({}, 0.1)
    with pytest.raises(InputError, match="errors for 'a' .got 1, all NaN"):
        function({"a": torch.tensor([torch.nan])}, 0.1)
    with pytest.raises(InputError, match="'threshold' to be a fraction"):
        function(ERRORS, 10)
    with pytest.raises(InputError, match=r"\['a'\]' to have shape \[N\]"):
        function({"a": torch.zeros(2, 2)}, 0.1)
    assert not list(tmp_path.iterdir())


def test_too_few_points(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'num_points' to be 2 or more"):
        save_ced_csv(ERRORS, 0.1, tmp_path / "x.csv", num_points=1)
