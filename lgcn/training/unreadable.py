"""What :class:`lgcn.datasets.corrupt_images.ReadableFaces` leaves out of a training run, counted and named."""

import sys
from collections.abc import Iterable
from pathlib import Path

import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch_geometric.data import Batch
from tqdm import tqdm

LOG_NAME = "unreadable.txt"


class ReportUnreadable(Callback):
    """Counts the pictures and boxes that were left out, and says so at the end of every epoch.

    One line on stderr gives their number, ``<log dir>/unreadable.txt`` gets a line for each of them and epoch, and
    ``data/unreadable`` goes to the log. Does nothing unless the data module says ``on_corrupt="skip"``.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, set[str]] = {"train": set(), "val": set()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        self._reasons["train"].update(filter(None, batch.get("unreadable", ())))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.sanity_checking:
            self._reasons["val"].update(filter(None, batch.get("unreadable", ())))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _skips(trainer):
            pl_module.log("data/unreadable", float(self._report(trainer)), sync_dist=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # While fitting, the epoch of training that it is a part of is reported as a whole.
        if trainer.state.fn == TrainerFn.VALIDATING and _skips(trainer):
            self._report(trainer)

    def _report(self, trainer: Trainer) -> int:
        """Says and writes what was left out since the last report; the number of pictures, of all processes."""
        found = {part: sorted(_of_all_processes(reasons)) for part, reasons in self._reasons.items()}
        for reasons in self._reasons.values():
            reasons.clear()
        count = sum(map(len, found.values()))
        log_dir = trainer.log_dir or trainer.default_root_dir  # asks all processes
        if not count or not trainer.is_global_zero:
            return count
        path = Path(log_dir) / LOG_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            log.writelines(
                f"epoch {trainer.current_epoch}\t{part}\t{reason}\n" for part, each in found.items() for reason in each
            )
        what = f"{count} picture{'s' if count > 1 else ''} of {' and '.join(part for part in found if found[part])}"
        tqdm.write(
            f"lgcn: warning: epoch {trainer.current_epoch}: left out {what} that cannot be read or cropped, named in "
            f"'{path}'",
            file=sys.stderr,
        )
        return count


def _skips(trainer: Trainer) -> bool:
    # Lightning sets the attribute where no type checker sees it.
    return getattr(getattr(trainer, "datamodule", None), "on_corrupt", "stop") == "skip"


def _of_all_processes(reasons: Iterable[str]) -> set[str]:
    """What any of the processes that train together has found."""
    own = set(reasons)
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return own
    everyone: list[set[str]] = [set()] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, own)
    return set().union(*everyone)
