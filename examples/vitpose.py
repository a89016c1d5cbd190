"""Transformers' ViTPose, frozen, with a graph that is trained on top of it.

    python examples/vitpose.py

The network here is random and small; with ``VitPoseForPoseEstimation.from_pretrained(...)`` it is the real thing. The
images show 17 coloured dots; the refiner learns from the features where they are.
"""

import torch
from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

from lgcn.adapters import ViTPoseBackbone
from lgcn.models import PRESETS, LandmarkDetector
from lgcn.schemes import SCHEMES, LandmarkScheme

torch.manual_seed(0)
JOINTS, SIZE = 17, (96, 64)

vit = VitPoseBackboneConfig(
    image_size=SIZE,
    patch_size=[16, 16],
    hidden_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=96,
    out_indices=[2],
)
model = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=vit, num_labels=JOINTS, use_simple_decoder=False))

SCHEMES.register("dots", LandmarkScheme("dots", tuple(f"dot_{number}" for number in range(JOINTS))))
config = PRESETS["default"].with_options(scheme="dots", input_size=SIZE)
detector = LandmarkDetector(config, ViTPoseBackbone(model, frozen=True))


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [count, 3, H, W] and dots [count, 17, 2]."""
    dots = torch.rand(JOINTS, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([44.0, 76.0]) + 10
    dots = dots + 6 * torch.randn(count, 1, 2)
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    near = (x - dots[..., 0, None, None]).square() + (y - dots[..., 1, None, None]).square() < 9
    return near.float().mean(1, keepdim=True).expand(-1, 3, -1, -1) * 10, dots


trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, 3e-3)
print(
    f"{sum(each.numel() for each in trained)} parameters are trained, {sum(p.numel() for p in model.parameters())} frozen"
)
for step in range(61):
    images, dots = draw(32)
    output = detector.train()(images)
    loss = (output.pos - dots).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step}: ViTPose {(output.initial - dots).abs().mean():.1f} px, refined {loss.item():.1f} px")
