"""Comparison of every candidate with the literal transcription of eq. 4-6."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.layer_candidates import MODES, Candidate, Case, networks
from lgcn.graph import complete_edge_index

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Largest difference, relative to the largest value where that is above 1."""


def call_of(candidate: Candidate, case: Case, mode: str) -> Callable[[], tuple[Tensor, ...]]:
    """The call that is measured.

    It returns the output ``[B, K, C']`` and, in training, the gradients of a fixed loss with respect to the features
    and all parameters.
    """
    images, landmarks, _ = case.x.shape
    candidate.module.train(mode == "training")
    if mode == "inference":

        def infer() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (candidate.run(case).view(images, landmarks, -1),)

        return infer
    inputs = [case.x, *candidate.module.parameters()]

    def train() -> tuple[Tensor, ...]:
        out = candidate.run(case).view(images, landmarks, -1)
        gradients = torch.autograd.grad(out, inputs, output_gradient(out), allow_unused=candidate.reference is None)
        return out.detach(), *(each for each in gradients if each is not None)

    return train


def output_gradient(out: Tensor) -> Tensor:
    """Gradient of the loss with respect to the output: one value per channel, the same for every candidate."""
    return torch.linspace(-1, 1, out.shape[-1], dtype=out.dtype).expand_as(out)


class LiteralCheck:
    """Compares outputs and feature gradients with the literal transcription, on the first and the last image."""

    def __init__(self, case: Case, mode: str) -> None:
        self.case, self.mode = case, mode
        self._expected: dict[int, list[list[Tensor]]] = {}

    def __call__(self, candidate: Candidate, result: tuple[Tensor, ...]) -> dict[str, Any]:
        assert candidate.reference is not None
        images = sorted({0, self.case.x.shape[0] - 1})
        key = id(candidate.reference)
        if key not in self._expected:
            self._expected[key] = [self._literal(candidate, image) for image in images]
        largest, relative, agrees = 0.0, 0.0, True
        for image, expected in zip(images, self._expected[key], strict=True):
            for measured, right in zip(result, expected, strict=False):
                difference = float((measured[image] - right).abs().max())
                largest = max(largest, difference)
                ratio = difference / max(1.0, float(right.abs().max()))
                relative = max(relative, ratio)
                agrees &= ratio <= TOLERANCES[right.dtype]  # False if it is NaN
        return {"max_abs_difference": largest, "max_relative_difference": relative, "agrees": agrees}

    def _literal(self, candidate: Candidate, image: int) -> list[Tensor]:
        assert candidate.reference is not None
        landmarks = self.case.x.shape[1]
        x = self.case.x[image].detach().requires_grad_()
        graph = (self.case.pos[image], self.case.confidence[image], complete_edge_index(landmarks))
        with torch.set_grad_enabled(self.mode == "training"):
            out = candidate.reference(x, *graph, torch.arange(landmarks))
        gradients = torch.autograd.grad(out, x, grad_outputs=output_gradient(out)) if self.mode == "training" else ()
        return [out.detach(), *gradients]


def agreement_in_float64(landmarks: int, seed: int) -> Iterator[dict[str, Any]]:
    """Differences of the eager candidates from the literal one in double precision, on two images."""
    torch.manual_seed(seed)
    candidates = [each for each in networks(landmarks, dtype=torch.float64) if each.resident_peak is None]
    case = Case.draw(landmarks, 2, torch.float64)
    for mode in MODES:
        check = LiteralCheck(case, mode)
        for candidate in candidates:
            if mode in candidate.modes and "scatter" not in candidate.name:
                found = check(candidate, call_of(candidate, case, mode)())
                row = {"candidate": candidate.name, "mode": mode, "landmarks": landmarks, "images": 2}
                yield {**row, "dtype": "float64", **found}
