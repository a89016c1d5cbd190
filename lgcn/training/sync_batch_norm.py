"""Batch normalisation over the batches of all processes, for layers that do more than to normalise."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import nn

CONVERTED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d)
"""Classes with a synchronised counterpart; not their subclasses, such as one that takes a mask."""


class SyncBatchNorm(TorchSyncBatchNorm):
    """Converts batch normalisation without loss, and restores the very modules.

    Lightning's own replaces every subclass by :class:`torch.nn.SyncBatchNorm`. In timm's efficient networks that
    would remove the activations, which are part of the normalisation layer. What has no synchronised counterpart is
    left as it is here, and normalises over the batch of its process.
    """

    def __init__(self) -> None:
        self._originals: dict[nn.Module, nn.Module] = {}

    def apply(self, model: nn.Module) -> nn.Module:
        synchronized: dict[nn.Module, nn.Module] = {}
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if type(child) in CONVERTED:
                    if child not in synchronized:
                        synchronized[child] = convert_sync_batchnorm(child)
                    setattr(parent, name, synchronized[child])
        self._originals |= {layer: original for original, layer in synchronized.items()}
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                original = self._originals.get(child)
                if original is not None:
                    # Moving the model to a device has given the layer other tensors.
                    original._parameters.update(child._parameters)
                    original._buffers.update(child._buffers)
                    setattr(parent, name, original.train(child.training))
        self._originals.clear()
        return model


def replace_sync_batch_norm(trainer: Trainer) -> None:
    """Let a trainer with ``sync_batchnorm=True`` convert layers by :class:`SyncBatchNorm`."""
    strategy: Any = trainer.strategy
    if type(getattr(strategy, "_layer_sync", None)) is TorchSyncBatchNorm:
        strategy._layer_sync = SyncBatchNorm()
