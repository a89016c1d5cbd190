import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch_geometric.data import Batch

from lgcn.checks import InputError
from lgcn.datasets import DATASETS, LandmarkDataset
from lgcn.datasets.held_out import hold_out
from lgcn.protocols import PROTOCOLS, EvaluationProtocol
from lgcn.seeding import mix_seed
from lgcn.training import AugmentationConfig, LandmarkDataModule
from lgcn.training.samplers import SeededDataset, seeded_draws
from lgcn.transforms import FacePatch


class Recorder(LightningModule):
    """Trains nothing and records every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[list[str], torch.Tensor]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen.append((list(batch.image_id), batch.image.clone()))
        torch.rand(batch_idx + 3)
        return self.weight * 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        torch.rand(5)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data_of(root: Path, **options: Any) -> LandmarkDataModule:
    return LandmarkDataModule(str(root), **{"input_size": (16, 16), "batch_size": 4, "num_workers": 0, **options})


def fitted(folder: Path, data: LandmarkDataModule, epochs: int, **options: Any) -> Recorder:
    recorder = Recorder()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(recorder, datamodule=data)
    return recorder


def batches_of(root: Path, folder: Path, epochs: int = 2, **options: Any) -> list[tuple[list[str], torch.Tensor]]:
    augmentation = AugmentationConfig(
        occlusion=0.7, occlusion_kinds=("noise", "color", "texture", "copy"), blur=0.3, darkness=0.3, jpeg=0.3
    )
    data = data_of(root, augmentation=augmentation, **options)
    return fitted(folder, data, epochs).seen


def same(first: list[tuple[list[str], torch.Tensor]], second: list[tuple[list[str], torch.Tensor]]) -> bool:
    return len(first) == len(second) and all(
        a_names == b_names and a.equal(b) for (a_names, a), (b_names, b) in zip(first, second, strict=True)
    )


def test_batches_follow_from_seed_and_epoch_for_any_number_of_workers(face_root: Path, tmp_path: Path) -> None:
    alone = batches_of(face_root, tmp_path)
    torch.manual_seed(123)
    assert same(alone, batches_of(face_root, tmp_path, num_workers=2))
    assert not same(alone, batches_of(face_root, tmp_path, seed=1))


def test_every_epoch_has_its_own_order_and_augmentation(face_root: Path, tmp_path: Path) -> None:
    seen = batches_of(face_root, tmp_path, val_split="lfpw/testset")
    first, second = seen[:3], seen[3:]
    names = [[name for batch, _ in epoch for name in batch] for epoch in (first, second)]
    assert sorted(names[0]) == sorted(names[1])
    assert names[0] != names[1]
    images = [
        {name: image for batch, images in epoch for name, image in zip(batch, images, strict=True)}
        for epoch in (first, second)
    ]
    assert not any(images[0][name].equal(images[1][name]) for name in names[0])


def test_part_of_training_is_held_out_and_not_augmented(face_root: Path) -> None:
    data, again = data_of(face_root, val_fraction=0.25), data_of(face_root, val_fraction=0.25, seed=9)
    data.setup()
    again.setup()
    train, val = ([face.image_id for face in faces] for faces in (data.train_faces, data.val_faces))
    assert len(val) == 3
    assert sorted(train + val) == [f"afw/{number:02d}.png" for number in range(12)]
    assert [face.image_id for face in again.val_faces] == val
    assert data.val_faces[0].image.equal(data.val_faces[0].image)
    assert not data.train_faces[0].image.equal(data.train_faces[0].image)
    seen, held_out = hold_out(12, 0.25)
    assert ([f"afw/{n:02d}.png" for n in seen], [f"afw/{n:02d}.png" for n in held_out]) == (train, val)
    batch = next(iter(data.val_dataloader()))
    assert batch.image.shape == (3, 3, 16, 16)
    assert batch.affine.shape == (3, 2, 3)
    assert batch.y.shape == (3 * 68, 2)


@pytest.mark.parametrize(
    ("num_faces", "fraction", "message"),
    [
        (12, 1.0, "between 0 and 1"),
        (12, 0.0, "between 0 and 1"),
        (1, 0.1, "more than 1 faces.*got 1"),
        (3, 0.9, "3 would"),
    ],
)
def test_some_faces_must_remain_for_the_training(num_faces: int, fraction: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hold_out(num_faces, fraction)


def test_textures_are_cut_from_training_faces_only(face_root: Path) -> None:
    augmentation = AugmentationConfig(occlusion=1.0, occlusion_kinds=("texture",))
    data = data_of(face_root, val_fraction=0.25, augmentation=augmentation)
    data.setup()
    (patch,) = (step for step in data.train_faces.transform.transforms if isinstance(step, FacePatch))
    assert sorted(patch.textures.faces) == sorted(data.train_faces.indices())
    assert not set(patch.textures.faces) & set(data.val_faces.indices())


def test_a_named_split_is_used_whole(face_root: Path) -> None:
    data = data_of(face_root, val_split="lfpw/testset")
    data.setup()
    assert [face.image_id for face in data.val_faces] == ["lfpw/testset/12.png", "lfpw/testset/13.png"]
    assert len(data.train_faces) == 12


def test_a_short_last_batch_is_left_out_unless_it_is_the_only_one(face_root: Path) -> None:
    for batch_size, count in ((5, 2), (50, 1)):
        data = data_of(face_root, val_split="lfpw/testset", batch_size=batch_size)
        data.setup()
        assert len(data.train_dataloader()) == count


def test_one_loader_serves_all_epochs_and_equals_new_loaders(face_root: Path, tmp_path: Path) -> None:
    def run(**trainer: Any) -> tuple[Recorder, int]:
        built: list[object] = []

        class Counted(LandmarkDataModule):
            def train_dataloader(self) -> Any:
                built.append(self)
                return super().train_dataloader()

        options = {"input_size": (16, 16), "batch_size": 4, "num_workers": 1}
        recorder = fitted(tmp_path, Counted(str(face_root), **options), epochs=3, **trainer)  # type: ignore[arg-type]
        return recorder, len(built)

    kept, reloaded = run(), run(reload_dataloaders_every_n_epochs=1)
    assert (kept[1], reloaded[1]) == (1, 3)
    assert same(kept[0].seen, reloaded[0].seen)


def test_an_epoch_alone_is_that_epoch_of_a_run(face_root: Path) -> None:
    """The n-th epoch depends on its number, not on the epochs before it or on persistent workers."""

    def epoch(loader: Any, number: int) -> list[tuple[list[str], torch.Tensor]]:
        loader.sampler.set_epoch(number)
        return [(list(batch.image_id), batch.image) for batch in loader]

    def loader(**options: Any) -> Any:
        data = data_of(face_root, **options)
        data.setup()
        return data.train_dataloader()

    workers = loader(num_workers=2)
    assert workers.persistent_workers
    for number in (0, 1, 2):
        assert same(epoch(workers, number), epoch(loader(), number))
    assert not loader(num_workers=1, persistent_workers=False).persistent_workers


def test_a_test_split_is_not_augmented_and_has_to_be_named(face_root: Path) -> None:
    data = data_of(face_root, test_split="lfpw/testset")
    data.setup("test")
    (batch,) = list(data.test_dataloader())
    assert list(batch.image_id) == ["lfpw/testset/12.png", "lfpw/testset/13.png"]
    assert data.test_faces[0].image.equal(data.test_faces[0].image)
    with pytest.raises(InputError, match="'test_split'"):
        data_of(face_root).setup("predict")


@pytest.mark.parametrize("protocol", ["zero_based", "pipnet"])
def test_validation_faces_without_a_normalizer_are_refused_before_training(
    face_root: Path, tmp_path: Path, protocol: str
) -> None:
    """The corners of the eyes are missing in both validation faces."""
    root = tmp_path / "300w"
    for path in sorted(path for path in face_root.rglob("*") if path.is_file()):
        copy = root / path.relative_to(face_root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    for points in root.glob("lfpw/testset/*.pts"):
        lines = points.read_text().splitlines()
        start = lines.index("{") + 1
        lines[start + 36] = "nan nan"
        points.write_text("\n".join(lines))
    options = {"dataset": "pts", "val_split": "lfpw/testset", "protocol": protocol}
    data_of(root, train_split="afw", **{**options, "val_split": "afw"}).setup()
    with pytest.raises(InputError, match="whose normaliser 'inter_ocular' can be measured .got none of 2"):
        data_of(root, train_split="afw", **options).setup()


def test_corners_of_the_eyes_in_one_place_are_no_normalizer(face_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "300w"
    shutil.copytree(face_root, root)
    for points in root.glob("lfpw/testset/*.pts"):
        lines = points.read_text().splitlines()
        start = lines.index("{") + 1
        lines[start + 36] = lines[start + 45]
        points.write_text("\n".join(lines))
    with pytest.raises(InputError, match="can be measured .got none of 2 .*all in one place"):
        data_of(root, train_split="afw", dataset="pts", val_split="lfpw/testset").setup()


def test_bad_arguments(face_root: Path) -> None:
    with pytest.raises(InputError, match="val_fraction"):
        data_of(face_root, val_fraction=1.0)
    with pytest.raises(InputError, match="held out"):
        data_of(face_root, train_split="lfpw/testset", val_fraction=0.9).setup()
    with pytest.raises(InputError, match="scheme 'wflw98'"):
        data_of(face_root, scheme="wflw98").setup()
    with pytest.raises(InputError, match="ibug300w"):
        data_of(face_root, dataset="nothing").setup()


def test_seeded_draws_restore_the_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded_draws(123):
        first = torch.rand(2)
    assert torch.rand(3).equal(expected)
    with seeded_draws(123):
        assert torch.rand(2).equal(first)
    with seeded_draws(124):
        assert not torch.rand(2).equal(first)


def test_mixed_seeds_differ() -> None:
    seeds = {mix_seed(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    assert len(seeds) == 512
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_items_depend_on_their_seed_not_on_the_order() -> None:
    class Draws:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.rand(2)

    faces = SeededDataset(Draws())  # type: ignore[arg-type]
    forward = [faces[index, 10 + index] for index in (0, 1, 2)]
    backward = [faces[index, 10 + index] for index in (2, 1, 0)]
    assert all(a.equal(b) for a, b in zip(forward, reversed(backward), strict=True))
    assert not forward[0].equal(forward[1])


class Triangles(LandmarkDataset):
    """Three faces, which bring boxes of their own along; of one no two landmarks are apart."""

    def __init__(self, root: str, split: str, protocol: str, normalizer: str | None, *, side: float = 20.0) -> None:
        pos = torch.full((3, 68, 2), 40.0)
        pos[:2] += side * torch.rand(2, 68, 2)
        names = [f"afw/{number:02d}.png" for number in range(3)]
        rect = torch.tensor([[30.0, 30.0, 70.0, 70.0]]).expand(3, 4)
        super().__init__(root, names, pos, "ibug68", protocol=protocol, normalizer=normalizer, split=split, rect=rect)


@pytest.fixture
def triangles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS._things, "triangles", Triangles)


@pytest.mark.usefixtures("triangles")
@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("zero_based", {"enlargement": 1.25, "aspect": "square", "clip": False}),
        ("official", {"enlargement": 1.0, "aspect": "letterbox", "clip": True, "fill": 114}),
        ("rects", {"enlargement": 1.5, "aspect": "square"}),
    ],
)
def test_faces_are_cropped_as_the_protocol_says(
    face_root: Path, monkeypatch: pytest.MonkeyPatch, protocol: str, options: dict[str, Any]
) -> None:
    rects = EvaluationProtocol("rects", "boxes of the dataset", enlargement=1.2, rect_enlargement=1.5, box="dataset")
    monkeypatch.setitem(PROTOCOLS._things, "rects", rects)
    data = data_of(face_root, dataset="triangles", val_split="all", protocol=protocol)
    with pytest.warns(UserWarning, match="left out: 1 with fewer than two landmarks apart"):
        data.setup()
    assert len(data.train_faces) == len(data.val_faces) == 2
    for crop in (data.train_faces.transform.transforms[0], data.val_faces.transform):  # type: ignore[attr-defined]
        assert {name: getattr(crop, name) for name in options} == options


@pytest.mark.usefixtures("triangles")
def test_options_reach_the_dataset_or_are_refused(face_root: Path) -> None:
    data = data_of(face_root, dataset="triangles", val_split="all", dataset_options={"side": 30.0})
    data.setup()
    spread = [faces.pos.amax() - faces.pos.amin() for faces in (data.train_faces, data.val_faces)]  # type: ignore[attr-defined]
    assert all(29 < value < 30 for value in spread)
    with pytest.raises(InputError, match="'dataset option' to be one of side .got 'sides'"):
        data_of(face_root, dataset="triangles", dataset_options={"sides": 30.0}).setup()


def test_a_protocol_that_needs_a_face_detector_is_refused(face_root: Path) -> None:
    with pytest.raises(InputError, match="without a face detector .got 'detector'"):
        data_of(face_root, protocol="detector")
