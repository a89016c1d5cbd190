"""Optimisers with one learning rate per part of the network, and their schedules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

from lgcn.checks import InputError


@dataclass(frozen=True)
class Schedule:
    """How the learning rates change over a run; all groups change by the same factor.

    Args:
        name: "constant"; "one_cycle": up to the given rates and down to almost 0 (Smith 2018);
            "multistep": times ``factor`` at each of ``milestones``.
        warmup: fraction of the run in which "one_cycle" rises.
        initial_division: "one_cycle" starts at the given rates over this number.
        milestones: epochs at whose start "multistep" acts.
        factor: of "multistep".
    """

    name: Literal["constant", "one_cycle", "multistep"] = "constant"
    warmup: float = 0.3
    initial_division: float = 25.0
    milestones: tuple[int, ...] = ()
    factor: float = 0.1

    def create(self, optimizer: Optimizer, num_steps: int, steps_per_epoch: int) -> LRScheduler | None:
        """A scheduler to be stepped after every optimiser step, None for "constant".

        Milestones are turned into steps, so that one rule holds for all schedules.
        """
        if self.name == "one_cycle":
            rates = [group["lr"] for group in optimizer.param_groups]
            return OneCycleLR(
                optimizer, rates, total_steps=num_steps, pct_start=self.warmup, div_factor=self.initial_division
            )
        if self.name == "multistep":
            milestones = [epoch * steps_per_epoch for epoch in self.milestones]
            return MultiStepLR(optimizer, milestones, gamma=self.factor)
        return None


def create_optimizer(
    name: Literal["adam", "adamw"], groups: Sequence[tuple[str, Sequence[nn.Parameter], float]], weight_decay: float
) -> Optimizer:
    """An optimiser with one parameter group for each (name, parameters, learning rate).

    Frozen parameters are left out, and so are groups without any parameter to train. Biases,
    and scales and shifts of normalisation layers (all parameters of one axis), get no weight decay.

    Raises:
        InputError: if nothing at all is left to train.
    """
    param_groups: list[dict[str, Any]] = []
    for group_name, parameters, rate in groups:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        decayed = [parameter for parameter in trained if weight_decay == 0 or parameter.ndim > 1]
        plain = [parameter for parameter in trained if weight_decay != 0 and parameter.ndim <= 1]
        if decayed:
            param_groups.append({"name": group_name, "params": decayed, "lr": rate})
        if plain:
            param_groups.append({"name": f"{group_name}/no_decay", "params": plain, "lr": rate, "weight_decay": 0.0})
    if not param_groups:
        raise InputError("Expected something to train (got a frozen backbone and no refiner with parameters).")
    classes: dict[str, type[Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return classes[name](param_groups, weight_decay=weight_decay)  # type: ignore[call-arg]
