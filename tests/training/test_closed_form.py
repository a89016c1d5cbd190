"""Gaussian refiners start from statistics of the training faces."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from lgcn.checks import InputError
from lgcn.models import DetectorConfig, LandmarkDetector, create_detector
from lgcn.nn import GaussianRefiner, RefinerChain
from lgcn.training import LandmarkDataModule, LandmarkModule, LossConfig, fit_refiners
from lgcn.training.optim import create_optimizer, statistics_of

LOSS = LossConfig(heatmap="cross_entropy")


def gaussian(config: DetectorConfig, name: str = "gaussian") -> DetectorConfig:
    return config.with_options(refiner={"name": name, "gaussian": {"rank": 2, "hidden_channels": [8]}})


@pytest.fixture
def data(face_root: Path) -> LandmarkDataModule:
    data = LandmarkDataModule(str(face_root), input_size=(32, 32), num_workers=0, batch_size=4)
    data.setup()
    return data


def trainer(folder: Path, **options: Any) -> Trainer:
    return Trainer(
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        accelerator="cpu",
        **options,
    )


@pytest.mark.parametrize("use_predictions", [False, True])
def test_the_prior_is_that_of_the_training_faces(
    tiny_detector: DetectorConfig, data: LandmarkDataModule, use_predictions: bool
) -> None:
    detector = create_detector(gaussian(tiny_detector)).train()
    fit_refiners(detector, data.train_dataloader(), use_predictions=use_predictions)
    refiner = detector.refiner
    assert isinstance(refiner, GaussianRefiner)
    assert refiner.is_fitted
    shapes = torch.cat([batch.y.view(-1, 68, 2) for batch in data.train_dataloader()])
    torch.testing.assert_close(refiner.centre, shapes.mean(dim=(0, 1)))
    # Without predictions the noise is a guess, the same for all types.
    assert (len(refiner.noise.log_variance.unique()) > 1) == use_predictions
    assert detector.training


def test_a_refiner_late_in_a_chain_is_fitted_to_what_it_is_given(
    tiny_detector: DetectorConfig, data: LandmarkDataModule
) -> None:
    torch.manual_seed(0)
    detector = create_detector(gaussian(tiny_detector, "lgcn+gaussian"))
    chain = detector.refiner
    assert isinstance(chain, RefinerChain)
    first, last = chain.refiners
    for parameter in first.lgcn.convs[-1].parameters():  # type: ignore[union-attr]
        torch.nn.init.constant_(parameter, 0.5)
    fit_refiners(detector, data.train_dataloader())
    moved = last.noise.log_variance.clone()  # type: ignore[union-attr]
    last.frame.zero_()  # type: ignore[union-attr, operator]
    first.reset_parameters()  # type: ignore[operator]
    fit_refiners(detector, data.train_dataloader())
    assert not torch.allclose(moved, last.noise.log_variance, atol=0.1)  # type: ignore[union-attr, arg-type]


def test_training_fits_the_refiner_once(
    tiny_detector: DetectorConfig, data: LandmarkDataModule, tmp_path: Path
) -> None:
    module = LandmarkModule(gaussian(tiny_detector), LOSS, refiner_lr=0.0, backbone_lr=0.0)
    trainer(tmp_path).fit(module, datamodule=data)
    refiner = module.detector.refiner
    assert isinstance(refiner, GaussianRefiner)
    mean = refiner.prior.mean.clone()
    assert refiner.is_fitted
    module.detector.save_pretrained(tmp_path / "trained")
    again = LandmarkModule(
        gaussian(tiny_detector), LOSS, initial_weights=str(tmp_path / "trained"), refiner_lr=0.0, backbone_lr=0.0
    )
    data.seed = 1
    trainer(tmp_path).fit(again, datamodule=data)
    assert torch.equal(again.detector.refiner.prior.mean, mean)  # type: ignore[union-attr]
    assert LandmarkDetector.from_pretrained(tmp_path / "trained").refiner.is_fitted  # type: ignore[union-attr]


def test_loaders_without_a_data_module_need_a_fitted_refiner(
    tiny_detector: DetectorConfig, data: LandmarkDataModule, tmp_path: Path
) -> None:
    module = LandmarkModule(gaussian(tiny_detector), LOSS)
    with pytest.raises(InputError, match="lgcn.training.fit_refiners"):
        trainer(tmp_path).fit(module, train_dataloaders=data.train_dataloader())


def test_statistics_have_no_weight_decay(tiny_detector: DetectorConfig) -> None:
    detector = create_detector(gaussian(tiny_detector))
    assert isinstance(detector.refiner, GaussianRefiner)
    optimizer = create_optimizer("adamw", [("all", list(detector.parameters()), 1.0)], 0.1, statistics_of(detector))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay[id(detector.refiner.prior.loadings)] == 0
    assert decay[id(detector.refiner.noise.log_variance)] == 0
    assert decay[id(detector.refiner.offset_mlp.lins[0].weight)] == 0.1  # type: ignore[union-attr]
