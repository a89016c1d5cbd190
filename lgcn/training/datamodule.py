"""LightningDataModule: batches of training, validation and test faces."""

from collections.abc import Sequence
from inspect import signature
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DistributedSampler
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from lgcn.checks import InputError, check_at_least, check_choice, check_options
from lgcn.datasets import DATASETS, FaceTextures, LandmarkDataset
from lgcn.datasets.corrupt_images import ReadableFaces
from lgcn.datasets.held_out import hold_out
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import get_scheme
from lgcn.training.config import AugmentationConfig
from lgcn.training.report_unreadable import ReportUnreadable
from lgcn.training.samplers import PaddedDataset, Replica, SeededDataset, SeededSampler
from lgcn.transforms import CropToInput
from lgcn.typing import Size


class LandmarkDataModule(LightningDataModule):
    """Batches of training, validation and test faces.

    A training batch depends only on ``seed``, epoch and position, not on the number of workers, so a resumed run sees
    the same batches as an uninterrupted one. Any Lightning trainer can be used.

    Several processes (DDP) share the faces: their n-th batches together are the n-th batch of a single process with
    as many times the ``batch_size``, and every validation face counts once.

    Args:
        root: folder of the dataset.
        dataset: name in :data:`lgcn.datasets.DATASETS`.
        train_split: split to train on.
        val_split: split to validate on. None holds out ``val_fraction`` of the training split, so no
            choice depends on a test split.
        test_split: split for ``trainer.test`` and ``trainer.predict``; not used in training.
        val_fraction: fraction of the training faces that is held out if there is no ``val_split``.
        val_seed: seed that decides which faces are held out; independent of ``seed``, so runs with several
            seeds share their validation faces.
        batch_size: faces in a batch of one process.
        num_workers: processes that read and augment images; 0 does it in the main process.
        augmentation: augmentation of the training faces.
        scheme: landmark scheme that the dataset must have.
        input_size: (H, W) of the network's input.
        protocol: evaluation protocol, which defines crop and normaliser; not one that needs a face detector.
        seed: seed of shuffling and augmentation.
        on_corrupt: what to do if an image cannot be read. stop raises the :class:`~lgcn.checks.InputFileError` that
            names it; skip continues without it, and the callback :class:`~lgcn.training.ReportUnreadable`, which the
            trainer must have, counts and names it (``lgcn fit`` adds it).
        dataset_options: further arguments of the dataset, such as ``one_based`` of "pts".
        prefetch_factor: batches that each worker prepares ahead; torch's default if None.
        persistent_workers: keep the workers that load training faces between epochs.

    Raises:
        InputError: for a value out of range, an unknown name, or a protocol that needs a face detector; in
            :meth:`setup`, if the dataset has another scheme or no validation face can be measured.
    """

    def __init__(
        self,
        root: str,
        dataset: str = "ibug300w",
        train_split: str = "train",
        val_split: str | None = None,
        test_split: str | None = None,
        val_fraction: float = 0.05,
        val_seed: int = 0,
        batch_size: int = 16,
        num_workers: int = 2,
        augmentation: AugmentationConfig = AugmentationConfig(),  # noqa: B008 - frozen
        scheme: str = "ibug68",
        input_size: Size = (256, 256),
        protocol: str = "zero_based",
        seed: int = 0,
        on_corrupt: Literal["stop", "skip"] = "stop",
        dataset_options: dict[str, Any] | None = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = True,
    ) -> None:
        super().__init__()
        if val_split is None and not 0 < val_fraction < 1:
            raise InputError(
                f"Expected 'val_fraction' to lie between 0 and 1 (got {val_fraction}) without 'val_split'."
            )
        self.root = root
        self.dataset = dataset
        self.train_split = train_split
        self.val_split = val_split
        self.test_split = test_split
        self.val_fraction = val_fraction
        self.val_seed = val_seed
        self.batch_size = check_at_least("batch_size", batch_size, 1)
        self.num_workers = check_at_least("num_workers", num_workers, 0)
        self.augmentation = augmentation
        self.scheme = get_scheme(scheme)
        self.input_size = input_size
        self.protocol = get_protocol(protocol)
        if self.protocol.box == "detector":
            raise InputError(
                f"Expected a protocol whose boxes are known without a face detector (got '{protocol}'). Train under "
                "another one, such as 'zero_based', and evaluate under this."
            )
        self.dataset_options = dict(dataset_options or {})
        self.seed = seed
        self.on_corrupt = check_choice("on_corrupt", on_corrupt, ["stop", "skip"])
        if prefetch_factor is not None:
            check_at_least("prefetch_factor", prefetch_factor, 1)
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self.train_faces: Sequence[Data] = ()
        self.val_faces: Sequence[Data] = ()
        self.test_faces: Sequence[Data] = ()

    def setup(self, stage: str | None = None) -> None:
        if stage in ("test", "predict"):
            self._set_up_test()
        elif not len(self.train_faces):
            self._set_up_training()

    def _set_up_training(self) -> None:
        train = self._create(self.train_split)
        if self.val_split is not None:
            self.train_faces, self.val_faces = self._augmented(train), self._create(self.val_split)
            self._check_measurable(self.val_faces)
            return
        try:
            seen, held_out = hold_out(len(train), self.val_fraction, self.val_seed)
        except InputError as error:
            raise InputError(f"{error} The split is '{self.train_split}' of '{self.root}'; see 'val_split'.") from None
        self.train_faces = self._augmented(train.index_select(seen))
        self.val_faces = train.index_select(held_out)
        self._check_measurable(self.val_faces)

    def _set_up_test(self) -> None:
        if self.test_split is None:
            raise InputError("Expected 'test_split' to test or predict (got none). Name the split.")
        if not len(self.test_faces):
            self.test_faces = self._create(self.test_split)

    def _check_measurable(self, faces: Any) -> None:
        """Raise if no face has a normalising distance: the best epoch would be chosen by a metric that is NaN."""
        distance = faces.normalizer[list(faces.indices())]
        if (distance.isfinite() & (distance > 0)).any():
            return
        raise InputError(
            f"Expected validation faces whose normaliser '{faces.normalizer_name}' can be measured (got none of "
            f"{len(faces)} in the split '{faces.split}'): its landmarks are not annotated, or all in one place. Choose "
            "another 'val_split', or a protocol with another normaliser."
        )

    def train_dataloader(self) -> DataLoader:
        return self._train_loader(self._replica(), persistent_workers=self.persistent_workers and self.num_workers > 0)

    def fitting_dataloader(self) -> DataLoader:
        """The training batches of the first epoch, all of them in every process: for statistics of a closed form."""
        return self._train_loader(Replica())

    def _train_loader(self, replica: Replica, **options: Any) -> DataLoader:
        faces = SeededDataset(self._readable(self.train_faces))
        return self._loader(faces, SeededSampler(faces, self.seed, self.batch_size, replica), **options)

    def val_dataloader(self) -> DataLoader:
        return self._ordered_loader(self._readable(self.val_faces))

    def test_dataloader(self) -> DataLoader:
        return self._ordered_loader(self._readable(self.test_faces))

    def predict_dataloader(self) -> DataLoader:
        # Every face needs its own prediction, so an unreadable image is always an error.
        return self._ordered_loader(self.test_faces)

    def _readable(self, faces: Any) -> Any:
        if self.on_corrupt == "stop":
            return faces
        # Lightning sets this attribute dynamically.
        callbacks = getattr(self.trainer, "callbacks", [])
        if self.trainer is not None and not any(isinstance(each, ReportUnreadable) for each in callbacks):
            raise InputError(
                "Expected a trainer with the callback lgcn.training.ReportUnreadable, which reports what "
                "on_corrupt='skip' leaves out (got none). Add it to the trainer's callbacks."
            )
        return ReadableFaces(faces)

    def _replica(self) -> Replica:
        given = None if self.trainer is None else self.trainer.distributed_sampler_kwargs
        return Replica(**given or {})

    def _ordered_loader(self, faces: Any) -> DataLoader:
        replica = self._replica()
        padded = PaddedDataset(faces, replica.num_replicas)
        return self._loader(padded, DistributedSampler(padded, replica.num_replicas, replica.rank, shuffle=False))

    def _loader(self, faces: Any, sampler: DistributedSampler, **options: Any) -> DataLoader:
        return DataLoader(
            faces,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor if self.num_workers else None,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def _create(self, split: str) -> LandmarkDataset:
        build = DATASETS[self.dataset]
        fixed = ("root", "split", "transform", "protocol", "normalizer")
        check_options("dataset option", self.dataset_options, build, given=fixed)
        names = {"protocol": self.protocol.name, "normalizer": self.protocol.normalizer_of(self.scheme.name)}
        # A dataset of any landmarks is read with the scheme of the detector.
        of_detector = {"scheme": self.scheme} if "scheme" in signature(build).parameters else {}
        faces = build(self.root, split=split, **names, **{**of_detector, **self.dataset_options})
        if faces.scheme.name != self.scheme.name:
            raise InputError(
                f"Expected a dataset of the scheme '{self.scheme.name}', the detector's "
                f"(got '{self.dataset}', which has '{faces.scheme.name}')."
            )
        if faces.skipped:
            reasons = ", ".join(f"{count} with {reason}" for reason, count in faces.skipped.items())
            rank_zero_warn(f"Faces of split '{split}' that are left out: {reasons}.")
        faces.transform = CropToInput(self.input_size, **self._crop_protocol(faces).crop_options)
        return faces

    def _augmented(self, faces: LandmarkDataset) -> LandmarkDataset:
        """Set the augmentation; textures are cut from these faces alone, not from those held out."""
        textures = FaceTextures(faces, self.input_size) if self.augmentation.needs_textures else ()
        protocol = self._crop_protocol(faces)
        faces.transform = self.augmentation.build(self.scheme, self.input_size, protocol, textures)
        return faces

    def _crop_protocol(self, faces: LandmarkDataset) -> EvaluationProtocol:
        return self.protocol.for_rectangles() if faces.crops_by_rect else self.protocol
