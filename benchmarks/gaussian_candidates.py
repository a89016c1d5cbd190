"""Candidates of ``benchmarks/layer_runtime.py`` with a Gaussian shape prior, next to the network of eq. 4-6."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.backends import compiled
from benchmarks.layer_candidates import IN, Candidate, Case
from lgcn.nn import DenseFactorAnalysisConv, FactorAnalysisConv, FactorAnalysisPrior, GaussianRefiner
from lgcn.typing import Size

RANK = 16
SIDE = 256


def gaussian_candidates(landmarks: int, backend: str = "none") -> Iterator[Candidate]:
    """The layer in both forms, its covariances, and the refiner with sampled features; nothing is compiled yet.

    The noise of a landmark is a function of its features, as in training, so that gradients reach all inputs.
    """
    rank = min(RANK, 2 * landmarks - 4)
    prior = FactorAnalysisPrior(landmarks, rank)
    sparse, dense = FactorAnalysisConv(prior), DenseFactorAnalysisConv(prior)
    refiner = fitted_refiner(landmarks, rank, IN, (SIDE, SIDE))

    def variance(case: Case) -> Tensor:
        return case.x[..., 0].exp()

    def run_sparse(case: Case) -> Tensor:
        images = len(case.pos)
        graph = torch.arange(images).repeat_interleave(landmarks)
        given = (case.pos.flatten(0, 1), variance(case).flatten(), case.landmark_id, graph)
        return sparse(*given, batch_size=images)

    def run_refiner(case: Case) -> Tensor:
        return refiner(case.x, SIDE * case.pos, case.confidence)

    yield Candidate("FactorAnalysisConv", sparse, run_sparse)
    yield Candidate("DenseFactorAnalysisConv", dense, lambda c: dense(c.pos, variance(c)))
    yield Candidate(
        "DenseFactorAnalysisConv, covariances", dense, lambda c: dense.posterior(c.pos, variance(c)).covariance
    )
    yield Candidate("GaussianRefiner", refiner, run_refiner)
    if backend != "none":
        fast = compiled(dense, backend)
        yield Candidate("DenseFactorAnalysisConv compiled", dense, lambda c: fast(c.pos, variance(c)), is_compiled=True)


def fitted_refiner(landmarks: int, rank: int, channels: int, size: Size) -> GaussianRefiner:
    """A refiner with statistics of random shapes, for C channels of features; with any others it takes as long."""
    shapes = min(size) * torch.rand(4 * landmarks, landmarks, 2)
    predictions = shapes + torch.randn_like(shapes)
    refiner = GaussianRefiner(landmarks, channels, size, rank=rank)
    return refiner.fit(shapes, predictions, torch.rand(shapes.shape[:2])).eval()
