"""An image whose landmarks can be read off exactly, and a detector that does."""

import torch
from torch import Tensor, nn

from lgcn.protocols import get_protocol
from lgcn.schemes import LandmarkScheme
from lgcn.typing import DetectorOutput


class SpotDetector(nn.Module):
    """Finds one spot of light in each colour channel of a crop: its centre of mass.

    Behaves like :class:`lgcn.models.LandmarkDetector`. Its initial landmarks lie 2 input pixels to the right of
    the refined ones, and both are ``bias`` input pixels off to the left.
    """

    def __init__(self, input_size: tuple[int, int] = (64, 64), bias: float = 0.0) -> None:
        super().__init__()
        self.scheme = LandmarkScheme(name="spots", names=("red", "green", "blue"))
        self.protocol = get_protocol("zero_based")
        self.min_confidence = 0.0
        self.input_size = input_size
        self.refiner = object()
        self.bias = nn.Parameter(torch.tensor(bias))
        self.batches: list[Tensor] = []

    def for_inference(self) -> "SpotDetector":
        return self.eval()

    def forward(self, images: Tensor, return_connectivity: bool = False) -> DetectorOutput:
        self.batches.append(images)
        assert not self.training
        light = images.double() + 1e-6
        light = light / light.sum(dim=(2, 3), keepdim=True)
        y, x = (torch.arange(size, dtype=torch.float64) for size in self.input_size)
        pos = torch.stack([(light.sum(dim=2) * x).sum(-1), (light.sum(dim=3) * y).sum(-1)], dim=-1).float()
        pos = pos - self.bias * torch.tensor([1.0, 0.0])
        confidence = images.amax(dim=(2, 3)) / 255
        connectivity = torch.full((len(images), 3, 3), 0.5) * (1 - torch.eye(3)) if return_connectivity else None
        return DetectorOutput(pos, pos + torch.tensor([2.0, 0.0]), confidence, images[:, :1], connectivity)


def draw_spots(size: tuple[int, int], *faces: Tensor, sigma: float = 1.2) -> Tensor:
    """uint8 [3, H, W]: on black, one spot of light for each landmark of each face [3, 2], in the landmark's colour."""
    y = torch.arange(size[0])[:, None]
    x = torch.arange(size[1])[None]
    image = torch.zeros(3, *size)
    for face in faces:
        for colour, (centre_x, centre_y) in enumerate(face.tolist()):
            image[colour] += 255 * torch.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * sigma**2))
    return image.round().clamp(0, 255).to(torch.uint8)


def triangle(x: float, y: float, size: float = 30.0) -> Tensor:
    """Landmarks [3, 2] whose tight box starts at (x, y)."""
    return torch.tensor([[x, y], [x + size, y + 2.5], [x + size / 2, y + size]])
