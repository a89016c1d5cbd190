"""Batch normalisation with a mask."""

import torch
from torch import Tensor, nn


class MaskedBatchNorm(nn.BatchNorm1d):
    r"""Batch normalisation over all axes but the last, with statistics of the rows that are present.

    .. math::
        \mu = \frac{\sum_n w_n \mathbf{x}_n}{\sum_n w_n}, \qquad
        \sigma^2 = \frac{\sum_n w_n (\mathbf{x}_n - \mu)^2}{\sum_n w_n}

    Selecting rows would create tensors whose size depends on values, which no compiler can follow. Without weights, and
    in eval mode, it is :class:`torch.nn.BatchNorm1d`, whose arguments and state it has. Statistics are computed in the
    precision of the running statistics. If no row is present, the running statistics stay as they are.
    """

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Normalise rows.

        Args:
            x: [..., C].
            weight: broadcastable to [...], how often each row counts: booleans or numbers of 0 or more.

        Returns:
            [..., C], of the type of ``x``; rows that are not present are not read, and their output is that of zeros.
        """
        if weight is not None:
            weight = weight.expand(x.shape[:-1]).unsqueeze(-1)
            x = x.masked_fill(weight == 0, 0.0)
        if weight is None or not self.training:
            return super().forward(x.flatten(0, -2)).view(x.shape)
        given = x.dtype
        x = x.to(self.get_buffer("running_mean").dtype)
        weight, axes = weight.to(x.dtype), tuple(range(x.dim() - 1))
        total = weight.sum()
        count = total.masked_fill(total == 0, 1)

        def mean_of(values: Tensor) -> Tensor:
            return (values * weight).sum(axes) / count

        mean = mean_of(x)
        variance = mean_of((x - mean).square())
        with torch.no_grad():
            momentum = (total > 0).to(mean.dtype) * (self.momentum or 0.0)
            self.get_buffer("num_batches_tracked").add_(total > 0)
            self.get_buffer("running_mean").lerp_(mean, momentum)
            self.get_buffer("running_var").lerp_(variance * count / (count - 1).clamp_min(1), momentum)
        return ((x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias).to(given)
