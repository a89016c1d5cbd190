from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.utils.data import DataLoader
from torch_geometric.data import Batch, Data

from lgcn.backbones import BACKBONES
from lgcn.checks import InputError
from lgcn.geometry import invert_affine, transform_points
from lgcn.metrics import normalized_mean_error
from lgcn.models import DetectorConfig, LandmarkDetector
from lgcn.training import LandmarkDataModule, LandmarkModule, LossConfig, ScheduleConfig
from lgcn.training.module import all_errors
from lgcn.training.trained_detectors import load_matching_weights, random_weights
from lgcn.typing import DetectorOutput, KeyPoints

SOFT = LossConfig(heatmap="cross_entropy", initial_weight=1.0)


def trained(module: LandmarkModule, root: Path, folder: Path, **trainer: Any) -> Trainer:
    options = {"max_epochs": 1, "limit_train_batches": 2, **trainer}
    runner = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    data = LandmarkDataModule(str(root), input_size=(32, 32), batch_size=4, num_workers=0, val_fraction=0.3)
    runner.fit(module, datamodule=data)
    return runner


def checkpoint_of(detector: DetectorConfig) -> dict[str, Any]:
    module = LandmarkModule(detector, SOFT)
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict(), "lr_schedulers": []}
    module.on_save_checkpoint(checkpoint)
    return checkpoint


def weights(part: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in part.state_dict().items()}


def test_both_parts_learn_at_their_own_rate(tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path) -> None:
    module = LandmarkModule(tiny_detector, SOFT, backbone_lr=1e-4, refiner_lr=1e-3)
    before = weights(module.detector)
    trainer = trained(module, face_root, tmp_path)
    rates = {group["name"]: group["lr"] for group in trainer.optimizers[0].param_groups}
    assert rates == {"backbone": 1e-4, "refiner": 1e-3}
    in_groups = sum(p.numel() for group in trainer.optimizers[0].param_groups for p in group["params"])
    assert in_groups == sum(p.numel() for p in module.detector.parameters())
    moved = {
        name.split(".")[0] for name, value in module.detector.state_dict().items() if not value.equal(before[name])
    }
    assert moved == {"backbone", "refiner"}


def test_a_frozen_backbone_keeps_weights_and_statistics(
    tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path
) -> None:
    module = LandmarkModule(
        tiny_detector,
        LossConfig("cross_entropy", heatmap_weight=0.0),
        freeze_backbone=True,
        allow_untrained_backbone=True,
    )
    before = weights(module.detector)
    trainer = trained(module, face_root, tmp_path)
    assert [group["name"] for group in trainer.optimizers[0].param_groups] == ["refiner"]
    moved = {
        name.split(".")[0] for name, value in module.detector.state_dict().items() if not value.equal(before[name])
    }
    assert moved == {"refiner"}
    assert not module.train().detector.backbone.training
    assert module.detector.refiner is not None
    assert module.detector.refiner.training


class Seen(Callback):
    """What a weight was after each step."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        self.weights.append(next(module.detector.refiner.parameters()).detach().clone())


def test_lightning_can_average_weights_and_buffers(
    tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path
) -> None:
    module, seen = LandmarkModule(tiny_detector, SOFT), Seen()
    trained(module, face_root, tmp_path, callbacks=[seen, WeightAveraging(use_buffers=True)])
    assert module.detector.refiner is not None
    first, second = seen.weights
    assert not first.equal(second)
    torch.testing.assert_close(next(module.detector.refiner.parameters()).detach(), (first + second) / 2)


def test_validation_is_measured_in_pixels_of_the_image(
    tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path
) -> None:
    module = LandmarkModule(tiny_detector, SOFT)
    trainer = trained(module, face_root, tmp_path)
    data: Any = trainer.datamodule
    module.eval()
    errors: dict[str, list[float]] = {"pos": [], "initial": []}
    for face, index in zip(data.val_faces, data.val_faces.indices(), strict=True):
        with torch.no_grad():
            output = module.detector(face.image)
        target = data.val_faces.pos[index][None]
        for name, found in errors.items():
            pos = transform_points(getattr(output, name), invert_affine(face.affine))
            found.append(float(normalized_mean_error(pos, target, face.normalizer, face.visibility[None])))
    logged = trainer.callback_metrics
    assert float(logged["val/nme_percent"]) == pytest.approx(100 * sum(errors["pos"]) / len(errors["pos"]), rel=1e-4)
    assert float(logged["val/initial_nme_percent"]) == pytest.approx(
        100 * sum(errors["initial"]) / len(errors["initial"]), rel=1e-4
    )
    assert {"val/fr_percent", "val/auc", "train/loss", "train/heatmap", "train/refined", "train/initial"} <= set(logged)


class Prepared(torch.nn.Module):
    """A detector whose landmarks are known."""

    def __init__(self, like: LandmarkDetector, pos: torch.Tensor) -> None:
        super().__init__()
        self.scheme, self.protocol, self.input_size = like.scheme, like.protocol, like.input_size
        self.pos = pos

    def forward(self, images: torch.Tensor, mask: torch.Tensor | None) -> DetectorOutput:
        assert mask is None
        return DetectorOutput(self.pos, self.pos + 1, torch.ones(self.pos.shape[:2]), images)


@pytest.mark.parametrize(("protocol", "expected"), [("zero_based", 5 / 20), ("pipnet", 5 / 10)])
def test_validation_follows_the_protocol(tiny_detector: DetectorConfig, protocol: str, expected: float) -> None:
    module = LandmarkModule(replace(tiny_detector, protocol=protocol), SOFT)
    assert module.detector.protocol.frame == {"zero_based": "image", "pipnet": "crop"}[protocol]
    target = torch.full((68, 2), 8.0)
    left, right = (module.detector.scheme.normalizers["inter_ocular"][side] for side in (0, 1))
    target[list(left)] = torch.tensor([8.0, 8.0])
    target[list(right)] = torch.tensor([18.0, 8.0])
    # Wide faces: a pixel of the input is 2 of the image across and 4 down.
    affine = torch.tensor([[[0.5, 0.0, 3.0], [0.0, 0.25, 1.0]]])
    face = {"image": torch.zeros(1, 3, 32, 32), "affine": affine, "num_nodes": 68}
    whole = Data(y=target, visibility=torch.ones(68), normalizer=torch.tensor([20.0]), **face)
    # A face without an eye corner has no error, whatever its other landmarks are.
    part = Data(y=target.clone(), visibility=torch.ones(68), normalizer=torch.tensor([torch.nan]), **face)
    part.y[list(left)] = torch.nan
    part.visibility[list(left)] = 0
    found = target + torch.tensor([2.5, 0.0] if protocol == "zero_based" else [5.0, 0.0])
    module.detector = Prepared(module.detector, torch.stack([found, target + 9]))  # type: ignore[assignment]
    module.eval()
    module.validation_step(Batch.from_data_list([whole, part]), 0)
    # The face without an eye corner is not counted.
    assert all_errors(module.refined_errors).tolist() == pytest.approx([expected])


def test_landmarks_that_are_missing_are_left_out_of_the_graph_in_training(
    tiny_detector: DetectorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = {"image": torch.zeros(1, 3, 32, 32), "y": torch.full((68, 2), 8.0), "num_nodes": 68}
    batch = Batch.from_data_list([Data(**face, visibility=torch.arange(68).ne(missing).float()) for missing in (3, -1)])
    module = LandmarkModule(tiny_detector, SOFT)
    given: list[torch.Tensor | None] = []
    refine = module.detector.refiner.refine

    def watched(keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        given.append(keypoints.mask)
        return refine(keypoints, return_connectivity)

    monkeypatch.setattr(module.detector.refiner, "refine", watched)
    for training in (True, False):
        module.train(training)
        module._detect(batch)
    module.train()
    batch.visibility = torch.ones(2 * 68)
    module._detect(batch)
    assert (~given[0]).nonzero().tolist() == [[0, 3]]
    assert given[1:] == [None, None]


@pytest.mark.parametrize("channels_last", [False, True])
def test_bf16_and_channels_last(
    tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path, channels_last: bool
) -> None:
    module = LandmarkModule(tiny_detector, SOFT, channels_last=channels_last)
    trainer = trained(module, face_root, tmp_path, precision="bf16-mixed")
    loss = trainer.callback_metrics["train/loss"]
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())


def rates_of(
    schedule: ScheduleConfig, detector: DetectorConfig, root: Path, folder: Path, **trainer: Any
) -> list[float]:
    """The refiner's learning rate in each of the two steps of each of two epochs."""
    seen: list[float] = []

    class Watched(LandmarkModule):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            seen.append(self.trainer.optimizers[0].param_groups[-1]["lr"])
            return super().training_step(batch, batch_idx)

    trained(Watched(detector, SOFT, refiner_lr=1e-3, schedule=schedule), root, folder, **{"max_epochs": 2, **trainer})
    return seen


def test_multistep_acts_at_the_start_of_its_epochs(
    tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path
) -> None:
    seen = rates_of(ScheduleConfig("multistep", milestones=(1,)), tiny_detector, face_root, tmp_path)
    assert seen == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


@pytest.mark.parametrize("limits", [{"max_epochs": 3}, {"max_epochs": -1}])
def test_milestones_are_epochs_also_of_a_run_that_steps_end(
    limits: dict[str, int], tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path
) -> None:
    schedule = ScheduleConfig("multistep", milestones=(1,))
    seen = rates_of(schedule, tiny_detector, face_root, tmp_path, max_steps=4, **limits)
    assert seen == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_milestones_of_data_without_a_length_are_refused(
    accumulate: int, tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DataLoader, "__len__", None)
    with pytest.raises(InputError, match=r"epochs of a known length for 'schedule.name' multistep"):
        rates_of(
            ScheduleConfig("multistep", milestones=(1,)),
            tiny_detector,
            face_root,
            tmp_path,
            max_steps=4,
            limit_train_batches=1.0,
            accumulate_grad_batches=accumulate,
        )


def test_a_run_that_time_alone_ends(tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path) -> None:
    endless: dict[str, Any] = {"max_epochs": -1, "max_time": {"seconds": 1}}
    assert set(rates_of(ScheduleConfig(), tiny_detector, face_root, tmp_path, **endless)) == {1e-3}
    with pytest.raises(InputError, match=r"a run of a known length for 'schedule.name' one_cycle .*trainer.max_epochs"):
        rates_of(ScheduleConfig("one_cycle"), tiny_detector, face_root, tmp_path, **endless)


def test_one_cycle_rises_and_ends_near_zero(tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path) -> None:
    seen = rates_of(ScheduleConfig("one_cycle", warmup=0.5), tiny_detector, face_root, tmp_path)
    assert seen[:2] == pytest.approx([1e-3 / 25, 1e-3])
    assert seen[2] > seen[3]
    assert seen[3] < 1e-6


def test_draws_of_random_layers_follow_from_seed_and_epoch(
    tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path
) -> None:
    def draws(seed: int, before: int) -> list[float]:
        seen: list[float] = []

        class Watched(LandmarkModule):
            def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
                seen.append(float(torch.rand(())))
                return super().training_step(batch, batch_idx)

        torch.manual_seed(before)
        trained(Watched(tiny_detector, SOFT, seed=seed), face_root, tmp_path, max_epochs=2, limit_train_batches=1)
        return seen

    first = draws(seed=0, before=1)
    assert first[0] != first[1]
    assert draws(seed=0, before=2) == first
    assert set(draws(seed=1, before=1)).isdisjoint(first)


def test_weight_decay_spares_biases_and_normalisation(
    tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path
) -> None:
    trainer = trained(LandmarkModule(tiny_detector, SOFT, optimizer="adamw", weight_decay=0.1), face_root, tmp_path)
    assert isinstance(trainer.optimizers[0], torch.optim.AdamW)
    for group in trainer.optimizers[0].param_groups:
        plain = group["name"].endswith("/no_decay")
        assert group["weight_decay"] == (0.0 if plain else 0.1)
        assert all((parameter.ndim <= 1) == plain for parameter in group["params"])


def test_initial_weights_are_taken_where_they_match(tiny_detector: DetectorConfig, tmp_path: Path) -> None:
    source = LandmarkDetector(tiny_detector)
    source.save_pretrained(tmp_path / "trained")
    other = tiny_detector.with_options(refiner={"hidden_channels": (6,)})
    module = LandmarkModule(other, SOFT, initial_weights=str(tmp_path / "trained"))
    for name, value in source.backbone.state_dict().items():
        assert module.detector.backbone.state_dict()[name].equal(value)
    left = load_matching_weights(LandmarkDetector(other), str(tmp_path / "trained"))
    assert left
    assert all(name.startswith("refiner.") for name in left)


def test_initial_weights_of_another_scheme_are_refused(tiny_detector: DetectorConfig, tmp_path: Path) -> None:
    LandmarkDetector(replace(tiny_detector, scheme="wflw98")).save_pretrained(tmp_path / "trained")
    with pytest.raises(InputError, match="scheme 'ibug68' .got 'wflw98'."):
        LandmarkModule(tiny_detector, SOFT, initial_weights=str(tmp_path / "trained"))


def test_a_checkpoint_of_another_scheme_is_refused(tiny_detector: DetectorConfig) -> None:
    with pytest.raises(InputError, match="scheme 'ibug68' .got 'wflw98'."):
        LandmarkModule(tiny_detector, SOFT).on_load_checkpoint(checkpoint_of(replace(tiny_detector, scheme="wflw98")))


def test_a_checkpoint_of_another_network_is_refused(tiny_detector: DetectorConfig) -> None:
    module = LandmarkModule(tiny_detector, SOFT)
    module.on_load_checkpoint(checkpoint_of(tiny_detector))
    with pytest.raises(InputError, match="'detector.refiner"):
        module.on_load_checkpoint(checkpoint_of(tiny_detector.with_options(refiner={"hidden_channels": (6,)})))


def test_a_one_cycle_run_cannot_be_stretched(tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path) -> None:
    module = LandmarkModule(tiny_detector, SOFT, schedule=ScheduleConfig("one_cycle"))
    module.on_load_checkpoint({**checkpoint_of(tiny_detector), "lr_schedulers": [{"total_steps": 2}]})
    trained(module, face_root, tmp_path)
    with pytest.raises(InputError, match="a run of 2 steps.* .got 4."):
        trained(module, face_root, tmp_path, max_epochs=2)


def test_nothing_to_train_is_an_error(tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path) -> None:
    detector = tiny_detector.with_options(refiner={"name": "none"})
    module = LandmarkModule(detector, SOFT, freeze_backbone=True, allow_untrained_backbone=True)
    with pytest.raises(InputError, match="something to train"):
        trained(module, face_root, tmp_path)


def test_a_loss_that_does_not_fit_the_heatmaps_is_refused_before_training(tiny_detector: DetectorConfig) -> None:
    with pytest.raises(InputError, match="'integer' for the focal heatmap loss"):
        LandmarkModule(tiny_detector, LossConfig(heatmap="focal"))


def test_a_test_and_predictions_agree_with_validation(
    tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path
) -> None:
    module = LandmarkModule(tiny_detector, SOFT)
    options = {"input_size": (32, 32), "num_workers": 0, "val_split": "lfpw/testset", "test_split": "lfpw/testset"}
    data = LandmarkDataModule(str(face_root), **options)  # type: ignore[arg-type]
    trainer = Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=False, enable_progress_bar=False)
    (validated,) = trainer.validate(module, datamodule=data, verbose=False)
    (tested,) = trainer.test(module, datamodule=data, verbose=False)
    assert {name.partition("/")[2] for name in tested} == {"nme_percent", "initial_nme_percent", "fr_percent", "auc"}
    assert tested == {name.replace("val/", "test/"): pytest.approx(value) for name, value in validated.items()}

    (predicted,) = trainer.predict(module, datamodule=data) or []
    assert predicted.image_id == ["lfpw/testset/12.png", "lfpw/testset/13.png"]
    assert predicted.confidence.shape == (2, 68)
    faces: Any = data.test_faces
    for landmarks, name in ((predicted.landmarks, "nme_percent"), (predicted.initial, "initial_nme_percent")):
        errors = normalized_mean_error(landmarks, faces.pos, faces.normalizer, faces.visibility)
        assert 100 * errors.mean().item() == pytest.approx(tested[f"test/{name}"], rel=1e-4)


def test_a_frozen_backbone_needs_trained_weights(
    tiny_detector: DetectorConfig, face_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="--model.initial_weights.*--model.allow_untrained_backbone true"):
        trained(LandmarkModule(tiny_detector, SOFT, freeze_backbone=True), face_root, tmp_path)
    LandmarkModule(tiny_detector, SOFT).check_backbone_is_trained()
    # Initial weights count only if they cover the whole backbone.
    LandmarkDetector(tiny_detector).save_pretrained(tmp_path / "same")
    start = {"freeze_backbone": True, "initial_weights": str(tmp_path / "same")}
    LandmarkModule(tiny_detector, SOFT, **start).check_backbone_is_trained()  # type: ignore[arg-type]
    wider = replace(tiny_detector, backbone_options={"head": "pyramid", "width": 16})
    with pytest.raises(InputError, match="trained weights for the backbone"):
        LandmarkModule(wider, SOFT, **start).check_backbone_is_trained()  # type: ignore[arg-type]


def test_weights_of_a_network_alone_leave_the_layers_of_the_heatmaps_untrained(
    tiny_detector: DetectorConfig, tmp_path: Path
) -> None:
    backbone = LandmarkDetector(tiny_detector).backbone
    network = {name.removeprefix("net."): value for name, value in backbone.state_dict().items() if "net." in name}
    torch.save(network, tmp_path / "imagenet.pt")
    start = replace(tiny_detector, backbone_weights=str(tmp_path / "imagenet.pt"))
    module = LandmarkModule(start, SOFT, freeze_backbone=True)
    names = random_weights(module.detector.backbone, start)
    assert names and all(name.startswith("head.") for name in names)
    with pytest.raises(InputError, match=rf"trained weights .*\({len(names)} are random, such as 'head"):
        module.check_backbone_is_trained()


def test_a_backbone_that_loads_its_own_weights_is_trained(
    tiny_detector: DetectorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = LandmarkDetector(tiny_detector).backbone
    monkeypatch.setitem(BACKBONES._things, "own", lambda num_landmarks: deepcopy(trained))
    own = replace(tiny_detector, backbone="own", backbone_options={})
    state = torch.random.get_rng_state()
    module = LandmarkModule(own, SOFT, freeze_backbone=True)
    drawn = torch.random.get_rng_state()
    module.check_backbone_is_trained()
    assert torch.equal(torch.random.get_rng_state(), drawn) and not torch.equal(state, drawn)
