"""What a run takes from trained detectors: weights to start from, and landmarks to learn from."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcn.checks import InputError
from lgcn.models import DetectorConfig, LandmarkDetector, create_detector


class Teacher:
    """A trained, frozen detector that predicts the landmarks of training crops (distillation, Hinton et al. 2015).

    Not a module: it is no part of the checkpoints, the optimisers and the modes of the detector that it teaches.

    Args:
        source: anything that ``LandmarkDetector.from_pretrained`` takes.
        student: the detector that is trained. Crops are resized to the teacher's input size if it differs.

    Raises:
        InputError: if the scheme differs.
    """

    def __init__(self, source: str, student: LandmarkDetector) -> None:
        detector = LandmarkDetector.from_pretrained(source)
        check_same_scheme("'teacher'", detector.scheme.name, student.scheme.name)
        self.detector = detector.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Refined landmarks [B, K, 2] of crops [B, 3, H, W], uint8 or in [0, 1], in pixels of these."""
        size, own = images.shape[-2:], self.detector.input_size
        seen = images if images.is_floating_point() else images.float() / 255
        if size != own:
            seen = F.interpolate(seen, own, mode="bilinear", antialias=True)
        pos: Tensor = self.detector.to(images.device)(seen.contiguous(memory_format=torch.channels_last)).pos
        scale = pos.new_tensor([size[1] / own[1], size[0] / own[0]])
        return (pos + 0.5) * scale - 0.5


def random_weights(backbone: nn.Module, config: DetectorConfig) -> list[str]:
    """Names of the backbone's parameters that are drawn at random: those that a second one does not share.

    ImageNet weights, for instance, leave the layers that make heatmaps random.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.seed()
        other = dict(create_detector(config).backbone.named_parameters())
    return [name for name, value in backbone.named_parameters() if not torch.equal(value.cpu(), other[name])]


def check_same_scheme(what: str, got: str, expected: str) -> None:
    """Raise :class:`InputError` if weights for one landmark scheme are given to a detector of another."""
    if got != expected:
        raise InputError(
            f"Expected {what} to hold a detector of the scheme '{expected}' (got '{got}'). "
            "Set 'model.detector.scheme' to the scheme it was trained with, or choose other weights."
        )


def load_matching_weights(detector: LandmarkDetector, source: str) -> list[str]:
    """Copy all weights of a trained detector whose names and shapes match into ``detector``.

    Returns:
        The names of the entries of ``detector`` that did not change.

    Raises:
        InputError: if the scheme differs or nothing matches.
    """
    trained = LandmarkDetector.from_pretrained(source)
    check_same_scheme("'initial_weights'", trained.scheme.name, detector.scheme.name)
    own = detector.state_dict()
    matching = {k: v for k, v in trained.state_dict().items() if k in own and v.shape == own[k].shape}
    if not matching:
        raise InputError(
            f"Expected '{source}' to share weights with the detector in 'model.detector' (no name and shape agrees). "
            "Choose the backbone and refiner that it was trained with."
        )
    detector.load_state_dict(matching, strict=False)
    return sorted(own.keys() - matching.keys())
