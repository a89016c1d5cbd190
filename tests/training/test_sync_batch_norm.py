"""Synchronised batch normalisation computes the same in eval mode; torch has it on GPUs only in training."""

import copy

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from lgcn.models import PRESETS, DetectorConfig, LandmarkDetector
from lgcn.training import LandmarkModule, LossConfig
from lgcn.training.sync_batch_norm import SyncBatchNorm


@pytest.mark.parametrize("preset", ["official", "default"])
def test_activations_and_masks_survive(preset: str, tiny_detector: DetectorConfig) -> None:
    options = {"backbone": tiny_detector.backbone, "backbone_options": tiny_detector.backbone_options}
    config = PRESETS[preset].with_options(input_size=(32, 32), refiner={"norm": "batch_norm"}, **options)
    detector = LandmarkDetector(config).eval()
    images = torch.rand(2, 3, 32, 32)
    before = detector(images)
    kinds, sync = [type(module) for module in detector.modules()], SyncBatchNorm()
    converted = sync.apply(detector)
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) > 10
    assert not any(type(module) is nn.BatchNorm2d for module in converted.modules())
    assert list(converted.state_dict()) == list(LandmarkDetector(config).state_dict())
    for found, expected in zip(converted(images)[:4], before[:4], strict=True):
        torch.testing.assert_close(found, expected)
    # What training and a move to another device do to the layers.
    converted.double().train()
    for buffer in converted.buffers():
        buffer.add_(1)
    trained = copy.deepcopy(converted.state_dict())
    reverted = sync.revert(converted)
    assert [type(module) for module in reverted.modules()] == kinds
    assert all(module.training for module in reverted.modules())
    assert all(torch.equal(value, trained[name]) for name, value in reverted.state_dict().items())


def test_any_trainer_uses_it(tiny_detector: DetectorConfig) -> None:
    for wanted in (True, False):
        module = LandmarkModule(tiny_detector, LossConfig("cross_entropy"))
        module.trainer = Trainer(accelerator="cpu", strategy="ddp", devices=1, sync_batchnorm=wanted, logger=False)
        module.setup("fit")
        assert isinstance(module.trainer.strategy._layer_sync, SyncBatchNorm) is wanted
