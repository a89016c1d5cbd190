"""Refine the persons that torchvision's keypoint R-CNN finds.

    python examples/keypoint_rcnn.py

Weights cannot be downloaded everywhere, so that the network here is random and small, and its "persons" are noise; with
``weights="DEFAULT"``, ``min_score=0.7`` and your images it is the real thing. The refiner needs pairs of predictions
and true landmarks once: here the true ones are drawn, see ``lgcn fit-refiner`` for COCO's annotations.
"""

import torch
from torchvision.models.detection import keypointrcnn_resnet50_fpn

import lgcn
from lgcn.adapters import KeypointRCNNAdapter

torch.manual_seed(0)
JOINTS = 17

model = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=128, max_size=160)
adapter = KeypointRCNNAdapter(model, min_score=0.0)

standing = torch.stack([40 * torch.randn(JOINTS), torch.linspace(-200, 200, JOINTS)], dim=1)
poses = torch.einsum("nf,fka->nka", torch.randn(300, 4), 15 * torch.randn(4, JOINTS, 2))
shapes = 300 + standing + poses + 2 * torch.randn_like(poses)
predictions = shapes + 10 * torch.randn_like(shapes)
refiner = lgcn.ShapeRefiner(num_landmarks=JOINTS, use_confidence=True).fit(
    shapes, predictions, torch.rand(shapes.shape[:2])
)

for number, people in enumerate(adapter([torch.rand(3, 128, 150), torch.rand(3, 140, 120)])):
    refined = lgcn.refine(people, refiner)
    print(
        f"image {number}: {len(people.pos)} persons, heatmaps {list(people.heatmaps.shape[1:])}, features "
        f"{list(people.features.shape[1:])}, mean confidence {people.confidence.mean():.3f}"
    )
    print(
        f"  refined {list(refined.pos.shape)}, outliers of the first: {refined.outliers()[0].nonzero().flatten().tolist()}"
    )
