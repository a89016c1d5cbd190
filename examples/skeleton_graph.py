"""Train one layer on a graph that is neither a face nor complete: the joints of a person, some of them occluded.

    python examples/skeleton_graph.py

Edges are the bones. Each joint is measured with noise, a hidden one with much more and with a low confidence, as from a
detector. The layer learns to weight visible neighbours more.
"""

import torch

from lgcn.nn import LearnableConnectivity, LGCNConv

JOINTS = ("head", "neck", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist")
BONES = ((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7))
POSE = [(0.0, 2.0), (0.0, 1.5), (-0.5, 1.5), (-0.9, 1.0), (-1.0, 0.4), (0.5, 1.5), (0.9, 1.0), (1.0, 0.4)]  # metres

torch.manual_seed(0)
landmark_id = torch.arange(len(JOINTS))  # the type of each node
edge_index = torch.tensor([*BONES, *((child, parent) for parent, child in BONES)]).t()

# 64 people somewhere in the room. They share one edge list, so tensors are [64, 8, ...].
truth = torch.tensor(POSE) + torch.randn(64, 1, 2) + 0.05 * torch.randn(64, len(JOINTS), 2)
confidence = torch.where(torch.rand(64, len(JOINTS)) < 0.3, 0.1, 0.9)
measured = truth + 0.3 * (1 - confidence.unsqueeze(-1)) * torch.randn_like(truth)
types = torch.eye(len(JOINTS)).expand(64, -1, -1)
x = torch.cat([types, confidence.unsqueeze(-1) * types], dim=-1)

conv = LGCNConv(x.shape[-1], 2, connectivity=LearnableConnectivity(len(JOINTS)))
optimizer = torch.optim.Adam(conv.parameters(), lr=0.02)
for step in range(201):
    correction = conv(x, edge_index, pos=measured, landmark_id=landmark_id, confidence=confidence)
    loss = (measured + correction - truth).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:3}: mean squared error {loss.item():.4f}")

_, (_, weight) = conv(x, edge_index, measured, landmark_id, confidence, return_connectivity=True)
neighbour, receiver = edge_index
hidden = confidence[:, neighbour] < 0.5
neck = receiver == JOINTS.index("neck")
print(f"error of the measurements: {(measured - truth).square().mean():.4f}")
print(f"the neck receives from a visible joint with weight {weight[:, neck][~hidden[:, neck]].mean():.2f}, ", end="")
print(f"to a hidden one with {weight[:, neck][hidden[:, neck]].mean():.2f}")
