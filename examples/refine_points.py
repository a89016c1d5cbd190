"""Refine the points of somebody else's model: no images, no heatmaps, no training.

    python examples/refine_points.py

A stand-in for the model finds the 21 landmarks of a hand in images of any size: it puts finger tips too low, errs more
where its confidence is low, misses some landmarks and sometimes takes one finger for another.
"""

import tempfile

import torch

import lgcn

torch.manual_seed(0)
FINGERS = torch.tensor([[-0.8, 0.3], [-0.4, 1.0], [0.0, 1.1], [0.4, 1.0], [0.75, 0.7]])
JOINTS = torch.tensor([0.45, 0.65, 0.85, 1.0])
TIPS = [4, 8, 12, 16, 20]


def draw_hands(count: int) -> torch.Tensor:
    """Hands [count, 21, 2] in pixels: a wrist and four landmarks a finger, of random spread, lengths, size and turn."""
    spread = 1 + 0.3 * torch.randn(count, 1, 1)
    lengths = 1 + 0.15 * torch.randn(count, 5, 1)
    fingers = (FINGERS * lengths * torch.cat([spread, torch.ones_like(spread)], dim=-1)).unsqueeze(2)
    hands = torch.cat([torch.zeros(count, 1, 2), (fingers * JOINTS.unsqueeze(-1)).flatten(1, 2)], dim=1)
    hands = hands + 0.02 * torch.randn_like(hands)
    angle, size = 0.5 * torch.randn(count), 50 * torch.randn(count).exp()
    cos, sin = size * angle.cos(), size * angle.sin()
    return hands @ torch.stack([cos, sin, -sin, cos], dim=-1).view(count, 2, 2) + 400


def find_hands(hands: torch.Tensor) -> lgcn.KeyPoints:
    """What the model finds; put your own here."""
    size = (hands - hands.mean(1, keepdim=True)).square().sum(-1).mean(1)[:, None, None].sqrt()
    confidence = torch.rand(hands.shape[:2])
    pos = hands + size * (0.25 - 0.22 * confidence).unsqueeze(-1) * torch.randn_like(hands)
    pos[:, TIPS] -= 0.1 * (pos[:, TIPS] - pos[:, :1])
    wrong = torch.rand(len(hands)) < 0.2
    pos[wrong, 8] = pos[wrong, 12]
    pos[torch.rand(hands.shape[:2]) < 0.1] = torch.nan
    return lgcn.KeyPoints(pos, confidence)


def error(pos: torch.Tensor, hands: torch.Tensor, chosen: torch.Tensor) -> float:
    """Mean error in per cent of the size of the hand."""
    size = (hands - hands.mean(1, keepdim=True)).square().sum(-1).mean(1, keepdim=True).sqrt()
    return 100 * ((pos - hands).norm(dim=-1) / size)[chosen].mean().item()


annotated = draw_hands(500)
found = find_hands(annotated)
refiner = lgcn.ShapeRefiner(num_landmarks=21, use_confidence=True).fit(annotated, found.pos, found.confidence)

with tempfile.TemporaryDirectory() as folder:
    refiner.save_pretrained(folder)
    hands = draw_hands(200)
    found = find_hands(hands)
    refined = lgcn.refine(found, model=folder)

seen = refined.observed
size = (hands - hands.mean(1, keepdim=True)).square().sum(-1).mean(1, keepdim=True).sqrt()
print(f"found landmarks: {error(found.pos, hands, seen):.1f} % -> {error(refined.pos, hands, seen):.1f} %")
print(f"expected by the refiner: {100 * (refined.expected_error / size)[seen].mean():.1f} %")
print(f"missing landmarks, filled in: {error(refined.pos, hands, ~seen):.1f} %")
named = refined.outliers(0.01)
print(f"outliers: landmark 8 in {named[:, 8].sum()} hands, the others in {named.sum(0).float().mean():.1f} on average")
