"""Report of the images that a run with ``on_corrupt="skip"`` leaves out."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch_geometric.data import Batch
from tqdm import tqdm

from lgcn.files import printable

LOG_NAME = "unreadable.txt"


class ReportUnreadable(Callback):
    """Counts and names the images and boxes that were left out, at the end of every epoch.

    Prints one line with their number to stderr, adds a line for each image and epoch to ``<log dir>/unreadable.txt``,
    and logs ``data/unreadable``. Does nothing unless the data module has ``on_corrupt="skip"``.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, set[str]] = {"train": set(), "val": set(), "test": set()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        self._collect("train", batch)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        if not trainer.sanity_checking:
            self._collect("val", batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        self._collect("test", batch)

    def _collect(self, part: str, batch: Batch) -> None:
        self._reasons[part].update(filter(None, batch.get("unreadable", ())))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _skips(trainer):
            pl_module.log("data/unreadable", float(self._report(trainer)), sync_dist=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # In a fit, validation is reported with the training epoch that it belongs to.
        if trainer.state.fn == TrainerFn.VALIDATING and _skips(trainer):
            self._report(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _skips(trainer):
            self._report(trainer)

    def _report(self, trainer: Trainer) -> int:
        """Print and write what was left out since the last report; return the number of images of all processes."""
        found = {part: sorted(_of_all_processes(reasons)) for part, reasons in self._reasons.items()}
        for reasons in self._reasons.values():
            reasons.clear()
        count = sum(map(len, found.values()))
        log_dir = trainer.log_dir or trainer.default_root_dir  # a collective operation
        if not count or not trainer.is_global_zero:
            return count
        path = Path(log_dir) / LOG_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            log.writelines(
                f"epoch {trainer.current_epoch}\t{part}\t{printable(reason)}\n"
                for part, each in found.items()
                for reason in each
            )
        what = f"{count} image{'s' if count > 1 else ''} of {' and '.join(part for part in found if found[part])}"
        tqdm.write(
            f"lgcn: warning: epoch {trainer.current_epoch}: left out {what} that cannot be read or cropped, named in "
            f"'{path}'",
            file=sys.stderr,
        )
        return count


def _skips(trainer: Trainer) -> bool:
    # Lightning sets the attribute dynamically.
    return getattr(getattr(trainer, "datamodule", None), "on_corrupt", "stop") == "skip"


def _of_all_processes(reasons: Iterable[str]) -> set[str]:
    """The union of what all processes found."""
    own = set(reasons)
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return own
    everyone: list[set[str]] = [set()] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, own)
    return set().union(*everyone)
