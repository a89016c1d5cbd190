"""Optimisers with one learning rate for each part of the network."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from lgcn.checks import InputError


def create_optimizer(
    name: Literal["adam", "adamw"],
    groups: Sequence[tuple[str, Sequence[nn.Parameter], float]],
    weight_decay: float,
    undecayed: Iterable[nn.Parameter] = (),
) -> Optimizer:
    """An optimiser with one parameter group for each (name, parameters, learning rate).

    Frozen parameters and groups without trainable parameters are skipped. Parameters with a single axis (biases, and
    scales and shifts of normalisation layers) and ``undecayed`` ones get no weight decay.

    Raises:
        InputError: if there is nothing to train.
    """
    exempt = {id(parameter) for parameter in undecayed}

    def is_decayed(parameter: nn.Parameter) -> bool:
        return weight_decay == 0 or (parameter.ndim > 1 and id(parameter) not in exempt)

    param_groups: list[dict[str, Any]] = []
    for group_name, parameters, rate in groups:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        decayed = [parameter for parameter in trained if is_decayed(parameter)]
        plain = [parameter for parameter in trained if not is_decayed(parameter)]
        if decayed:
            param_groups.append({"name": group_name, "params": decayed, "lr": rate})
        if plain:
            param_groups.append({"name": f"{group_name}/no_decay", "params": plain, "lr": rate, "weight_decay": 0.0})
    if not param_groups:
        raise InputError("Expected something to train (got a frozen backbone and no refiner with parameters).")
    classes: dict[str, type[Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return classes[name](param_groups, weight_decay=weight_decay)  # type: ignore[call-arg]


def statistics_of(module: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters that modules name in ``no_weight_decay()`` (timm's convention): 0 is no neutral value of theirs.

    Vision transformers also name parameters that this variant of them does not have.
    """
    for each in module.modules():
        if callable(names := getattr(each, "no_weight_decay", None)):
            own = dict(each.named_parameters())
            yield from (own[name] for name in names() if name in own)
