"""How well a score ranks."""

from torch import Tensor
from torchmetrics.functional.classification import binary_auroc


def auroc(score: Tensor, positive: Tensor) -> float:
    """Probability that a positive has a higher score than a negative."""
    # By rank: torchmetrics would take scores outside [0, 1] for logits, whose sigmoid can be 1 for many.
    rank = score.flatten().unique(return_inverse=True)[1]
    return binary_auroc(rank / (rank.max() + 1), positive.flatten().long()).item()
