"""All stages with a network that finds a moving group of spots, worse under a patch; a second call predicts nothing."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmarks import blazepose
from benchmarks.blazepose import LANDMARKS, SIZE, main
from lgcn.codecs import HeatmapCodec

CODEC = HeatmapCodec((SIZE, SIZE), (SIZE // 4, SIZE // 4))
MEAN = 128 + 30 * torch.randn(LANDMARKS, 2, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)


class Spots:
    """Points at a place that the grey level of the image's corner tells; those whose pixel has a colour are wrong."""

    def __init__(self, weights: Path) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def crop(self, image: Tensor) -> tuple[Tensor, float]:
        return image, 0.9

    def __call__(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        pos = MEAN + crop[0, 0, 0].float() - 20 + torch.randn(LANDMARKS, 2, generator=self.generator) / 2
        x, y = pos.round().long().clamp(0, SIZE - 1).unbind(-1)
        covered = crop[0, y, x] != crop[1, y, x]
        pos = pos + 8 * covered.unsqueeze(-1) * torch.randn(LANDMARKS, 2, generator=self.generator)
        maps = CODEC.encode(pos[None])[0][0] * torch.where(covered, 0.5, 0.9)[:, None, None]
        return maps.clamp(1e-4, 1 - 1e-4).logit(), pos


def test_all_stages_and_a_repeated_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, count in (("train", 45), ("test", 5)):
        (tmp_path / part).mkdir()
        for number in range(count):
            image = Image.new("RGB", (SIZE, SIZE), 3 * (number % 40,))
            image.save(tmp_path / part / f"{number}.png")
    monkeypatch.setattr(blazepose, "BlazePose", Spots)
    monkeypatch.setattr(blazepose, "EPOCHS", 5)
    monkeypatch.setattr(blazepose, "GATE_EPOCHS", 20)
    argv = ["--weights", str(tmp_path), "--train", str(tmp_path / "train"), "--test", str(tmp_path / "test")]
    argv += ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "figures.json")]
    assert main(argv) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [row["part"] for row in figures["rows"]] == ["held out"] * 5 + ["test"] * 5
    given, refined, placed, gated, _ = figures["rows"][5:]
    assert (figures["num_train"], figures["num_test"]) == (45, 5)
    assert given["num_covered"] > 10 and given["nearer_percent"] == 0
    assert refined["nearer_percent"] > 20 and placed["nearer_percent"] > 20
    assert gated["nearer_percent"] > 15 and gated["others_moved_px"] < 0.5 * placed["others_moved_px"]

    monkeypatch.setattr(blazepose, "predict_all", None)
    assert main(argv) == 0
    assert json.loads((tmp_path / "figures.json").read_text())["rows"] == figures["rows"]
