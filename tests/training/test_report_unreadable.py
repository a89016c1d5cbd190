import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from lgcn.checks import InputError, InputFileError
from lgcn.cli.main import main
from lgcn.datasets import WFLW
from lgcn.datasets.corrupt_images import ReadableFaces
from lgcn.models import DetectorConfig
from lgcn.protocols import get_protocol
from lgcn.training import LandmarkDataModule, LandmarkModule, LossConfig, ReportUnreadable
from lgcn.transforms import CropToInput
from tests.datasets.synthetic import points, wflw_row, wflw_tree, write_list


class Faces:
    """Numbers 0 to 4 in ``y``; those in ``broken`` cannot be read."""

    def __init__(self, *broken: int) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Data:
        if index in self.broken:
            raise InputFileError(f"Expected a whole image in '{index}.jpg' (cut off).")
        return Data(y=torch.full((3, 2), float(index)), visibility=torch.ones(3))


def test_unreadable_faces_are_replaced_and_not_counted() -> None:
    faces = ReadableFaces(Faces(1, 4))  # type: ignore[arg-type]
    assert len(list(faces)) == 5
    items = [faces[index] for index in range(len(faces))]
    assert [int(item.y[0, 0]) for item in items] == [0, 2, 2, 3, 0]
    assert [float(item.visibility.sum()) for item in items] == [3, 0, 3, 3, 0]
    reasons = [item.unreadable for item in items]
    assert reasons == ["", "Expected a whole image in '1.jpg' (cut off).", "", "", reasons[4]]
    assert "4.jpg" in reasons[4]


def test_no_readable_image_is_an_error() -> None:
    with pytest.raises(InputFileError, match=r"none among 5.*'2.jpg'"):
        ReadableFaces(Faces(*range(5)))[2]  # type: ignore[arg-type]


def test_a_face_whose_box_cannot_be_cropped_by_is_left_out_and_named(tmp_path: Path) -> None:
    rows = wflw_tree(tmp_path)["train"]
    rows[1] = wflw_row("a/0.png", points(98, 1), rect=(-500, -500, -400, -400))
    write_list(tmp_path, "train", rows)
    crop = CropToInput((8, 8), **get_protocol("pipnet").for_rectangles().crop_options)
    faces = WFLW(tmp_path, "train", crop, protocol="pipnet")
    named = f"box of face 1 of split 'train', in '{tmp_path / 'WFLW_images/a/0.png'}'"
    for read in (faces, faces.index_select([1]), DataLoader(faces, batch_size=3)):
        with pytest.raises(InputFileError, match=rf"in the image of 60 x 50 pixels \(got.*-400.*{re.escape(named)}"):
            list(read)
    skipping = ReadableFaces(faces)  # type: ignore[arg-type]
    readable = [skipping[index] for index in range(3)]
    assert [float(face.visibility.sum()) for face in readable] == [98, 0, 98]
    assert named in readable[1].unreadable and not readable[0].unreadable


def test_other_errors_are_not_hidden() -> None:
    class Buggy(Faces):
        def __getitem__(self, index: int) -> Data:
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        ReadableFaces(Buggy())[0]  # type: ignore[arg-type]


@pytest.fixture
def broken_root(face_root: Path, tmp_path: Path) -> Path:
    """The faces of ``face_root``, of which one to train on and one to validate on are cut off."""
    root = tmp_path / "300w"
    for path in sorted(path for path in face_root.rglob("*") if path.is_file()):
        copy = root / path.relative_to(face_root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        whole = path.read_bytes()
        copy.write_bytes(whole[:500] if path.name in {"07.png", "13.png"} else whole)
    return root


def arguments(tmp_path: Path, root: Path, **options: Any) -> list[str]:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        """
preset: default
model:
  detector:
    backbone: test_efficientnet
    input_size: [32, 32]
    backbone_options: {head: pyramid, width: 8}
    refiner: {hidden_channels: [8]}
  loss: {heatmap: cross_entropy}
data: {batch_size: 4, num_workers: 1, val_split: lfpw/testset}
trainer: {max_epochs: 2, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""
    )
    more = [word for name, value in options.items() for word in (f"--data.{name}", str(value))]
    places = ["--data.root", str(root), "--trainer.default_root_dir", str(tmp_path / "runs")]
    return ["fit", "--config", str(config), *places, *more]


def test_a_run_with_skip_counts_and_names_skipped_images(
    tmp_path: Path, broken_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, broken_root, on_corrupt="skip")) == 0
    log = tmp_path / "runs" / "version_0" / "unreadable.txt"
    lines = log.read_text().splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        [f"epoch {n}", part] for n in (0, 1) for part in ("train", "val")
    ]
    for line, name in zip(lines, ["07.png", "13.png"] * 2, strict=True):
        assert name in line.split("\t")[2]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lgcn: warning: ")]
    assert len(warnings) == 2
    for epoch, line in enumerate(warnings):
        said = f"epoch {epoch}: left out 2 images of train and val that cannot be read or cropped, named in '{log}'"
        assert said in line


def test_a_run_stops_by_default_and_names_the_file(
    tmp_path: Path, broken_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (broken_root / "lfpw/testset/13.png").write_bytes((broken_root / "lfpw/testset/12.png").read_bytes())
    assert main(arguments(tmp_path, broken_root)) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("lgcn: error: ")]
    assert re.search(r"Expected a whole image in '.*07.png' \(Pillow cannot decode it", line)


def validated(root: Path, folder: Path, *callbacks: Callback) -> Any:
    module = LandmarkModule(
        DetectorConfig().with_options(
            backbone="test_efficientnet",
            input_size=(32, 32),
            backbone_options={"head": "pyramid", "width": 8},
            refiner={"hidden_channels": (8,)},
        ),
        LossConfig(heatmap="cross_entropy"),
    )
    data = LandmarkDataModule(
        str(root), val_split="lfpw/testset", input_size=(32, 32), num_workers=0, on_corrupt="skip"
    )
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        callbacks=list(callbacks),
    )
    return trainer.validate(module, datamodule=data, verbose=False)


def test_validation_alone_reports_too(tmp_path: Path, broken_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validated(broken_root, tmp_path, ReportUnreadable())
    (line,) = (tmp_path / "unreadable.txt").read_text().splitlines()
    assert "13.png" in line
    assert "left out 1 image of val that cannot be read" in capsys.readouterr().err


def test_skipping_requires_the_report(tmp_path: Path, broken_root: Path) -> None:
    with pytest.raises(InputError, match="the callback lgcn.training.ReportUnreadable"):
        validated(broken_root, tmp_path)


def test_whole_images_are_the_same_with_either_switch(face_root: Path) -> None:
    modules = [
        LandmarkDataModule(str(face_root), input_size=(16, 16), batch_size=4, num_workers=0, on_corrupt=each)
        for each in ("stop", "skip")
    ]
    for module in modules:
        module.setup()
    for first, second in zip(modules[0].train_dataloader(), modules[1].train_dataloader(), strict=True):
        assert first.image.equal(second.image)
        assert first.visibility.equal(second.visibility)
        assert second.unreadable == [""] * 4
