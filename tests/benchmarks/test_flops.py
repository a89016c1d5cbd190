"""Counted operations against small cases by hand and against PyTorch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import Network, Step, backward, forward
from benchmarks.layer_candidates import Case, networks
from benchmarks.roofline import Peaks, measure_peaks


def test_forward_by_hand() -> None:
    # Two landmarks, one image: 2 nodes, 4 pairs, 4 pairs of types; every width has its own value.
    net = Network(2, 1, in_channels=5, channels=(3, 1), class_hidden=7, class_channels=11, edge_hidden=13)
    steps = {step.name: step for step in forward(net, table=True)}
    assert list(steps) == ["table", "pair scores", "softmax", "displacement", "layer 1", "layer 2"]
    # Table: sums of two rows and ReLU 4 x 2 x 7, product 7 x 11 x 13 of both weights, product 4 x 7 x 13 and bias.
    assert steps["table"].products == 2 * 7 * 11 * 13 + 2 * 4 * 7 * 13
    assert steps["table"].others == 2 * 4 * 7 + 4 * 13
    parameters = (4 * 7 + 7) + (7 * 11 + 11) + (11 * 13 + 13)
    assert steps["table"].numbers == parameters + 13 * 4
    # Scores: 13 units of 4 pairs, each add, max, multiply, add; 13 times the two confidences with a and b, and v l.
    assert steps["pair scores"].operations == 13 * 4 * 4 + 13 * 2 * 2 + 2 * 13 * 2
    assert steps["pair scores"].numbers == 13 * 4 + 2 + 4
    assert steps["softmax"] == Step("softmax", 0, 20, 8)
    # e [p, 1]: 2 x 2 by 2 x 3; the mass of each landmark, and twelve operations on its position.
    assert steps["displacement"] == Step("displacement", 24, 8 + 24, 4 + 8)
    # Layer 1, 5 -> 3: W1 and W2 of h (2 x 5 by 5 x 3), e (2 x 2 by 2 x 3), W2 of q (2 x 2 by 2 x 3); bias, sums, ReLU.
    assert steps["layer 1"].products == 2 * (2 * 2 * 5 * 3) + 2 * 2 * 2 * 3 + 2 * 2 * 2 * 3
    assert steps["layer 1"].others == 4 * 6
    assert steps["layer 1"].numbers == 4 + 2 * 5 + 2 * 3 + 2 * 2 + (5 * 3 + 3 + 7 * 3)
    assert steps["layer 2"].others == 3 * 2  # no ReLU after the last
    assert steps["layer 1"].bytes == 4 * steps["layer 1"].numbers
    assert [step.name for step in forward(net, table=False)] == list(steps)[1:]


def test_backward_by_hand() -> None:
    net = Network(2, 1, in_channels=5, channels=(3, 1), class_hidden=7, class_channels=11, edge_hidden=13)
    ahead = {step.name: step for step in forward(net, table=True)}
    back = {step.name: step for step in backward(net)}
    assert list(back) == ["layer 2", "layer 1", "displacement", "softmax", "pair scores", "table"]
    # Two products for one, but the displacement's: positions are given.
    for name in ("layer 1", "layer 2", "table"):
        assert back[name].products == 2 * ahead[name].products
    assert back["displacement"].products == ahead["displacement"].products
    assert back["softmax"] == Step("softmax", 0, 16, 12)
    assert back["pair scores"].others == 6 * 13 * 4 + 4 * 13 * 2


@pytest.mark.parametrize(("landmarks", "images"), [(5, 3), (7, 2)])
def test_products_equal_those_that_pytorch_counts(landmarks: int, images: int) -> None:
    (candidate,) = (each for each in networks(landmarks) if each.name == "DenseLGCN")
    case, net = Case.draw(landmarks, images), Network(landmarks, images)
    with FlopCounterMode(display=False) as counter:
        out = candidate.run(case)
    assert counter.get_total_flops() == sum(step.products for step in forward(net, table=True))
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(out.sum(), [case.x, *candidate.module.parameters()])
    assert counter.get_total_flops() == sum(step.products for step in backward(net))


def test_bound_is_the_larger_of_two_times() -> None:
    peaks = Peaks(1000.0, {64: 100.0, 1024: 10.0})
    assert peaks.bound(Step("products", 3000, 1000, 1)) == (4.0, "operations")
    assert peaks.bound(Step("copy", 0, 1, 100)) == (4.0, "bytes")  # 400 bytes, at the rate of the smaller block
    assert peaks.bound(Step("large copy", 0, 1, 256)) == (102.4, "bytes")
    assert peaks.bandwidth(1) == 100.0


def test_peaks_are_measured() -> None:
    peaks = measure_peaks(side=16, blocks=(1 << 10, 1 << 14), seconds=0)
    assert peaks.operations_per_s > 0
    assert list(peaks.bytes_per_s) == [1 << 10, 1 << 14] and all(rate > 0 for rate in peaks.bytes_per_s.values())
