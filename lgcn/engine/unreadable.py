"""Pictures that cannot be read or cropped: a run goes on without them if it is told to, and says which they are."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data
from tqdm import tqdm

from lgcn.checks import InputFileError
from lgcn.engine.sharing import without_landmarks

LOG_NAME = "unreadable.txt"


class ReadableFaces(Dataset[Data]):
    """A dataset that gives a stand-in where a picture cannot be read, or a face's box not be cropped by.

    The stand-in is the next face that can be read, with ``visibility`` 0: batches keep their size and normalisation
    layers see a face, while losses and metrics count nothing of it. Every item has ``unreadable``, "" or why it
    could not be read itself, which names the file.

    Args:
        faces: items whose reading may raise :class:`InputFileError`, as a :class:`lgcn.datasets.LandmarkDataset` does.
    """

    def __init__(self, faces: Sequence[Data]) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> Data:
        """Raises :class:`InputFileError` if no picture at all can be read."""
        reason = ""
        for step in range(len(self.faces)):
            try:
                face = self.faces[(index + step) % len(self.faces)]
            except InputFileError as error:
                reason = reason or " ".join(str(error).split())
                continue
            if reason:
                face = without_landmarks(face)
            face.unreadable = reason
            return face
        raise InputFileError(f"Expected pictures that can be read (got none among {len(self.faces)}). {reason}")


class ReportUnreadable(Callback):
    """Counts the pictures and boxes that :class:`ReadableFaces` left out, and says so at the end of every epoch.

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
