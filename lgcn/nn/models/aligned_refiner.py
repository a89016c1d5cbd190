"""Refiners that work in the frame of a mean shape."""

import torch
from torch import Tensor

from lgcn.nn.functional.gaussian import GaussianPosterior
from lgcn.nn.functional.similarity import Similarity, fit_similarity, mean_shape
from lgcn.nn.models.refiner import Refiner
from lgcn.typing import Size


class AlignedRefiner(Refiner):
    """Base class of refiners that bring landmarks into the frame of a mean shape, and back to pixels of the input.

    Args:
        num_landmarks: K.
        input_size: (H, W) of the network's input.
    """

    frame: Tensor
    """[K, 2], the mean shape, of root-mean-square radius 1; 0 before it is known."""
    centre: Tensor
    """[2], of the average training image, pixels."""
    scale: Tensor
    """[], root-mean-square radius of the shape in the average training image, pixels."""

    def __init__(self, num_landmarks: int, input_size: Size) -> None:
        super().__init__()
        self.num_landmarks = num_landmarks
        self.input_size = height, width = input_size[0], input_size[1]
        self.register_buffer("frame", torch.zeros(num_landmarks, 2))
        self.register_buffer("centre", torch.tensor([(width - 1) / 2, (height - 1) / 2]))
        self.register_buffer("scale", torch.tensor(min(height, width) / 4))

    @property
    def is_fitted(self) -> bool:
        """Whether the mean shape is known, from ``fit`` or from saved parameters."""
        return bool(self.frame.any())

    def _fit_frame(self, shapes: Tensor) -> tuple[Similarity, Tensor]:
        """Set the frame from shapes [N, K, 2], pixels; their similarities to it, and the aligned shapes."""
        frame, centre = mean_shape(shapes), shapes.mean(dim=(0, 1))
        scale = fit_similarity(shapes, frame).squared_scale().rsqrt().median()
        for buffer, value in ((self.frame, frame), (self.centre, centre), (self.scale, scale)):
            buffer.copy_(value)
        normalized = (shapes - centre) / scale
        similarity = fit_similarity(normalized, frame)
        return similarity, similarity.apply(normalized)

    def _normalized(self, pos: Tensor) -> Tensor:
        """Landmarks in pixels in the unit of the frame, in their own pose."""
        return (pos.to(self.frame.dtype) - self.centre) / self.scale

    def _to_input(self, similarity: Similarity, pos: Tensor) -> Tensor:
        return similarity.invert(pos) * self.scale + self.centre

    def _posterior_to_input(self, similarity: Similarity, posterior: GaussianPosterior) -> GaussianPosterior:
        area = self.scale.square()
        return GaussianPosterior(
            self._to_input(similarity, posterior.mean),
            similarity.invert_covariance(posterior.covariance) * area,
            posterior.residual @ similarity.inverse_matrix().mT * self.scale,
            similarity.invert_covariance(posterior.residual_covariance) * area,
        )
