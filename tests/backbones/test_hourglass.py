"""Stacked hourglasses: the contract, and the loss of every stack in training."""

import torch

from lgcn.backbones import Backbone, HourglassBackbone, create_backbone
from lgcn.losses import DetectionLoss
from lgcn.models import create_detector
from lgcn.testing import BackboneTester
from lgcn.typing import SupervisedHeatmapOutput

TINY = {"width": 8, "depth": 2}


class TestHourglass(BackboneTester):
    def build(self) -> Backbone:
        return HourglassBackbone(5, num_stacks=2, **TINY)


def test_a_single_stack_has_nothing_in_between() -> None:
    backbone = create_backbone("hourglass", 5, num_stacks=1, **TINY).train()
    assert len(backbone(torch.randn(2, 3, 32, 32))) == 2


def test_every_stack_is_supervised_in_training_only() -> None:
    options = {"num_stacks": 3, **TINY}
    detector = create_detector("default", backbone="hourglass", backbone_options=options, input_size=(32, 32))
    images, target = torch.rand(2, 3, 32, 32), 32 * torch.rand(2, 68, 2)
    loss = DetectionLoss("cross_entropy", refined_weight=0.0)
    output = detector(images)
    assert isinstance(detector.backbone(images), SupervisedHeatmapOutput)
    assert len(output.intermediate) == 2
    terms = loss(output, target, None, detector.codec, (32, 32))
    alone = loss(output._replace(intermediate=None), target, None, detector.codec, (32, 32))
    earlier = [
        loss(output._replace(heatmaps=each, intermediate=None), target, None, detector.codec, (32, 32))["heatmap"]
        for each in output.intermediate
    ]
    torch.testing.assert_close(terms["heatmap"], alone["heatmap"] + sum(earlier))
    terms["total"].backward()
    assert all(head.weight.grad.any() for head in detector.backbone.heads)
    assert detector.eval()(images).intermediate is None
