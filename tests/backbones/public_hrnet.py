"""HRNetV2 with the entries and the forward pass of the public facial networks, written from their description.

Nothing of it comes from timm: what :mod:`lgcn.backbones.checkpoints` claims is held to it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, size, stride, size // 2, bias=False)


def unit(channels: int, out_channels: int, size: int, stride: int = 1, act: bool = True) -> nn.Sequential:
    layers = [conv(channels, out_channels, size, stride), nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*layers, *([nn.ReLU()] if act else []))


def bring(maps: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


class Basic(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels, channels, 3), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels, 3), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.downsample = unit(channels, 4 * width, 1, act=False) if channels != 4 * width else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Exchange(nn.Module):
    """Four blocks on every branch, then each branch takes the sum of all, brought to its size."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(Basic(c) for _ in range(4))) for c in channels)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self.path(channels, i, j) for j in range(len(channels))) for i in range(len(channels))
        )

    @staticmethod
    def path(channels: list[int], i: int, j: int) -> nn.Module:
        if j == i:
            return nn.Identity()
        if j > i:
            return unit(channels[j], channels[i], 1, act=False)
        steps = [unit(channels[j], channels[j], 3, 2) for _ in range(i - j - 1)]
        return nn.Sequential(*steps, unit(channels[j], channels[i], 3, 2, act=False))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(m) for branch, m in zip(self.branches, maps, strict=True)]
        fused = []
        for i, paths in enumerate(self.fuse_layers):
            size = maps[i].shape[-2:]
            parts = [path(m) for path, m in zip(paths, maps, strict=True)]
            fused.append(F.relu(sum(bring(part, size) if j > i else part for j, part in enumerate(parts))))
        return fused


class PublicHRNet(nn.Module):
    def __init__(self, num_landmarks: int, width: int = 18) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.conv1, self.bn1 = conv(3, 64, 3, 2), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = conv(64, 64, 3, 2), nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(Bottleneck(64, 64), *(Bottleneck(256, 64) for _ in range(3)))
        first = [unit(256, widths[0], 3), nn.Sequential(unit(256, widths[1], 3, 2))]
        self.transition1 = nn.ModuleList(first)
        for stage, modules in ((2, 1), (3, 4), (4, 3)):
            if stage > 2:
                kept = [nn.Identity() for _ in range(stage - 1)]
                new = nn.Sequential(unit(widths[stage - 2], widths[stage - 1], 3, 2))
                setattr(self, f"transition{stage - 1}", nn.ModuleList([*kept, new]))
            setattr(self, f"stage{stage}", nn.Sequential(*(Exchange(widths[:stage]) for _ in range(modules))))
        total = sum(widths)
        self.head = nn.Sequential(
            nn.Conv2d(total, total, 1), nn.BatchNorm2d(total), nn.ReLU(), nn.Conv2d(total, num_landmarks, 1)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        x = self.layer1(x)
        maps = self.stage2([step(x) for step in self.transition1])
        maps = self.stage3([*maps, self.transition2[-1](maps[-1])])
        maps = self.stage4([*maps, self.transition3[-1](maps[-1])])
        features = torch.cat([bring(m, maps[0].shape[-2:]) for m in maps], dim=1)
        return self.head(features), features
