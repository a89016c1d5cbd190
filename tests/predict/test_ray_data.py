import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lgcn.checks import InputError
from lgcn.models import create_detector
from lgcn.predict import WholeImage
from lgcn.predict.ray_data import RayPredictor, predict_on_ray


@pytest.fixture
def model(tmp_path: Path) -> str:
    torch.manual_seed(0)
    detector = create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64))
    detector.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for number in range(40):
        image = Image.effect_noise((80, 60), 50).convert("RGB")
        image.save(folder / ("deeper" if number % 2 else "") / f"{number}.png")
    (folder / "bad.jpg").write_text("no image")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_batch_becomes_rows(model: str, photos: Path) -> None:
    pytest.importorskip("pyarrow")
    predict = RayPredictor(model, face_detector=WholeImage(), min_confidence=0.0)
    paths = [photos / "0.png", photos / "bad.jpg", photos / "2.png"]
    batch = {"path": np.array([str(path) for path in paths]), "bytes": [path.read_bytes() for path in paths]}
    rows = predict(batch).to_pylist()
    assert [row["image"] for row in rows] == [str(path) for path in paths]
    assert [len(row["faces"]) for row in rows] == [1, 0, 1]
    assert rows[0]["error"] is None and "does not recognise the format" in rows[1]["error"]
    (face,) = predict.predictor(paths[2])
    # The kernels for a batch of one round otherwise.
    assert rows[2]["faces"][0].keys() == face.to_dict().keys()
    assert np.allclose(rows[2]["faces"][0]["landmarks"], face.landmarks, atol=2e-3)


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"lgcn\[ray\]"):
        predict_on_ray(["photos"], "out", "local", "lgcn-68")


@pytest.mark.slow
def test_a_lost_worker_loses_and_repeats_nothing(model: str, photos: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    parquet = pytest.importorskip("pyarrow.parquet")

    class KilledOnce(WholeImage):
        """Kills its process when it comes to the tenth image, once."""

        def __init__(self, folder: Path) -> None:
            self.folder = folder

        def __call__(self, image: torch.Tensor) -> torch.Tensor:
            seen = len(list(self.folder.iterdir()))
            (self.folder / str(seen)).touch()
            if seen == 10:
                os.kill(os.getpid(), 9)
            return super().__call__(image)

    (tmp_path / "seen").mkdir()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=150 * 2**20)
    try:
        options = {"face_detector": KilledOnce(tmp_path / "seen"), "min_confidence": 0.0, "batch_size": 4}
        predict_on_ray([str(photos)], str(tmp_path / "out"), "local", model, workers=2, **options)
    finally:
        ray.shutdown()
    assert len(list((tmp_path / "seen").iterdir())) > 40, "some images were predicted twice"
    rows = parquet.read_table(tmp_path / "out").to_pylist()
    names = sorted(str(path) for path in photos.rglob("*") if path.suffix in {".png", ".jpg"})
    assert sorted(row["image"] for row in rows) == names
    assert all(len(row["faces"]) == (row["error"] is None) for row in rows)
